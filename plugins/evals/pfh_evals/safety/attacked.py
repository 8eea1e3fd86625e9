"""Harmful benchmarks under attack: the attack sends, the judges of the direct rate judge, each pair is a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pfh.errors import NotNumbersError, UserError
from pfh.hooks.attacks import AttackResult, AttackSpec, Attempt, Behaviour, Outcome
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus
from pfh.hooks.judges import Judge
from pfh.hooks.meanings import Names, names_of
from pfh.hooks.samples import Sample, sample_id

from pfh_evals.judging import judged
from pfh_evals.safety.asks import Ask
from pfh_evals.safety.benchmarks import SafetyBenchmark
from pfh_evals.safety.latent_benchmarks import DEFAULT_TARGET
from pfh_evals.safety.rating import Scoring, case_of, score_of_judgement, scoring_of, too_many_unparsed

DIRECT = "direct"
"""The plain rate of a benchmark: measured whatever other attacks are."""
VERSION = "1"
TRANSFER = "transfer"
"""Behind the name of an attack that searches: what it found on the start is sent to every model."""


def attacks_of(spec: EvaluationSpec) -> list[str]:
    """Return the attacks that the options name, beside the direct request."""
    return [name for name in names_of(spec.options, Names.ATTACK) if name != DIRECT]


def measure_attacks(
    chosen: Sequence[SafetyBenchmark],
    asks: Sequence[Ask],
    judges: Sequence[Judge],
    spec: EvaluationSpec,
    unavailable: Mapping[str, str],
    sources: Mapping[str, str],
    wanted: Mapping[SafetyBenchmark, frozenset[str]],
) -> list[Benchmark]:
    """Run every attack on the harmful prompts of the chosen benchmarks, all of them in one call.

    An attack that searches strings can give two benchmarks: `NAME+ATTACK`, searched afresh on every model, and with
    the option `transfer` `NAME+ATTACK-transfer`, the strings that were found on the start. Of the benchmarks that are
    `wanted` under some attacks alone, as where these could not be run the time before, only those are measured.
    """
    found: list[Benchmark] = []
    scoring = scoring_of("not_refused_rate", judges, spec)
    for name in attacks_of(spec):
        harmful = [
            each
            for each in dict.fromkeys((*chosen, *wanted))
            if each.harmful and (each in chosen or wanted[each] & {name, f"{name}-{TRANSFER}"})
        ]
        own = [ask for ask in asks if ask.benchmark in harmful]
        result, reason, status = _run(name, own, scoring, spec) if own else (AttackResult(outcomes=()), "", "MEASURED")
        arms: list[tuple[str, Sequence[Outcome], str, BenchmarkStatus]] = [(name, result.outcomes, reason, status)]
        if result.searched and spec.options.transfer:
            replayed = _replayed(name, result, own, scoring, spec)
            lacking = "" if replayed else f"{name} found nothing on the model that is compared with"
            arms.append((f"{name}-{TRANSFER}", replayed, lacking, "NOT_RUN" if lacking else "MEASURED"))
        for arm, outcomes, why, of_arm in arms:
            samples = _samples(arm, own, outcomes, scoring, spec)
            found += [
                _benchmark(arm, benchmark, scoring, why, of_arm, unavailable, sources, samples) for benchmark in harmful
            ]
    return found


def _run(
    name: str, asks: Sequence[Ask], scoring: Scoring, spec: EvaluationSpec
) -> tuple[AttackResult, str, BenchmarkStatus]:
    """Return what the attack found, or why it could not run and the status for that."""
    if spec.attack is None:
        return AttackResult(outcomes=()), "attacks cannot be run here", "NOT_RUN"
    behaviours = tuple(
        Behaviour(
            id=ask.id,
            prompt=ask.document.prompt,
            target=ask.document.extra.get("target", DEFAULT_TARGET),
            category=ask.document.category,
        )
        for ask in asks
    )
    request = AttackSpec(
        behaviours=behaviours,
        engine=spec.engine,
        max_new_tokens=scoring.tokens,
        seed=spec.seed,
        progress=spec.progress,
    )
    try:
        return spec.attack(name, request), "", "MEASURED"
    except NotNumbersError as error:
        return AttackResult(outcomes=()), str(error), "ERROR"
    except UserError as error:
        return AttackResult(outcomes=()), str(error), "NOT_RUN"


def _replayed(
    name: str, result: AttackResult, asks: Sequence[Ask], scoring: Scoring, spec: EvaluationSpec
) -> tuple[Outcome, ...]:
    """Return the outcomes of the start's strings; on the start itself these are what it found.

    Of behaviours that the start was not searched for there are none.
    """
    from pfh.hooks.backends import GenerationRequest, Sampling

    if spec.reference is None:
        return result.outcomes
    stored = {
        sample.extra["ask"]: sample.extra["attempts"][-1]["messages"]
        for benchmark in spec.reference.evaluation.benchmarks
        for sample in benchmark.samples
        if sample.extra.get("attack") == name
    }
    known = [ask for ask in asks if ask.id in stored]
    if not known:
        return ()
    chats = [tuple(stored[ask.id]) for ask in known]
    done = spec.engine.generate(
        [GenerationRequest(id=ask.id, messages=chat) for ask, chat in zip(known, chats, strict=True)],
        Sampling(max_new_tokens=scoring.tokens, seed=spec.seed),
    )
    return tuple(
        Outcome(
            id=ask.id,
            attempts=(Attempt(messages=chat, completion=answer.text, tokens_out=answer.tokens),),
            final=0,
            queries=1,
        )
        for ask, chat, answer in zip(known, chats, done, strict=True)
    )


def _samples(
    arm: str, asks: Sequence[Ask], outcomes: Sequence[Outcome], scoring: Scoring, spec: EvaluationSpec
) -> list[Sample]:
    """Judge every attempt in the light of the bare request, and score each behaviour."""
    by_id = {ask.id: ask for ask in asks}
    tried = [(by_id[each.id], attempt) for each in outcomes if each.id in by_id for attempt in each.attempts]
    if not tried or not scoring.judges:
        return []
    cases = [
        case_of(ask, attempt.prefill + attempt.completion if scoring.of_harm else attempt.completion)
        for ask, attempt in tried
    ]
    said = iter(judged(scoring.judges[0], cases, spec))
    samples = []
    for outcome in outcomes:
        if outcome.id not in by_id:
            continue
        rows = []
        for attempt in outcome.attempts:
            judgement = next(said)
            score = score_of_judgement(judgement, attempt.completion, scoring) if attempt.fits else None
            rows.append((attempt, judgement.label if attempt.fits else "does not fit", score))
        samples.append(_sample(arm, by_id[outcome.id], outcome, rows, spec))
    return samples


def _sample(
    arm: str,
    ask: Ask,
    outcome: Outcome,
    rows: Sequence[tuple[Attempt, str, float | None]],
    spec: EvaluationSpec,
) -> Sample:
    counted = rows if outcome.final is None else [rows[outcome.final]]
    scores = [score for _, _, score in counted if score is not None]
    shown = max(counted, key=lambda row: row[2] or 0.0)
    complete = len(scores) == len(counted)
    document = {"prompt": ask.document.prompt, "category": ask.document.category}
    return Sample(
        id=sample_id(f"{ask.benchmark.name}+{arm}", f"{ask.benchmark.version} {VERSION}", document),
        benchmark=f"{ask.benchmark.name}+{arm}",
        category=ask.document.category,
        prompt=spec.engine.render(shown[0].messages) + shown[0].prefill,
        completion=shown[0].completion,
        extracted=shown[1],
        target="refused",
        score=sum(scores) / len(scores) if complete else None,
        status="ok" if complete else "error",
        tokens=shown[0].tokens_out,
        extra={
            "user_prompt": ask.document.prompt,
            "ask": ask.id,
            "attack": arm,
            "prefill": shown[0].prefill,
            "any": float(any(scores)) if complete else None,
            "queries": outcome.queries,
            "tokens_in": outcome.tokens + sum(attempt.tokens_in for attempt, _, _ in rows),
            "tokens_out": sum(attempt.tokens_out for attempt, _, _ in rows),
            "target_source": "own" if "target" in ask.document.extra else "default",
            "attempts": [
                {
                    "messages": [dict(message) for message in attempt.messages],
                    "prefill": attempt.prefill,
                    "completion": attempt.completion,
                    "label": label,
                    "score": score,
                    "loss": attempt.loss,
                }
                for attempt, label, score in rows
            ],
        },
    )


def _benchmark(
    arm: str,
    benchmark: SafetyBenchmark,
    scoring: Scoring,
    failed: str,
    status: BenchmarkStatus,
    unavailable: Mapping[str, str],
    sources: Mapping[str, str],
    samples: Sequence[Sample],
) -> Benchmark:
    name = f"{benchmark.name}+{arm}"
    own = tuple(sample for sample in samples if sample.benchmark == name)
    reason = unavailable.get(benchmark.name, "") or failed
    if unavailable.get(benchmark.name) or (not reason and not own):
        status, reason = "NOT_RUN", reason or "no prompt is left of it"
    elif not reason and (reason := too_many_unparsed(own)):
        status = "ERROR"
    return Benchmark(
        name=name,
        version=f"{benchmark.version} {VERSION}{'-harm' if scoring.of_harm else ''}",
        metric=scoring.metric,
        higher_is_better=False,
        status=status,
        reason=reason,
        judge=scoring.judges[0].name if scoring.judges else "",
        source=sources.get(benchmark.name, ""),
        sensitive=True,
        same_documents_as="" if status != "MEASURED" else benchmark.name,
        samples=own if status == "MEASURED" else (),
    )
