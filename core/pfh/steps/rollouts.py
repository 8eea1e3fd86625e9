"""A model rolled out on the training problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import GenerationSpec
from pfh.hooks.ledger import Phase, read_ledger, write_ledger
from pfh.kit.conversations import roll_out
from pfh.kit.training.passes import weights_of
from pfh.kit.weights import without_weights
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.store.journal import JournaledEngine
from pfh.store.rollouts import read_rollouts, write_rollouts

if TYPE_CHECKING:
    from pfh.hooks.backends import Sampling
    from pfh.hooks.domains import Rollout


def draw_rollouts(
    session: Session, checkpoint: Checkpoint, open_domain: OpenDomain, *, samples: int, sampling: Sampling, seed: int
) -> tuple[tuple[Rollout, ...], Phase]:
    """Roll a model out on the training problems, `samples` times each."""
    sampling = dataclasses.replace(sampling, seed=seed)
    inputs = rollout_inputs(session, checkpoint, open_domain, samples=samples, sampling=sampling, seed=seed)
    label = f"rollouts on {open_domain.name}" if open_domain.name else "answers"

    def build(work: Path, folder: Path) -> None:
        engine = JournaledEngine(session.engine(checkpoint), work / "journal.jsonl", session.progress, label)
        spec = GenerationSpec(
            domain=open_domain.domain, engine=engine, problems=open_domain.problems, samples=samples, sampling=sampling
        )
        own = session.plugins.generate(open_domain.name, spec) if open_domain.name else None
        drawn = (own or roll_out(spec)).rollouts
        write_rollouts(folder / "rollouts.parquet", drawn)
        tokens = sum(rollout.tokens for rollout in drawn)
        passed = tokens + engine.prompt_tokens
        phase = Phase(
            name="rollouts",
            seconds=engine.seconds,
            tokens=tokens,
            samples=len(drawn),
            passed=passed,
            flops=0.0 if checkpoint.endpoint else 2.0 * passed * weights_of(without_weights(checkpoint)),
            notes={
                **({"mean_reward": _mean_reward(drawn)} if open_domain.name else {}),
                "prompt_tokens": engine.prompt_tokens,
            },
        )
        write_ledger(folder / "ledger.json", [phase])

    artifact = session.store.make("rollouts", inputs, build)
    if artifact.reused:
        session.progress.say(f"reusing the stored {label} of {checkpoint.name} ({artifact.key})")
    return read_rollouts(artifact.path / "rollouts.parquet"), read_ledger(artifact.path / "ledger.json")[0]


def rollout_inputs(
    session: Session, checkpoint: Checkpoint, open_domain: OpenDomain, *, samples: int, sampling: Sampling, seed: int
) -> dict[str, Any]:
    """Return what decides the key of rollouts."""
    return {
        "domain": open_domain.inputs(session.plugins),
        "samples": samples,
        "sampling": dataclasses.asdict(dataclasses.replace(sampling, seed=seed)),
        "model": checkpoint.fingerprint,
        "code": session.code("pfh.kit.conversations").digest,
        "environment": session.environment(checkpoint, plugins=open_domain.plugins),
    }


def _mean_reward(rollouts: Sequence[Rollout]) -> float:
    return sum(rollout.verdict.reward for rollout in rollouts) / max(len(rollouts), 1)
