"""Inspect's logs: .eval files, .json files, or a folder of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh import hookimpl

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one log file."""
    from pfh_readers.inspect.reading import read_inspect

    if spec.path.suffix not in (".eval", ".json"):
        return None
    return read_inspect(spec.path)
