"""What a study found: its effects, the answers to its questions, and recommendations."""
