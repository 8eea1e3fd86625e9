"""Sample logs of other tools, read as evaluations: lm-eval's `--log_samples` folders and Inspect's `.eval` files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pfh.errors import UserError
from pfh.hooks.evaluation import Evaluation

READERS = ("lm-eval", "inspect")
"""What may stand before the colon of `lm-eval:FOLDER`."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """One model's evaluations as a log has them."""

    model: str
    """Name of the model, as the tool that wrote the log calls it."""
    evaluations: tuple[Evaluation, ...]
    settings: Mapping[str, Mapping[str, str]]
    """Benchmark to setting to value: two logs are only comparable where these are equal."""
    notes: tuple[str, ...] = ()
    """What was skipped or looks wrong: file, line and reason."""


def is_log(text: str) -> bool:
    """Say whether `text` names a log, as in "lm-eval:FOLDER" or "inspect:FILE.eval"."""
    return text.partition(":")[0] in READERS and ":" in text


def log_files(text: str) -> tuple[Path, ...]:
    """Return the files of the log that `text` names: their content decides what `open_log` returns.

    Raises:
        UserError: there is none.
    """
    path = _path(text)
    if text.startswith("lm-eval:"):
        from pfh.logs.lm_eval import files_of_a_model

        return files_of_a_model(path)
    return (path,)


def open_log(text: str) -> Log:
    """Read the log that `text` names, as in "lm-eval:FOLDER" or "inspect:FILE.eval".

    Raises:
        UserError: there is none, or nothing of it can be read.
    """
    path = _path(text)
    try:
        if text.startswith("lm-eval:"):
            from pfh.logs.lm_eval import read_lm_eval

            return read_lm_eval(path)
        from pfh.logs.inspect import read_inspect

        return read_inspect(path)
    except OSError as error:
        raise UserError(f"{text} cannot be read: {error}.") from error


def _path(text: str) -> Path:
    path = Path(text.partition(":")[2]).expanduser()
    if not path.exists():
        raise UserError(f"{text}: there is no {path}.")
    return path


def looks_like(path: Path) -> str:
    """Return how to name the log that `path` seems to be, or an empty string."""
    if path.is_dir() and next(path.glob("**/samples_*.jsonl"), None):
        return f"lm-eval:{path}"
    return f"inspect:{path}" if path.suffix == ".eval" else ""
