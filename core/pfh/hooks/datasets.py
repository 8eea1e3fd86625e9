"""Rows of a dataset, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pfh.errors import DataUnavailableError

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of one split, and what tells them from any others."""

    rows: tuple[Row, ...]
    fingerprint: str
    """Hash of the rows."""
    origin: str
    """Where the rows came from, for the report: "mirror", "hub cache" or "hub", with the id."""


class DataSource(Protocol):
    """Resolves a hub id to rows."""

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        """Return one split.

        Raises:
            DataUnavailableError: it cannot be had here; the message says where was looked.
        """
        ...


class NoData:
    """A source that has nothing."""

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        """Raise DataUnavailableError."""
        raise DataUnavailableError(f"{hub_id} ({config}, {split}) cannot be had: there is no source of data.")
