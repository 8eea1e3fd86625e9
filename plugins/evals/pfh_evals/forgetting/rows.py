"""Rows for lm-eval's tasks from pfh's data sources: the mirror, the hub cache, the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import DataSource

if TYPE_CHECKING:
    from datasets import Dataset

FILE_FORMATS = ("json", "csv", "text", "parquet", "arrow", "pandas")
COPIES: Mapping[str, tuple[str, str | None]] = {
    "baber/piqa": ("ybisk/piqa", "plain_text"),
    "SaylorTwift/bbh": ("lukaemon/bbh", None),
}
"""The id and configuration (None: the same) under which the rows of another hub id are kept too."""


def reads_files(configuration: Mapping[str, Any]) -> bool:
    """Say whether a task names files of its own, which lm-eval reads by itself."""
    arguments = configuration.get("dataset_kwargs") or {}
    return configuration.get("dataset_path") in FILE_FORMATS or bool({"data_files", "data_dir"} & arguments.keys())


class Rows:
    """The splits of one task that its documents and few-shot examples come from, and its configuration over them."""

    def __init__(self, configuration: Mapping[str, Any], data: DataSource) -> None:
        """Load the splits that `configuration` needs, and no other.

        Raises:
            DataUnavailableError: one of them cannot be had here.
        """
        self.origins: list[str] = []
        """Where each split came from."""
        documents = configuration.get("test_split") or configuration.get("validation_split")
        if documents is None:
            raise DataUnavailableError(f"the task {configuration['task']} names no test or validation split.")
        needed = [documents]
        self.configuration: dict[str, Any] = dict(configuration)
        """The configuration, which takes its rows from here."""
        examples = _fewshot_split(configuration)
        if configuration["num_fewshot"]:
            needed += [examples] if examples else []
        else:
            self._forget_fewshot_splits(documents)
        splits = {split: self._load(configuration, split, data) for split in dict.fromkeys(needed)}
        self.configuration["custom_dataset"] = lambda **_: splits
        self.configuration.pop("dataset_kwargs", None)

    def _forget_fewshot_splits(self, documents: str) -> None:
        """Take out splits that only few-shot examples would come from, as lm-eval reads them even for none."""
        for key in ("training_split", "fewshot_split", "validation_split"):
            if self.configuration.get(key) != documents or key != "validation_split":
                self.configuration.pop(key, None)
        own = self.configuration.get("fewshot_config")
        if isinstance(own, Mapping):
            self.configuration["fewshot_config"] = {key: value for key, value in own.items() if key != "split"}

    def _load(self, configuration: Mapping[str, Any], split: str, data: DataSource) -> Dataset:
        from datasets import Dataset

        path, name = configuration["dataset_path"], configuration.get("dataset_name")
        problems: list[DataUnavailableError] = []
        for hub_id, part in _candidates(path, name):
            try:
                found = data.load(hub_id, part, split)
            except DataUnavailableError as error:
                problems.append(error)
                continue
            self.origins.append(found.origin)
            return Dataset.from_list([dict(row) for row in found.rows])
        raise problems[0]


def _candidates(path: str, name: str | None) -> list[tuple[str, str]]:
    """Return (id, configuration) in the order in which they are tried.

    A task that names no configuration means the only one, which may have the name of the dataset.
    """
    found = [(path, name)] if name else [(path, "default"), (path, path.rpartition("/")[2])]
    if path in COPIES:
        hub_id, part = COPIES[path]
        found.append((hub_id, part or name or "default"))
    return found


def _fewshot_split(configuration: Mapping[str, Any]) -> str | None:
    """Return the split that lm-eval draws few-shot examples from; None where the task brings its own examples."""
    own = configuration.get("fewshot_config") or {}
    split = own.get("split") or configuration.get("fewshot_split")
    if split is None and own.get("samples") is not None:
        return None
    for key in ("training_split", "validation_split", "test_split"):
        split = split or configuration.get(key)
    return str(split)
