"""What a tool gave, made fit for a chat: plain text of limited length, without the control tokens of any template."""

from __future__ import annotations

import re

from pfh.text import printable

_CONTROL = re.compile(r"<(?=[^\s\d=])|\[(?=/?[A-Z_]+\])")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def cleaned(text: str, longest: int) -> str:
    """Show control characters, break the control tokens of chat templates, hide addresses, and cut what is too long."""
    text = _ADDRESS.sub(" at 0x...", printable(text.strip()))
    text = _CONTROL.sub(r"\g<0> ", text)
    return text if len(text) <= longest else f"{text[:longest]}... (cut)"
