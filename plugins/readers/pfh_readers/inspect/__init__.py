"""Inspect's logs: .eval files, .json files, or a folder of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh import hookimpl

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one log, or every task of the one model whose logs lie in a folder."""
    from pfh_readers.inspect.reading import read_inspect

    return read_inspect(spec.path, spec.files)
