"""Does the model do better at the task it was trained on? The domain's held-out sets, by accuracy or pass@k.

Where nothing judges completions: by the loss on those of the data, and by which of a pair is likelier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError, UserError
from pfh.hooks.backends import Engine
from pfh.hooks.domains import Domain, GenerationSpec, HasGold, Problem, Rollout, why_unverified
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.samples import Sample, SampleStatus, sample_id
from pfh.hooks.tables import Table
from pfh.kit.conversations import roll_out
from pfh.kit.subset import spread
from pfh.kit.thoughts import thinks_on
from pydantic import BaseModel

from pfh_evals.plans import Planned, plan_table
from pfh_evals.target.analysis import analyze_task
from pfh_evals.target.settings import LOSS, PREFERENCE, Figure, Options, chosen_figures
from pfh_evals.target.unjudged import likelihood, not_measured, source

VERSION = "2"


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put the held-out sets of the run's domain to the model, one after the other.

    Raises:
        UserError: there is no domain, or it has no such held-out set.
    """
    domain = spec.domain
    if domain is None:
        raise UserError("The family target measures a domain's held-out sets: name the domain with --domain.")
    benchmarks: list[Benchmark] = []
    unverified = why_unverified(domain)
    for holdout, chosen in chosen_figures(domain, spec.options, spec.benchmarks).items():
        try:
            problems = domain.holdout(holdout)
            if unverified:
                benchmarks += likelihood(problems, chosen, unverified, domain, spec, _version(domain))
            else:
                benchmarks += _measured(problems, chosen, domain, spec)
        except (DataUnavailableError, NotNumbersError) as error:
            status: BenchmarkStatus = "ERROR" if isinstance(error, NotNumbersError) else "NOT_RUN"
            benchmarks += [not_measured(figure, str(error), domain, _version(domain), status) for figure in chosen]
    return Evaluation(family="target", benchmarks=tuple(benchmarks))


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many problems `evaluate` would put to a model, and how often.

    Raises:
        UserError: there is no domain, or it has no such held-out set.
    """
    if spec.domain is None:
        raise UserError("The family target measures a domain's held-out sets: name the domain with --domain.")
    rows = []
    unverified = why_unverified(spec.domain)
    for holdout, chosen in chosen_figures(spec.domain, spec.options, spec.benchmarks).items():
        count, why = None, ""
        try:
            problems = spec.domain.holdout(holdout)
            count = len(problems) if spec.limit is None else min(spec.limit, len(problems))
            paired = any(problem.rejected is not None for problem in problems)
            chosen = [figure for figure in chosen if figure.metric != PREFERENCE or paired]
        except DataUnavailableError as error:
            why = f"cannot be run: {error}"
        for figure in chosen:
            judged = figure.metric not in (LOSS, PREFERENCE)
            told = why or (f"cannot be run: {unverified}" if judged and unverified else source(spec.domain, figure))
            asked = None if told.startswith("cannot") else count
            tries = spec.options.samples if figure is chosen[0] else 0 if judged else 1
            rows.append(
                Planned(
                    benchmark=figure.name,
                    documents=asked,
                    requests=None if asked is None else asked * tries,
                    scores="other" if figure.metric == LOSS or spec.options.samples > 1 else "0 or 1",
                    source=told,
                )
            )
    return plan_table("target", rows)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say how the task went before and after, and how many completions held no answer or were cut off."""
    return analyze_task(spec)


