"""Backends: the ways a model is run."""
