"""The built-in attacks on refusals: each is a plugin, and asks nothing of an engine but what any attack may ask."""
