"""A rehearsal of a stage before anything is measured: one update, save, load, and two examples answered.

What a method trains is not always what can be saved, loaded or generated with: mixtures of experts, recurrent models,
tokenizers and configurations as people have them. It takes seconds, and hours of measuring do not end with an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import PfhError, UserError
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.hooks.methods import RolloutSource, TrainingSpec
from pfh.progress import Silent
from pfh.registry.code import code_of
from pfh.registry.libraries import TRAINING
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.steps.training import checkpoint_of, named_others, named_teacher, without_adapter

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.checkpoint import Checkpoint
    from pfh.kit.training import TrainingOptions

EXAMPLES = 2
TOKENS = 4
"""Most that a rehearsal lets a model write."""

_SMALL: dict[str, Any] = {
    "max_steps": 1,
    "epochs": 1.0,
    "batch_size": EXAMPLES,
    "gradient_accumulation": 1,
    "generations": EXAMPLES,
    "samples": EXAMPLES,
    "iterations": 1,
    "inner_epochs": 1,
    "max_new_tokens": TOKENS,
    "save_steps": 1,
    "keep_best": False,
    "report_to": "none",
    "use_vllm": False,
}
"""Options that decide how long a training takes, and not whether it can be done."""


def rehearse_stage(
    session: Session, checkpoint: Checkpoint, open_domain: OpenDomain, method: str, *, options: BaseModel | None
) -> None:
    """Find out whether `method` can train `checkpoint` and what it leaves can be measured; the answer is stored.

    A method that trains in its own way, or finds nothing to train on in what is made up for it, is not rehearsed.

    Raises:
        UserError: it cannot; says which part of it and why.
    """
    from pfh.kit.training import TrainingOptions

    if not isinstance(options, TrainingOptions):
        return
    small = options.model_copy(update={name: value for name, value in _SMALL.items() if hasattr(options, name)})
    teacher = named_teacher(session, options, checkpoint)
    start = without_adapter(session, checkpoint)
    inputs = {
        "method": session.plugins.load("methods", method).code_version,
        "options": small.model_dump(mode="json"),
        "domain": [open_domain.name, open_domain.options.model_dump(mode="json") if open_domain.options else {}],
        "model": start.fingerprint,
        "code": code_of("pfh.steps.rehearsal").digest,
        "environment": session.environment(plugins=[("methods", method)], libraries=TRAINING),
    }

    def build(work: Path, folder: Path) -> None:
        session.release()
        problems = _easiest(open_domain)
        spec = TrainingSpec(
            checkpoint=start,
            domain=open_domain.domain,
            problems=problems,
            rollouts=_made_up(problems, teacher),
            seed=0,
            output_dir=work,
            options=small,
            progress=Silent(),
            teacher=teacher,
            others=tuple(without_adapter(session, other) for other in named_others(session, options)),
            data=session.data,
            rehearsal=True,
        )
        told = _rehearse(session, method, spec)
        (folder / "rehearsal.json").write_text(json.dumps(told))

    artifact = session.store.make("rehearsal", inputs, build)
    told = json.loads((artifact.path / "rehearsal.json").read_text())
    if told:
        session.progress.say(_sentence(method, told, start, options, len(open_domain.problems)))


def _rehearse(session: Session, method: str, spec: TrainingSpec) -> dict[str, float]:
    from pfh.kit.training import free_memory
    from pfh.kit.training.colocated import undistributed
    from pfh.kit.training.rehearsal import RehearsalFailedError, Rehearsed, part, peak_memory

    try:
        try:
            with undistributed():
                session.plugins.train(method, spec)
            return {}
        except Rehearsed as done:
            path, seconds = done.path, done.seconds
        free_memory()
        told = {"seconds": seconds, "memory": peak_memory()}
        with part("answer with what was trained"):
            trained = checkpoint_of(path, spec.checkpoint, name=spec.checkpoint.name, fingerprint=f"rehearsed-{path}")
            requests = [GenerationRequest(id=one.id, messages=one.messages) for one in spec.problems[:EXAMPLES]]
            session.engine(trained).generate(requests, Sampling(max_new_tokens=TOKENS))
        return told
    except RehearsalFailedError as error:
        session.release()
        raise UserError(
            f"{method} cannot be used on {spec.checkpoint.name}. A rehearsal with two examples says that {error} "
            "Nothing was measured; --no-rehearsal goes on all the same."
        ) from error
    except PfhError:  # of the method, on what was made up: a run's own examples may be enough for it
        return {}


def _sentence(method: str, told: dict[str, float], start: Checkpoint, options: TrainingOptions, problems: int) -> str:
    from pfh.kit.training.estimate import estimate
    from pfh.kit.weights import without_weights

    updates = estimate(without_weights(start), options, problems).updates
    return (
        f"{method} was rehearsed: what one update on two short examples made of {start.name} could be saved, loaded "
        f"and asked; the update took {told['seconds']:.1f} s and {told['memory'] / 2**30:.1f} GiB of memory, and the "
        f"training makes {updates:,} of {options.batch_size * options.gradient_accumulation} examples each"
    )


def _easiest(open_domain: OpenDomain) -> tuple[Problem, ...]:
    """Return the problems with the shortest prompts, those first that come with what a method could learn from."""
    short = sorted(open_domain.problems, key=lambda one: sum(len(message["content"]) for message in one.messages))
    return tuple(sorted(short, key=lambda one: not (one.solution or one.answer))[:EXAMPLES])


def _made_up(asked: Sequence[Problem], teacher: Checkpoint | None) -> RolloutSource:
    """Return a source of rollouts that no model wrote: every second one of a problem is right, a teacher's are all."""

    def rollouts(
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
        judged: bool = True,
    ) -> tuple[Rollout, ...]:
        return tuple(
            _rollout(problem, index, right=index % 2 == 1 or (teacher is not None and checkpoint == teacher))
            for problem in (asked if problems is None else problems)
            for index in range(samples)
        )

    return rollouts


def _rollout(problem: Problem, index: int, *, right: bool) -> Rollout:
    text = (problem.solution or problem.answer or "Yes.") if right else f"No, {index}."
    return Rollout(
        problem=problem,
        index=index,
        completion=text,
        tokens=TOKENS,
        truncated=False,
        verdict=Verdict(reward=float(right), extracted=text),
    )
