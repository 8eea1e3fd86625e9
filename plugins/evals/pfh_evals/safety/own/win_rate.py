"""AlpacaEval: how often a judge would rather have the model's answer than the baseline's (Dubois et al. 2024).

A preference is the judge's probability for the model's answer, averaged over both orders of the two; the win rate is
its mean. Judges like length, so a length-controlled rate stands beside it (`pfh.statistics.win_rates`). The baseline is
that of the leaderboard, GPT-4 1106 preview; figures compare with it only under its judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from pfh.errors import DataUnavailableError
from pfh.hooks.backends import Sampling
from pfh.hooks.datasets import DataSource
from pfh.hooks.evals import AnalysisSpec, EvaluationSpec
from pfh.hooks.judges import Case, Judge, Judgement
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Table
from pfh.statistics import quantities
from pfh.statistics.paired import paired_benchmarks, paired_samples
from pfh.statistics.win_rates import LEAST_PAIRS, OTHER_JUDGE, length_controlled

from pfh_evals.judging import judged
from pfh_evals.safety.documents import Document, Loaded
from pfh_evals.safety.own.base import Documents, Measured, OwnBenchmark, asking, completed

TOKENS = 2048


def _load(data: DataSource) -> Loaded:
    dataset = data.load("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline", "eval")
    difficulty = _difficulties(data)
    return tuple(
        Document(
            prompt=row["instruction"],
            category=row["dataset"],
            extra={"baseline": row["output"], **({"difficulty": difficulty[place]} if difficulty else {})},
        )
        for place, row in enumerate(dataset.rows)
    ), dataset.origin


def _difficulties(data: DataSource) -> list[str]:
    """Return the instructions' difficulties in the dataset's order; nothing where they cannot be had."""
    try:
        rows = data.load("derived/alpaca_eval_difficulty", "default", "train").rows
    except DataUnavailableError:
        return []
    return [str(row["instruction_difficulty"]) for row in sorted(rows, key=lambda row: int(row["index"]))]


def _measure(documents: Documents, judges: Sequence[Judge], spec: EvaluationSpec) -> Measured:
    chats = {key: asking(document.prompt) for key, document in documents.items()}
    sampling = Sampling(max_new_tokens=spec.options.max_new_tokens or TOKENS, seed=spec.seed)
    done = completed(chats, spec, sampling)
    pairs = [(document.prompt, document.extra["baseline"], done[key].text) for key, document in documents.items()]
    second = judged(judges[0], [Case(prompt=p, other=base, completion=own) for p, base, own in pairs], spec)
    first = judged(judges[0], [Case(prompt=p, other=own, completion=base) for p, base, own in pairs], spec)
    samples = []
    for (key, document), behind, ahead in zip(documents.items(), second, first, strict=True):
        preference = _preference(behind, ahead)
        samples.append(
            Sample(
                id=key,
                benchmark=ALPACA.name,
                category=document.category,
                prompt=spec.engine.render(chats[key]),
                completion=done[key].text,
                extracted="unparsed" if preference is None else f"{preference:.2f}",
                score=preference,
                status="error" if preference is None else "ok",
                tokens=done[key].tokens,
                extra={
                    "user_prompt": document.prompt,
                    "characters": len(done[key].text),
                    "baseline characters": len(document.extra["baseline"]),
                    "difficulty": float(document.extra["difficulty"]) if "difficulty" in document.extra else None,
                },
            )
        )
    return Measured(samples=samples)


def _preference(behind: Judgement, ahead: Judgement) -> float | None:
    """Return the probability for the model's answer: the mean of the order in which it is second, and the other."""
    if behind.score is None or ahead.score is None:
        return None
    return (behind.score + 1 - ahead.score) / 2


ALPACA = OwnBenchmark(
    name="alpaca-eval",
    group="alpaca-eval",
    metric="win_rate",
    load=_load,
    measure=_measure,
    reads=("preference",),
    judges="preference",
    scores="other",
)


def win_rate_table(spec: AnalysisSpec) -> Table:
    """Return the win rates, raw and length-controlled, before and after."""
    rows: list[tuple[Cell, ...]] = []
    for before, after in paired_benchmarks(spec.before, spec.after):
        if before.name == ALPACA.name:
            pairs = [pair for pair in paired_samples(before, after) if None not in (pair[0].score, pair[1].score)]
            for place, side in enumerate(("before", "after")):
                own = [pair[place] for pair in pairs]
                rate = sum(sample.score or 0.0 for sample in own) / max(len(own), 1)
                length = sum(sample.extra["characters"] for sample in own) / max(len(own), 1)
                rows.append((side, len(own), quantities.share(rate), _controlled(own), round(length)))
    return Table(
        title="AlpacaEval: win rates",
        columns=("model", "n", "win rate", "length-controlled", "characters an answer"),
        rows=tuple(rows),
        note=f"Against the leaderboard's baseline. Length-controlled: of answers as long as the baseline's, from "
        f"{LEAST_PAIRS} pairs on; how much the judge likes length is fitted with a wide prior, as the published ones "
        "hold for their own judge alone.",
    )


def _controlled(samples: Sequence[Sample]) -> Cell:
    difficulty = [sample.extra["difficulty"] for sample in samples]
    if len(samples) < LEAST_PAIRS or None in difficulty:
        return "-"
    return quantities.share(
        length_controlled(
            [sample.score or 0.0 for sample in samples],
            [sample.extra["characters"] for sample in samples],
            [sample.extra["baseline characters"] for sample in samples],
            difficulty,
            prior=OTHER_JUDGE,
        )
    )
