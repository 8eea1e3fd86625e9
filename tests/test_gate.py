"""The gate: exact sizes of its test, clauses on results, JUnit, and contracts that are at fault."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pfh.commands.gate import _of_benchmark
from pfh.errors import UserError
from pfh.hooks.comparison import CategoryComparison, Comparison
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.results.contracts import patterns, read_contract
from pfh.results.gate import judge
from pfh.results.junit import junit, junit_of_run
from pfh.results.records import FamilyRecord, GateRecord, ModelRecord, RunResults, StageRecord, write_results
from pfh.statistics.noninferiority import chance_to_hold, deciding_samples, lower_limit, score_statistic, upper_limit
from pfh_cli.main import app
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import multinomial
from typer.testing import CliRunner


def likelihood_z(n10: int, n01: int, n: int, shift: float) -> float:
    """Return the score statistic with the restricted likelihood maximised numerically, from its definition."""

    def negative(lost: float) -> float:
        shares = np.clip([lost, lost + shift, 1 - 2 * lost - shift], 1e-300, 1)
        return -float(np.dot([n10, n01, n - n10 - n01], np.log(shares)))

    low, high = max(0.0, -shift), (1 - shift) / 2
    lost = minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float((n01 - n10 - n * shift) / np.sqrt(n * (2 * lost + shift - shift**2)))


@pytest.mark.parametrize(("n10", "n01", "n"), [(3, 5, 40), (9, 2, 60), (1, 1, 24), (0, 4, 30), (12, 12, 200)])
def test_the_limit_is_where_the_score_test_from_the_likelihood_begins_to_accept(n10: int, n01: int, n: int) -> None:
    for shift in (-0.2, -0.05, 0.03):
        assert score_statistic(n10, n01, n, shift) == pytest.approx(likelihood_z(n10, n01, n, shift), abs=1e-4)
    low = brentq(lambda shift: likelihood_z(n10, n01, n, shift) - 1.6448536, -0.9, (n01 - n10) / n - 1e-6)
    assert float(lower_limit(n10, n01, n)) == pytest.approx(low, abs=1e-4)
    assert float(upper_limit(n10, n01, n)) == pytest.approx(-float(lower_limit(n01, n10, n)))


@pytest.mark.parametrize("n", [24, 50, 100, 200])
@pytest.mark.parametrize("margin", [0.02, 0.05])
def test_a_loss_of_exactly_the_margin_is_said_to_hold_in_at_most_6_percent(n: int, margin: float) -> None:
    lost, gained = (table.ravel() for table in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    inside = lost + gained <= n
    lost, gained = lost[inside], gained[inside]
    holds = lower_limit(lost, gained, n) >= -margin
    tables = np.stack([lost, gained, n - lost - gained], axis=-1)
    for gains in (0.0, 0.01, 0.03, 0.06):
        shares = [gains + margin, gains, 1 - 2 * gains - margin]
        assert multinomial.pmf(tables, n, shares)[holds].sum() <= 0.06


@pytest.mark.parametrize(("margin", "n"), [(0.05, 52), (0.02, 133), (0.01, 268)])
def test_the_samples_that_prove_a_margin_without_a_flip_are_as_documented(margin: float, n: int) -> None:
    assert float(lower_limit(0, 0, n)) >= -margin > float(lower_limit(0, 0, n - 2))


def test_the_samples_that_would_decide_do() -> None:
    needed = deciding_samples(0.2, 0.0, -0.05)
    assert needed is not None
    flips = round(0.1 * needed)
    assert float(lower_limit(flips, flips, needed)) == pytest.approx(-0.05, abs=0.005)
    assert deciding_samples(0.2, -0.05, -0.05) is None


def test_the_chance_of_an_unchanged_model_is_what_simulation_gives() -> None:
    rng = np.random.default_rng(0)
    n, flips, margin = 200, 0.06, 0.05
    drawn = rng.multinomial(n, [flips / 2, flips / 2, 1 - flips], size=4000)
    simulated = float((lower_limit(drawn[:, 0], drawn[:, 1], n) >= -margin).mean())
    assert chance_to_hold(n, flips, margin) == pytest.approx(simulated, abs=0.05)


def row(
    name: str, n10: int, n01: int, n: int, *, better: bool | None = True, after: float = 0.9, **more: object
) -> Comparison:
    """Return a benchmark of `n` samples with its flips; one category holds all losses."""
    delta = (n01 - n10) / n
    half = {"n": n // 2, "before": after, "after": after - n10 / (n // 2), "delta": -n10 / (n // 2)}
    category = CategoryComparison(
        category="worst", ci_low=-1, ci_high=0, n10=n10, n01=0, p_value=0.5, p_adjusted=0.5, **half
    )
    fields: dict[str, object] = {
        "benchmark": name,
        "version": "1",
        "metric": "accuracy",
        "higher_is_better": better,
        "status": "MEASURED",
        "n": n,
        "before": after - delta,
        "after": after,
        "delta": delta,
        "n10": n10,
        "n01": n01,
        "ci_low": delta - 0.1,
        "ci_high": delta + 0.1,
        "p_value": 0.5,
        "p_adjusted": 0.5,
        "verdict": "undecided",
        "categories": (category,),
    }
    return Comparison(**(fields | more))  # type: ignore[arg-type]


@pytest.fixture
def results() -> RunResults:
    rows = (
        row("steady", 1, 1, 400),
        row("fallen", 90, 0, 400, after=0.6, verdict="worse", p_adjusted=1e-9),
        row("few", 1, 1, 20),
        row("harm", 0, 60, 400, better=False, after=0.3),
        replace(row("length", 5, 5, 400, better=None, ci_low=-0.01, ci_high=0.01), n10=None, n01=None),
        Comparison(
            benchmark="absent",
            version="1",
            metric="accuracy",
            higher_is_better=True,
            status="NOT_RUN",
            reason="no data",
        ),
    )
    model = ModelRecord(name="m\x1b", fingerprint="f")
    stage = StageRecord(method="dpo", before=model, after=model, families=(
        FamilyRecord(family="quiz", comparisons=rows, before_artifact="", after_artifact=""),
    ))  # fmt: skip
    return RunResults(title="t", headline="h", start="SAFE", provenance={"pfh": "1"}, stages=(stage,))


def contract_of(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "contract.yaml"
    file.write_text("contract: 1\n" + text)
    return file


def states(tmp_path: Path, results: RunResults, text: str) -> dict[str, str]:
    held = judge(read_contract(contract_of(tmp_path, text)), results)
    return {clause.name: clause.state for clause in held.clauses}


def test_clauses_hold_break_and_stay_undecided(tmp_path: Path, results: RunResults) -> None:
    clauses = ", ".join(f"{{what: quiz/{name}, margin: 2pp}}" for name in ("steady", "fallen", "few"))
    text = f"must_hold: [{clauses}]"
    assert states(tmp_path, results, text) == {"quiz/steady": "holds", "quiz/fallen": "broken", "quiz/few": "undecided"}


def test_what_is_better_lower_is_turned(tmp_path: Path, results: RunResults) -> None:
    assert states(tmp_path, results, "must_hold: [{what: quiz/harm, margin: 2pp}]") == {"quiz/harm": "broken"}
    assert states(tmp_path, results, "must_improve: [{what: quiz/harm}]") == {"quiz/harm": "broken"}
    assert states(tmp_path, results, "floors: [{what: quiz/harm, at_most: 0.5}]") == {"quiz/harm": "holds"}
    assert states(tmp_path, results, "floors: [{what: quiz/harm, at_most: 0.3}]") == {"quiz/harm": "undecided"}


def test_a_broken_clause_shows_the_limit_that_breaks_it(tmp_path: Path, results: RunResults) -> None:
    text = "must_hold: [{what: quiz/fallen, margin: 2pp}, {what: quiz/steady, margin: 5pp}]"
    held = judge(read_contract(contract_of(tmp_path, text)), results)
    broken, steady = sorted(held.clauses, key=lambda clause: clause.state)
    assert float(re.findall(r"confidence (\S+) at most", broken.said)[0]) < -0.02
    assert float(re.findall(r"confidence (\S+) at least", steady.said)[0]) >= -0.05


def test_staying_is_within_both_margins(tmp_path: Path, results: RunResults) -> None:
    clauses = ", ".join(f"{{what: quiz/{name}, within: 5pp}}" for name in ("length", "steady", "fallen"))
    text = f"must_stay: [{clauses}]"
    assert states(tmp_path, results, text) == {"quiz/length": "holds", "quiz/steady": "holds", "quiz/fallen": "broken"}


def test_each_category_must_hold_where_the_worst_is_asked_for(tmp_path: Path, results: RunResults) -> None:
    text = "must_hold: [{what: quiz/fallen, margin: 2pp, category: worst}]"
    assert states(tmp_path, results, text) == {"quiz/fallen/worst": "broken"}


def test_not_run_never_passes_silently_and_the_rest_is_reported_or_fails(tmp_path: Path, results: RunResults) -> None:
    held = judge(read_contract(contract_of(tmp_path, "must_hold: [{what: quiz/absent, margin: 2pp}]")), results)
    assert (held.passes, held.clauses[0].state, held.clauses[0].status) == (False, "not measured", "NOT_RUN")
    warned = "must_hold: [{what: quiz/absent, margin: 2pp}]\nnot_measured: warn"
    assert judge(read_contract(contract_of(tmp_path, warned)), results).passes
    assert states(tmp_path, results, "otherwise: fail_if_worse\nmay_change: [quiz/few]")["quiz/fallen"] == "broken"
    allowed = states(tmp_path, results, "otherwise: fail_if_worse\nmay_change: [quiz/fallen]")
    assert allowed["quiz/fallen"] == "may change"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("must_hold: [{what: quiz/stedy, margin: 2pp}]", "Did you mean 'quiz/steady'"),
        ("must_hold: [{what: 'nothing/*', margin: 2pp}]", "matches nothing.*--eval nothing"),
        ("must_hold: [{what: 'quz/*', margin: 2pp}]", "Did you mean 'quiz'"),
        ("must_hold: [{what: quiz/length, margin: 2pp}]", "no good direction"),
        ("must_hold: [{what: quiz/steady, margin: lots}]", "a margin is a number"),
        ("must_holds: []", "Did you mean 'must_hold'"),
        ("floors: [{what: quiz/steady}]", "either at_least or at_most"),
        ("floors: [{what: quiz/length, at_least: 0.5}]", "score that is 0 or 1"),
        ("for: {stages: [dppo]}\notherwise: fail_if_worse", "Did you mean 'dpo'"),
        (
            "must_stay: [{what: quiz/harm, within: '5%'}]\nmust_hold: [{what: quiz/zero, margin: '5%'}]",
            "matches nothing",
        ),
        ("x: [", "line 2"),
        ("may_change: [quiz/steady]", "tests nothing"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_a_contract_at_fault_is_one_clear_line(tmp_path: Path, results: RunResults, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        judge(read_contract(contract_of(tmp_path, text)), results)


def test_a_relative_margin_of_a_base_near_0_is_refused(tmp_path: Path, results: RunResults) -> None:
    small = results.stages[0].families[0].comparisons[0]
    small = replace(small, before=0.01, benchmark="small")
    family = results.stages[0].families[0].model_copy(update={"comparisons": (small,)})
    stage = results.stages[0].model_copy(update={"families": (family,)})
    asked = read_contract(contract_of(tmp_path, "must_hold: [{what: quiz/small, margin: '5%'}]"))
    with pytest.raises(UserError, match="relative to quiz/small says nothing"):
        judge(asked, results.model_copy(update={"stages": (stage,)}))


def test_junit_counts_what_it_holds_and_survives_control_characters(tmp_path: Path, results: RunResults) -> None:
    text = "must_hold: [{what: 'quiz/*e*', margin: 2pp}]"
    results = results.model_copy(update={"provenance": {"pfh": "1", "odd": "\x00\x1b<&>"}})
    asked = read_contract(contract_of(tmp_path, text))
    with pytest.raises(UserError, match="no good direction"):
        judge(asked, results)
    asked = read_contract(contract_of(tmp_path, "must_hold: [{what: 'quiz/[sfa]*', margin: 2pp}]"))
    root = ElementTree.fromstring(junit(judge(asked, results), results, undecided="fail", not_measured="fail"))
    suite = root.find("testsuite")
    assert suite is not None
    counted = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": 4, "failures": 2, "errors": 1, "skipped": 0}
    assert {each.attrib["type"] for each in itertools.chain(suite.iter("failure"), suite.iter("error"))} == {
        "broken", "undecided", "NOT_RUN"}  # fmt: skip


def test_the_command_prints_a_line_a_clause_and_its_exit_code_tells(tmp_path: Path, results: RunResults) -> None:
    write_results(tmp_path / "results.json", results)
    good = contract_of(tmp_path, "must_hold: [{what: quiz/steady, margin: 2pp}]")
    ran = CliRunner().invoke(app, ["gate", str(tmp_path), "--contract", str(good), "--junit", str(tmp_path / "j.xml")])
    assert (ran.exit_code, "ok" in ran.stdout, "The gate is open" in ran.stdout) == (0, True, True)
    assert (tmp_path / "j.xml").exists()
    bad = contract_of(tmp_path, "must_hold: [{what: quiz/fallen, margin: 2pp}]")
    ran = CliRunner().invoke(app, ["gate", str(tmp_path), "--contract", str(bad), "--json"])
    said = json.loads(ran.stdout)
    assert (ran.exit_code, said["passes"], said["clauses"][0]["state"], said["clauses"][0]["significant"]) == (
        1, False, "broken", True)  # fmt: skip


def test_the_example_contracts_are_ones() -> None:
    files = sorted((Path(__file__).parent.parent / "examples" / "contracts").glob("*.yaml"))
    assert len(files) > 2
    assert all(patterns(read_contract(file)) for file in files)


def test_a_run_tells_its_gates_as_junit(tmp_path: Path, results: RunResults) -> None:
    asked = read_contract(contract_of(tmp_path, "must_hold: [{what: 'quiz/[sf]*', margin: 2pp}]"))
    held = judge(asked, results)
    whole = GateRecord(
        contract="a.yaml", stage=None, method="", sentence=held.sentence, passes=held.passes, clauses=held.clauses
    )
    faulty = GateRecord(
        contract="b.yaml", stage=0, method="dpo", sentence="It is at fault.", passes=False, at_fault=True
    )
    told = results.model_copy(update={"gates": (whole, faulty)})
    root = ElementTree.fromstring(junit_of_run(told, {"a.yaml": asked, "b.yaml": asked}))
    assert [suite.get("name") for suite in root] == ["a.yaml, the run: must_hold", "b.yaml, stage 1 (dpo)"]
    assert int(root[0].get("tests", "")) == len(held.clauses)
    assert int(root[0].get("failures", "")) == held.count("broken") + held.count("undecided")
    assert root[1].find("testcase/error").get("type") == "AT_FAULT"  # type: ignore[union-attr]


def test_a_broken_clause_names_at_most_five_samples_that_flipped_for_the_worse() -> None:
    def measured(scores: list[float], better: bool | None) -> Evaluation:
        samples = tuple(
            Sample(id=f"s{place}", benchmark="a/b", category="xy"[place % 2], prompt="p", completion="c", score=score)
            for place, score in enumerate(scores)
        )
        row = Benchmark(name="a/b", version="1", metric="m", higher_is_better=better, samples=samples)
        return Evaluation(family="f", benchmarks=(row,))

    before, after = [1.0] * 7 + [0.0], [0.0] * 7 + [1.0]
    found = _of_benchmark("a/b", measured(before, True), measured(after, True))
    assert len(found) == 5
    assert "s7" not in found
    assert _of_benchmark("a/b", measured(before, False), measured(after, False)) == ["s7"]
    assert set(_of_benchmark("a/b/y", measured(before, None), measured(after, None))) == {"s1", "s3", "s5", "s7"}
    assert _of_benchmark("gone", measured(before, True), measured(after, True)) == []
