"""`pfh recover`: of a finished run, what weights between its start and its model keep, without any training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pfh.commands.measuring import measured
from pfh.commands.outcomes import check_writable
from pfh.commands.subjects import START, Subject, known_to_the_store, model_subject, open_subject
from pfh.errors import UserError, did_you_mean
from pfh.hooks.domains import DomainSpec
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.report import write_report
from pfh.results.records import RunResults, write_results
from pfh.results.recovery import (
    FamilyPoint,
    RecoveryRecord,
    VariantRecord,
    choose,
    family_points,
    part_of,
    sentences,
    with_front,
)
from pfh.results.stored import open_results, stored_pairs
from pfh.sources.models import resolve
from pfh.steps.domains import OpenDomain
from pfh.steps.evaluation import Question
from pfh.steps.session import Session
from pfh.steps.variants import Variant, Way, make_variant
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.evaluation import Evaluation
    from pfh.results.records import ModelRecord, StageRecord

ALPHAS = tuple(round(step / 10, 1) for step in range(1, 10))
TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class RecoverSpec:
    """What to try of a finished run."""

    run: Path
    """Its folder, or its results.json."""
    ways: tuple[str, ...] = ("wise-ft", "ties", "dare")
    alphas: tuple[float, ...] = ALPHAS
    """Of wise-ft, between 0 (the start) and 1 (the trained model)."""
    tolerance: float = 0.02
    """Loss of any other family, a share, up to which a variant may be chosen."""
    share: float = 0.3
    """Share of the samples that the choice is made on."""
    gained: str = ""
    """The family whose gain is to be kept; empty is `target` where that was measured."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the models' chat template that the run was made with."""


