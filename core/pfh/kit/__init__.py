"""What plugins share."""
