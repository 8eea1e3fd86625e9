"""The files of lm-eval's logs: which samples and which results belong together, and which of several runs counts.

Names have changed: samples_TASK_DATE.jsonl since 0.4.3 (.json for a while before), an array in MODEL_TASK.jsonl beside
results.json in 0.4.0 to 0.4.2, DATE_samples_TASK.jsonl in lmms-eval; and what `simple_evaluate` returns is one file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.errors import UserError

from pfh_readers.lines import Skipped, opened, plain_name, read_json, read_lines

_DATE = r"\d{4}-\d\d-\d\dT[\d.-]+?"
_SAMPLES = re.compile(rf"samples_(?P<task>.+?)(_(?P<date>{_DATE}))?\.jsonl?")
_LMMS_SAMPLES = re.compile(r"(?P<date>\d{8}_\d{4,6})_samples_(?P<task>.+)\.jsonl?")
_RESULTS = re.compile(rf"(.*_)?results_(?P<date>{_DATE})\.json|(?P<lmms>\d{{8}}_\d{{4,6}})_results\.json|results\.json")
SHOWN = 6


Run = tuple[Path, str]
"""(Folder, date)."""


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """The samples of one task of one run."""

    task: str
    date: str
    file: Path
    rows: Sequence[Any] | None = None
    """The samples themselves, where they are part of a larger file."""

    @property
    def run(self) -> Run:
        """The run that it is of."""
        return self.file.parent, self.date

    def lines(self, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line, what it holds)."""
        if self.rows is None:
            yield from read_lines(self.file, skipped)
            return
        for number, row in enumerate(self.rows, start=1):
            if isinstance(row, dict):
                yield number, row
            else:
                skipped.at(self.file, f"{self.task}, sample {number}", "is no JSON object")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """One model's log."""

    folder: Path
    tasks: tuple[TaskFile, ...]
    """The newest of each task."""
    results: Mapping[Run, Mapping[str, Any]]
    """Run to what its results file holds."""


def find_files(path: Path, files: Iterable[Path], skipped: Skipped) -> ModelFiles | None:
    """Return the files of the one model's log at `path`; None where nothing is there that lm-eval writes.

    Raises:
        UserError: there are logs of several models, or results without samples.
    """
    beside = _beside(path) if path.is_file() and _RESULTS.fullmatch(plain_name(path)) else tuple(files)
    results = {file: found[1] for file in beside if (found := _results_date(file))}
    samples = [each for file in beside if (each := _samples_file(file))]
    if path.is_file() and path in results:
        samples = [each for each in samples if each.date == results[path]]
    if not samples:
        return _older(path, results) or _dumped(path)
    folders = sorted({each.file.parent for each in samples})
    if len(folders) > 1 and not _parts_of_one(samples):
        shown = ", ".join(map(str, folders[:SHOWN]))
        raise UserError(f"{path} holds logs of {len(folders)} models or runs: name one of {shown}.")
    if path.is_file() and path not in results:
        results |= {file: found[1] for file in _beside(path) if (found := _results_date(file))}
    read = {}
    for run in dict.fromkeys(each.run for each in samples):
        date = run[1]
        of_run = [file for file, other in results.items() if (file.parent, other) == run]
        read[run] = _readable(of_run[0], skipped) if of_run else {}
        if not of_run:
            beside_it = next(each.file.name for each in samples if each.run == run)
            skipped.say(
                f"there is no results_{date or '*'}.json beside {beside_it}, so task versions and settings "
                "are not known"
            )
    return ModelFiles(folder=folders[0], tasks=_newest(samples, skipped), results=read)


def _parts_of_one(samples: Sequence[TaskFile]) -> bool:
    """Say whether several folders hold one model's tasks, as a loop over tasks leaves them: none of them twice."""
    tasks: dict[str, Path] = {}
    one_name = len({each.file.parent.name for each in samples}) == 1
    return one_name and all(tasks.setdefault(each.task, each.file.parent) == each.file.parent for each in samples)


def _beside(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(file for file in path.parent.iterdir() if file.is_file()))


def _samples_file(file: Path) -> TaskFile | None:
    found = _SAMPLES.fullmatch(plain_name(file)) or _LMMS_SAMPLES.fullmatch(plain_name(file))
    return TaskFile(task=found["task"], date=found["date"] or "", file=file) if found else None


def _results_date(file: Path) -> tuple[Path, str] | None:
    found = _RESULTS.fullmatch(plain_name(file))
    return (file, found["date"] or found["lmms"] or "") if found else None


def _readable(file: Path, skipped: Skipped) -> Mapping[str, Any]:
    try:
        found = read_json(file)
    except UserError as error:
        skipped.say(f"{error} So task versions and settings are not known.")
        return {}
    return found if isinstance(found, Mapping) else {}


def _newest(samples: Sequence[TaskFile], skipped: Skipped) -> tuple[TaskFile, ...]:
    """Return the newest of each task, and say how many documents it and the older ones hold."""
    chosen: dict[str, list[TaskFile]] = {}
    for each in samples:
        chosen.setdefault(each.task, []).append(each)
    for task, several in sorted(chosen.items()):
        several.sort(key=lambda each: (each.date, each.file.name))
        *older, last = several
        for other in older:
            skipped.say(
                f"{other.file.name} ({_count(other.file)} lines): there is a newer log of {task}, {last.file.name} "
                f"({_count(last.file)} lines), which is read; to read the older one, name the file"
            )
    return tuple(several[-1] for _, several in sorted(chosen.items()))


def _count(file: Path) -> int:
    with opened(file) as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


def _older(path: Path, results: Mapping[Path, str]) -> ModelFiles | None:
    """Find what 0.4.0 to 0.4.2 wrote: arrays in MODEL_TASK.jsonl beside results.json."""
    for file in results:
        found = read_json(file)
        tasks = found.get("configs") if isinstance(found, Mapping) else None
        if not isinstance(tasks, Mapping):
            continue
        if isinstance(found.get("samples"), Mapping):
            return _dump(file, found)
        beside = [each for each in _beside(file) if each.suffix in (".jsonl", ".json") and each != file]
        chosen = [
            TaskFile(task=str(task), date="", file=each)
            for task in tasks
            for each in beside
            if each.stem == task or each.stem.endswith(f"_{task}")
        ]
        if chosen:
            return ModelFiles(folder=file.parent, tasks=_newest(chosen, Skipped()), results={(file.parent, ""): found})
    if results:
        raise UserError(f"{path} holds results of lm-eval without samples: run it with --log_samples.")
    return None


def _dumped(path: Path) -> ModelFiles | None:
    """Find what `simple_evaluate` returned, written as JSON."""
    if not (path.is_file() and path.suffix == ".json"):
        return None
    with path.open("rb") as stream:
        if not stream.read(64).lstrip().startswith(b"{"):
            return None
    try:
        found = read_json(path)
    except UserError:
        return None
    return _dump(path, found) if isinstance(found, Mapping) else None


def _dump(path: Path, found: Mapping[str, Any]) -> ModelFiles | None:
    samples = found.get("samples")
    if not isinstance(samples, Mapping) or not isinstance(found.get("results"), Mapping):
        return None
    tasks = tuple(
        TaskFile(task=str(task), date="", file=path, rows=rows)
        for task, rows in samples.items()
        if isinstance(rows, list)
    )
    return ModelFiles(folder=path.parent, tasks=tasks, results={(path.parent, ""): found}) if tasks else None
