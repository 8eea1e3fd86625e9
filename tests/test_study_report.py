"""The report of a study on made-up runs with known effects: what is there is found, and nothing is said of nothing."""

from __future__ import annotations

import dataclasses
from html import escape
from pathlib import Path

import numpy as np
import pytest
from pfh.commands.study.reading import read_study
from pfh.commands.study.runs import expand
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.ledger import Phase
from pfh.hooks.samples import Sample
from pfh.registry.plugins import Plugins
from pfh.report.study_page import write_study_page
from pfh.results.records import FamilyRecord, GateRecord, ModelRecord, RunResults, StageRecord
from pfh.results.study.adjusting import adjusted_effects
from pfh.results.study.analysis import analyze_study
from pfh.results.study.changes import FinishedRun, long_table
from pfh.results.study.recommendations import Candidate, Wanted, recommend
from pfh.statistics.crossed import Effect, Scores, effect

METHODS = ("none", "gt-sft", "dpo", "grpo")
FAMILIES = ("forgetting", "safety", "target")


def made(effects, seeds=(0, 1), documents=300, of_seeds=0.0, methods=METHODS):
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
    for method in methods:
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
    assert sum(share for (family, _), share in shares.items() if family == "safety") == pytest.approx(1)
    assert len(found.second_opinions) == len(METHODS) * len(FAMILIES)
    second = {(each.method, each.family): each for each in found.second_opinions}
    assert all(second[key].same and second[key].p_value < 0.01 for key in real)
    assert second["grpo", "safety"].change == pytest.approx(whole(found, "grpo", "safety").change)
    page = tmp_path / "index.html"
    write_study_page(page, found, {run.name: f"../runs/{run.name}/report.html" for run in runs})
    text = page.read_text()
    places = [
        text.index(f'id="{name}"')
        for name in ("profiles", "answers", "trade-offs", "matched", "sensitivity", "recommendations")
    ]
    assert places == sorted(places)
    assert "<b>It changed" not in text
    assert found.agreement[0] in text
    assert "../runs/gt-sft-0/report.html#samples" in text
    assert text.count("<ellipse") == len(found.trade_offs) == 8
    grpo = next(each for each in found.trade_offs if (each.method, each.against) == ("grpo", "safety"))
    assert grpo.change == pytest.approx(-0.3, abs=0.05)
    assert 0 < grpo.change_error < 0.05
    assert found.contrasts == len(found.effects) + sum(answer.p_value is not None for answer in found.answers)
    assert f"all {found.contrasts} effects and questions" in text


def test_every_arm_of_a_study_file_has_its_place_beside_the_front(tmp_path):
    """Of the arms of the shipped study one gives half of the gain back and loses nothing: it alone is likely on it."""
    file = Path(__file__).parents[1] / "examples" / "studies" / "arms.yaml"
    arms = list(dict.fromkeys(run.variant.label for run in expand(*read_study(file), Plugins())))
    assert len(arms) == 10
    kept = next(arm for arm in arms if "wise-ft" in arm)
    effects = {(arm, "target"): 0.2 for arm in arms if arm not in ("none", kept)}
    effects |= {(arm, "forgetting"): -0.2 for arm in arms if arm not in ("none", kept)}
    found, _ = analyzed(*made({**effects, (kept, "target"): 0.3}, methods=arms))
    places = {(each.method, each.against): each for each in found.trade_offs}
    assert {method for method, _ in places} == set(arms)
    assert places[kept, "forgetting"].pareto > 0.9
    assert all(places[arm, "forgetting"].pareto < 0.1 for arm in arms if arm not in ("none", kept))
    page = tmp_path / "index.html"
    write_study_page(page, found, {run.name: "" for run in found.runs})
    text = page.read_text()
    table = text[text.index('id="trade-offs"') :]
    assert all(escape(arm) in table for arm in arms)


