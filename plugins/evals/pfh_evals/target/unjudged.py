"""Held-out sets whose completions nothing judges: how likely a model finds those of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pfh.hooks.backends import Score, ScoringRequest
from pfh.hooks.domains import Domain, Problem
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.subset import spread

from pfh_evals.target.settings import LOSS, PREFERENCE, Figure


def likelihood(
    problems: Sequence[Problem],
    chosen: Sequence[Figure],
    unverified: str,
    domain: Domain,
    spec: EvaluationSpec,
    version: str,
) -> list[Benchmark]:
    """Score the completions of the data; what needs a verifier is NOT_RUN, with `unverified` as the reason.

    The loss of a completion is the mean over its tokens of -log p, in nats, given its prompt as the model is fed it;
    the end of the turn does not count. Of a preference pair the chosen one is to have the higher log p a token.
    """
    by_id = {sample_id("target", version, {"problem": problem.id}): problem for problem in problems}
    kept = spread({key: problem.environment for key, problem in by_id.items()}, spec.limit, spec.part)
    asked = [by_id[key] for key in kept]
    told = {problem.id: problem for problem in asked if problem.solution}
    pairs = {problem.id: problem for problem in asked if problem.rejected is not None}
    figures = {figure.metric: figure for figure in chosen}
    right = _per_token({key: problem.solution or "" for key, problem in told.items()}, told, spec)
    wrong = _per_token({key: problem.rejected or "" for key, problem in pairs.items()}, pairs, spec)
    benchmarks = []
    for metric, figure in figures.items():
        if metric == LOSS:
            scores = {key: None if value is None else -value for key, value in right.items()}
            benchmarks.append(_benchmark(figure, scores, told, domain, spec, version))
        elif metric == PREFERENCE and pairs:
            won = {key: _first_is_likelier(right.get(key), wrong[key]) for key in pairs}
            benchmarks.append(_benchmark(figure, won, pairs, domain, spec, version))
        elif metric != PREFERENCE:
            benchmarks.append(not_measured(figure, unverified, domain, version))
        elif figure.name in spec.benchmarks:
            benchmarks.append(not_measured(figure, "the data hold no preference pairs", domain, version))
    return benchmarks


def not_measured(
    figure: Figure, reason: str, domain: Domain, version: str, status: BenchmarkStatus = "NOT_RUN"
) -> Benchmark:
    """Return the benchmark of a figure that could not be had."""
    return Benchmark(
        name=figure.name,
        version=version,
        metric=figure.metric,
        higher_is_better=figure.metric != LOSS,
        status=status,
        reason=reason,
        source=source(domain, figure),
    )


def source(domain: Domain, figure: Figure) -> str:
    """Say where the documents come from."""
    return f"domain {domain.name}, held-out set {figure.holdout}"


def _per_token(
    texts: Mapping[str, str], problems: Mapping[str, Problem], spec: EvaluationSpec
) -> dict[str, float | None]:
    """Return the mean log-probability of the tokens of each text; None where it has no token."""
    requests = [
        ScoringRequest(id=key, context=spec.engine.render(problems[key].messages), continuation=text)
        for key, text in texts.items()
    ]
    scores: Sequence[Score] = spec.engine.loglikelihood(requests) if requests else []
    return {
        request.id: score.logprob / score.tokens if score.tokens else None
        for request, score in zip(requests, scores, strict=True)
    }


def _first_is_likelier(first: float | None, other: float | None) -> float | None:
    return None if first is None or other is None else float(first > other)


def _benchmark(
    figure: Figure,
    scores: Mapping[str, float | None],
    problems: Mapping[str, Problem],
    domain: Domain,
    spec: EvaluationSpec,
    version: str,
) -> Benchmark:
    return Benchmark(
        name=figure.name,
        version=version,
        metric=figure.metric,
        higher_is_better=figure.metric != LOSS,
        source=source(domain, figure),
        same_documents_as=f"{figure.holdout}-loss" if figure.metric == PREFERENCE else "",
        samples=tuple(
            Sample(
                id=sample_id(figure.name, version, {"problem": key}),
                benchmark=figure.name,
                cluster=problems[key].cluster,
                prompt=spec.engine.render(problems[key].messages),
                completion="",
                target=problems[key].solution,
                score=score,
                extra={"user_prompt": problems[key].asked, "problem": key},
            )
            for key, score in scores.items()
        ),
    )
