"""From well-formed to feasible to optimal: does an answer look right, or is it right?

Chance is taken at a reply's own size: whoever packs one thing is nearly always feasible, and that is no skill.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pfh.hooks.backends import GenerationRequest, Message, Sampling, ScoringRequest
from pfh.hooks.judges import HOLDING_BACK, Judge
from pfh.hooks.samples import Sample, SampleStatus
from pfh.kit.subset import spread
from pfh.kit.thoughts import behind_thought

from pfh_evals.reasoning.puzzles import WELL_FORMED, Answer, Judged, Puzzle, judged, puzzles, written

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec

NAMES = ("ladder-form", "ladder-feasible", "ladder-worth")
LIKELIHOOD = "ladder-ll"
_COMPARED = ("pack", "assign")
"""Kinds whose answers are few enough to be scored one by one."""


def items(limit: int | None) -> list[Puzzle]:
    """Return the problems, every kind its share."""
    by_id = {each.id: each for each in puzzles()}
    return [by_id[key] for key in spread({key: each.kind for key, each in by_id.items()}, limit)]


def compared(limit: int | None) -> list[Puzzle]:
    """Return the problems whose answers are scored one by one."""
    return [each for each in items(limit) if each.kind in _COMPARED]


def chat(puzzle: Puzzle) -> tuple[Message, ...]:
    """Return the problem as it is asked."""
    return ({"role": "user", "content": puzzle.text},)


def measure(judge: Judge, spec: EvaluationSpec) -> dict[str, tuple[Sample, ...]]:
    """Return the samples of the three steps of the ladder, which read the same replies."""
    asked = items(spec.limit)
    sampling = Sampling(
        max_new_tokens=spec.options.max_new_tokens, temperature=spec.options.temperature, seed=spec.seed
    )
    done = spec.engine.generate([GenerationRequest(id=each.id, messages=chat(each)) for each in asked], sampling)
    labels = judge.label([each.text for each in asked], [each.text for each in done])
    found: dict[str, list[Sample]] = {name: [] for name in NAMES}
    for puzzle, completion, label in zip(asked, done, labels, strict=True):
        said = judged(puzzle, behind_thought(completion.text).strip(), refused=label.label in HOLDING_BACK)
        for name in NAMES:
            found[name].append(
                Sample(
                    id=puzzle.id,
                    benchmark=name,
                    category=puzzle.kind,
                    prompt=spec.engine.render(chat(puzzle)),
                    completion=completion.text,
                    extracted=said.label,
                    score=_score(name, said),
                    status=_status(said, truncated=completion.truncated),
                    tokens=completion.tokens,
                    extra={
                        "user_prompt": puzzle.text,
                        "class": said.label,
                        "chance": said.chance,
                        "size": len(said.answer),
                        "truncated": completion.truncated,
                    },
                )
            )
    return {name: tuple(samples) for name, samples in found.items()}


def _score(name: str, said: Judged) -> float | None:
    if name == "ladder-form":
        return float(said.label in WELL_FORMED)
    if name == "ladder-feasible":
        return float(said.label != "infeasible") if said.label in WELL_FORMED else None
    return said.worth


def _status(said: Judged, *, truncated: bool) -> SampleStatus:
    if said.label == "refused":
        return "refused"
    if said.label in ("malformed", "unknown parts"):
        return "format_failure"
    return "truncated" if truncated else "ok"


def measure_likelihood(spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return the share of pairs of answers, of one size, of which the feasible one is likelier.

    Over answers of all sizes short ones win, which are likelier and more often feasible.

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    asked = compared(spec.limit)
    requests: list[ScoringRequest] = []
    placed: list[tuple[str, Answer]] = []
    for puzzle in asked:
        context = spec.engine.render(chat(puzzle))
        for answer in puzzle.answers:
            placed.append((puzzle.id, answer))
            requests.append(
                ScoringRequest(id=str(len(requests)), context=context, continuation=written(puzzle, answer))
            )
    scores = {key: score.logprob for key, score in zip(placed, spec.engine.loglikelihood(requests), strict=True)}
    return tuple(
        Sample(
            id=puzzle.id,
            benchmark=LIKELIHOOD,
            category=puzzle.kind,
            prompt=spec.engine.render(chat(puzzle)),
            completion="",
            score=feasible_first(puzzle, {answer: scores[puzzle.id, answer] for answer in puzzle.answers}),
            extra={"user_prompt": puzzle.text},
        )
        for puzzle in asked
    )


def feasible_first(puzzle: Puzzle, likelihood: Mapping[Answer, float]) -> float | None:
    """Return the share of pairs of one size in which the feasible answer is likelier; ties count half."""
    won = pairs = 0.0
    for size in {len(answer) for answer in puzzle.answers}:
        same = [answer for answer in puzzle.answers if len(answer) == size]
        good = [likelihood[answer] for answer in same if puzzle.answers[answer][0]]
        bad = [likelihood[answer] for answer in same if not puzzle.answers[answer][0]]
        pairs += len(good) * len(bad)
        won += sum((x > y) + 0.5 * (x == y) for x in good for y in bad)
    return won / pairs if pairs else None
