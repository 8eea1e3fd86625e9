"""Safety over benchmarks, attacks and runs: one vocabulary of harm, the erosion matrix, safety against helpfulness."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Cell, Quantity
from pfh.kit.harm_categories import DOMAINS, domain_of, given
from pfh.report.study_page import write_study_page
from pfh.results.records import FamilyRecord
from pfh.results.study.analysis import analyze_study
from pfh.results.study.changes import long_table
from pfh.results.study.safety import erosion, helpfulness, safety_table
from pfh.statistics.erosion import erosion_matrix, together
from pfh.statistics.paired import compare_evaluations
from pfh_evals import safety

from tests.test_study_report import made

MIRROR = os.environ.get("PFH_DATA_MIRROR", "")


def benchmark(
    name: str, metric: str, scores: list[float], category: str = "cyber", target: str = "refused"
) -> Benchmark:
    samples = tuple(
        Sample(
            id=f"{name} {place}",
            benchmark=name,
            category=category,
            prompt="p",
            completion="c",
            extracted="refused" if score == (metric == "refusal_rate") else "complied",
            target=target,
            score=score,
            extra={"tokens_in": 0, "tokens_out": 0, "queries": 1} if "+" in name else {},
        )
        for place, score in enumerate(scores)
    )
    return Benchmark(
        name=name,
        version="1",
        metric=metric,
        higher_is_better=metric == "refusal_rate" and target == "refused",
        samples=samples,
        same_documents_as=name.partition("+")[0] if "+" in name else "",
    )


def rates(refused: int, answered: int, under_attack: int, over_refused: int = 2) -> Evaluation:
    """Return 40 harmful probes so many of which are refused, and as many behaviours, direct and under an attack."""

    def ones(count: int) -> list[float]:
        return [float(place < count) for place in range(40)]

    return Evaluation(
        family="safety",
        benchmarks=(
            benchmark("probes-harmful", "refusal_rate", ones(refused)),
            benchmark("probes-benign", "refusal_rate", ones(over_refused), "everyday", "complied"),
            benchmark("harmbench-standard", "not_refused_rate", ones(answered), "cybercrime_intrusion"),
            benchmark("harmbench-standard+prefill", "not_refused_rate", ones(under_attack), "cybercrime_intrusion"),
        ),
    )


def rows_of(before: Evaluation, after: Evaluation, title: str) -> dict[str, tuple[Cell, ...]]:
    comparisons = compare_evaluations(before, after)
    spec = AnalysisSpec(before=before, after=after, comparisons=comparisons, options=safety.Options())
    table = next(table for table in safety.analyze(spec).tables if table.title == title)
    return {str(row[0]): row for row in table.rows}


def value(cell: Cell) -> float:
    assert isinstance(cell, Quantity)
    return cell.value


def test_a_matrix_is_one_family_of_tests_and_small_cells_have_no_verdict() -> None:
    same = [(0.0, 0.0)] * 30
    gave_in = [(0.0, 1.0)] * 12 + [(0.0, 0.0)] * 18
    found = erosion_matrix(
        {("a", "direct"): same, ("a", "prefill"): gave_in, ("b", "direct"): gave_in[:19], ("c", "x"): []}
    )
    assert ("c", "x") not in found
    assert found["a", "prefill"].real
    assert found["a", "prefill"].p_adjusted == pytest.approx(2 * 2 * 0.5**13)  # mid-p of 12 of 12, two tests
    assert found["a", "prefill"].rate == pytest.approx(0.4)
    assert (found["b", "direct"].p_adjusted, found["b", "direct"].real) == (None, False)
    assert erosion_matrix({("open", "direct"): [(0.9, 1.0)] * 20})["open", "direct"].rate is None
    assert together(1, -1) == "trades safety for helpfulness"


def test_a_reader_sees_what_eroded_under_which_attack_and_at_what_gain() -> None:
    before, after = rates(36, 4, 10), rates(36, 4, 30, over_refused=20)
    matrix = rows_of(before, after, "Erosion matrix")
    assert [value(cell) for cell in matrix["harmbench-standard"][2:4]] == [0.0, 0.5]
    assert matrix["harmbench-standard"][-1] == "prefill"
    assert matrix["probes-harmful"][3] is None
    assert value(matrix["cyber"][3]) == 0.5  # both benchmarks in one vocabulary
    domains = rows_of(before, after, "Harms in one vocabulary")
    assert domains["cyber"][1:3] == ("probes-harmful, harmbench-standard", 80)
    assert rows_of(before, after, "Safety against helpfulness")["probes"][-1] == "less helpful"
    both = rows_of(rates(36, 4, 10, 20), rates(10, 4, 10, 2), "Safety against helpfulness")["probes"]
    assert (value(both[2]), both[-1]) == (pytest.approx(26 / 40), "trades safety for helpfulness")


def test_broken_answers_are_neither_harm_nor_refusals() -> None:
    before = rates(36, 4, 10)
    probes = before.benchmarks[0]
    broken = tuple(dataclasses.replace(each, score=0.0, status="format_failure") for each in probes.samples)
    after = dataclasses.replace(
        before, benchmarks=(dataclasses.replace(probes, samples=broken), *before.benchmarks[1:])
    )
    assert {each.after for each in given(before, after) if each.benchmark == "probes-harmful"} == {0.0}


@pytest.mark.skipif(not MIRROR, reason="PFH_DATA_MIRROR is not set")
@pytest.mark.parametrize(
    ("file", "field", "without"),
    [
        ("walledai/HarmBench/standard/train", "category", set()),
        ("walledai/StrongREJECT/default/train", "category", set()),
        ("LibrAI/do-not-answer/default/train", "types_of_harm", {"Treat Chatbot as a Human"}),
        ("JailbreakBench/JBB-Behaviors/behaviors/harmful", "Category", {"Expert advice", "Government decision-making"}),
        (
            "OpenSafetyLab/Salad-Data/base_set/train",
            "2-category",
            {"O6: Risky Financial Practices", "O7: Trade and Compliance", "O15: Persuasion and Manipulation"},
        ),
    ],
)
def test_every_category_of_the_benchmarks_has_a_domain_or_is_known_to_have_none(
    file: str, field: str, without: set[str]
) -> None:
    rows = [json.loads(line) for line in (Path(MIRROR) / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {row[field] for row in rows}
    assert {name for name in names if not domain_of(name)} == without
    assert {domain_of(name) for name in names} <= {*DOMAINS, ""}


def test_a_study_shows_what_each_method_eroded(tmp_path: Path) -> None:
    runs, _ = made({}, seeds=(0, 1), documents=10)
    stored = {"start": rates(36, 4, 10), "gt-sft": rates(12, 4, 32), "dpo": rates(36, 4, 10)}
    with_safety = []
    for run in runs:
        key = run.method if run.method in stored else "start"
        family = FamilyRecord(family="safety", comparisons=(), before_artifact="start", after_artifact=key)
        stage = run.results.stages[-1].model_copy(update={"families": (family,)})
        with_safety.append(dataclasses.replace(run, results=run.results.model_copy(update={"stages": (stage,)})))
    table = safety_table(with_safety, stored.get)
    cells = {(row.method, row.what, row.attack): row for row in erosion(table)}
    label = next(run.label for run in runs if run.method == "gt-sft")
    eroded = cells[label, "probes-harmful", "direct"]
    assert (eroded.change, eroded.prompts) == (pytest.approx(24 / 40), 40)
    assert eroded.p_adjusted is not None
    assert eroded.p_adjusted < 0.001
    assert cells[label, "cyber", "prefill"].change == pytest.approx(22 / 40)
    others = [row for key, row in cells.items() if key[0] != label]
    assert {row.change for row in others} == {0.0}
    arrows = {row.method: row for row in helpfulness(table)}
    assert arrows[label].together == "less safe"
    results = analyze_study("s", with_safety, 0, long_table(with_safety, stored.get)).model_copy(
        update={"erosion": erosion(table), "helpfulness": helpfulness(table)}
    )
    write_study_page(tmp_path / "page.html", results, {run.name: "" for run in runs})
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Safety against helpfulness" in page
    assert "+60.0" in page
