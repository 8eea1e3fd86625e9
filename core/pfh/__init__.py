"""Post-train a language model, and learn what it forgot, whether it is still safe, and if the difference is real."""

from pfh.hooks.hookspecs import hookimpl

__all__ = ["__version__", "hookimpl"]

__version__ = "0.1.0"
