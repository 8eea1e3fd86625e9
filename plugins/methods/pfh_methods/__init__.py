"""Post-training methods, one module each."""
