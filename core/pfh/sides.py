"""What can be measured or compared: a model, stored results, or another tool's log; one side of a comparison each."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import steps
from pfh.collection import uncollected
from pfh.errors import UserError, did_you_mean
from pfh.evaluation import Evaluation, read_evaluation, write_evaluation
from pfh.fingerprints import fingerprint
from pfh.logs import is_log, log_files, looks_like, open_log
from pfh.reopen import open_results
from pfh.results import ModelRecord
from pfh.run import EvalChoice
from pfh.session import Session
from pfh.specs import Reference
from pfh.store import MANIFEST, Artifact, Store

if TYPE_CHECKING:
    from pfh.models import Checkpoint

START = "@start"
"""Behind a run's folder it stands for the model that the run began with, not the one that it left."""
_KEY = re.compile(r"[0-9a-f]{20}")
_RESULTS, _SETTINGS, _LOG = "results.json", "settings.json", "log.json"


@dataclass(frozen=True, kw_only=True)
class StoredFamily:
    """One family as the store has it for one model."""

    key: str
    evaluation: Evaluation
    inputs: Mapping[str, Any]
    """What made it: for pfh's own evaluations the options of the family, the limit, the seed and the environment."""
    settings: Mapping[str, Mapping[str, str]]
    """Benchmark to setting to value, which must be equal on both sides."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model, with what is known of it so far."""

    text: str
    """What the user wrote."""
    model: ModelRecord
    label: str
    """SAFE, BASE or custom, and what that is."""
    checkpoint: Checkpoint | None = None
    """The weights; None for stored results and logs, which cannot be measured further."""
    families: Mapping[str, StoredFamily] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    from_log: bool = False