def measured(levels: dict[str, np.ndarray], least: dict[str, float]) -> Evaluation:
    """Return an evaluation whose documents pass where their level is above that of their benchmark."""
    return Evaluation(
        family="forgetting",
        benchmarks=tuple(
            Benchmark(
                name=name,
                version="1",
                metric="accuracy",
                higher_is_better=True,
                samples=tuple(
                    Sample(id=str(i), benchmark=name, prompt="p", completion="c", score=float(each > least[name]))
                    for i, each in enumerate(level)
                ),
            )
            for name, level in levels.items()
        ),
    )


def test_categories_count_equally_and_benchmarks_within_them(tmp_path):
    """A category of three benchmarks that fall by 30 points, and one of a single benchmark that stays: 15 points."""
    kinds = {"a": "knowledge", "b": "knowledge", "c": "knowledge", "d": "code"}
    dice = np.random.default_rng(1)
    levels = {name: dice.uniform(size=200) for name in kinds}
    fallen = {name: 0.6 if kind == "knowledge" else 0.3 for name, kind in kinds.items()}
    stored = {"before": measured(levels, dict.fromkeys(kinds, 0.3)), "after": measured(levels, fallen)}
    runs, _ = made({}, seeds=(0, 1), documents=20)
    family = FamilyRecord(family="forgetting", comparisons=(), before_artifact="before", after_artifact="after")
    stage = runs[0].results.stages[0].model_copy(update={"families": (family,)})
    results = runs[0].results.model_copy(update={"stages": (stage,)})
    runs = [dataclasses.replace(run, results=results) for run in runs]
    found = analyze_study("made-up", runs, 0, long_table(runs, stored.get, lambda family, name: kinds[name]))
    rows = {(row.level, row.category): row.change for row in found.effects if row.method == "dpo"}
    assert rows["benchmark", "d"] == 0
    knowledge = [rows["benchmark", name] for name in "abc"]
    assert knowledge == pytest.approx([-0.3] * 3, abs=0.1)
    assert rows["category", "knowledge"] == pytest.approx(np.mean(knowledge))
    assert ("category", "code") not in rows  # it is its one benchmark
    assert rows["family", ""] == pytest.approx(np.mean(knowledge) / 2)
    page = tmp_path / "index.html"
    write_study_page(page, found, dict.fromkeys((run.name for run in runs), ""))
    text = page.read_text()
    heads = [text.index(f"<th>{name}</th>") for name in ("forgetting (all)", "knowledge (all)", "a", "b", "c", "d")]
    assert heads == sorted(heads)


def test_a_family_names_the_categories_of_its_benchmarks_and_others_have_none():
    plugins = Plugins()
    named = [plugins.category("forgetting", name) for name in ("mmlu_anatomy", "gsm8k", "piqa", "somebodys-own")]
    assert named == ["knowledge", "mathematics", "commonsense", "other"]
    assert plugins.category("safety", "xstest-unsafe") == plugins.category("not-installed", "b") == ""


def test_of_one_seed_it_is_said_that_another_may_change_it():
    found, _ = analyzed(*made({("grpo", "safety"): -0.3}, seeds=(0,)))
    told = {answer.question: answer.answer for answer in found.answers}
    assert "Of 1 seed, so that another may change it: " in told["Which method breaks safety most, and which least?"]


def test_of_no_effect_nothing_is_said(tmp_path):
    found, _ = analyzed(*made({}, documents=120))
    assert not any(row.significant for row in found.effects)
    extremes = [answer for answer in found.answers if answer.question.startswith("Which")]
    assert {answer.state for answer in extremes} == {"not enough"}
    assert all("would settle that" in answer.answer or "more seeds may" in answer.answer for answer in extremes)
    assert found.not_adjusted == found.adjusted == ()  # all spent the same
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
    assert not any("1 seed" in line for line in said)
    lone = dataclasses.replace(fits, method="lone", effects={name: known(0.1, 0.01, seeds=1) for name in good})
    said = recommend([fits, lone])
    assert any(line.startswith("1 of 2 methods were trained under 1 seed (lone): ") for line in said)
    assert said[-1].endswith("in at most 5% of studies, as far as documents go.")
    assert "lone" not in said[0]
    assert said[1].startswith("Of 1 more the one training does, the cheapest first: lone (")
    once = dataclasses.replace(worse, effects={name: known(-0.3, 0.01, seeds=1) for name in good})
    assert any(line.startswith("worse does not, in its one training: ") for line in recommend([once]))
    assert recommend([]) == ("Nothing can be recommended: no method was trained.",)


