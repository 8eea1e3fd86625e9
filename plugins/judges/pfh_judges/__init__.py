"""Judges: what turns a prompt and a completion into a label."""
