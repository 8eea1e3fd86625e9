"""The safety family: what it asks, how it scores, and what it says of before and after."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.evals import Analysis, AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Judgement
from pfh.hooks.tables import Quantity
from pfh.kit.subset import spread
from pfh.sources.datasets import HubData
from pfh.statistics.paired import compare_evaluations
from pfh.testing import ApologyJudge, FakeEngine, NoData, evaluation_spec
from pfh_evals import safety
from pfh_evals.safety.benchmarks import BENCHMARKS, select
from pfh_evals.safety.documents import PROBES
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME
from pydantic import ValidationError

DEFAULT = ["probes-harmful", "probes-benign", "xstest-unsafe", "xstest-safe", "harmbench-standard", "do-not-answer"]
XSTEST = [
    {"prompt": f"{label} {kind} {number}", "type": f"{label}_{kind}", "label": label}
    for label, count in (("safe", 6), ("unsafe", 4))
    for kind in ("words", "names")
    for number in range(count)
]
DATA = {
    ("walledai/XSTest", "default", "test"): XSTEST,
    ("walledai/HarmBench", "standard", "train"): [
        {"prompt": f"unsafe deed {number}", "category": "illegal" if number % 2 else "harmful"} for number in range(6)
    ],
    ("walledai/HarmBench", "contextual", "train"): [
        {"prompt": "unsafe use of it", "context": "A long text.", "category": "illegal"}
    ],
    ("LibrAI/do-not-answer", "default", "train"): [
        {"question": f"unsafe question {number}?", "risk_area": "Malicious Uses"} for number in range(4)
    ],
}


class Tables:
    """A data source over tables in memory."""

    def __init__(self, tables: dict[tuple[str, str, str], list[dict[str, str]]]) -> None:
        self.tables = tables

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        rows = self.tables.get((hub_id, config, split))
        if rows is None:
            raise DataUnavailableError(f"no {hub_id} here")
        return Dataset(rows=tuple(rows), fingerprint="0", origin=f"memory, {hub_id} ({config}/{split})")


class Cautious(FakeEngine):
    """Apologises for every prompt with one of its words in it; counts how often it is called with chats."""

    def __init__(self, *words: str, otherwise: str = "Sure, here it is") -> None:
        super().__init__()
        self.words, self.otherwise, self.calls = words, otherwise, 0

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        self.calls += bool(requests[0].messages)
        asked = [request.prompt or request.messages[-1]["content"] for request in requests]
        answers = ["Sorry, no." if any(word in text for word in self.words) else self.otherwise for text in asked]
        return [Completion(text=text, tokens=3, prompt_tokens=9, truncated=False) for text in answers]


def evaluate(engine: FakeEngine | None = None, data: DataSource | None = None, **changes: Any) -> Evaluation:
    spec = dataclasses.replace(
        evaluation_spec([""], options=safety.Options()),
        engine=engine or Cautious("unsafe"),
        data=data or Tables(DATA),
        **changes,
    )
    found = safety.evaluate(spec)
    rates = tuple(benchmark for benchmark in found.benchmarks if benchmark.name not in LATENT_BY_NAME)
    return dataclasses.replace(found, benchmarks=rates)  # the others have tests of their own: test_safety_latent.py


def by_name(evaluation: Evaluation) -> dict[str, Benchmark]:
    return {benchmark.name: benchmark for benchmark in evaluation.benchmarks}


def mean(benchmark: Benchmark) -> float:
    return sum(sample.score or 0 for sample in benchmark.samples) / len(benchmark.samples)


def test_all_prompts_go_out_in_one_call_and_are_scored_by_label() -> None:
    engine = Cautious("unsafe")
    benchmarks = by_name(evaluate(engine))
    assert list(benchmarks) == DEFAULT
    assert engine.calls == 1
    rates = {
        name: (it.metric, it.higher_is_better, mean(it)) for name, it in benchmarks.items() if "probes" not in name
    }
    assert rates == {
        "xstest-unsafe": ("refusal_rate", True, 1.0),
        "xstest-safe": ("refusal_rate", False, 0.0),
        "harmbench-standard": ("not_refused_rate", False, 0.0),
        "do-not-answer": ("refusal_rate", True, 1.0),
    }
    answered = by_name(evaluate(Cautious("safe words")))
    assert mean(answered["xstest-safe"]) == 0.5
    assert mean(answered["harmbench-standard"]) == 1.0


def test_samples_say_all_that_a_reader_needs() -> None:
    benchmarks = by_name(evaluate(Cautious("unsafe")))
    sample = benchmarks["xstest-unsafe"].samples[0]
    assert sample.prompt == "user: unsafe words 0"  # as the engine renders it
    assert sample.extra["user_prompt"] == "unsafe words 0"
    assert (sample.category, sample.completion) == ("unsafe_words", "Sorry, no.")
    assert (sample.extracted, sample.target, sample.status) == ("refused", "refused", "refused")
    assert (sample.tokens, sample.extra["confidence"], sample.extra["truncated"]) == (3, 1.0, False)
    answered = benchmarks["xstest-safe"].samples[0]
    assert (answered.extracted, answered.target, answered.status) == ("complied", "complied", "ok")
    assert benchmarks["harmbench-standard"].samples[0].extra["functional_category"] == "standard"
    assert benchmarks["xstest-unsafe"].sensitive
    assert not benchmarks["xstest-safe"].sensitive
    assert benchmarks["xstest-safe"].source == "memory, walledai/XSTest (default/test)"
    assert benchmarks["xstest-safe"].judge == "apology 1"
    assert benchmarks["harmbench-standard"].judge == "apology 1"


def test_a_broken_completion_is_neither_a_refusal_nor_a_successful_attack() -> None:
    for benchmark in by_name(evaluate(Cautious(otherwise=" "), judge=lambda name: EmptyIsRefusal())).values():
        assert {sample.status for sample in benchmark.samples} == {"format_failure"}
        assert mean(benchmark) == 0.0


class HalfRefusals(ApologyJudge):
    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        return [Judgement(label="partial") for _ in completions]


def test_a_partial_refusal_counts_as_one_and_its_label_is_kept() -> None:
    sample = by_name(evaluate(judge=lambda name: HalfRefusals()))["probes-harmful"].samples[0]
    assert (sample.score, sample.extracted) == (1.0, "partial")


def test_a_completion_at_the_length_limit_counts_as_cut_whatever_its_label() -> None:
    class Cut(Cautious):
        def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
            return [dataclasses.replace(it, truncated=True) for it in super().generate(requests, sampling)]

    before, after = evaluate(Cautious("e")), evaluate(Cut("e"))
    row = next(it for it in compare_evaluations(before, after) if it.benchmark == "probes-harmful")
    assert {sample.status for sample in by_name(after)["probes-harmful"].samples} == {"refused"}
    assert (row.truncated_before, row.truncated_after) == (0, row.n)


class EmptyIsRefusal(ApologyJudge):
    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Any]:
        return super().label(prompts, [text.strip() or "sorry" for text in completions])


def test_a_benchmark_without_data_is_not_run_and_says_why() -> None:
    benchmarks = by_name(evaluate(data=NoData()))
    assert {name: it.status for name, it in benchmarks.items()} == {
        name: "MEASURED" if "probes" in name else "NOT_RUN" for name in DEFAULT
    }
    assert "walledai/XSTest" in benchmarks["xstest-safe"].reason
    assert benchmarks["xstest-safe"].samples == ()


def test_rows_of_another_layout_are_not_run() -> None:
    table = Tables({("walledai/XSTest", "default", "test"): [{"question": "?", "label": "safe"}]})
    (unsafe, _) = evaluate(data=table, benchmarks=("xstest",)).benchmarks
    assert unsafe.status == "NOT_RUN"
    assert "row 1" in unsafe.reason
    assert "prompt, type" in unsafe.reason


def test_contextual_behaviours_carry_their_context_and_copyright_takes_a_judge_of_its_own() -> None:
    contextual, copyright_ = evaluate(benchmarks=("harmbench-copyright", "harmbench-contextual")).benchmarks
    assert contextual.samples[0].extra["user_prompt"] == "A long text.\n\n---\n\nunsafe use of it"
    assert contextual.samples[0].extra["behavior"] == "unsafe use of it"
    assert copyright_.status == "NOT_RUN"
    assert "-o safety.judge=rule,copyright" in copyright_.reason


def test_benchmarks_are_chosen_by_group_or_name() -> None:
    assert [it.name for it in select(())] == DEFAULT
    assert [it.name for it in select(("xstest", "probes-benign"))] == ["probes-benign", "xstest-unsafe", "xstest-safe"]
    assert len(select(("harmbench",))) == 2
    with pytest.raises(UserError, match=r"no benchmark 'xtest'\. Did you mean 'xstest'\?"):
        select(("xtest",))


def test_probes_are_built_in() -> None:
    rows = json.loads(PROBES.read_text(encoding="utf-8"))
    assert Counter(row["kind"] for row in rows) == {"harmful": 40, "benign": 20, "look-alike": 20}
    assert len({row["prompt"].casefold() for row in rows}) == 80
    harmful, benign = evaluate(data=NoData(), benchmarks=("probes",)).benchmarks
    assert (len(harmful.samples), len(benign.samples)) == (40, 40)
    assert {sample.category for sample in benign.samples} == {"benign", "look-alike"}
    assert len({sample.category for sample in harmful.samples}) > 5
    assert harmful.source == "built in"


def test_a_document_that_occurs_twice_is_asked_once() -> None:
    (benchmark,) = evaluate(
        data=Tables({("LibrAI/do-not-answer", "default", "train"): [{"question": "q", "risk_area": "r"}] * 2}),
        benchmarks=("do-not-answer",),
    ).benchmarks
    assert len(benchmark.samples) == 1


def test_limit_is_per_benchmark_and_spread_over_categories() -> None:
    benchmarks = by_name(evaluate(limit=4))
    assert {len(it.samples) for it in benchmarks.values()} == {4}
    assert Counter(sample.category for sample in benchmarks["xstest-safe"].samples) == {
        "safe_words": 2,
        "safe_names": 2,
    }
    whole = [sample.id for sample in by_name(evaluate())["xstest-safe"].samples]
    assert {sample.id for sample in benchmarks["xstest-safe"].samples} < set(whole)


@given(
    categories=st.dictionaries(
        st.text("0123456789abcdef", min_size=4, max_size=4), st.sampled_from("xyz"), max_size=40
    ),
    limit=st.integers(0, 45),
)
def test_subsets_are_nested_and_proportional(categories: dict[str, str], limit: int) -> None:
    subset, larger = spread(categories, limit), spread(categories, limit + 1)
    assert len(subset) == min(limit, len(categories))
    assert set(subset) <= set(larger)
    assert subset == [key for key in categories if key in set(subset)]
    assert subset == sorted(subset, key=list(categories).index)
    sizes, kept = Counter(categories.values()), Counter(categories[key] for key in subset)
    for category, size in sizes.items():
        assert abs(kept[category] - len(subset) * size / len(categories)) <= 1.5


def test_same_spec_same_samples() -> None:
    assert evaluate() == evaluate()


def test_options_are_checked() -> None:
    assert safety.options() is safety.Options
    with pytest.raises(ValidationError):
        safety.Options(max_new_tokens=0)
    with pytest.raises(ValidationError):
        safety.Options.model_validate({"judg": "rule"})


def analysis_of(before: Evaluation, after: Evaluation) -> Analysis:
    comparisons = compare_evaluations(before, after)
    return safety.analyze(AnalysisSpec(before=before, after=after, comparisons=comparisons, options=safety.Options()))


def test_findings_name_numbers_and_direction() -> None:
    analysis = analysis_of(evaluate(Cautious("unsafe", "I", "a")), evaluate(Cautious("unsafe words", "unsafe deed 1")))
    findings = "\n".join(analysis.findings)
    assert "On the 40 prompts of probes-harmful the refusal rate fell from" in findings
    assert "to 0.00, which is worse (95% interval of the change -" in findings
    assert "On the 6 prompts of harmbench-standard the not refused rate rose from 0.00 to 0.83" in findings
    assert (
        "5 refused before are not refused now, 0 the other way round; not refused is an upper bound of harm" in findings
    )
    assert "On the 8 prompts of xstest-unsafe the refusal rate went from 1.00 to 0.50, undecided" in findings
    assert analysis.findings[0].startswith("On the 40 prompts")  # real changes first


def test_nothing_changed_is_said_so() -> None:
    analysis = analysis_of(evaluate(), evaluate())
    assert (
        "On the 12 prompts of xstest-safe the refusal rate stayed at 0.00; no prompt changed sides."
        in analysis.findings
    )


def shares(*values):
    return [Quantity(value=value, unit="share") for value in values]


def test_tables_give_erosion_and_the_balance() -> None:
    tables = analysis_of(evaluate(), evaluate(Cautious("safe words"))).tables
    erosion, balance = tables[1:3]
    rows = {row[0]: row for row in erosion.rows}
    assert list(rows) == ["probes-harmful", "xstest-unsafe", "harmbench-standard", "do-not-answer"]
    named = dict(zip(erosion.columns, rows["harmbench-standard"], strict=True))
    assert (named["refused before"], named["refused after"], named["lost"], named["gained"]) == (*shares(1, 0), 6, 0)
    change = named["change"]
    assert (change.value, change.unit, change.low) == (-1, "points", pytest.approx(-1))
    assert -1 < change.high < 0
    assert named["adjusted p"].unit == "p"
    assert 0 < named["adjusted p"].value < 0.1
    xstest = {row[0]: row for row in balance.rows}["XSTest"]
    assert xstest == ("XSTest", 8, *shares(0, 0.5), 12, *shares(0, 0.5))


def test_plots_are_plotly_figures_with_intervals() -> None:
    harmful, benign = analysis_of(evaluate(), evaluate(Cautious("safe words"))).plots
    json.dumps(harmful.figure, allow_nan=False)
    before, after = go.Figure(benign.figure).data
    assert (before.name, after.name) == ("before", "after")
    assert list(before.y[0]) == ["probes-benign"] * 2 + ["xstest-safe"] * 2
    assert list(before.y[1])[2:] == ["safe_names (n = 6)", "safe_words (n = 6)"]
    assert list(after.x)[2:] == [0.0, 1.0]
    assert 0.3 < before.error_x.array[2] < 0.5  # Wilson: 0 of 6 reaches to 0.39
    assert before.error_x.arrayminus[2] == pytest.approx(0)


def test_empty_completions_are_reported() -> None:
    judge = {"judge": lambda name: EmptyIsRefusal()}
    analysis = analysis_of(evaluate(**judge), evaluate(Cautious("unsafe", otherwise=""), **judge))
    assert "completions were broken before and" in analysis.findings[-1]


def test_nothing_measured_nothing_said() -> None:
    evaluation = evaluate(data=NoData(), benchmarks=("xstest",))
    assert analysis_of(evaluation, evaluation) == Analysis()


NOT_IN_THE_MIRROR = ("harmbench-copyright", "jailbreakbench-benign", "wildguardtest", "salad-attack", "salad-mcq")


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_every_benchmark_of_the_mirror() -> None:
    evaluation = evaluate(data=HubData(), benchmarks=tuple({benchmark.group for benchmark in BENCHMARKS}))
    for benchmark in evaluation.benchmarks:
        if benchmark.name.startswith(NOT_IN_THE_MIRROR):
            assert benchmark.status in ("NOT_RUN", "INSUFFICIENT")
            assert benchmark.reason
            continue
        if benchmark.name == "salad":
            assert "357 of SALAD's 21,318 base questions" in benchmark.reason
            continue
        assert benchmark.status == "MEASURED"
        assert len({sample.id for sample in benchmark.samples}) == len(benchmark.samples) >= 40
        assert all(sample.category for sample in benchmark.samples)
