"""Benchmark families, one package each."""
