"""Datasets by hub id: from a mirror folder, the local hub cache, or the hub, in this order."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pfh.errors import DataUnavailableError, UserError, did_you_mean
from pfh.hooks.datasets import Dataset, Row

MIRROR_VARIABLE = "PFH_DATA_MIRROR"


HUB_PROBE_SECONDS = 5.0
"""How long the hub may take to answer at all before it counts as out of reach."""


class HubData:
    """A mirror folder, then the local hub cache, then the hub. No code from the hub is ever run.

    A mirror is laid out as `<org>/<name>/<config>/<split>.jsonl`, one JSON object a line.
    """

    def __init__(self, mirror: Path | None = None) -> None:
        """Take `mirror`, or else the folder that the environment variable PFH_DATA_MIRROR names."""
        named = os.environ.get(MIRROR_VARIABLE, "")
        self.mirror = mirror or (Path(named).expanduser() if named else None)
        self._hub_problem: str | None = None
        """Why the hub cannot be asked; empty where it can, None before the first look."""

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        """Return one split.

        Raises:
            DataUnavailableError: it cannot be had here, or the mirror's file is damaged; the message says where was
                looked and what to do.
            UserError: `hub_id`, `config` or `split` is no such name.
        """
        _check_names(hub_id, config, split)
        label = f"{hub_id} ({config}/{split})"
        looked = []
        if self.mirror is None:
            looked.append(f"no mirror folder ({MIRROR_VARIABLE} is not set)")
        else:
            file = self.mirror / hub_id / config / f"{split}.jsonl"
            if file.is_file():
                return _dataset(read_jsonl(file), f"mirror, {label}")
            looked.append(_missing_in_mirror(self.mirror, hub_id, config, split))
        rows = _from_cache(hub_id, config, split)
        if rows is not None:
            return _dataset(rows, f"hub cache, {label}")
        looked.append("not in the local hub cache")
        if self._hub_problem is None:
            self._hub_problem = _hub_problem()
        if self._hub_problem:
            looked.append(self._hub_problem)
        else:
            try:
                return _dataset(_from_hub(hub_id, config, split), f"hub, {label}")
            except DataUnavailableError as error:
                looked.append(str(error))
        raise DataUnavailableError(
            f"dataset {label} cannot be had: {'; '.join(looked)}. Set {MIRROR_VARIABLE} to a folder with "
            f"{hub_id}/{config}/{split}.jsonl, or go online (a gated dataset also wants its licence accepted on its "
            "page and a token from `hf auth login`)."
        )


def read_jsonl(file: Path) -> tuple[Row, ...]:
    """Read one JSON object a line; blank lines are skipped.

    Raises:
        DataUnavailableError: a line is no JSON object, or there is none; the message names file and line.
    """
    rows = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # bad JSON and bad UTF-8 alike
                raise DataUnavailableError(
                    f"{file}, line {number}: not valid JSON ({error}). Mend or replace the file."
                ) from error
            if not isinstance(row, dict):
                raise DataUnavailableError(f"{file}, line {number}: not a JSON object. Mend or replace the file.")
            rows.append(row)
    if not rows:
        raise DataUnavailableError(f"{file} holds no rows. Mend or replace the file.")
    return tuple(rows)


def _dataset(rows: Iterable[Row], origin: str) -> Dataset:
    kept = tuple(rows)
    digest = hashlib.sha256()
    for row in kept:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return Dataset(rows=kept, fingerprint=digest.hexdigest()[:16], origin=origin)


def _check_names(hub_id: str, config: str, split: str) -> None:
    name = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"  # never "..", never absolute: these become paths
    if not re.fullmatch(rf"{name}(/{name})?", hub_id):
        raise UserError(f"{hub_id!r} is no hub id; one looks like organisation/name.")
    for what, value in (("config", config), ("split", split)):
        if not re.fullmatch(name, value):
            raise UserError(f"{value!r} is no {what} of dataset {hub_id}.")


def _missing_in_mirror(mirror: Path, hub_id: str, config: str, split: str) -> str:
    if not mirror.is_dir():
        return f"the mirror folder {mirror} does not exist"
    there = [f"{file.parent.name}/{file.stem}" for file in sorted((mirror / hub_id).glob("*/*.jsonl"))]
    if not there:
        held = [f"{folder.parent.name}/{folder.name}" for folder in mirror.glob("*/*") if folder.is_dir()]
        near = did_you_mean(hub_id, held).replace(" Did", " (did").replace("?", "?)")
        return f"no {hub_id} in the mirror folder {mirror}{near}"
    wanted = f"{config}/{split}"
    return f"the mirror folder {mirror} has of it only {', '.join(there)}, not {wanted}"


def _from_cache(hub_id: str, config: str, split: str) -> tuple[Row, ...] | None:
    from datasets.packaged_modules.cache.cache import Cache

    try:
        name = hub_id.split("/")[-1]
        cached = Cache(repo_id=hub_id, dataset_name=name, config_name=config, version="auto", hash="auto")
        cached.download_and_prepare()
        return tuple(cached.as_dataset(split=split))
    except (OSError, ValueError):  # never loaded here, or without this config or split
        return None


def _hub_problem() -> str:
    """Say why the hub cannot be asked, or return an empty string; takes `HUB_PROBE_SECONDS` at most."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]

    if constants.is_offline_mode():
        return "the hub was not asked (HF_HUB_OFFLINE is set)"
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_PROBE_SECONDS)
    except httpx.HTTPError as error:
        return f"the hub at {constants.ENDPOINT} does not answer ({type(error).__name__})"
    return ""


def _from_hub(hub_id: str, config: str, split: str) -> tuple[Row, ...]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        # The prefix keeps a folder of that name in the working directory from being taken for the dataset.
        return tuple(load_dataset(f"hf://datasets/{hub_id}", config, split=split))
    except (DatasetsError, OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        cause = error.__cause__ or error  # "an error occurred while generating" hides the one that says something
        reason = " ".join(str(cause).split()).rstrip(".")
        raise DataUnavailableError(f"the hub says: {reason or type(cause).__name__}") from error
