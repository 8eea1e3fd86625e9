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
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text in UTF-8, so it holds no JSON lines.") from None
