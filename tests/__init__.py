"""Tests of pfh."""
