"""Which plugins there are, what they take, and calls of their hooks."""