def recover(
    spec: RecoverSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunResults:
    """Measure variants of a finished run's model that cost no training, choose one, and add them to its results.

    What is stored is not measured again. The choice is made on a held-out share of the samples; what is reported is of
    the others.

    Raises:
        UserError: the run has no trained model, its weights or answers are gone, or what was asked for makes no sense.
    """
    results, folder = open_results(spec.run), _folder(spec, store, output)
    check_writable(folder)
    stage = _trained_stage(results, spec.run)
    asked = open_subject(f"{spec.run}{START}", Session(plugins=plugins, store=store, progress=progress))
    gained = _gained(spec, stage)
    variants = _variants(spec, stage)
    session = _session(results, asked, plugins, store, progress)
    try:
        start, trained = (_weights(each, store, spec.chat_template_kwargs) for each in (stage.before, stage.after))
        questions = tuple(_questions(asked, session))
        before = measured(model_subject("start", start, "start"), session, questions)
        along = _along(stage, start, store)
        points = [("start", "the start of the run", 0.0, before)]
        for variant in variants:
            made = make_variant(session, start, trained, variant, along)
            answers = measured(model_subject(variant.name, made, variant.name), session, questions, against=before)
            points.append((variant.name, variant.way, variant.strength, answers))
        last = measured(model_subject("trained", trained, "trained"), session, questions, against=before)
        points.append(("trained", "the model that the run left", 1.0, last))
    finally:
        session.release()
    record = _record(spec, gained, before, points)
    kept = results.model_copy(update={"recovery": record})
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.json", kept)
    write_report(folder / "report.html", kept, stored_pairs(kept, store))
    return kept.kept_in(folder)


def recover_spec(
    run: str | Path,
    *,
    ways: str | Sequence[str],
    alphas: str | Sequence[float] | None,
    gain: str | None,
    tolerance: float,
    share: float,
    chat_template_kwargs: Mapping[str, Any] | None,
) -> RecoverSpec:
    """Return what was asked for, as the command line and Python name it; `tolerance` is in percentage points.

    Raises:
        UserError: a way is unknown, or a number out of range or none.
    """
    spec = RecoverSpec(
        run=Path(run).expanduser(),
        ways=_words(ways) if isinstance(ways, str) else tuple(ways),
        alphas=ALPHAS if alphas is None else _numbers(alphas) if isinstance(alphas, str) else tuple(alphas),
        tolerance=tolerance / 100,
        share=share,
        gained=gain or "",
        chat_template_kwargs=chat_template_kwargs or {},
    )
    check_spec(spec)
    return spec


def check_spec(spec: RecoverSpec) -> None:
    """Check what was asked for, before anything is opened.

    Raises:
        UserError: a way is unknown, or a number out of range.
    """
    for way in spec.ways:
        if way not in get_args(Way):
            known = get_args(Way)
            raise UserError(f"{way!r} is no way to recover.{did_you_mean(way, known)} There are {', '.join(known)}.")
    if not spec.ways:
        raise UserError(f"Name what to try with --try: {', '.join(get_args(Way))}.")
    if bad := [alpha for alpha in spec.alphas if not 0 <= alpha <= 1]:
        raise UserError(f"An alpha is between 0 (the start) and 1 (the trained model), got {bad[0]:g}.")
    if not 0 <= spec.tolerance < 1:
        raise UserError(f"--tolerance is in percentage points, from 0 and below 100; got {100 * spec.tolerance:g}.")
    if not 0 < spec.share < 1:
        raise UserError(f"--share is the part of the samples to choose by, between 0 and 1; got {spec.share:g}.")


def _folder(spec: RecoverSpec, store: Store, output: Path | None) -> Path:
    """Return where the results go: beside the run's, unless those are the store's, which nothing may change.

    Raises:
        UserError: they are, and no other folder was named.
    """
    own = spec.run if spec.run.is_dir() else spec.run.parent
    if output is None and own.resolve().is_relative_to(store.root.resolve()):
        raise UserError(
            f"{own} is the store's own copy of the results, which stays as it is: name a folder with --output."
        )
    return output or own


def _trained_stage(results: RunResults, run: Path) -> StageRecord:
    if not results.stages or not results.stages[-1].method or not results.stages[-1].families:
        raise UserError(f"{run} holds no trained model to recover anything of: name a folder that pfh run wrote.")
    stage = results.stages[-1]
    if stage.after.fingerprint == stage.before.fingerprint:
        raise UserError(f"{run} trained nothing ({stage.method}): there is nothing between the start and itself.")
    return stage


def _gained(spec: RecoverSpec, stage: StageRecord) -> str:
    names = [family.family for family in stage.families]
    if spec.gained and spec.gained not in names:
        raise UserError(
            f"The run did not measure {spec.gained!r}.{did_you_mean(spec.gained, names)} "
            f"It measured {', '.join(names)}."
        )
    return spec.gained or (TARGET if TARGET in names else "")


def _variants(spec: RecoverSpec, stage: StageRecord) -> tuple[Variant, ...]:
    inner = sorted({alpha for alpha in spec.alphas if 0 < alpha < 1})
    kept = 0 if stage.match is None else len(stage.match.along)
    strengths: dict[str, Sequence[float]] = {"wise-ft": inner, "slerp": (0.5,), "task-arithmetic": (0.5,)}
    strengths |= {"soup": tuple(float(count) for count in (2, 4) if count <= kept)}
    if "soup" in spec.ways and kept < 2:
        raise UserError(
            "A soup is made of checkpoints along the way, and the run kept none: run it with --match FAMILY, which "
            "keeps them, or leave soup out of --try."
        )
    return tuple(Variant(way=way, strength=each) for way in _ways(spec) for each in strengths.get(way, (1.0,)))


def _ways(spec: RecoverSpec) -> Iterator[Way]:
    for way in get_args(Way):
        if way in spec.ways:
            yield way


def _session(results: RunResults, start: Subject, plugins: Plugins, store: Store, progress: Progress) -> Session:
    """Return a session that measures as the run did."""
    named = [key.removeprefix("backends:") for key in results.provenance if key.startswith("backends:")]
    options: dict[str, BaseModel | None] = {}
    for family in start.families.values():
        told = family.inputs.get("options") or {}
        judges = {**({str(told.get("judge")): family.inputs["judge"]} if family.inputs.get("judge") else {})}
        judges |= family.inputs.get("other judges") or {}
        for name, inputs in judges.items():
            if name in plugins.catalogue.names("judges"):
                options[f"judges:{name}"] = plugins.options("judges", name, inputs.get("options") or {})
        for name, inputs in (family.inputs.get("attacks") or {}).items():
            options[f"attacks:{name}"] = plugins.options("attacks", name, inputs.get("options") or {})
    return Session(
        plugins=plugins,
        store=store,
        progress=progress,
        backend=next(iter(named), "hf"),
        dtype=results.provenance.get("dtype", "auto"),
        options=options,
    )


def _questions(start: Subject, session: Session) -> Iterator[Question]:
    """Yield what the run asked, as the store has it of its start."""
    plugins = session.plugins
    for name, family in start.families.items():
        told: Mapping[str, Any] = family.inputs
        yield Question(
            family=name,
            benchmarks=tuple(told.get("benchmarks") or ()),
            options=_filled(plugins, "evals", name, told.get("options") or {}),
            domain=_domain(session, told.get("domain") or {}),
            limit=told.get("limit"),
            seed=int(told.get("seed") or 0),
        )


def _domain(session: Session, told: Mapping[str, Any]) -> OpenDomain | None:
    if not told:
        return None
    name = str(told["domain"])
    options = _filled(session.plugins, "domains", name, told.get("options") or {})
    domain = session.plugins.open_domain(name, DomainSpec(options=options, data=session.data))
    return OpenDomain(name=name, domain=domain, problems=(), options=options)


def _filled(plugins: Plugins, kind: Any, name: str, told: Mapping[str, Any]) -> BaseModel | None:  # noqa: ANN401 - a Kind
    model = plugins.options_model(kind, name)
    fields = model.model_fields if model else {}
    return plugins.options(kind, name, {key: value for key, value in told.items() if key in fields})


def _weights(model: ModelRecord, store: Store, arguments: Mapping[str, Any]) -> Checkpoint:
    """Return the weights that the run measured, if they are still where it left them.

    Raises:
        UserError: they are gone, or were changed.
    """
    if not model.path or not Path(model.path).exists():
        raise UserError(
            f"The weights of {model.name} are no longer in {model.path or 'the store'}: run the same command again, "
            "which makes them anew, or name the store that it used with --store."
        )
    found = known_to_the_store(_resolved(Path(model.path), store), store)
    under = found.with_template_arguments(arguments)
    if under.fingerprint == model.fingerprint:
        return dataclasses.replace(under, name=model.name)
    if found.fingerprint != model.fingerprint:
        raise UserError(
            f"{model.path} does not hold the weights that the run measured ({model.name}): they were changed, or the "
            "run had arguments of its chat template: give the same with --chat-template-kwargs."
        )
    return dataclasses.replace(found, name=model.name, chat_template_kwargs=dict(arguments))


def _resolved(path: Path, store: Store) -> Checkpoint:
    """Return the weights in a folder; those in the hub's cache are known by hub id and commit, as they were then."""
    if path.parent.name == "snapshots":
        hub_id = path.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
        with suppress(UserError):
            found = resolve(hub_id, revision=path.name, cache_dir=store.cache, download=False)
            if found.path.resolve() == path.resolve():
                return found
    return resolve(str(path), cache_dir=store.cache)


def _along(stage: StageRecord, start: Checkpoint, store: Store) -> list[Checkpoint]:
    """Return the checkpoints that the training kept along its way."""
    if stage.match is None:
        return []
    found = [resolve(each.path, cache_dir=store.cache) for each in stage.match.along if Path(each.path).exists()]
    return [each for each in found if each.adapter is None or each.path.resolve() == start.path.resolve()]


def _record(
    spec: RecoverSpec, gained: str, before: Subject, points: Sequence[tuple[str, str, float, Subject]]
) -> RecoveryRecord:
    def changes(after: Subject, *, held_out: bool) -> tuple[FamilyPoint, ...]:
        pairs: dict[str, tuple[Evaluation, Evaluation]] = {
            name: (
                part_of(family.evaluation, spec.share, held_out=held_out),
                part_of(after.families[name].evaluation, spec.share, held_out=held_out),
            )
            for name, family in before.families.items()
        }
        return family_points(pairs)

    found = [
        VariantRecord(
            name=name,
            how=how,
            strength=strength,
            path="" if answers.checkpoint is None else str(answers.checkpoint.adapter or answers.checkpoint.path),
            reported=changes(answers, held_out=False),
            validation=changes(answers, held_out=True),
        )
        for name, how, strength, answers in points
    ]
    parts = [part for each in found for part in (each.reported, each.validation)]
    shared = set.intersection(*({point.family for point in part} for part in parts))
    if not shared:
        raise UserError(
            "Too few samples of scores 0 or 1 were measured to choose by a part of them and report the rest: run it "
            "again with a larger --limit."
        )
    found = [
        each.model_copy(
            update={
                "reported": tuple(point for point in each.reported if point.family in shared),
                "validation": tuple(point for point in each.validation if point.family in shared),
            }
        )
        for each in found
    ]
    aim = gained if gained in shared else ""
    chosen = choose(found, aim, spec.tolerance)
    record = RecoveryRecord(
        gained=aim,
        tolerance=spec.tolerance,
        share=spec.share,
        chosen=chosen.name,
        variants=with_front(found),
        sentences=(),
    )
    return record.model_copy(update={"sentences": sentences(record)})


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError:
        raise UserError(f"--alphas got {text!r}; write numbers from 0 to 1 with commas, such as 0.3,0.5.") from None