def pass_at_k(tries: int, correct: int, k: int) -> float:
    """Return the chance that one of k completions is correct, from `correct` of `tries` that were.

    The unbiased estimator 1 - C(n - c, k) / C(n, k) of Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    return 1.0 - math.comb(tries - correct, k) / math.comb(tries, k)


def _measured(
    problems: Sequence[Problem], chosen: Sequence[Figure], domain: Domain, spec: EvaluationSpec
) -> list[Benchmark]:
    """Draw and judge the completions of one held-out set, and make each of its figures of them."""
    samples = spec.options.samples
    by_id = {sample_id("target", VERSION, {"problem": problem.id}): problem for problem in problems}
    kept = spread({key: problem.environment for key, problem in by_id.items()}, spec.limit, spec.part)
    sampling = spec.options.sampling(domain, spec.seed, chosen[0].holdout)
    too_long = _too_long([by_id[key] for key in kept], sampling.max_new_tokens, spec.engine)
    if too_long:
        spec.progress.say(
            f"target {chosen[0].holdout}: the right answers to {len(too_long)} of {len(kept)} problems do not fit into "
            f"{sampling.max_new_tokens} tokens; raise the limit with -o target.max_new_tokens=N"
        )
    rollouts = roll_out(
        GenerationSpec(
            domain=domain,
            engine=spec.engine,
            problems=[by_id[key] for key in kept],
            samples=samples,
            sampling=sampling,
        )
    ).rollouts
    tries = [rollouts[start : start + samples] for start in range(0, len(rollouts), samples)]
    several = len({problem.environment for problem in problems}) > 1
    return [
        Benchmark(
            name=figure.name,
            version=_version(domain),
            metric=figure.metric,
            higher_is_better=True,
            source=source(domain, figure),
            samples=tuple(
                Sample(
                    id=sample_id(figure.name, VERSION, {"problem": group[0].problem.id}),
                    benchmark=figure.name,
                    category=group[0].problem.environment if several else "",
                    cluster=group[0].problem.cluster,
                    prompt=spec.engine.render(group[0].problem.messages),
                    score=pass_at_k(samples, sum(_correct(rollout) for rollout in group), figure.k),
                    extra={
                        **_extra(group, every_completion=samples > 1 and figure is chosen[0]),
                        **({"answer_too_long": True} if group[0].problem.id in too_long else {}),
                    },
                    **_shown(group[0], domain),
                )
                for group in tries
            ),
        )
        for figure in chosen
    ]


def _too_long(problems: Sequence[Problem], limit: int, engine: Engine) -> frozenset[str]:
    """Return the ids of the problems whose right answer, as the domain writes it, the length limit would cut off."""
    return frozenset(
        problem.id for problem in problems if problem.solution and engine.count_tokens(problem.solution) > limit
    )


def _shown(rollout: Rollout, domain: Domain) -> dict[str, Any]:
    """Return the fields of the one completion of a problem that reports show.

    A completion that ended inside a thought was cut: it has no answer that could be in a wrong form.
    """
    cut = thinks_on(rollout.completion) or (rollout.truncated and not rollout.verdict.format_failure)
    status: SampleStatus = "truncated" if cut else "format_failure" if rollout.verdict.format_failure else "ok"
    return {
        "completion": rollout.completion,
        "extracted": rollout.verdict.extracted,
        "target": rollout.problem.solution if isinstance(domain, HasGold) else rollout.problem.answer,
        "status": status,
        "tokens": rollout.tokens,
    }


def _extra(group: Sequence[Rollout], *, every_completion: bool) -> dict[str, Any]:
    """Return what the tables need of all completions of a problem."""
    f1 = [rollout.verdict.f1 for rollout in group if rollout.verdict.f1 is not None]
    return {
        "user_prompt": group[0].problem.asked,
        "problem": group[0].problem.id,
        "tries": len(group),
        "correct": sum(_correct(rollout) for rollout in group),
        "without_answer": sum(
            rollout.verdict.extracted is None and not thinks_on(rollout.completion) for rollout in group
        ),
        "cut_while_thinking": sum(thinks_on(rollout.completion) for rollout in group),
        "out_of_form": sum(_correct(rollout) and rollout.verdict.format_failure for rollout in group),
        "truncated": sum(rollout.truncated for rollout in group),
        **({"f1": sum(f1) / len(f1)} if f1 else {}),
        **({"messages": list(group[0].messages)} if group[0].messages else {}),
        **({"completions": [rollout.completion for rollout in group]} if every_completion else {}),
    }


def _correct(rollout: Rollout) -> bool:
    return rollout.verdict.counted >= 1


def _version(domain: Domain) -> str:
    return f"{VERSION}-{domain.version}"
