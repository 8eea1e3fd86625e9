"""Files of a user's own, or stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from pfh.errors import UserError


def own_text(file: Path) -> str:
    """Return the text of `file`; of stdin where it is "-".

    Raises:
        UserError: it cannot be read, or is no text.
    """
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text in UTF-8, so it holds no JSON lines.") from None
