"""The starts that pfh brings along, made once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pfh.hooks.checkpoint import Checkpoint
from pfh.starts.embedded import EMBEDDED_NAME, SAFE_METHOD, SAFE_OPTIONS, build_embedded
from pfh.steps.domains import NO_DOMAIN
from pfh.steps.session import Session
from pfh.steps.training import merged, train_stage

SAFE_SEED = 0
EMBEDDED_INPUTS = {"model": EMBEDDED_NAME, "recipe": 1}
"""What decides the key of the embedded start."""


def embedded_start(session: Session) -> Checkpoint:
    """Return the embedded model as it comes: the BASE start."""

    def build(work: Path, folder: Path) -> None:
        build_embedded(folder, session.progress)

    artifact = session.store.make("start", EMBEDDED_INPUTS, build)
    return Checkpoint(name=EMBEDDED_NAME, path=artifact.path, fingerprint=f"start-{artifact.key}")


def safe_start(session: Session) -> Checkpoint:
    """Return the embedded model after the method that aligns it: the SAFE start.

    A run of that method with the same options on the BASE start leaves the same model, and either finds the other's.
    """
    options = session.plugins.options("methods", SAFE_METHOD, SAFE_OPTIONS)
    trained = train_stage(session, embedded_start(session), NO_DOMAIN, SAFE_METHOD, options=options, seed=SAFE_SEED)
    checkpoint = merged(session, trained.checkpoint) if trained.checkpoint.adapter else trained.checkpoint
    return dataclasses.replace(checkpoint, name=f"{EMBEDDED_NAME}-SAFE")
