"""One model's log of lm-eval as evaluations.

What is measured is (task, filter, metric), and its name says as much of that as tells it from the others of the task:
the first of the results is called as the task, the others "gsm8k [flexible-extract]", "arc_easy [acc_norm]".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.readers import Log
from pfh.text import printable

from pfh_readers.lines import Skipped
from pfh_readers.lm_eval.about import About
from pfh_readers.lm_eval.figures import Scored, pooled_documents, scored_documents
from pfh_readers.lm_eval.files import ModelFiles, TaskFile, find_files
from pfh_readers.lm_eval.groups import group_benchmarks
from pfh_readers.lm_eval.samples import FilterAndMetric, TaskForm, TaskSamples, read_samples
from pfh_readers.names import clean

FAMILY = "lm-eval"
BYPASS = "bypass"
"""The metric of answers that were logged and not scored."""

UNSCORED = "it was made with --predict_only, which logs answers without scores; run lm-eval without it"


def read_lm_eval(path: Path, files: Sequence[Path], cluster: str = "") -> Log | None:
    """Read one model's log, or return None where there is none. Of several runs of a task the newest counts.

    Raises:
        UserError: there are logs of several models, or nothing in them can be read.
    """
    skipped = Skipped()
    found = find_files(path, files, skipped)
    if found is None:
        return None
    families: dict[str, list[Benchmark]] = {}
    settings: dict[str, Mapping[str, str]] = {}
    for task in found.tasks:
        about = About(task=task.task, run=found.results.get(task.run, {}))
        family = about.mapping("pfh").get("family")
        for benchmark in _task_benchmarks(task, about, cluster, skipped):
            families.setdefault(family if isinstance(family, str) else FAMILY, []).append(benchmark)
            settings[benchmark.name] = about.settings
    for run in found.results.values():
        for family, benchmark in _unmeasured(run):
            families.setdefault(family, []).append(benchmark)
        families.setdefault(FAMILY, []).extend(group_benchmarks(run, families.get(FAMILY, []), settings, skipped))
    families = {name: benchmarks for name, benchmarks in families.items() if benchmarks}
    if not any(benchmark.samples for benchmarks in families.values() for benchmark in benchmarks):
        reasons = {each.reason for benchmarks in families.values() for each in benchmarks if each.reason}
        if not families or reasons == {UNSCORED}:
            raise UserError(f"{path} holds no sample with a score: {_why(found, reasons, skipped)}")
    return Log(
        model=_model(found),
        evaluations=tuple(Evaluation(family=name, benchmarks=tuple(rows)) for name, rows in families.items()),
        settings=settings,
        notes=tuple(printable(line, lines=False) for line in skipped.lines),
    )


def _why(found: ModelFiles, reasons: set[str], skipped: Skipped) -> str:
    if reasons:
        return f"{next(iter(reasons))}."
    if all(task.rows is None and task.file.stat().st_size == 0 for task in found.tasks):
        return "its files are empty; run lm-eval with --log_samples again."
    return " ".join(skipped.lines) or "its files hold no line; run lm-eval with --log_samples again."


def _model(found: ModelFiles) -> str:
    for run in found.results.values():
        if isinstance(run.get("model_name"), str) and run["model_name"]:
            return clean(run["model_name"])
        config = run.get("config")
        arguments = config.get("model_args") if isinstance(config, Mapping) else None
        if isinstance(arguments, Mapping) and isinstance(arguments.get("pretrained"), str):
            return clean(arguments["pretrained"])
        if isinstance(arguments, str) and "pretrained=" in arguments:
            return clean(arguments.partition("pretrained=")[2].partition(",")[0])
    return clean(found.folder.resolve().name)


def _task_benchmarks(task: TaskFile, about: About, cluster: str, skipped: Skipped) -> Iterator[Benchmark]:
    form = TaskForm(output_type=about.output_type, measures=about.measures, cluster=cluster)
    before = skipped.count(task.file)
    samples = read_samples(task.lines(skipped), task.file, task.task, form, skipped)
    complete = skipped.count(task.file) == before
    held = [*samples.scored, *samples.opaque]
    counts = {len(rows) for rows in (*samples.scored.values(), *(rows for rows, _ in samples.opaque.values()))}
    other = sorted(count for count in counts if about.effective not in (None, count))
    if other and complete:
        said = " and ".join(map(str, other))
        skipped.say(f"{task.task}: the results speak of {about.effective} documents, the samples are {said}")
    ordered = [measure for measure in about.measures if measure in held]
    ordered += [measure for measure in dict.fromkeys(held) if measure not in ordered]
    every = list(dict.fromkeys((*about.measures, *ordered)))
    own = about.mapping("pfh").get("name")
    name = clean(own if isinstance(own, str) else task.task)
    first = ""
    for measure in ordered:
        label = _label(name, measure, every, known=bool(about.run))
        scored = _scored(measure, samples, about, complete=complete)
        missing = sum(sample.score is None for sample in scored.samples)
        if missing and not scored.reason.startswith(UNSCORED):
            skipped.say(f"{label}: {missing} of {len(scored.samples)} documents have no finite score")
        yield _benchmark(label, first, name, measure, scored, about)
        first = first or label


def _scored(measure: FilterAndMetric, samples: TaskSamples, about: About, *, complete: bool) -> Scored:
    if measure[1] == BYPASS:
        return Scored(reason=UNSCORED)
    if measure in samples.opaque:
        rows, values = samples.opaque[measure]
        whole = complete and measure not in samples.scored and about.effective in (None, len(rows))
        return pooled_documents(measure, rows, values, about, complete=whole)
    rows = samples.scored[measure]
    return scored_documents(measure, rows, about, complete=complete and about.effective in (None, len(rows)))


def _benchmark(label: str, first: str, name: str, measure: FilterAndMetric, scored: Scored, about: About) -> Benchmark:
    filter_name, metric = measure
    own = about.mapping("pfh")
    source = _text(own.get("source"), f"lm-eval log, filter {filter_name}")
    return Benchmark(
        name=label,
        identity=_identity(name, measure, own),
        version=about.version,
        metric=clean(metric),
        higher_is_better=about.higher_is_better(metric),
        judge=clean(_text(own.get("judge"), "")),
        sensitive=own.get("sensitive") is True,
        source=clean(f"{source}; {scored.remark}" if scored.remark else source),
        same_documents_as=_text(own.get("same_documents_as"), first),
        status="NOT_RUN" if scored.reason else "MEASURED",
        reason=scored.reason,
        samples=tuple(
            sample if sample.benchmark == label else dataclasses.replace(sample, benchmark=label)
            for sample in scored.samples
        ),
    )


def _identity(name: str, measure: FilterAndMetric, own: Mapping[str, Any]) -> str:
    """Return what is measured; an export of pfh says itself what it was, or is known by its name."""
    if "name" in own:
        return clean(_text(own.get("identity"), ""))
    return clean(f"{name} [{measure[0]}, {measure[1]}]")


def _text(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise


def _label(name: str, measure: FilterAndMetric, measures: Sequence[FilterAndMetric], *, known: bool) -> str:
    """Return the name of a measure; without results a filter that was chosen is told, as there may be others."""
    filter_name, metric = measure
    if measure == measures[0] and (known or filter_name == "none"):
        return name
    several = len({each for each, _ in measures}) > 1 or not known
    said = [filter_name] if several and (filter_name != "none" or known) else []
    said += [metric] if len({each for _, each in measures}) > 1 else []
    return clean(f"{name} [{', '.join(said)}]") if said else name


def _unmeasured(run: Mapping[str, Any]) -> Iterator[tuple[str, Benchmark]]:
    """Yield (family, benchmark) for what an export of pfh lists without samples, with the reason."""
    listed = run.get("pfh")
    for task, told in listed.items() if isinstance(listed, Mapping) else ():
        if not isinstance(told, Mapping) or told.get("status") not in ("NOT_RUN", "ERROR", "INSUFFICIENT"):
            continue
        fields = {name: told.get(name) for name in ("name", "version", "reason", "judge", "source", "family")}
        directions = About(task=task, run=run).mapping("higher_is_better")
        if not all(isinstance(value, str) for value in fields.values()) or len(directions) != 1:
            continue
        metric, direction = next(iter(directions.items()))
        family = fields.pop("family")
        name, version, reason, judge, source = (clean(str(value)) for value in fields.values())
        yield (
            str(family),
            Benchmark(
                name=name,
                version=version,
                metric=clean(metric),
                higher_is_better=direction if isinstance(direction, bool) else None,
                status=told["status"],
                reason=reason,
                judge=judge,
                source=source,
            ),
        )
