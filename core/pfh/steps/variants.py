"""Models between a start and what was trained from it, made without training and kept in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.merge_models import Combine, merge_models
from pfh.kit.merging import Recipe, interpolated, mean, merged
from pfh.kit.scaled_adapter import can_be_scaled, scale_adapter
from pfh.registry.libraries import library_versions
from pfh.steps.session import Session
from pfh.steps.training import without_adapter

Way = Literal["wise-ft", "task-arithmetic", "ties", "dare", "dare-ties", "slerp", "soup"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How one model is made of the start and the trained one."""

    way: Way
    strength: float
    """α of wise-ft; scale of another merge; of a soup how many of the last checkpoints."""

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return f"{self.way} {self.strength:g}"


def make_variant(
    session: Session, start: Checkpoint, trained: Checkpoint, variant: Variant, along: Sequence[Checkpoint] = ()
) -> Checkpoint:
    """Return a model between `start` and `trained`: made, or found in the store.

    An adapter over the start is scaled, which takes neither time nor room; anything else is merged in the weights.

    Args:
        session: whose store keeps it.
        start: where the training began.
        trained: where it ended.
        variant: how it is made.
        along: checkpoints along the way, for a soup.

    Raises:
        UserError: the weights are of different kinds, or cannot be had.
    """
    if variant.way == "wise-ft" and variant.strength in (0, 1):
        return trained if variant.strength else start
    scaled = variant.way == "wise-ft" and _is_over(trained, start)
    mixed = along[-int(variant.strength) :] if variant.way == "soup" else (trained,)
    code = session.code("pfh.kit.merging", "pfh.kit.merge_models", "pfh.kit.scaled_adapter")
    inputs = {
        "start": start.fingerprint,
        "models": [each.fingerprint for each in mixed],
        "variant": dataclasses.asdict(variant),
        "scaled": scaled,
        "code": code.digest,
        "libraries": library_versions(code.libraries, session.versions),
    }

    def build(work: Path, folder: Path) -> None:
        if scaled and trained.adapter is not None:
            scale_adapter(trained.adapter, variant.strength, folder / "weights")
            return
        session.release()
        models = [without_adapter(session, each) for each in (start, *mixed)]
        merge_models(models, _combine(variant), folder / "weights", work=work / "models", progress=session.progress)

    artifact = session.store.make("variant", inputs, build)
    name, fingerprint, weights = variant.name, f"variant-{artifact.key}", artifact.path / "weights"
    if scaled:
        return trained.with_adapter(weights, name=name, fingerprint=fingerprint)
    arguments = trained.chat_template_kwargs
    return Checkpoint(name=name, path=weights, fingerprint=fingerprint, chat_template_kwargs=arguments)


def _is_over(trained: Checkpoint, start: Checkpoint) -> bool:
    """Say whether the trained model is an adapter over the start, and one whose strength can be set."""
    over = trained.adapter is not None and start.adapter is None and trained.path.resolve() == start.path.resolve()
    return over and trained.adapter is not None and can_be_scaled(trained.adapter)


def _combine(variant: Variant) -> Combine:
    if variant.way == "wise-ft":
        return lambda name, tensors: interpolated(tensors[0], tensors[1], variant.strength)
    if variant.way == "soup":
        return lambda name, tensors: mean(tensors[1:])
    recipe = Recipe(how=variant.way, scale=variant.strength)
    return lambda name, tensors: merged(tensors[0], tensors[1:], name, recipe)