def test_a_change_that_is_told_apart_by_itself_alone_asks_for_no_documents():
    """Of twenty methods one falls below the margin at p = .01, which is nothing beside the others."""
    flat = [
        Candidate(method=f"m{each}", effects={"safety": known(0.0, 0.05)}, device_seconds=1.0) for each in range(19)
    ]
    lost = Candidate(method="lost", effects={"safety": known(-0.15, 0.05)}, device_seconds=1.0)
    said = recommend([*flat, lost], [Wanted(name="safety", least=-0.02)])
    assert not any(line.startswith("lost does not") for line in said)
    (line,) = [line for line in said if line.startswith("Of lost not enough is known")]
    assert line.endswith("from 2 seeds; it is told apart by itself, and not beside so many methods.")


def test_what_is_wanted_is_what_the_user_names():
    each = Candidate(
        method="m", effects={"safety:a": known(-0.03, 0.001), "target": known(0.1, 0.01)}, device_seconds=1.0
    )
    strict = [Wanted(name="safety:a", least=-0.02), Wanted(name="target", least=0.0)]
    assert "m does not: safety:a falls by more than 2 points, -3.0 [-3.2, -2.8] points." in recommend([each], strict)
    loose = [Wanted(name="safety:a", least=-0.05), Wanted(name="target", least=0.0), Wanted(name="policy", least=-0.1)]
    said = recommend([each], loose)
    assert said[0].startswith("If safety:a may fall by at most 5 points and target must rise: these do")
    assert any(line.startswith("Of policy nothing is said") for line in said)


@pytest.mark.parametrize(("of_seeds", "of_documents"), [(0.05, 0.1), (0.0, 0.4)], ids=["seeds", "documents"])
def test_with_no_effect_a_method_is_recommended_in_at_most_one_of_twenty_studies(of_seeds, of_documents):
    """Six methods that change nothing, three seeds: to hold is true of them, to rise is not."""
    dice = np.random.default_rng(5)
    said = 0
    for _ in range(80):
        candidates = []
        for method in "abcdef":
            shape = (3, 40)
            changes = dice.normal(0, of_seeds, (3, 1)) + dice.normal(0, of_documents, shape)
            scores = Scores(benchmark="b", seeds=(0, 1, 2), documents=tuple(map(str, range(40))), changes=changes)
            candidates.append(Candidate(method=method, effects={"target": effect([scores])}, device_seconds=1.0))
        said += "these do" in recommend(candidates)[0]
    assert said / 80 <= 0.09  # 0.05 and what 80 studies may be off


def spent(runs, amounts):
    """Return the runs with so many tokens each."""
    changed = []
    for run in runs:
        phase = Phase(name="training", seconds=10.0, updates=3, samples=12, tokens=amounts[run.name])
        stage = run.results.stages[0].model_copy(update={"ledger": (phase,)})
        changed.append(dataclasses.replace(run, results=run.results.model_copy(update={"stages": (stage,)})))
    return changed


