"""One run: measure the start, post-train it, measure again, compare, report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.comparison import by_stage, compare_subjects
from pfh.commands.looks import looks_note
from pfh.commands.outcomes import RunOutcome, check_writable, default_folder, provenance, write_outcome
from pfh.commands.requests import validate
from pfh.commands.run_steps import RunSteps, checkpoint_of, trains
from pfh.commands.stage_contracts import HeldStage, check_clauses, held, hold_stage, read_contracts
from pfh.commands.stopping import probed, without
from pfh.errors import UserError
from pfh.hooks.budget import spent
from pfh.hooks.domains import Problem, description_of
from pfh.hooks.launchers import LaunchResult, LaunchSpec, RunSpec
from pfh.kit.rows import read_rows
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.contamination import check_stages
from pfh.results.junit import junit_of_run
from pfh.results.model_card import write_model
from pfh.results.records import RunResults, StageRecord
from pfh.results.restored import add_restored
from pfh.results.stage_by_stage import add_stage_by_stage
from pfh.results.verdict import headline
from pfh.sandbox import UNSAFE_VARIABLE
from pfh.starts.settings import told_settings
from pfh.steps.ranks.configuration import Configuration
from pfh.steps.resolution import with_measured_update
from pfh.steps.session import Session
from pfh.steps.training import TrainedStage, learns_from_problems
from pfh.store.store import Store
from pfh.text import write_whole

if TYPE_CHECKING:
    from pydantic import BaseModel


def execute(
    spec: RunSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Run `spec`, taking from the store what is there, and write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    check_writable(output)
    options = validate(spec, plugins)
    read_contracts(spec.contracts, spec.methods, [choice.family for choice in spec.evals])
    session = Session(
        plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype, options=options
    )
    steps = RunSteps(spec, session, options)
    try:
        progress.say(f"start: {steps.start.label}")
        steps.check()
        _ = steps.verifier
        steps.rehearse()
        return compose(steps, output)
    finally:
        session.release()


def compose(steps: RunSteps, output: Path | None = None, *, models: bool = True, may_end: bool = True) -> RunOutcome:
    """Make what is missing of a run, compare its models, and write results, report and the models.

    Args:
        steps: of the run.
        output: folder to write.
        models: write the trained models too.
        may_end: a contract may end the run after a stage; in a study the later stages are tasks of their own.

    Raises:
        UserError: the output folder cannot be written.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    spec, session, options, ranks = steps.spec, steps.session, steps.options, steps.ranks
    plugins, progress, start = session.plugins, session.progress, steps.start
    verifier, questions = steps.verifier, steps.questions
    before = steps.subject(0)
    contracts = read_contracts(spec.contracts, spec.methods, [choice.family for choice in spec.evals])
    check_clauses(contracts, before)
    steps.prepare_divergence()
    stages, subjects, divergences, holds = [], [], [], list[HeldStage]()
    for place, method in enumerate(spec.methods, start=1):
        stages.append(with_measured_update(steps.trained(place), session.dtype))
        subjects.append(steps.subject(place))
        divergences.append(steps.divergence(place))
        pair = steps.subject(place - 1), subjects[-1]
        holds.append(hold_stage(contracts, (place - 1, method), pair, plugins, questions, progress, spec.margin))
        if holds[-1].stops and may_end:
            break
    methods = spec.methods[: len(stages)]
    session.release()
    domain = steps.domain
    if spec.stop_when is not None:
        ids = probed(session, checkpoint_of(start), spec.stop_when, questions)
        before, *subjects = (without(each, spec.stop_when.family, ids) for each in (before, *subjects))
    compared = [
        compare_subjects([(before, after)], plugins, questions, margin=spec.margin, stop_early=alpha)
        for after, alpha in zip(subjects, _levels(steps, len(subjects)), strict=True)
    ]
    pairs, long_tables = by_stage(compared)
    records = [
        _stage(spec, method, options[f"methods:{method}"], trained, each.stage, session, ranks).model_copy(
            update={"divergence": divergence, "match": steps.match(place), "alone": hold.alone}
        )
        for place, (method, trained, each, divergence, hold) in enumerate(
            zip(methods, stages, compared, divergences, holds, strict=True), start=1
        )
    ]
    followed = add_restored(add_stage_by_stage(records, pairs), pairs)
    read = [*domain.problems, *_general_problems(spec, options, session)]
    checked, contamination = check_stages(followed, pairs, read, progress)
    gates = [gate for hold in holds for gate in hold.gates]
    gates += [held(each, checked[-1], None, progress) for each in contracts if not each.contract.scope.stages]
    matches = dict.fromkeys(note for each in compared for note in each.notes)
    own = [
        not learns_from_problems(options[f"methods:{method}"]) or not trains(options[f"methods:{method}"])
        for method in methods
    ]
    taught = "" if all(own) else spec.domain
    own_settings = filter(None, [told_settings(options, spec.problems, spec.model)])
    results = RunResults(
        title=f"{' then '.join(methods)}{' on ' if taught else ''}{taught}, from {start.model.name}",
        headline=headline(checked, taught),
        start=start.label,
        domain=taught,
        seed=spec.seed,
        limit=spec.limit,
        provenance=provenance(spec, session, [before, *subjects], questions),
        notes=(
            *description_of(domain.domain),
            verifier.sentence(),
            *own_settings,
            *(_stopped(spec, holds) if may_end else ()),
            *looks_note(compared),
            *matches,
            *contamination,
        ),
        stages=checked,
        gates=tuple(gates),
    )
    folder = output or default_folder(spec, *spec.methods, spec.domain, start.model.name)
    outcome = write_outcome(spec, results, folder, pairs, long_tables)
    if contracts:
        write_whole(folder / "gate.xml", junit_of_run(results, {each.file.name: each.contract for each in contracts}))
    if models:
        _write_models(folder, results, spec.problems, [steps.method(place)[1] for place in range(1, len(stages) + 1)])
    return outcome


