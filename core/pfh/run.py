"""One run: measure the start, post-train it, measure again, compare, report."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pfh import __version__, steps
from pfh.budget import Budget, spent
from pfh.card import write_model
from pfh.contamination import check_stages
from pfh.drift import add_drift
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.evaluation import Benchmark, Evaluation
from pfh.long_tables import LongTables, write_long_tables
from pfh.plugins import Plugins
from pfh.progress import Progress
from pfh.ranks.configuration import Configuration, read_configuration, refuse_being_launched
from pfh.refusals import check_stage
from pfh.results import FamilyRecord, ModelRecord, RunResults, StageRecord, write_results
from pfh.session import Session
from pfh.specs import Analysis, AnalysisSpec, DomainSpec, LongTable, Reference
from pfh.starts.embedded import EMBEDDED_NAME
from pfh.statistics import Comparison, compare_evaluations
from pfh.store import Store, artifact_key
from pfh.verdict import headline

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.models import Checkpoint

Start = Literal["safe", "base"]
Measured = dict[str, tuple[str, Evaluation]]
"""Family to (key in the store, evaluation)."""
PairedBenchmarks = Mapping[tuple[int, str], list[tuple[Benchmark, Benchmark]]]
"""(Stage, family) to the benchmarks before and after."""


@dataclass(frozen=True, kw_only=True)
class EvalChoice:
    """One benchmark family to run, or some of its benchmarks."""

    family: str
    benchmarks: tuple[str, ...] = ()
    """Asked for by name: a run ends with exit code 2 when one of them could not be run. Empty: the default set."""

    @classmethod
    def parse(cls, text: str) -> EvalChoice:
        """Read "safety" or "safety:xstest,harmbench"."""
        family, _, names = text.partition(":")
        return cls(family=family, benchmarks=tuple(name.strip() for name in names.split(",") if name.strip()))


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What to run."""

    methods: tuple[str, ...]
    """Stages, in their order: each trains from the checkpoint of the one before."""
    evals: tuple[EvalChoice, ...]
    domain: str = "reasoning"
    model: str | None = None
    """Hub id or path; None is the embedded model."""
    start: Start | None = None
    """Which start `model` is; for the embedded model, which of its two starts to take (None: SAFE)."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Plugin key such as "methods:dpo" to its options."""
    seed: int = 0
    limit: int | None = None
    """At most this many documents a benchmark."""
    problems: int = 48
    """Training problems, shared by all methods."""
    budget: Budget | None = None
    """What every stage may spend; None lets each method end by its own options."""
    accelerate: str | None = None
    """A configuration of accelerate: in how many processes each stage trains, and how; None is this one alone."""
    backend: str = "hf"
    dtype: str = "auto"
    revision: str | None = None
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a run leaves."""

    results: RunResults
    folder: Path
    """Holds results.json and report.html, and a run's trained models."""
    exit_code: int


def validate(spec: RunSpec, plugins: Plugins) -> dict[str, BaseModel | None]:
    """Check every name and option of `spec` before anything heavy is loaded; return the options by plugin key.

    Raises:
        UserError: a name that no plugin has, an option that its plugin lacks, a value out of range.
    """
    if not spec.methods:
        raise UserError(f"Name a method with --method. Installed: {', '.join(plugins.catalogue.names('methods'))}.")
    if not spec.evals:
        raise UserError(
            f"Name a benchmark family with --eval. Installed: {', '.join(plugins.catalogue.names('evals'))}."
        )
    for number, name in ((spec.problems, "--problems"), (1 if spec.limit is None else spec.limit, "--limit")):
        if number < 1:
            raise UserError(f"{name} must be at least 1, got {number}.")
    refuse_being_launched()
    ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
    plugins.load("backends", spec.backend)
    plugins.load_wrappers()
    keys = [f"methods:{name}" for name in spec.methods]
    keys += [f"domains:{spec.domain}", *(f"evals:{choice.family}" for choice in spec.evals)]
    filled = {}
    for key in dict.fromkeys(keys):
        kind, _, name = key.partition(":")
        filled[key] = plugins.options(kind, name, spec.options.get(key, {}))  # type: ignore[arg-type]
    for key in spec.options:
        if key not in filled:
            raise UserError(f"Options were given for {key}, which this run does not use; it uses {', '.join(filled)}.")
    if ranks is not None:
        from pfh.training import TrainingOptions, share_out

        for name in spec.methods:
            chosen = filled[f"methods:{name}"]
            if isinstance(chosen, TrainingOptions):
                share_out(chosen.batch_size * chosen.gradient_accumulation, ranks.processes, name)
    return filled


