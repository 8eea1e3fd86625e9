"""Readers: what turns the logs of other tools into evaluations."""