def keep_run(steps: RunSteps, inputs: Mapping[str, Any]) -> None:
    """Make what is missing of a run and keep its results, its report and its long tables in the store."""

    def build(work: Path, folder: Path) -> None:
        compose(steps, folder, models=False, may_end=False)

    steps.session.store.make("comparison", inputs, build)


def launch(
    spec: RunSpec,
    launcher: str,
    *,
    plugins: Plugins,
    store: Store,
    progress: Progress,
    output: Path | None = None,
    unsafe_local_code: bool = False,
) -> LaunchResult:
    """Let a launcher execute a run, checked before it is handed over.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    validate(spec, plugins)
    if len(spec.methods) > 1:
        for key, given in spec.options.items():
            progress.say(f"options of {key}: {', '.join(f'{name}={value}' for name, value in given.items())}")
    work = partial(execute, plugins=plugins, store=store, progress=progress, output=output)
    with _unconfined() if unsafe_local_code else nullcontext():
        return plugins.launch(launcher, LaunchSpec(runs=(spec,), execute=work))


@contextmanager
def _unconfined() -> Iterator[None]:
    """Let code that a model wrote run outside a sandbox, where none works."""
    before = os.environ.get(UNSAFE_VARIABLE)
    os.environ[UNSAFE_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[UNSAFE_VARIABLE]
        else:
            os.environ[UNSAFE_VARIABLE] = before


def _general_problems(spec: RunSpec, options: Mapping[str, BaseModel | None], session: Session) -> Iterator[Problem]:
    """Yield the general prompts that stages rehearsed or compared with the start beside the run's problems."""
    from pfh.kit.training import TrainingOptions

    for method in dict.fromkeys(spec.methods):
        chosen = options[f"methods:{method}"]
        if isinstance(chosen, TrainingOptions):
            for name in filter(None, dict.fromkeys((chosen.replay, chosen.kl_source))):
                rows = read_rows(name, session.data, chosen.general_rows, spec.seed).rows
                yield from (row.problem for row in rows)


def _write_models(folder: Path, results: RunResults, problems: int, options: Sequence[BaseModel | None]) -> None:
    """Write the last stage's model as `model` into `folder`, and those of earlier stages as `model-1-METHOD`."""
    for number, stage in enumerate(results.stages):
        if not trains(options[number]):
            continue
        last = number == len(results.stages) - 1
        name = "model" if last else f"model-{number + 1}-{stage.method}"
        try:
            write_model(folder / name, Path(stage.after.path), results, number, problems)
        except OSError as error:
            raise UserError(
                f"{folder / name} cannot be written ({error.strerror}); the run is stored: name another folder with "
                "--output and run the same command again."
            ) from error


def _levels(steps: RunSteps, stages: int) -> list[float | None]:
    """Return of each stage the chance of a false stop; None where nothing was trained and all is measured again."""
    places = range(1, stages + 1)
    return [steps.spec.stop_early if trains(steps.method(place)[1]) else None for place in places]


def _stopped(spec: RunSpec, holds: Sequence[HeldStage]) -> Iterator[str]:
    """Say after which stage a contract ended the run, if one did."""
    left = spec.methods[len(holds) :]
    if holds[-1].stops and left:
        yield (
            f"The run ended after stage {len(holds)} ({spec.methods[len(holds) - 1]}), as the contract "
            f"{holds[-1].stops} asks where it is broken: {', '.join(left)} was not trained."
        )


def _stage(
    spec: RunSpec,
    method: str,
    options: BaseModel | None,
    trained: TrainedStage,
    compared: StageRecord,
    session: Session,
    ranks: Configuration | None,
) -> StageRecord:
    """Return what was compared, with how the model after was made."""
    return StageRecord(
        method=method,
        options=options.model_dump(mode="json") if options else {},
        before=compared.before,
        after=compared.after,
        budget=str(spec.budget or ""),
        budget_spent=spent(trained.phases, spec.budget.unit) / spec.budget.amount if spec.budget else None,
        ledger=trained.phases,
        curves=trained.curves,
        notes=trained.notes,
        provenance=_training_provenance(method, spec.domain, session, ranks),
        families=compared.families,
    )


def _training_provenance(method: str, domain: str, session: Session, ranks: Configuration | None) -> dict[str, str]:
    catalogue = session.plugins.catalogue
    return {
        f"methods:{method}": catalogue.find("methods", method).code_version,
        f"domains:{domain}": catalogue.find("domains", domain).code_version,
        **{name: version(name) for name in ("trl", "accelerate")},
        **({"processes": str(ranks)} if ranks else {}),
    }
