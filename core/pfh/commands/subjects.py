"""What is measured or compared: a model, stored results, or the log of another tool."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError, reading
from pfh.hooks.evaluation import Evaluation
from pfh.logs import ReaderOptions, log_files, log_fingerprint, log_path, named_reader, read_log, unknown_log
from pfh.results.records import ModelRecord
from pfh.results.stored import open_results
from pfh.starts.embedded import EMBEDDED_NAME
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start, safe_start
from pfh.store.evaluations import read_evaluation, without_garbage_collection, write_evaluation
from pfh.store.store import MANIFEST, Artifact, Store

if TYPE_CHECKING:
    from pfh.hooks.checkpoint import Checkpoint


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
    """Benchmark to setting to value, which must be equal on both subjects."""


@dataclass(frozen=True, kw_only=True)
class Subject:
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
    curves: tuple[Mapping[str, float], ...] = ()
    """What the training that led to it logged, a row an update; none where no training is known of."""


def open_subject(
    text: str,
    session: Session,
    *,
    revision: str | None = None,
    allow_pickle: bool = False,
    readers: ReaderOptions | None = None,
) -> Subject:
    """Find out what `text` names.

    Args:
        text: "safe", "base", a model (hub id, folder, GGUF file, adapter), the folder or results.json of an earlier
            run, the key of a stored evaluation, or another tool's log, as "READER:PATH" or as a path that one
            reader knows.
        session: whose store is searched, and whose engine makes the SAFE start if it is not there yet.
        revision: of a hub id.
        allow_pickle: the user allowed weights that are not safetensors.
        readers: options of the readers of logs.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if text in ("safe", "base"):
        checkpoint = safe_start(session) if text == "safe" else embedded_start(session)
        how = "after pfh's refusal tuning" if text == "safe" else "as it comes"
        return model_subject(text, checkpoint, f"{text.upper()}: the embedded {EMBEDDED_NAME} {how}")
    if reader := named_reader(text, session.plugins):
        return _log_subject(text, reader, session, readers)
    path = Path(text.removesuffix(START)).expanduser()
    if _holds_results(path / _RESULTS if path.is_dir() else path):
        return _results_subject(text, path, session.store)
    if _KEY.fullmatch(text) and not path.exists():
        family = _stored(text, session.store, f"The store {session.store.root} has no evaluation {text}.")
        model = ModelRecord(name=text, fingerprint=str(family.inputs.get("model", text)))
        families = {family.evaluation.family: family}
        return Subject(text=text, model=model, label=f"custom: the stored evaluation {text}", families=families)
    if path.exists() and not _is_model(path):
        return _log_subject(text, "", session, readers)
    from pfh.sources.models import resolve

    checkpoint = resolve(text, revision=revision, allow_pickle=allow_pickle, cache_dir=session.store.cache)
    return model_subject(text, known_to_the_store(checkpoint, session.store), f"custom: {checkpoint.name}")


def model_subject(text: str, checkpoint: Checkpoint, label: str) -> Subject:
    """Return a model that can be measured."""
    path = str(checkpoint.adapter or checkpoint.path)
    model = ModelRecord(name=checkpoint.name, fingerprint=checkpoint.fingerprint, path=path)
    return Subject(text=text, model=model, label=label, checkpoint=checkpoint)


def known_to_the_store(checkpoint: Checkpoint, store: Store) -> Checkpoint:
    """Give weights from the store the fingerprint that their run gave them, so that its evaluations are reused."""
    place = (checkpoint.adapter or checkpoint.path).resolve()
    for kind, path in (("training", place.parent), ("start", place)):
        if path.parent == (store.root / "artifacts" / kind).resolve() and place.name in ("weights", path.name):
            return dataclasses.replace(checkpoint, fingerprint=f"{kind}-{path.name}")
    merged = (
        store.get("merged", place.name) if place.parent == (store.root / "artifacts" / "merged").resolve() else None
    )
    if merged is not None:
        inputs = json.loads((merged.path / MANIFEST).read_bytes())["inputs"]
        return dataclasses.replace(checkpoint, fingerprint=str(inputs["model"]))
    return checkpoint


def _results_subject(text: str, path: Path, store: Store) -> Subject:
    results = open_results(path)
    at_start = text.endswith(START)
    curves: tuple[Mapping[str, float], ...] = ()
    if results.measured:
        model = results.measured[0].model
        keys = {family.family: family.artifact for family in results.measured[0].families}
    elif results.stages:
        stage = results.stages[0 if at_start else -1]
        model = stage.before if at_start else stage.after
        curves = () if at_start else tuple(_known(row) for row in stage.curves)
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
    return Subject(
        text=text, model=model, label=f"custom: {model.name}, stored in {path}", families=families, curves=curves
    )


