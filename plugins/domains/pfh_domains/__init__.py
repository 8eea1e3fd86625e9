"""Domains to post-train in, one module each."""
