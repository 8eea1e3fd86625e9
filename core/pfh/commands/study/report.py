"""The report over all runs of a study: index.html, study.json and Parquet long tables; and `pfh.study.load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pfh.commands.study.plan import PlannedStudy
from pfh.commands.study.reading import read_study
from pfh.commands.study.runs import StudyRun, expand
from pfh.commands.study.schema import Study
from pfh.errors import UserError, reading
from pfh.hooks.evaluation import Evaluation
from pfh.registry.plugins import Plugins
from pfh.report.study_page import write_study_page
from pfh.results.records import RunResults
from pfh.results.stored import open_results
from pfh.results.study.analysis import analyze_study
from pfh.results.study.changes import FinishedRun, long_table
from pfh.results.study.recommendations import WANTED, Wanted
from pfh.results.study.records import EffectRecord, StudyResults
from pfh.results.study.safety import erosion, helpfulness, safety_table
from pfh.store.evaluations import read_evaluation
from pfh.store.store import Store
from pfh.text import json_text, write_whole

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER, PAGE, RESULTS = "study-report", "index.html", "study.json"
SAMPLES, EFFECTS = "samples.parquet", "effects.parquet"
RUNS = "runs"
"""Folder of what is gathered of each run, beside the report."""


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What a study's report holds, for a notebook."""

    results: StudyResults
    samples: DataFrame
    """A row a run, benchmark and document: scores before and after, and the change towards the good."""
    effects: DataFrame
    """A row an effect: start, domain, method, family, category, change and its interval."""


def write_study_report(planned: PlannedStudy, results: Mapping[str, RunResults], folder: Path) -> Path:
    """Write the report of the finished runs into `folder`; return its page.

    Raises:
        UserError: the folder cannot be written.
    """
    missing = len(planned.runs) + len(planned.refused) - len(results)
    return _write(planned.study, planned.runs, results, missing, planned.store, planned.plugins, folder)


def report_again(file: Path, folder: Path, *, plugins: Plugins, store: Store) -> Path:
    """Write the report of a study anew from the runs that `pfh matrix` gathered in `folder`; return its page.

    Nothing is planned: runs that an earlier version of pfh made are read as they are.

    Raises:
        UserError: the file is at fault, or the folder holds no run of the study, or cannot be written.
    """
    study, document = read_study(file)
    runs = expand(study, document, plugins)
    results = {run.name: open_results(place) for run in runs if (place := folder / RUNS / run.name).is_dir()}
    if not results:
        raise UserError(
            f"{folder} holds no finished run of {file}: give the folder that pfh matrix wrote with --output."
        )
    return _write(study, runs, results, len(runs) - len(results), store, plugins, folder)


def _write(
    study: Study,
    planned: Sequence[StudyRun],
    results: Mapping[str, RunResults],
    missing: int,
    store: Store,
    plugins: Plugins,
    folder: Path,
) -> Path:
    runs = [
        FinishedRun(
            name=run.name,
            start=run.start.name,
            kind=run.start.start or "",
            scale=run.start.scale,
            method=run.variant.method,
            label=run.variant.label,
            axes=run.variant.axes,
            domain=run.domain,
            seed=run.seed,
            phase=run.phase,
            results=results[run.name],
        )
        for run in planned
        if run.name in results
    ]

    @cache
    def read(key: str) -> Evaluation | None:
        artifact = store.get("evaluation", key)
        return None if artifact is None else read_evaluation(artifact.path)

    table = long_table(runs, read, cache(plugins.category))
    found = analyze_study(study.name, runs, missing, table, _wanted(study))
    of_safety = safety_table(runs, read)
    found = found.model_copy(update={"erosion": erosion(of_safety), "helpfulness": helpfulness(of_safety)})
    place = folder / FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / RESULTS, json_text(found.model_dump(mode="json")))
        table.to_parquet(place / SAMPLES, index=False)
        _effects(found).to_parquet(place / EFFECTS, index=False)
        write_study_page(place / PAGE, found, {run.name: f"../runs/{quote(run.name)}/report.html" for run in runs})
    except OSError as error:
        raise UserError(f"{place} cannot be written ({error.strerror}); name another folder with --output.") from error
    return place / PAGE


def load(folder: str | Path) -> StudyReport:
    """Read the report of a study: its folder, the study-report in it, or the study.json itself.

    Raises:
        UserError: there is none, or it is none that this pfh can read.
    """
    import pandas as pd

    path = Path(folder).expanduser()
    path = path.parent if path.name == RESULTS else path
    place = path / FOLDER if (path / FOLDER).is_dir() else path
    with reading(f"The study's report {place}", "give the folder that pfh matrix wrote"):
        results = StudyResults.model_validate_json((place / RESULTS).read_text(encoding="utf-8"))
        samples, effects = pd.read_parquet(place / SAMPLES), pd.read_parquet(place / EFFECTS)
    return StudyReport(results=results, samples=samples, effects=effects)


def _wanted(study: Study) -> Sequence[Wanted]:
    """Return what the study's file says must hold, and what is usual where it says nothing."""
    said = [
        Wanted(name=name, least=0.0 if isinstance(points, str) else points / 100) for name, points in study.must.items()
    ]
    return said or WANTED


def _effects(found: StudyResults) -> DataFrame:
    import pandas as pd

    rows = [row.model_dump(mode="json") for row in found.effects]
    return pd.DataFrame(rows, columns=list(EffectRecord.model_fields))