def execute(
    spec: RunSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Run `spec`, taking from the store what is there, and write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    options = validate(spec, plugins)
    ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
    session = Session(plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype)
    try:
        start, label = _start(spec, session)
        progress.say(f"start: {label}")
        ground = _ground(spec, session, options)
        for method in spec.methods:
            check_stage(session, start, ground, method, options=options[f"methods:{method}"], budget=spec.budget)
        verifier = steps.self_test(session, ground)
        before = _measure(spec, session, start, ground, options)
        stages: list[StageRecord] = []
        long_tables: dict[tuple[int, str], tuple[LongTable, ...]] = {}
        pairs: dict[tuple[int, str], list[tuple[Benchmark, Benchmark]]] = {}
        checkpoint = start
        for method in spec.methods:
            trained = steps.training(
                session,
                checkpoint,
                ground,
                method,
                options=options[f"methods:{method}"],
                seed=spec.seed,
                budget=spec.budget,
                ranks=ranks,
            )
            checkpoint = trained.checkpoint
            after = _measure(spec, session, checkpoint, ground, options, _references(start, before))
            for family in before:
                pairs[len(stages), family] = _paired(before[family][1], after[family][1])
            compared = {
                name: _compared(plugins, name, before, after, options, spec.seed, trained.curves) for name in before
            }
            long_tables |= {(len(stages), family): found for family, (_, found) in compared.items()}
            stages.append(_stage(spec, method, start, trained, [record for record, _ in compared.values()], options))
    finally:
        session.release()
    followed = add_drift(stages, pairs, seed=spec.seed)
    checked, contamination = check_stages(followed, pairs, ground.problems, progress, seed=spec.seed)
    results = RunResults(
        title=f"{' then '.join(spec.methods)} on {spec.domain}, from {start.name}",
        headline=headline(checked, spec.domain),
        start=label,
        domain=spec.domain,
        seed=spec.seed,
        limit=spec.limit,
        provenance=_provenance(spec, session, ranks),
        notes=(verifier.sentence(), *contamination),
        stages=checked,
    )
    folder = output or Path("pfh-results") / _folder_name(spec, start)
    write_outputs(folder, results, pairs, long_tables)
    _write_models(folder, results, spec.problems)
    return RunOutcome(results=results, folder=folder, exit_code=_exit_code(spec, results))


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


def _write_models(folder: Path, results: RunResults, problems: int) -> None:
    """Write the last stage's model as `model` into `folder`, and those of earlier stages as `model-1-METHOD`."""
    for number, stage in enumerate(results.stages):
        last = number == len(results.stages) - 1
        name = "model" if last else f"model-{number + 1}-{stage.method}"
        try:
            write_model(folder / name, Path(stage.after.path), results, number, problems)
        except OSError as error:
            raise UserError(
                f"{folder / name} cannot be written ({error.strerror}); the run is stored: name another folder with "
                "--output and run the same command again."
            ) from error


def _start(spec: RunSpec, session: Session) -> tuple[Checkpoint, str]:
    if spec.model is not None:
        from pfh.models import resolve

        checkpoint = resolve(
            spec.model, revision=spec.revision, allow_pickle=spec.allow_pickle, cache_dir=session.store.cache
        )
        if checkpoint.endpoint is not None:
            raise UserError(
                f"{spec.model} cannot be trained, as only its completions can be had: give the model's weights, or "
                "measure it with pfh eval."
            )
        return checkpoint, f"{spec.start.upper() if spec.start else 'custom'}: {checkpoint.name}"
    if spec.start == "base":
        how = "--safe for the aligned start, --model for your own"
        return steps.embedded_start(session), f"BASE: the embedded {EMBEDDED_NAME} as it comes ({how})"
    how = "--base for the unaligned start, --model for your own"
    chosen = "" if spec.start else "the default; "
    return steps.safe_start(session), f"SAFE: the embedded {EMBEDDED_NAME} after pfh's refusal tuning ({chosen}{how})"


def _ground(spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> steps.Ground:
    chosen = options[f"domains:{spec.domain}"]
    domain = session.plugins.open_domain(spec.domain, DomainSpec(options=chosen, data=session.data))
    problems = domain.problems("train", spec.problems, spec.seed)
    return steps.Ground(name=spec.domain, domain=domain, problems=problems, options=chosen)


def _measure(
    spec: RunSpec,
    session: Session,
    checkpoint: Checkpoint,
    ground: steps.Ground,
    options: Mapping[str, BaseModel | None],
    references: Mapping[str, Reference] | None = None,
) -> Measured:
    measured = {}
    for choice in spec.evals:
        artifact, evaluation = steps.evaluation(
            session,
            checkpoint,
            choice.family,
            benchmarks=choice.benchmarks,
            options=options[f"evals:{choice.family}"],
            ground=ground,
            limit=spec.limit,
            seed=spec.seed,
            reference=(references or {}).get(choice.family),
        )
        measured[choice.family] = (artifact.key, evaluation)
    return measured


def _references(start: Checkpoint, before: Measured) -> dict[str, Reference]:
    """Return what each family knows of the start."""
    return {
        family: Reference(evaluation=evaluation, artifact=key, checkpoint=start)
        for family, (key, evaluation) in before.items()
    }


def _stage(
    spec: RunSpec,
    method: str,
    start: Checkpoint,
    trained: steps.Trained,
    families: Sequence[FamilyRecord],
    options: Mapping[str, BaseModel | None],
) -> StageRecord:
    chosen = options[f"methods:{method}"]
    return StageRecord(
        method=method,
        options=chosen.model_dump(mode="json") if chosen else {},
        before=_model(start),
        after=_model(trained.checkpoint),
        budget=str(spec.budget or ""),
        budget_spent=spent(trained.phases, spec.budget.unit) / spec.budget.amount if spec.budget else None,
        ledger=trained.phases,
        curves=trained.curves,
        notes=trained.notes,
        families=tuple(families),
    )


def _compared(
    plugins: Plugins,
    family: str,
    before: Measured,
    after: Measured,
    options: Mapping[str, BaseModel | None],
    seed: int,
    curves: tuple[dict[str, float], ...],
) -> tuple[FamilyRecord, tuple[LongTable, ...]]:
    """Compare one family before and after, and let its plugin say more."""
    (before_key, start), (after_key, tuned) = before[family], after[family]
    comparisons = compare_evaluations(start, tuned, seed=seed)
    analysis = plugins.analyze(
        family,
        AnalysisSpec(
            before=start,
            after=tuned,
            comparisons=comparisons,
            options=options[f"evals:{family}"],
            others={name: (before[name][1], after[name][1]) for name in before if name != family},
            curves=curves,
        ),
    )
    return family_record(family, comparisons, analysis, before_key, after_key), analysis.long_tables


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


def _paired(before: Evaluation, after: Evaluation) -> list[tuple[Benchmark, Benchmark]]:
    later = {benchmark.name: benchmark for benchmark in after.benchmarks}
    return [(benchmark, later[benchmark.name]) for benchmark in before.benchmarks if benchmark.name in later]


def _model(checkpoint: Checkpoint) -> ModelRecord:
    return ModelRecord(
        name=checkpoint.name, fingerprint=checkpoint.fingerprint, path=str(checkpoint.adapter or checkpoint.path)
    )


def _provenance(spec: RunSpec, session: Session, ranks: Configuration | None) -> dict[str, str]:
    libraries = ("torch", "transformers", "trl", "peft", "datasets")
    used = [("methods", name) for name in spec.methods] + [("evals", choice.family) for choice in spec.evals]
    used += [("domains", spec.domain), ("backends", spec.backend)]
    return {
        "pfh": __version__,
        **{f"{kind}:{name}": session.plugins.catalogue.find(kind, name).code_version for kind, name in used},  # type: ignore[arg-type]
        **{name: version(name) for name in libraries},
        "python": platform.python_version(),
        "device": session.environment()["device"],
        "dtype": spec.dtype,
        **({"training": f"{ranks} by accelerate {version('accelerate')}"} if ranks else {}),
    }


def _folder_name(spec: RunSpec, start: Checkpoint) -> str:
    words = [*spec.methods, spec.domain, start.name, artifact_key("run", {"spec": repr(spec)})[:8]]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words))


def _exit_code(spec: RunSpec, results: RunResults) -> int:
    statuses = {
        (family.family, row.status)
        for stage in results.stages
        for family in stage.families
        for row in family.comparisons
    }
    named = {choice.family for choice in spec.evals if choice.benchmarks}
    if any(family in named and status == "NOT_RUN" for family, status in statuses):
        return EXIT_USER
    return EXIT_STEP_FAILED if any(status == "ERROR" for _, status in statuses) else 0
