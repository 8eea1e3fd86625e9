"""What a user asks for: run, evaluate, compare, doctor."""
