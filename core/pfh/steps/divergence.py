"""How far a model is from the one before: measured the same way whatever the methods or the families are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError, NotNumbersError, StoreUnwritableError, UserError
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.divergence import NotComparableError, Walk, walk_both
from pfh.statistics.divergence import Divergence, divergence_of
from pfh.steps.domains import NO_DOMAIN, OpenDomain
from pfh.steps.rollouts import draw_rollouts, rollout_inputs
from pfh.steps.session import Session
from pfh.store.store import artifact_key

if TYPE_CHECKING:
    from pfh.hooks.domains import Domain, Problem, Rollout

TOKENS = 32
"""Places of a completion that are compared, from the first on."""
SEED = 0
"""Of the start's completions: the same for every method and every seed of a run."""
_FILE = "divergence.json"


def held_out_prompts(domain: Domain, count: int) -> tuple[tuple[Problem, ...], str]:
    """Return `count` problems that nothing is trained on, spread over the domain's first held-out set, and its name.

    Where that cannot be had, they are of the domain's test split.

    Raises:
        UserError: the domain has none.
        DataUnavailableError: likewise.
    """
    for name in domain.holdouts[:1]:
        try:
            there = domain.holdout(name)
        except DataUnavailableError:
            break
        kept = [there[place * len(there) // count] for place in range(count)] if count < len(there) else there
        return tuple(kept), f"held-out set {name} of {domain.name}"
    return domain.problems("test", count, SEED), f"test split of {domain.name}"


def start_completions(session: Session, start: Checkpoint, domain: Domain, count: int) -> tuple[Rollout, ...]:
    """Let the start complete the held-out prompts, or find its completions in the store.

    Raises:
        UserError: there are no prompts.
        DataUnavailableError: likewise.
    """
    asked, sampling = _asked(session, domain, count)
    return draw_rollouts(session, start, asked, samples=1, sampling=sampling, seed=SEED)[0]


def completion_inputs(session: Session, start: Checkpoint, domain: Domain, count: int) -> dict[str, Any]:
    """Return what decides the key of the start's completions.

    Raises:
        UserError: there are no prompts.
        DataUnavailableError: likewise.
    """
    asked, sampling = _asked(session, domain, count)
    return rollout_inputs(session, start, asked, samples=1, sampling=sampling, seed=SEED)


def divergence_inputs(
    session: Session, start: Checkpoint, after: Checkpoint, domain: Domain, count: int
) -> dict[str, Any]:
    """Return what decides the key of a divergence.

    Raises:
        UserError: there are no prompts.
        DataUnavailableError: likewise.
    """
    return {
        "start": start.fingerprint,
        "after": after.fingerprint,
        "completions": artifact_key("rollouts", completion_inputs(session, start, domain, count)),
        "tokens": TOKENS,
        "code": session.code("pfh.kit.divergence").digest,
        "environment": session.environment(after),
    }


def _asked(session: Session, domain: Domain, count: int) -> tuple[OpenDomain, Sampling]:
    """Return the held-out prompts, and how they are completed; a session looks for those of a domain once."""
    key = (id(domain), count)
    if key not in session.held_out:
        session.held_out[key] = (domain, held_out_prompts(domain, count)[0])
    _, prompts = session.held_out[key]
    asked = OpenDomain(name="", domain=NO_DOMAIN.domain, problems=prompts)
    return asked, Sampling(max_new_tokens=TOKENS, temperature=1.0, stop=domain.sampling.stop)


def prepare_divergence(session: Session, start: Checkpoint, domain: Domain, count: int) -> None:
    """Have the start complete the prompts while it is resident; `divergence_from` says why that fails, if it does."""
    if count and start.endpoint is None:
        try:
            start_completions(session, start, domain, count)
        except StoreUnwritableError:
            raise
        except (UserError, NotNumbersError):
            return


def divergence_from(
    session: Session, start: Checkpoint | None, after: Checkpoint | None, domain: Domain | None, count: int
) -> Divergence:
    """Return how far `after` is from `start`, on so many held-out prompts of `domain`; NOT_RUN says why it cannot be.

    Args:
        session: whose backend both run in.
        start: None where its weights are not at hand.
        after: likewise.
        domain: whose prompts; None where it cannot be opened.
        count: how many prompts; 0 for no measurement.
    """
    if count == 0:
        return Divergence(status="NOT_RUN", reason="it was turned off (--divergence-prompts 0)")
    if start is None or after is None:
        return Divergence(status="NOT_RUN", reason="of a log or of stored results the weights are not at hand")
    if start.endpoint is not None or after.endpoint is not None:
        return Divergence(status="NOT_RUN", reason="an endpoint gives no distributions over the whole vocabulary")
    if domain is None:
        return Divergence(status="NOT_RUN", reason="the domain cannot be opened, so there are no held-out prompts")
    try:
        _, source = held_out_prompts(domain, count)
        completions = start_completions(session, start, domain, count)
        rows = _along(session, start, after, completions, divergence_inputs(session, start, after, domain, count))
    except StoreUnwritableError:
        raise
    except (NotComparableError, NotNumbersError, UserError) as error:
        return Divergence(status="NOT_RUN", reason=str(error).rstrip("."))
    return divergence_of(rows["start_to_after"], rows["after_to_start"], source)


def _along(
    session: Session,
    start: Checkpoint,
    after: Checkpoint,
    completions: tuple[Rollout, ...],
    inputs: Mapping[str, Any],
) -> dict[str, list[list[float]]]:
    """Return the divergences at each place of the start's completions, in both directions."""
    walks = [
        Walk(
            request=GenerationRequest(id=rollout.problem.id, messages=rollout.problem.messages),
            text=rollout.completion,
            ended=not rollout.truncated,
        )
        for rollout in completions
    ]

    def build(work: Path, folder: Path) -> None:
        engine = session.engine(after)
        rows: dict[str, list[list[float]]] = {"start_to_after": [], "after_to_start": []}
        for apart in walk_both(engine, start, walks, most_tokens=TOKENS, progress=session.progress):
            rows["start_to_after"].append(apart.start_to_tuned.tolist())
            rows["after_to_start"].append(apart.tuned_to_start.tolist())
        (folder / _FILE).write_text(json.dumps(rows))

    artifact = session.store.make("divergence", inputs, build)
    rows: dict[str, list[list[float]]] = json.loads((artifact.path / _FILE).read_text())
    return rows
