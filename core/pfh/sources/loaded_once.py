"""Datasets that are loaded once for all that asks for them."""

from __future__ import annotations

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import Dataset, DataSource


class LoadedOnce:
    """A source that is asked for each split once; what cannot be had there is not looked for again.

    It keeps the rows in memory, so it is for what ends soon, such as a plan.
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self._found: dict[tuple[str, str, str], Dataset | str] = {}

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        """Return one split.

        Raises:
            DataUnavailableError: the source does not have it.
        """
        asked = (hub_id, config, split)
        if asked not in self._found:
            try:
                self._found[asked] = self._source.load(*asked)
            except DataUnavailableError as error:
                self._found[asked] = str(error)
        found = self._found[asked]
        if isinstance(found, str):
            raise DataUnavailableError(found)
        return found