def open_side(text: str, session: Session, *, revision: str | None = None, allow_pickle: bool = False) -> Side:
    """Find out what `text` names.

    Args:
        text: "safe", "base", a model (hub id, folder, GGUF file, adapter), the folder or results.json of an earlier
            run, the key of a stored evaluation, "lm-eval:FOLDER" or "inspect:FILE".
        session: whose store is searched, and whose engine makes the SAFE start if it is not there yet.
        revision: of a hub id.
        allow_pickle: the user allowed weights that are not safetensors.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if text in ("safe", "base"):
        checkpoint = steps.safe_start(session) if text == "safe" else steps.embedded_start(session)
        return _model_side(text, checkpoint, f"{text.upper()}: the embedded model")
    if is_log(text):
        return _log_side(text, session)
    path = Path(text.removesuffix(START)).expanduser()
    if (path / _RESULTS).is_file() or (path.is_file() and path.suffix == ".json"):
        return _results_side(text, path, session.store)
    if _KEY.fullmatch(text) and not path.exists():
        family = _stored(text, session.store, f"The store {session.store.root} has no evaluation {text}.")
        model = ModelRecord(name=text, fingerprint=str(family.inputs.get("model", text)))
        families = {family.evaluation.family: family}
        return Side(text=text, model=model, label=f"custom: the stored evaluation {text}", families=families)
    if (hint := looks_like(path)) and not (path / "config.json").exists():
        raise UserError(f"{text} looks like a log of another tool: write {hint}.")
    from pfh.models import resolve

    checkpoint = resolve(text, revision=revision, allow_pickle=allow_pickle, cache_dir=session.store.cache)
    return _model_side(text, _known_to_the_store(checkpoint, session.store), f"custom: {checkpoint.name}")


def measured(
    side: Side,
    session: Session,
    choices: Sequence[EvalChoice],
    *,
    options: Mapping[str, Any],
    ground: steps.Ground | None,
    limit: int | None,
    seed: int,
    against: Side | None = None,
) -> Side:
    """Return `side` with the families of `choices`: measured now, or found in the store; of a stored side as they are.

    `against` is the measured side that this one will be compared with.

    Raises:
        UserError: a stored side lacks a family or a benchmark that was asked for.
    """
    families = {}
    for choice in choices:
        if side.checkpoint is None:
            families[choice.family] = _chosen(side, choice)
            continue
        artifact, evaluation = steps.evaluation(
            session,
            side.checkpoint,
            choice.family,
            benchmarks=choice.benchmarks,
            options=options[f"evals:{choice.family}"],
            ground=ground,
            limit=limit,
            seed=seed,
            reference=_reference(against, choice.family),
        )
        families[choice.family] = _opened(artifact, evaluation)
    return dataclasses.replace(side, families=families)


def _reference(against: Side | None, family: str) -> Reference | None:
    stored = against.families.get(family) if against else None
    if against is None or stored is None:
        return None
    return Reference(evaluation=stored.evaluation, artifact=stored.key, checkpoint=against.checkpoint)


def _model_side(text: str, checkpoint: Checkpoint, label: str) -> Side:
    path = str(checkpoint.adapter or checkpoint.path)
    model = ModelRecord(name=checkpoint.name, fingerprint=checkpoint.fingerprint, path=path)
    return Side(text=text, model=model, label=label, checkpoint=checkpoint)


def _known_to_the_store(checkpoint: Checkpoint, store: Store) -> Checkpoint:
    """Call weights that lie in the store what the run called them that made them: its evaluations are found then."""
    place = (checkpoint.adapter or checkpoint.path).resolve()
    for kind, path in (("training", place.parent), ("start", place)):
        if path.parent == (store.root / "artifacts" / kind).resolve() and place.name in ("weights", path.name):
            return dataclasses.replace(checkpoint, fingerprint=f"{kind}-{path.name}")
    return checkpoint


def _results_side(text: str, path: Path, store: Store) -> Side:
    results = open_results(path)
    at_start = text.endswith(START)
    if results.measured:
        model = results.measured[0].model
        keys = {family.family: family.artifact for family in results.measured[0].families}
    elif results.stages:
        stage = results.stages[0 if at_start else -1]
        model = stage.before if at_start else stage.after
        keys = {each.family: each.before_artifact if at_start else each.after_artifact for each in stage.families}
    else:
        raise UserError(f"{path} holds the results of no model.")
    families = {
        name: _stored(
            key,
            store,
            f"The store {store.root} no longer holds the samples of {name} that {path} speaks of ({key}): "
            "run the same command again, or name the store that it used with --store.",
        )
        for name, key in keys.items()
    }
    return Side(text=text, model=model, label=f"custom: {model.name}, stored in {path}", families=families)


def _log_side(text: str, session: Session) -> Side:
    """Keep a log's samples in the store: it is read once, and reports and exports find them as they find pfh's own."""
    store = session.store
    files = log_files(text)
    told = fingerprint(files, store.cache)
    fresh: dict[str, Evaluation] = {}

    def build(work: Path, folder: Path) -> None:
        with uncollected():
            log = open_log(text)
        fresh.update({_keep(store, told, each, log.settings): each for each in log.evaluations})
        keys = list(fresh)
        (folder / _LOG).write_text(json.dumps({"model": log.model, "notes": log.notes, "evaluations": keys}, indent=1))

    inputs = {"files": told, "read": steps.folder_code("logs")}
    artifact = store.make("log", inputs, build)
    about = json.loads((artifact.path / _LOG).read_bytes())
    if any(store.get("evaluation", key) is None for key in about["evaluations"]):
        store.discard(artifact)
        about = json.loads((store.make("log", inputs, build).path / _LOG).read_bytes())
    lost = f"{text} cannot be kept in the store {store.root}."
    opened = [_stored(key, store, lost, fresh.get(key)) for key in about["evaluations"]]
    place = files[0].parent if len(files) > 1 else files[0]
    return Side(
        text=text,
        model=ModelRecord(name=about["model"], fingerprint=told, path=str(place)),
        label=f"custom: {about['model']}, {text.partition(':')[0]} log {place}",
        families={family.evaluation.family: family for family in opened},
        notes=tuple(about["notes"]),
        from_log=True,
    )


def _keep(store: Store, told: str, evaluation: Evaluation, settings: Mapping[str, Mapping[str, str]]) -> str:
    """Store one family of a log; return its key."""

    def build(work: Path, folder: Path) -> None:
        write_evaluation(folder, evaluation)
        own = {benchmark.name: settings.get(benchmark.name, {}) for benchmark in evaluation.benchmarks}
        (folder / _SETTINGS).write_text(json.dumps(own, indent=1))

    inputs = {"log": told, "family": evaluation.family, "read": steps.folder_code("logs")}
    return store.make("evaluation", inputs, build).key


def _stored(key: str, store: Store, missing: str, evaluation: Evaluation | None = None) -> StoredFamily:
    artifact = store.get("evaluation", key)
    if artifact is None:
        raise UserError(missing)
    return _opened(artifact, evaluation)


def _opened(artifact: Artifact, evaluation: Evaluation | None = None) -> StoredFamily:
    """Return what an artifact holds; `evaluation` saves reading the samples where they are at hand."""
    if evaluation is None:
        with uncollected():
            evaluation = read_evaluation(artifact.path)
    inputs = json.loads((artifact.path / MANIFEST).read_bytes())["inputs"]
    if (artifact.path / _SETTINGS).exists():
        settings = json.loads((artifact.path / _SETTINGS).read_bytes())
    else:
        options = {f"option {name}": json.dumps(value) for name, value in (inputs.get("options") or {}).items()}
        settings = {benchmark.name: options for benchmark in evaluation.benchmarks}
    return StoredFamily(key=artifact.key, evaluation=evaluation, inputs=inputs, settings=settings)


def _chosen(side: Side, choice: EvalChoice) -> StoredFamily:
    if choice.family not in side.families:
        model = Path(side.text.removesuffix(START)).expanduser() / "model"
        hint = f" To measure the model that is in it, name {model}." if model.exists() else ""
        raise UserError(
            f"{side.text} holds no evaluation of {choice.family!r}.{did_you_mean(choice.family, side.families)} "
            f"It holds {', '.join(side.families)}.{hint}"
        )
    family = side.families[choice.family]
    if not choice.benchmarks:
        return family
    names = [benchmark.name for benchmark in family.evaluation.benchmarks]
    for wanted in choice.benchmarks:
        if not any(_is_part(name, wanted) for name in names):
            raise UserError(
                f"{side.text} holds no benchmark {wanted!r} of {choice.family}.{did_you_mean(wanted, names)} "
                f"It holds {', '.join(names)}."
            )
    kept = tuple(
        benchmark
        for benchmark in family.evaluation.benchmarks
        if any(_is_part(benchmark.name, wanted) for wanted in choice.benchmarks)
    )
    return dataclasses.replace(family, evaluation=dataclasses.replace(family.evaluation, benchmarks=kept))


def _is_part(name: str, wanted: str) -> bool:
    """Say whether a benchmark was asked for: by its name, or by what its name begins with."""
    return name == wanted or re.match(re.escape(wanted) + r"[^\w]", name) is not None
