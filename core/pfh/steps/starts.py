"""The starts that pfh brings along, made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.checkpoint import Checkpoint
from pfh.registry.code import code_of
from pfh.registry.libraries import TRAINING
from pfh.starts.embedded import EMBEDDED_NAME, build_embedded
from pfh.starts.safe import build_safe
from pfh.steps.session import Session
from pfh.store.journal import JournaledEngine

if TYPE_CHECKING:
    pass


def embedded_start(session: Session) -> Checkpoint:
    """Return the embedded model as it comes: the BASE start."""

    def build(work: Path, folder: Path) -> None:
        build_embedded(folder, session.progress)

    artifact = session.store.make("start", {"model": EMBEDDED_NAME, "recipe": 1}, build)
    return Checkpoint(name=EMBEDDED_NAME, path=artifact.path, fingerprint=f"start-{artifact.key}")


def safe_start(session: Session) -> Checkpoint:
    """Return the embedded model after pfh's refusal tuning: the SAFE start."""
    base = embedded_start(session)

    def build(work: Path, folder: Path) -> None:
        session.progress.say("making the SAFE start: a short refusal tuning of the embedded model, once")
        engine = JournaledEngine(session.engine(base), work / "journal.jsonl", session.progress, "own answers")
        build_safe(base, engine, work, folder, session.progress)

    code = code_of("pfh.starts.safe")
    environment = session.environment(libraries=[*TRAINING, *code.libraries])
    inputs = {"model": base.fingerprint, "recipe": code.digest, "environment": environment}
    artifact = session.store.make("start", inputs, build)
    session.release()
    return Checkpoint(name=f"{EMBEDDED_NAME}-SAFE", path=artifact.path, fingerprint=f"start-{artifact.key}")
