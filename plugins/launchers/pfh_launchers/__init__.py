"""Launchers: the places where runs execute."""
