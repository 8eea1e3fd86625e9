"""Files that options name, as their content decides a key."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.meanings import Names, values

if TYPE_CHECKING:
    from pydantic import BaseModel


def file_hashes(options: BaseModel | None) -> list[str]:
    """Return the hashes of the files that options name.

    Raises:
        UserError: one cannot be read.
    """
    hashes = []
    for name in values(options, Names.FILE):
        try:
            hashes.append(hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest())
        except OSError as error:
            raise UserError(f"{name} cannot be read ({error.strerror}): name a file that is there.") from error
    return hashes
