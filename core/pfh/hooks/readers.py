"""What a reader turns another tool's log into, and what a writer is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.evaluation import Evaluation

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, kw_only=True)
class LogSpec:
    """A file or folder that may be a log."""

    path: Path
    """What the user named: a file, or a folder."""
    files: tuple[Path, ...]
    """That file, or every file in the folder and below. What a reader returns may depend on nothing else: it is kept
    until one of them changes."""
    options: BaseModel | None = None
    """The reader's own options."""
    named: bool = False
    """The user says that it is of this reader's form, as in "READER:PATH": then say what it lacks for that."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """One model's evaluations, as a log holds them."""

    model: str
    """Name of the model, as the tool that wrote the log has it."""
    evaluations: tuple[Evaluation, ...]
    settings: Mapping[str, Mapping[str, str]]
    """Benchmark to setting to value: two logs are only comparable where these are equal, so a setting that has no
    effect is left out, and one effect is always written the same way."""
    notes: tuple[str, ...] = ()
    """What was skipped or looks wrong: file, line and reason."""


@dataclass(frozen=True, kw_only=True)
class WriteSpec:
    """Evaluations to be written as a log of another tool."""

    folder: Path
    """Where the model's folder is made."""
    model: str
    """Name of the model."""
    evaluations: Sequence[Evaluation]
    settings: Mapping[str, Mapping[str, str]]
    """Benchmark to setting to value, as in `Log`."""
