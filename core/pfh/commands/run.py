"""One run: measure the start, post-train it, measure again, compare, report."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pfh import __version__
from pfh.commands.families import Measured, compare_run_family, paired_benchmarks
from pfh.commands.outcomes import RunOutcome, write_outputs
from pfh.commands.requests import validate
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.hooks.budget import spent
from pfh.hooks.domains import DomainSpec
from pfh.hooks.evals import Reference
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.launchers import RunSpec
from pfh.hooks.tables import LongTable
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.contamination import check_stages
from pfh.results.model_card import write_model
from pfh.results.records import FamilyRecord, ModelRecord, RunResults, StageRecord
from pfh.results.stage_by_stage import add_stage_by_stage
from pfh.results.verdict import headline
from pfh.starts.embedded import EMBEDDED_NAME
from pfh.steps.checks import check_stage
from pfh.steps.domains import OpenDomain
from pfh.steps.evaluation import evaluate_family
from pfh.steps.ranks.configuration import Configuration, read_configuration
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start, safe_start
from pfh.steps.training import TrainedStage, train_stage
from pfh.steps.verifier import self_test
from pfh.store.store import Store, artifact_key

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.checkpoint import Checkpoint


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
        verifier = self_test(session, ground)
        before = _measure(spec, session, start, ground, options)
        stages: list[StageRecord] = []
        long_tables: dict[tuple[int, str], tuple[LongTable, ...]] = {}
        pairs: dict[tuple[int, str], list[tuple[Benchmark, Benchmark]]] = {}
        checkpoint = start
        for method in spec.methods:
            trained = train_stage(
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
                pairs[len(stages), family] = paired_benchmarks(before[family][1], after[family][1])
            compared = {
                name: compare_run_family(plugins, name, before, after, options, trained.curves) for name in before
            }
            long_tables |= {(len(stages), family): found for family, (_, found) in compared.items()}
            stages.append(_stage(spec, method, start, trained, [record for record, _ in compared.values()], options))
    finally:
        session.release()
    followed = add_stage_by_stage(stages, pairs)
    checked, contamination = check_stages(followed, pairs, ground.problems, progress)
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
        from pfh.sources.models import resolve

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
        return embedded_start(session), f"BASE: the embedded {EMBEDDED_NAME} as it comes ({how})"
    how = "--base for the unaligned start, --model for your own"
    chosen = "" if spec.start else "the default; "
    return safe_start(session), f"SAFE: the embedded {EMBEDDED_NAME} after pfh's refusal tuning ({chosen}{how})"


def _ground(spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> OpenDomain:
    chosen = options[f"domains:{spec.domain}"]
    domain = session.plugins.open_domain(spec.domain, DomainSpec(options=chosen, data=session.data))
    problems = domain.problems("train", spec.problems, spec.seed)
    return OpenDomain(name=spec.domain, domain=domain, problems=problems, options=chosen)


def _measure(
    spec: RunSpec,
    session: Session,
    checkpoint: Checkpoint,
    ground: OpenDomain,
    options: Mapping[str, BaseModel | None],
    references: Mapping[str, Reference] | None = None,
) -> Measured:
    measured = {}
    for choice in spec.evals:
        artifact, evaluation = evaluate_family(
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
    trained: TrainedStage,
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
