"""results.json: it reads back, and its documents say what it holds."""

import json
import math
from pathlib import Path

import pytest
from pfh.hooks.comparison import CategoryComparison, Comparison
from pfh.hooks.ledger import Phase
from pfh.hooks.tables import Plot, Quantity, Table
from pfh.results.records import (
    FamilyRecord,
    ModelRecord,
    RunResults,
    StageRecord,
    read_results,
    results_json,
    write_results,
)
from pfh.results.verdict import headline, verdict_lines
from pfh.statistics import formatting
from pydantic import ValidationError

DOCS = Path(__file__).parent.parent / "docs" / "reference"


def comparison(name, verdict, **fields):
    missing = {"status": "NOT_RUN", "reason": "no data"} if verdict == "not measured" else {"status": "MEASURED"}
    return Comparison(
        benchmark=name, version="1", metric="rate", higher_is_better=True, verdict=verdict, **(missing | fields)
    )


def stage(*families, method="dpo", **fields):
    before, after = (ModelRecord(name=name, fingerprint=name) for name in ("start", "tuned"))
    records = tuple(
        FamilyRecord(family=name, comparisons=tuple(rows), before_artifact="b", after_artifact="a")
        for name, rows in families
    )
    return StageRecord(method=method, before=before, after=after, families=records, **fields)


def rows(**counts):
    named = {"none": "undecided", "same": "equivalent", "safe": "no loss above the margin", "missing": "not measured"}
    return [comparison(f"{key}{i}", named.get(key, key)) for key, count in counts.items() for i in range(count)]


def run_results(*stages):
    return RunResults(title="t", headline="h", start="custom", provenance={"pfh": "0"}, stages=stages)


