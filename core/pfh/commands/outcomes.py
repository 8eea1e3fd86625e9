"""What a command leaves: files, provenance and an exit code."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import __version__
from pfh.commands.requests import MeasureSpec
from pfh.commands.subjects import Subject
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.hooks.comparison import Comparison
from pfh.hooks.evals import Analysis
from pfh.hooks.evaluation import Benchmark
from pfh.results.long_tables import LongTables, write_long_tables
from pfh.results.records import (
    FamilyRecord,
    RunResults,
    write_results,
)
from pfh.statistics.single import Measurement
from pfh.steps.session import Session
from pfh.store.store import artifact_key

if TYPE_CHECKING:
    from pfh.hooks.comparison import Comparison


PairedBenchmarks = Mapping[tuple[int, str], list[tuple[Benchmark, Benchmark]]]
"""(Stage, family) to the benchmarks before and after."""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a run leaves."""

    results: RunResults
    folder: Path
    """Holds results.json and report.html, and a run's trained models."""
    exit_code: int


def write_outputs(
    folder: Path, results: RunResults, pairs: PairedBenchmarks, long_tables: LongTables | None = None
) -> None:
    """Write results.json, report.html and the long tables into `folder`.

    Raises:
        UserError: the folder cannot be written.
    """
    from pfh.report import write_report

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_results(folder / "results.json", results)
        write_report(folder / "report.html", results, pairs)
        write_long_tables(folder, results, long_tables or {})
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder with --output.") from error


def family_record(
    family: str, comparisons: tuple[Comparison, ...], analysis: Analysis, before_artifact: str, after_artifact: str
) -> FamilyRecord:
    """Return what the results hold of one family."""
    return FamilyRecord(
        family=family,
        comparisons=comparisons,
        tables=analysis.tables,
        plots=analysis.plots,
        findings=analysis.findings,
        before_artifact=before_artifact,
        after_artifact=after_artifact,
    )


LIBRARIES = ("torch", "transformers", "peft", "datasets", "lm-eval")


def provenance(spec: MeasureSpec, session: Session, subjects: Sequence[Subject]) -> dict[str, str]:
    """Return the versions that the figures rest on; of the libraries only where a model was run."""
    installed = session.plugins.catalogue.names("evals")
    families = [name for name in subjects[0].families if name in installed]
    used: list[tuple[Any, str]] = [("evals", name) for name in families]
    ran = any(subject.checkpoint is not None for subject in subjects)
    used += [("backends", spec.backend)] if ran else []
    return {
        "pfh": __version__,
        **{f"{kind}:{name}": session.plugins.catalogue.find(kind, name).code_version for kind, name in used},
        **({name: version(name) for name in LIBRARIES} if ran else {}),
        "python": platform.python_version(),
        **({"device": session.environment()["device"], "dtype": spec.dtype} if ran else {}),
    }


def folder_name(command: str, subjects: Sequence[Subject], spec: MeasureSpec) -> str:
    """Return a folder name that tells what it holds, and the same for the same command."""
    names = [Path(subject.model.name).name for subject in subjects]
    words = [command, *names[:3], artifact_key(command, {"spec": repr(spec)})[:8]]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words))


def exit_code(spec: MeasureSpec, rows: Iterable[tuple[str, Measurement | Comparison]]) -> int:
    """Return 2 if a benchmark could not be run that was asked for by name, 3 if one failed, else 0."""
    statuses = {(family, row.status) for family, row in rows}
    named = {choice.family for choice in spec.evals if choice.benchmarks}
    if any(family in named and status == "NOT_RUN" for family, status in statuses):
        return EXIT_USER
    return EXIT_STEP_FAILED if any(status == "ERROR" for _, status in statuses) else 0