def test_effects_at_equal_amounts_are_those_of_an_analysis_of_covariance():
    import pandas as pd
    from statsmodels.formula.api import ols

    dice = np.random.default_rng(6)
    runs, _ = made({}, seeds=tuple(range(6)), documents=2)
    runs = [run for run in runs if run.method in ("gt-sft", "dpo")]
    amounts = {run.name: int(1e5 * 2 ** dice.uniform(0, 3) * (4 if run.method == "dpo" else 1)) for run in runs}
    runs = spent(runs, amounts)
    changes = {
        run.name: {"target": 0.03 * np.log(amounts[run.name]) + dice.normal(0, 0.01) + 0.1 * (run.method == "dpo")}
        for run in runs
    }
    found, sentences = adjusted_effects(runs, changes)
    assert sentences == ()
    rows = pd.DataFrame(
        [{"m": run.label, "x": np.log(amounts[run.name]), "y": changes[run.name]["target"]} for run in runs]
    )
    rows["x"] -= rows["x"].mean()
    reference = ols("y ~ 0 + C(m) + x", rows).fit()
    for row in found:
        low, high = reference.conf_int().loc[f"C(m)[{row.method}]"]
        assert (row.low, row.high) == pytest.approx((low, high))
    gap = {row.method: row.change for row in found}
    raw = {row.method: row.unadjusted for row in found}
    assert gap["dpo"] - gap["gt-sft"] == pytest.approx(0.1, abs=0.03)
    assert raw["dpo"] - raw["gt-sft"] > 0.12
    fixed = spent(runs, {run.name: 1000 if run.method == "dpo" else 9000 for run in runs})
    assert "cannot be told from what the method does" in adjusted_effects(fixed, changes)[1][0]


@pytest.mark.parametrize("span", [0.0005, 0.011, 0.04, 0.1, 0.17, 0.18, 0.19, 0.2, 1.5, 1.9])
def test_every_span_has_a_few_lines_of_a_grid(span):
    from pfh.report.trade_offs import _ticks

    assert 2 <= len(list(_ticks(-0.3 * span, 0.7 * span, 70, 500))) <= 9


def test_what_became_of_contracts_stands_beside_each_run(tmp_path):
    runs, read = made({}, documents=60, methods=("none", "dpo"))
    gate = GateRecord(
        contract="<i>release</i>.yaml", stage=None, method="", sentence="The gate stays shut.", passes=False
    )
    held = [
        run
        if run.method == "none"
        else dataclasses.replace(run, results=run.results.model_copy(update={"gates": (gate,)}))
        for run in runs
    ]
    page = tmp_path / "index.html"
    for each, count in ((runs, 0), (held, 2)):
        found = analyze_study("s", each, 0, long_table(each, read))
        write_study_page(page, found, {run.name: "" for run in each})
        text = page.read_text()
        assert text.count("&lt;i&gt;release&lt;/i&gt;.yaml: The gate stays shut.") == count
        assert text.count("none speaks of it") == count


def test_names_in_a_picture_cover_neither_each_other_nor_a_point():
    from pfh.report.labels import Box, place_labels

    dice = np.random.default_rng(3)
    within = Box(left=70, right=610, top=10, bottom=360)
    close = [(f"method-{each}", 300.0, 200.0 + 5 * each) for each in range(8)]
    spread = [(f"m{each}", *dice.uniform((80, 20), (600, 350))) for each in range(12)]
    for points in (close, spread):
        labels = place_labels(points, within)
        boxes = []
        for (name, _, _), label in zip(points, labels, strict=True):
            left = label.x - (0 if label.anchor == "start" else 6.5 * len(name))  # 6.5: a letter of 12 units in width
            boxes.append((left, left + 6.5 * len(name), label.y - 9, label.y + 2))
            assert within.left <= left
            assert boxes[-1][1] <= within.right
        dots = [(x - 4, x + 4, y - 4, y + 4) for _, x, y in points]
        for number, one in enumerate(boxes):
            others = boxes[number + 1 :] + dots
            assert not any(
                one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3] for other in others
            )


def test_a_name_without_room_stands_beside_its_point():
    from pfh.report.labels import Box, place_labels

    label, *_ = place_labels([("long-name", 10.0, 10.0)], Box(left=0, right=20, top=0, bottom=20))
    assert (label.x, label.y, label.led) == (18.0, 14.0, False)
