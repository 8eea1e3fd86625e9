"""The report of a study on made-up runs with known effects: what is there is found, and nothing is said of nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.ledger import Phase
from pfh.hooks.samples import Sample
from pfh.report.study_page import write_study_page
from pfh.results.records import FamilyRecord, ModelRecord, RunResults, StageRecord
from pfh.results.study.analysis import analyze_study
from pfh.results.study.changes import FinishedRun, long_table
from pfh.results.study.recommendations import Candidate, recommend
from pfh.statistics.crossed import Effect

METHODS = ("none", "gt-sft", "dpo", "grpo")
FAMILIES = ("forgetting", "safety", "target")


def made(effects, seeds=(0, 1), documents=300, of_seeds=0.0):
    """Return runs whose families change by `effects`, (method, family) to a share, and what reads their evaluations."""
    dice = np.random.default_rng(0)
    stored: dict[str, Evaluation] = {}
    runs = []

    def evaluation(family: str, key: str, share: float, of: np.ndarray) -> str:
        samples = tuple(
            Sample(id=str(place), benchmark="b", prompt="p", completion="c", score=float(level < share))
            for place, level in enumerate(of)
        )
        benchmark = Benchmark(name="b", version="1", metric="accuracy", higher_is_better=True, samples=samples)
        stored[key] = Evaluation(family=family, benchmarks=(benchmark,))
        return key

    difficulty = {family: dice.uniform(size=documents) for family in FAMILIES}
    for method in METHODS:
        for seed in seeds:
            families = []
            for family in FAMILIES:
                before = evaluation(family, f"{family}-before", 0.5, difficulty[family])
                noisy = np.where(dice.uniform(size=documents) < 0.04, dice.uniform(size=documents), difficulty[family])
                share = 0.5 + effects.get((method, family), 0.0) + dice.normal(0, of_seeds)
                after = evaluation(family, f"{family}-{method}-{seed}", share, noisy)
                families.append(
                    FamilyRecord(family=family, comparisons=(), before_artifact=before, after_artifact=after)
                )
            model = ModelRecord(name="start", fingerprint="f")
            phase = Phase(name="training", seconds=10.0, updates=3, samples=12)
            stage = StageRecord(method=method, before=model, after=model, families=tuple(families), ledger=(phase,))
            results = RunResults(title=method, headline="<b>It changed.</b>", start="s", provenance={}, stages=(stage,))
            runs.append(
                FinishedRun(
                    name=f"{method}-{seed}",
                    start="tiny",
                    kind="base",
                    scale=1e6,
                    method=method,
                    label=method,
                    axes={},
                    domain="coin",
                    seed=seed,
                    phase="rest",
                    results=results,
                )
            )
    return runs, stored.get


def analyzed(runs, read):
    table = long_table(runs, read)
    return analyze_study("made-up", runs, 1, table), table


def whole(found, method, family):
    return next(row for row in found.effects if (row.method, row.family, row.category) == (method, family, ""))


def test_known_effects_are_found_with_their_size_and_the_rest_is_not(tmp_path):
    runs, read = made(
        {("gt-sft", "forgetting"): -0.2, ("gt-sft", "target"): 0.2, ("dpo", "target"): 0.1, ("grpo", "safety"): -0.3}
    )
    found, table = analyzed(runs, read)
    assert len(table) == len(METHODS) * 2 * len(FAMILIES) * 300
    assert whole(found, "gt-sft", "forgetting").change == pytest.approx(-0.2, abs=0.05)
    real = {(row.method, row.family) for row in found.effects if row.significant and not row.category}
    assert real == {("gt-sft", "forgetting"), ("gt-sft", "target"), ("dpo", "target"), ("grpo", "safety")}
    told = {answer.question: answer for answer in found.answers}
    assert "worst gt-sft" in told["Which method forgets most, and which least?"].answer
    assert "worst grpo" in told["Which method breaks safety most, and which least?"].answer
    assert told["How much changes when nothing is trained?"].state == "answered"
    pareto = {(each.method, each.against): each.pareto for each in found.trade_offs}
    assert pareto["gt-sft", "safety"] > 0.9
    assert pareto["grpo", "safety"] < 0.1
    shares = {(each.family, each.source): each.share for each in found.shares}
    assert shares["safety", "method"] > 0.9
    page = tmp_path / "index.html"
    write_study_page(page, found, {run.name: f"../runs/{run.name}/report.html" for run in runs})
    text = page.read_text()
    places = [
        text.index(f'id="{name}"')
        for name in ("profiles", "answers", "trade-offs", "matched", "sensitivity", "recommendations")
    ]
    assert places == sorted(places)
    assert "<b>It changed" not in text
    assert "../runs/gt-sft-0/report.html" in text


def test_of_no_effect_nothing_is_said(tmp_path):
    found, _ = analyzed(*made({}, documents=120))
    assert not any(row.significant for row in found.effects)
    extremes = [answer for answer in found.answers if answer.question.startswith("Which")]
    assert {answer.state for answer in extremes} == {"not enough"}
    assert not any("these do" in sentence for sentence in found.recommendations)


def known(mean, error, *, seeds=2):
    return Effect(mean=mean, seeds=seeds, documents=200, seed_error=0.0, document_error=error, freedom=100)


def test_recommendations_follow_from_intervals_and_each_has_its_figure():
    good = {"safety": known(0.0, 0.002), "forgetting": known(0.01, 0.002), "target": known(0.2, 0.01)}
    fits = Candidate(method="fits", effects=good, device_seconds=10.0)
    breaks = Candidate(method="breaks", effects={**good, "safety": known(-0.2, 0.01)}, device_seconds=5.0)
    open_ = Candidate(method="open", effects={**good, "safety": known(-0.01, 0.02)}, device_seconds=5.0)
    flat = Candidate(method="flat", effects={**good, "target": known(-0.01, 0.001)}, device_seconds=5.0)
    said = recommend([fits, breaks, open_, flat])
    assert "these do, the cheapest first: fits (safety +0.0 [-0.4, +0.4] points" in said[0]
    assert "breaks does not: safety falls by more than 2 points, -20.0 [-22.0, -18.0] points." in said
    assert "flat does not: target does not rise, -1.0 [-1.2, -0.8] points." in said
    assert any(
        line.startswith("Of open not enough is known: safety -1.0") and "more documents" in line for line in said
    )
    worse = dataclasses.replace(fits, method="worse", effects={name: known(-0.3, 0.01) for name in good})
    assert any(line.startswith("worse is dominated by fits: ") for line in recommend([fits, worse]))
    assert recommend([]) == ("Nothing can be recommended: no method was trained.",)
