"""Versions beside each other: the anchor decides, what was not measured is no gap closed, and what broke is named."""

from __future__ import annotations

import json
import re

import pytest
from pfh.commands.drift import Asked, drift_over
from pfh.commands.gate import Samples, gate
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.report.drift_page import headline, line_of
from pfh.results.drift import Version, drift, is_sealed
from pfh.results.records import FamilyRecord, ModelRecord, RunResults, StageRecord, write_results
from pfh.store.evaluations import write_evaluation
from pfh.store.store import Store
from pfh_cli.main import app
from typer.testing import CliRunner

N = 200


def row(scores, name="skill", version="1", better=True, **fields):
    samples = tuple(
        Sample(id=f"{name}-{place}", benchmark=name, prompt=f"ask {place}", completion="c", score=score)
        for place, score in enumerate(scores)
    )
    return Benchmark(name=name, version=version, metric="accuracy", higher_is_better=better, samples=samples, **fields)


def version(name, *rows, family="fake"):
    return Version(name=name, evaluations={family: Evaluation(family=family, benchmarks=rows, model=name)})


def right(count):
    return [float(place < count) for place in range(N)]


def test_ten_small_steps_are_one_large_change_and_the_anchor_says_so():
    versions = [version(f"v{step}", row(right(180 - 2 * step))) for step in range(11)]
    (found,) = drift(versions).rows
    assert all(cell.step_verdict not in ("worse", "better") for cell in found.cells[1:])
    assert found.cells[-1].change == pytest.approx(-0.1)
    assert found.cells[-1].verdict == "worse"
    assert (found.cells[0].change, found.cells[0].score) == (None, 0.9)


def test_what_was_not_measured_or_otherwise_is_said_and_the_line_has_a_gap():
    versions = [
        version("v1", row(right(100)), row(right(100), "other")),
        version("v2", row(right(90), version="2")),
        version("v3", row(right(90)), row([], "other")),
        version("v4", row(right(80))),
    ]
    rows = {each.benchmark: each for each in drift(versions).rows}
    assert rows["skill"].cells[1].status == "ERROR"
    assert "version 1 before, 2 after" in rows["skill"].cells[1].reason
    assert rows["other"].cells[1].status == "NOT_RUN"
    assert rows["other"].cells[2].status == "INSUFFICIENT"
    assert line_of(rows["skill"]).parts == (line_of(rows["skill"]).parts[0],)
    assert len(line_of(rows["skill"]).parts[0].split()) == 2  # v3 and v4; v1 stands alone before the gap


def test_an_item_is_named_at_the_version_where_it_broke_and_stayed_broken():
    scores = {
        "steady": (1, 1, 1, 1),
        "broke at v2": (1, 0, 0, 0),
        "broke at v3": (1, 1, 0, 0),
        "came back": (1, 0, 0, 1),
        "broke again": (1, 0, 1, 0),
        "never right": (0, 0, 0, 0),
    }
    versions = [version(f"v{place + 1}", row([float(each[place]) for each in scores.values()])) for place in range(4)]
    found = drift(versions)
    named = {list(scores)[int(each.item.split("-")[1])]: each.version for each in found.broken}
    assert named == {"broke at v2": "v2", "broke at v3": "v3", "broke again": "v4"}
    assert found.broke_at() == {"v1": 0, "v2": 1, "v3": 1, "v4": 1}
    assert sum(flip.worse is True for flip in found.flips) == 5


def test_the_headline_counts_in_words_and_names_no_version_that_is_one_of_several():
    def told(**scores):
        names = ["m", *(f"m+{name}" for name in scores)]
        columns = [[1.0] * 3, *scores.values()]
        return headline(drift([version(name, row(each)) for name, each in zip(names, columns, strict=True)]), None)

    assert told(sft=[1.0, 1.0, 0.0]).endswith("1 item broke and stayed broken, all (1) at +sft.")
    assert told(sft=[1.0, 0.0, 1.0], dpo=[0.0, 0.0, 1.0]).endswith("2 items broke and stayed broken.")
    both = told(sft=[1.0, 0.0, 0.0], dpo=[0.0, 0.0, 0.0])
    assert both.startswith("+dpo against m: ")
    assert both.endswith("3 items broke and stayed broken, most of them (2) at +sft.")


def test_where_less_is_better_broken_is_the_other_way_round():
    versions = [version("v1", row([0.0, 1.0], better=False)), version("v2", row([1.0, 0.0], better=False))]
    (broken,) = drift(versions).broken
    assert (broken.item, broken.good, broken.bad) == ("skill-0", 0.0, 1.0)


def test_prompts_of_sensitive_benchmarks_are_not_shown():
    versions = [version("v1", row([1.0], sensitive=True)), version("v2", row([0.0], sensitive=True))]
    found = drift(versions)
    assert [each.prompt for each in (*found.broken, *found.flips)] == ["", ""]