def _known(row: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None}


def _holds_results(file: Path) -> bool:
    """Say whether a JSON file of any name begins as pfh's results do."""
    if not (file.suffix == ".json" and file.is_file()):
        return False
    with file.open("rb") as stream:
        return b'"schema_version"' in stream.read(200)


def _is_model(path: Path) -> bool:
    """Say whether a path that exists is to be taken for weights, and not for a log."""
    if path.is_file():
        return path.suffix in (".gguf", ".safetensors", ".bin", ".pt", ".pth")
    return any((path / name).exists() for name in ("config.json", "adapter_config.json")) or any(path.glob("*.gguf"))


def _log_subject(text: str, reader: str, session: Session, options: ReaderOptions | None) -> Subject:
    """Keep a log's samples in the store: it is read once, and reports and exports find them as they find pfh's own."""
    store, plugins = session.store, session.plugins
    path = log_path(text, reader)
    files = log_files(path)
    asked = (reader,) if reader else tuple(plugins.catalogue.names("readers"))
    told = log_fingerprint(path, files, store.cache)
    inputs = {
        "files": told,
        "read": {name: plugins.catalogue.find("readers", name).code_version for name in asked},
        "options": {name: chosen.model_dump(mode="json") for name, chosen in (options or {}).items() if chosen},
    }
    fresh: dict[str, Evaluation] = {}

    def build(work: Path, folder: Path) -> None:
        with without_garbage_collection():
            found = read_log(path, files, plugins, readers=asked, options=options)
        if found is None:
            raise UserError(unknown_log(path, plugins, reader))
        name, log = found
        fresh.update({_keep(store, inputs, each, log.settings): each for each in log.evaluations})
        about = {"reader": name, "model": log.model, "notes": log.notes, "evaluations": list(fresh)}
        (folder / _LOG).write_text(json.dumps(about, indent=1))

    artifact = store.make("log", inputs, build)
    about = json.loads((artifact.path / _LOG).read_bytes())
    if any(store.get("evaluation", key) is None for key in about["evaluations"]):
        store.discard(artifact)
        about = json.loads((store.make("log", inputs, build).path / _LOG).read_bytes())
    lost = f"{text} cannot be kept in the store {store.root}."
    opened = [_stored(key, store, lost, fresh.get(key)) for key in about["evaluations"]]
    return Subject(
        text=text,
        model=ModelRecord(name=about["model"], fingerprint=told, path=str(path)),
        label=f"custom: {about['model']}, {about['reader']} log {path}",
        families={family.evaluation.family: family for family in opened},
        notes=tuple(about["notes"]),
        from_log=True,
    )


def _keep(
    store: Store, log: Mapping[str, Any], evaluation: Evaluation, settings: Mapping[str, Mapping[str, str]]
) -> str:
    """Store one family of a log; return its key."""

    def build(work: Path, folder: Path) -> None:
        write_evaluation(folder, evaluation)
        own = {benchmark.name: settings.get(benchmark.name, {}) for benchmark in evaluation.benchmarks}
        (folder / _SETTINGS).write_text(json.dumps(own, indent=1))

    inputs = {"log": dict(log), "family": evaluation.family}
    return store.make("evaluation", inputs, build).key


def _stored(key: str, store: Store, missing: str, evaluation: Evaluation | None = None) -> StoredFamily:
    artifact = store.get("evaluation", key)
    if artifact is None:
        raise UserError(missing)
    return opened_family(artifact, evaluation)


def opened_family(artifact: Artifact, evaluation: Evaluation | None = None) -> StoredFamily:
    """Return the family that an artifact holds; `evaluation` saves reading the samples where they are at hand."""
    if evaluation is None:
        with without_garbage_collection():
            evaluation = read_evaluation(artifact.path)
    with reading(f"The evaluation in {artifact.path}", "remove that folder, and what needs it is measured again"):
        inputs = dict(json.loads((artifact.path / MANIFEST).read_bytes())["inputs"])
        if (artifact.path / _SETTINGS).exists():
            settings = json.loads((artifact.path / _SETTINGS).read_bytes())
            settings = {str(name): {str(k): str(v) for k, v in told.items()} for name, told in settings.items()}
        else:
            options = {f"option {name}": json.dumps(value) for name, value in (inputs.get("options") or {}).items()}
            settings = {benchmark.name: options for benchmark in evaluation.benchmarks}
    return StoredFamily(key=artifact.key, evaluation=evaluation, inputs=inputs, settings=settings)
