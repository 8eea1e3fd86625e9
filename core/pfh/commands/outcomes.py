"""What a command leaves: files, provenance and an exit code."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pfh import __version__
from pfh.commands.subjects import Subject
from pfh.errors import EXIT_FELL_SHORT, EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.launchers import Request
from pfh.results.long_tables import LongTables, write_long_tables
from pfh.results.records import RunResults, write_results
from pfh.steps.evaluation import Question
from pfh.steps.session import Session
from pfh.store.store import ROOM, artifact_key

PairedBenchmarks = Mapping[tuple[int, str], Sequence[tuple[Benchmark, Benchmark]]]
"""(Stage, family) to the benchmarks before and after."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a command leaves."""

    results: RunResults
    folder: Path
    """Holds results.json and report.html, and a run's trained models."""
    exit_code: int


def write_outcome(
    spec: Request,
    results: RunResults,
    folder: Path,
    pairs: PairedBenchmarks | None = None,
    long_tables: LongTables | None = None,
) -> RunOutcome:
    """Write results.json, report.html and the long tables into `folder`.

    Raises:
        UserError: the folder cannot be written.
    """
    from pfh.report import write_report

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_results(folder / "results.json", results)
        write_report(folder / "report.html", results, pairs or {})
        write_long_tables(folder, results, long_tables or {})
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder with --output.") from error
    return RunOutcome(results=results, folder=folder, exit_code=exit_code(spec, results))


def check_writable(folder: Path | None) -> None:
    """Refuse an output folder that could not be written, before anything is measured; nothing is made.

    Raises:
        UserError: it, or the nearest folder above it that there is, cannot be written.
    """
    if folder is None:
        return
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"{folder} cannot be written: {there} is no folder; name another with --output.")
    if any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
        raise UserError(f"{folder} holds a model, which results would hide: name another folder with --output.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written: {there} is read-only; name another folder with --output.")
    if (free := shutil.disk_usage(there).free) < ROOM:
        raise UserError(
            f"{folder} cannot be written: its disk has {free >> 20} MB left; name another folder with --output."
        )


def default_folder(spec: Request, *words: str) -> Path:
    """Return a folder whose name tells what it holds, and is the same for the same command."""
    name = "-".join([*words, artifact_key("results", {"spec": repr(spec)})[:8]])
    return Path("pfh-results") / re.sub(r"[^\w.+-]+", "-", name)


LIBRARIES = ("torch", "transformers", "peft", "datasets", "lm-eval")


def provenance(
    spec: Request, session: Session, subjects: Sequence[Subject], questions: Sequence[Question]
) -> dict[str, str]:
    """Return the versions that the figures rest on; of the backend and the libraries only where a model was run."""
    installed = session.plugins.catalogue.names("evals")
    used: list[tuple[Any, str]] = [("evals", name) for name in subjects[0].families if name in installed]
    ran = any(subject.checkpoint is not None for subject in subjects)
    if ran:
        used += [("domains", name) for name in {question.domain.name for question in questions if question.domain}]
        used += [("backends", spec.backend)]
    return {
        "pfh": __version__,
        **{f"{kind}:{name}": session.plugins.catalogue.find(kind, name).code_version for kind, name in used},
        **({name: version(name) for name in LIBRARIES} if ran else {}),
        "python": platform.python_version(),
        **({"device": session.environment()["device"], "dtype": spec.dtype} if ran else {}),
    }


def exit_code(spec: Request, results: RunResults) -> int:
    """Return 2 if a benchmark could not be run that was asked for by name, 3 if one failed, 1 if a gate stays shut."""
    compared = [family for stage in results.stages for family in stage.families]
    alone = [family for model in results.measured for family in model.families]
    statuses = {(family.family, row.status) for family in compared for row in family.comparisons}
    statuses |= {(family.family, row.status) for family in alone for row in family.benchmarks}
    named = {choice.family for choice in spec.evals if choice.benchmarks}
    if any(family in named and status == "NOT_RUN" for family, status in statuses):
        return EXIT_USER
    if any(gate.at_fault for gate in results.gates):
        return EXIT_USER
    if any(status == "ERROR" for _, status in statuses):
        return EXIT_STEP_FAILED
    return 0 if all(gate.passes for gate in results.gates) else EXIT_FELL_SHORT
