"""What crosses a hook: one module a kind of plugin."""