def test_a_sealed_share_is_fixed_and_out_of_every_figure():
    ids = [f"item-{place}" for place in range(2000)]
    share = sum(is_sealed(each, 0.5) for each in ids) / len(ids)
    assert 0.45 < share < 0.55
    assert {each for each in ids if is_sealed(each, 0.2)} < {each for each in ids if is_sealed(each, 0.5)}
    versions = [version("v1", row(right(N))), version("v2", row(right(0)))]
    found = drift(versions, sealed=0.5)
    assert 0 < found.rows[0].cells[1].n < N
    assert not [each for each in found.broken if is_sealed(each.item, 0.5)]


def stored(store, evaluation):
    inputs = {"family": evaluation.family, "model": evaluation.model}
    return store.make("evaluation", inputs, lambda work, folder: write_evaluation(folder, evaluation)).key


def test_the_page_and_its_data_are_written_and_the_contract_is_held_on_what_is_sealed(tmp_path):
    store = Store(tmp_path / "store", Silent())
    names = ["<b>v1</b>", "v2", "v3"]
    keys = [
        stored(store, version(name, row(right(count))).evaluations["fake"])
        for name, count in zip(names, (200, 190, 40), strict=True)
    ]
    contract = tmp_path / "contract.yaml"
    contract.write_text("contract: 1\nmust_hold: [{what: fake/skill, margin: 5pp}]\n")
    asked = Asked(versions=tuple(keys), html=tmp_path / "out" / "d.html", contract=contract, sealed=0.5)
    outcome = drift_over(asked, plugins=Plugins(), store=store, progress=Silent())
    assert outcome.exit_code == 1
    assert outcome.gate is not None
    sealed = int(re.search(r"n = (\d+)", outcome.gate.clauses[0].said)[1])
    shown = outcome.drift.rows[0].cells[2].n
    assert sealed + shown == N
    page = asked.html.read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "broke and stayed broken" in page
    data = json.loads(asked.html.with_suffix(".json").read_text())
    assert len(data["broken"]) == len(outcome.drift.broken) > 0
    import pyarrow.parquet as pq

    table = pq.read_table(asked.html.with_suffix(".parquet"))
    assert table.num_rows == 3 * shown


def test_the_command_says_what_is_wrong_in_a_line(tmp_path):
    store = Store(tmp_path / "store", Silent())
    keys = [stored(store, version(name, row(right(5))).evaluations["fake"]) for name in ("a", "b")]

    def call(*arguments):
        return CliRunner().invoke(
            app, ["drift", *arguments, "--store", str(store.root), "--html", str(tmp_path / "d.html")]
        )

    assert call(*keys).exit_code == 0
    for arguments, said in (
        ((keys[0], "0" * 20), "has no evaluation"),
        ((*keys, "--anchor", "nobody"), "is none of the versions"),
        ((keys[0],), "There is no"),
    ):
        result = call(*arguments)
        assert isinstance(result.exception, UserError), arguments
        assert said in str(result.exception)


def test_a_run_of_several_stages_is_its_start_and_the_model_after_each(tmp_path):
    store = Store(tmp_path / "store", Silent())
    counts = {"start": 200, "sft": 200, "dpo": 100}
    keys = {name: stored(store, version(name, row(right(count))).evaluations["fake"]) for name, count in counts.items()}
    start, sft, dpo = (ModelRecord(name=name, fingerprint=name) for name in counts)

    def stage(method, after):
        record = FamilyRecord(
            family="fake", comparisons=(), before_artifact=keys["start"], after_artifact=keys[after.name]
        )
        return StageRecord(method=method, before=start, after=after, families=(record,))

    results = RunResults(
        title="t", headline="h", start="s", provenance={}, stages=(stage("gt-sft", sft), stage("dpo", dpo))
    )
    (tmp_path / "run").mkdir()
    write_results(tmp_path / "run" / "results.json", results)
    asked = Asked(versions=(str(tmp_path / "run"),), html=tmp_path / "d.html")
    found = drift_over(asked, plugins=Plugins(), store=store, progress=Silent()).drift
    assert found.versions == ("start", "1. gt-sft", "2. dpo")
    assert [cell.score for cell in found.rows[0].cells] == [1.0, 1.0, 0.5]
    assert found.broke_at() == {"start": 0, "1. gt-sft": 0, "2. dpo": 100}
    contract = tmp_path / "contract.yaml"
    contract.write_text("contract: 1\nmust_hold: [{what: fake/skill, margin: 5pp}]\n")
    held, code = gate(tmp_path / "run", contract, samples=Samples(store, 0.5))
    assert code == 1
    count = int(re.search(r"n = (\d+)", held.clauses[0].said)[1])
    assert count == sum(is_sealed(f"skill-{place}", 0.5) for place in range(N))
    contract.write_text("contract: 1\nfor: {stages: [dpo]}\nmust_hold: [{what: fake/skill}]\n")
    with pytest.raises(UserError, match="single stages"):
        gate(tmp_path / "run", contract, samples=Samples(store, 0.5))
    with pytest.raises(UserError, match="is a model"):
        drift_over(
            Asked(versions=(str(tmp_path / "run"), str(tiny(tmp_path)))),
            plugins=Plugins(),
            store=store,
            progress=Silent(),
        )


def tiny(folder):
    from tests.tiny import tiny_llama

    return tiny_llama(folder / "model")
