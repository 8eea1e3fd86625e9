"""Tests, intervals and corrections."""
