"""The command line of pfh."""
