"""Names as logs have them, made fit to be shown."""

from __future__ import annotations

from pfh.text import printable

LONGEST = 300


def clean(text: str) -> str:
    """Return a name or a remark on one line, without control characters, and not endless."""
    shown = printable(text, lines=False)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