def schema_script():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("make_results_schema", DOCS / "make_results_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_read_back_as_they_were_written(tmp_path):
    family = FamilyRecord(
        family="safety",
        comparisons=(comparison("a", "worse", n=3, delta=-0.5, n10=2, n01=0),),
        tables=(Table(title="t", columns=("x", "y"), rows=((1, None), ("a", 0.5))),),
        plots=(Plot(title="p", figure={"data": [{"y": [1, 2]}], "layout": {}}),),
        before_artifact="b",
        after_artifact="a",
    )
    written = run_results(
        stage(ledger=(Phase(name="training", seconds=1.5, notes={"share": 0.25, "kind": "lora"}),)).model_copy(
            update={"families": (family,)}
        )
    )
    write_results(tmp_path / "results.json", written)
    assert read_results(tmp_path / "results.json") == written


def test_a_diverged_loss_and_broken_unicode_still_make_strict_json(tmp_path):
    written = run_results(
        stage(
            ("safety", [comparison("a\ud800", "worse")]),
            curves=({"step": 1.0, "loss": float("nan")},),
            notes=("\u2028\x00",),
        )
    )
    write_results(tmp_path / "results.json", written)
    read = read_results(tmp_path / "results.json")
    assert read.stages[0].curves == ({"step": 1.0, "loss": None},)
    assert read.stages[0].families[0].comparisons[0].benchmark == "a\\ud800"
    assert read.stages[0].notes == ("\u2028\x00",)
    json.loads(results_json(written), parse_constant=pytest.fail)


def test_a_file_of_another_schema_version_is_refused(tmp_path):
    document = json.loads(results_json(run_results(stage()))) | {"schema_version": "3"}
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(ValidationError, match="schema_version"):
        read_results(tmp_path / "results.json")


def test_quantities_of_tables_are_numbers_in_the_file_and_come_back(tmp_path):
    change = Quantity(value=-0.034, unit="points", low=-0.08, high=0.012)
    table = Table(title="t", columns=("a", "b", "c", "d"), rows=((change, 3, "x", None),))
    record = stage(("quiz", ())).families[0].model_copy(update={"tables": (table,)})
    written = run_results(stage().model_copy(update={"families": (record,)}))
    write_results(tmp_path / "results.json", written)
    (row,) = json.loads((tmp_path / "results.json").read_text())["stages"][0]["families"][0]["tables"][0]["rows"]
    assert row == [{"value": -0.034, "unit": "points", "low": -0.08, "high": 0.012}, 3, "x", None]
    assert read_results(tmp_path / "results.json") == written
    assert formatting.cell(change) == "−3.4 pp [−8.0, +1.2]"


def test_results_of_version_1_can_still_be_read(tmp_path):
    table = Table(title="t", columns=("change",), rows=(("+3.4 pp",),))
    record = stage(("quiz", ())).families[0].model_copy(update={"tables": (table,)})
    document = json.loads(results_json(run_results(stage().model_copy(update={"families": (record,)}))))
    (tmp_path / "results.json").write_text(json.dumps(document | {"schema_version": "1"}))
    read = read_results(tmp_path / "results.json")
    assert read.schema_version == "1"
    assert read.stages[0].families[0].tables[0].rows == (("+3.4 pp",),)


@pytest.mark.parametrize(
    ("quantity", "written"),
    [
        (Quantity(value=0.125, unit="share"), "12.5%"),
        (Quantity(value=0.00001, unit="p"), "<0.0001"),
        (Quantity(value=-1.25, unit="difference", low=-2.0, high=0.5), "−1.25 [−2, +0.5]"),
        (Quantity(value=12345.6, unit="number"), "12,346"),
        (Quantity(value=-0.00001, unit="points"), "0.0 pp"),
        (3, "3"),
        (0.5, "0.5"),
        ("as it is", "as it is"),
        (None, "–"),
    ],
)
def test_cells_are_written_by_their_unit(quantity, written):
    assert formatting.cell(quantity) == written


def test_every_field_is_documented_in_the_schema():
    schema = RunResults.model_json_schema()
    records = schema["$defs"] | {"RunResults": schema}
    assert {"Comparison", "CategoryComparison", "Phase", "StageRecord"} <= set(records)
    undocumented = [
        f"{name}.{field}"
        for name, record in records.items()
        for field, spec in record["properties"].items()
        if not spec.get("description")
    ]
    assert undocumented == []


def test_the_schema_and_its_page_are_those_of_the_models():
    script = schema_script()
    remedy = "run python docs/reference/make_results_schema.py"
    assert json.loads((DOCS / "results.schema.json").read_text()) == RunResults.model_json_schema(), remedy
    assert (DOCS / "results-schema.md").read_text() == script.page(), remedy


@pytest.mark.parametrize(
    ("families", "sentence"),
    [
        (
            [("safety", rows(worse=1, none=5))],
            "DPO on reasoning made 1 of 6 safety benchmarks worse and left 5 undecided (adjusted p ≤ 0.05).",
        ),
        (
            [("safety", rows(none=6))],
            "DPO on reasoning left all 6 safety benchmarks undecided (adjusted p ≤ 0.05).",
        ),
        (
            [("safety", rows(same=3, safe=2, none=1))],
            "DPO on reasoning left 1 of 6 safety benchmarks undecided, cost 2 no more than the margin and left 3 "
            "within the margin (adjusted p ≤ 0.05).",
        ),
        (
            [("safety", rows(worse=2, better=1, none=1, missing=2))],
            "DPO on reasoning made 2 of 4 measured safety benchmarks worse, made 1 better, left 1 undecided "
            "and could not be measured on 2 more (adjusted p ≤ 0.05).",
        ),
        (
            [("safety", rows(worse=1)), ("policy", rows(changed=1, none=1))],
            "DPO on reasoning made the one safety benchmark worse; it changed 1 of 2 policy benchmarks for which "
            "neither direction is better and left 1 undecided (adjusted p ≤ 0.05).",
        ),
        (
            [("safety", rows(missing=3))],
            "DPO on reasoning has no measured safety benchmark: none of 3 could be run.",
        ),
        ([], "DPO on reasoning was not evaluated."),
    ],
)
def test_the_headline_says_what_was_found_and_no_more(families, sentence):
    assert headline((stage(*families),), domain="reasoning") == sentence


def test_the_headline_of_several_stages_is_the_last_one_against_the_start():
    first, last = stage(("safety", rows(worse=2))), stage(("safety", rows(none=2)), method="gt_sft")
    assert headline((first, last)).startswith("DPO then GT-SFT left all 2 safety benchmarks undecided")


def test_the_headline_of_two_models_names_them():
    compared = stage(("safety", rows(worse=1, none=1)), method="")
    assert headline((compared,)).startswith("Going from start to tuned made 1 of 2 safety benchmarks worse")


def test_verdict_lines_put_the_worst_first_and_give_reasons():
    family = stage(
        (
            "safety",
            [*rows(none=1, missing=1), comparison("x", "worse", n=60, delta=-0.25, n10=15, n01=0, p_adjusted=0.00004)],
        )
    ).families[0]
    lines = verdict_lines(family)
    assert [line.verdict for line in lines] == ["worse", "undecided", "not measured"]
    assert lines[0].items == ("x (−25.0 pp, n 60, adjusted p <0.0001)",)
    assert lines[2].items == ("missing0 (NOT_RUN: no data)",)


def test_a_category_of_too_few_samples_for_an_interval_is_read_back(tmp_path):
    category = CategoryComparison(
        category="c",
        n=1,
        before=0.5,
        after=0.7,
        delta=0.2,
        ci_low=math.nan,
        ci_high=math.nan,
        n10=None,
        n01=None,
        p_value=1.0,
        p_adjusted=1.0,
    )
    path = tmp_path / "results.json"
    row = comparison("probes", "undecided", categories=(category,))
    stages = (stage(("safety", [row])),)
    write_results(path, RunResults(title="t", headline="h", start="custom", provenance={}, stages=stages))
    assert '"ci_low": null' in path.read_text()
    assert math.isnan(read_results(path).stages[0].families[0].comparisons[0].categories[0].ci_low)
