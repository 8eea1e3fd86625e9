"""`pfh report`: stored results, shown again."""

import json
import re
from pathlib import Path

import pytest
from pfh import testing as fakes
from pfh.results.records import FamilyRecord, write_results
from pfh.store.evaluations import write_evaluation
from pfh.store.store import Store

from tests.cli.pretence import results


def test_results_are_shown_again(call, folder: Path):
    table = call("report", str(folder))
    as_json = call("report", str(folder / "results.json"), "--json")

    assert "Nothing changed." in table.stdout
    assert json.loads(as_json.stdout) == json.loads((folder / "results.json").read_text())


def test_the_html_is_written_anew_and_lost_samples_are_told(call, folder: Path, tmp_path: Path):
    page = tmp_path / "pages" / "again.html"

    written = call("report", str(folder), "--html", str(page), "--store", str(tmp_path / "store"))

    assert written.returncode == 0, written.stderr
    assert written.stdout == f"report: {page}\n"
    assert "no longer holds the samples of safety" in written.stderr
    assert "Nothing changed." in page.read_text()


def test_the_html_holds_the_samples_that_the_store_still_has(call, tmp_path: Path):
    spec = fakes.analysis_spec()
    store = Store(tmp_path / "store")
    before, after = (
        store.make("evaluation", {"which": name}, lambda work, made, it=evaluation: write_evaluation(made, it)).key
        for name, evaluation in (("before", spec.before), ("after", spec.after))
    )
    family = FamilyRecord(family="fake", comparisons=spec.comparisons, before_artifact=before, after_artifact=after)
    stage = results().stages[0].model_copy(update={"families": (family,)})
    write_results(tmp_path / "results.json", results().model_copy(update={"stages": (stage,)}))

    written = call("report", str(tmp_path), "--html", str(tmp_path / "again.html"), "--store", str(store.root))

    assert (written.returncode, written.stderr) == (0, "")
    assert "fallen-7" in (tmp_path / "again.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "name a folder that pfh run wrote"),
        ("{}", "holds no results that this pfh can read"),
        ("no json", "holds no results that this pfh can read"),
    ],
)
def test_what_holds_no_results_is_told(call, tmp_path: Path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)

    ended = call("report", str(tmp_path))

    assert ended.returncode == 2
    assert re.fullmatch(r"pfh: [^\n]*\n", ended.stderr)
    assert message in ended.stderr


def test_one_html_file_is_for_one_run(call, folder: Path, tmp_path: Path):
    ended = call("report", str(folder), str(folder), "--html", str(tmp_path / "x.html"))

    assert ended.returncode == 2
    assert "--html writes the report of one run, but 2 were given" in ended.stderr


def test_runs_are_summed_up_a_line_each(call, folder: Path):
    table = call("report", str(folder), str(folder), "--summary")
    as_json = call("report", str(folder), str(folder), "--summary", "--json")

    assert table.returncode == 0, table.stderr
    assert table.stdout.count("DPO") == 2
    assert "Matched (within 5%): start start; domain " in table.stdout
    assert "Not matched" not in table.stdout
    assert [line["method"] for line in json.loads(as_json.stdout)] == ["DPO", "DPO"]


def test_one_model_by_itself_has_no_line(call, folder: Path):
    write_results(folder / "results.json", results().model_copy(update={"stages": ()}))

    ended = call("report", str(folder), "--summary")

    assert ended.returncode == 2
    assert "holds one model measured by itself" in ended.stderr
