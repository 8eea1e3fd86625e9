"""The families policy and representation together, as a user meets them: the report, the long tables, the notebook."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.hooks.launchers import EvalChoice
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store
from pfh_evals.representation import documents

from tests.test_report import CHROMIUM, chromium, needs_chromium
from tests.test_representation import requests_of
from tests.tiny import tiny_refuser

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "how-a-model-changed.ipynb"
DRAWN = re.compile(r'class="(js-line|point|hm)"')
"""What Plotly draws a line, a bar or a heat map with."""
PLOTS = {
    "policy": (
        "Length of completions",
        "Diversity by category: distinct-2",
        "Diversity by category: self-bleu",
        "Formats of completions",
        "Reliability diagram",
        "Divergence by place in the completion",
    ),
    "representation": (
        "Linear CKA of before and after, by layer",
        "Linear CKA of every layer before with every layer after (debiased)",
        "Accuracy of linear probes by layer",
        "How far each matrix moved, relative to its norm",
        "Singular values of the change, for the most changed matrix of each kind",
        "Projections of held-out requests on the start's refusal direction",
    ),
}


def compared(folder, start, tuned, *evals):
    """Compare two models by both families, and return the outcome; a direction is looked for with planted requests."""
    spec = CompareSpec(
        models=(str(start), str(tuned)),
        evals=tuple(EvalChoice.parse(each) for each in ("policy", "representation", *evals)),
        options={
            "evals:policy": {"samples": 2, "max_new_tokens": 6, "divergence_tokens": 4},
            "evals:representation": {"refusal_train": 12, "refusal_validation": 6},
        },
        limit=48,
        dtype="float32",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(documents, "requests", lambda *args, **kwargs: requests_of())
        return compare(spec, plugins=Plugins(), store=Store(folder / "store"), progress=Silent(), output=folder / "out")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A model that refuses, and one that has all but lost the direction, by every measure of both families."""
    folder = tmp_path_factory.mktemp("compared")
    start, tuned = tiny_refuser(folder / "start"), tiny_refuser(folder / "tuned", strength=0.001)
    return compared(folder, start, tuned, "forgetting:builtin-logic")


def families(outcome):
    return {family.family: family for family in outcome.results.stages[0].families}


def long_tables(outcome):
    return {file.stem: pq.read_table(file) for file in (outcome.folder / "tables").glob("*.parquet")}


def test_every_measure_of_both_families_is_there(outcome):
    found = families(outcome)
    assert {name: tuple(plot.title for plot in found[name].plots) for name in PLOTS} == PLOTS
    for name, left_out in (("policy", {"embedding-distance"}), ("representation", set())):
        missing = {row.benchmark: row.reason for row in found[name].comparisons if row.status != "MEASURED"}
        assert missing.keys() <= left_out, missing


def test_calibration_is_read_off_the_answers_of_the_family_forgetting(outcome):
    table = next(table for table in families(outcome)["policy"].tables if table.title == "Calibration")
    assert "the family forgetting (builtin-logic)" in table.note
    forgetting = families(outcome)["forgetting"].comparisons[0]
    assert table.rows[0][2] == forgetting.n > 40
    rows = long_tables(outcome)["policy-calibration"].to_pylist()
    for side, accuracy in (("before", forgetting.before), ("after", forgetting.after)):
        right = [row["right"] for row in rows if row["model"] == side]
        assert sum(right) / len(right) == pytest.approx(accuracy)


def test_long_tables_hold_what_the_report_shows_and_the_docs_name_every_column(outcome):
    tables = long_tables(outcome)
    assert {name.partition("-")[0] for name in tables} == set(PLOTS)
    for name, table in tables.items():
        docs = (ROOT / "docs" / "how-to" / f"{name.partition('-')[0]}.md").read_text(encoding="utf-8")
        row = next(line for line in docs.splitlines() if line.startswith(f"| `{name}` |"))
        assert [f"`{column}`" in row for column in table.column_names[3:]] == [True] * (table.num_columns - 3), name
        assert table.column_names[:3] == ["stage", "model_before", "model_after"]
        assert table.num_rows > 0
        values = [value for column in table.to_pydict().values() for value in column]
        assert all(math.isfinite(value) for value in values if isinstance(value, float))
    curve = next(table for table in families(outcome)["representation"].tables if "linear CKA" in table.title)
    same = [row for row in tables["representation-cka"].to_pylist() if row["layer_before"] == row["layer_after"]]
    assert [row["cka"] for row in same] == pytest.approx([row[1] for row in curve.rows], abs=1e-6)
    length = next(row for row in families(outcome)["policy"].comparisons if row.benchmark == "length")
    rows = [row for row in tables["policy-prompts"].to_pylist() if row["measure"] == "length"]
    assert sum(row["after"] - row["before"] for row in rows) / len(rows) == pytest.approx(length.delta)


@needs_chromium
def test_every_plot_drew_in_a_browser(outcome, tmp_path):
    report = outcome.folder / "report.html"
    dom, logged = chromium(report, tmp_path)
    assert logged == []
    boxes = dom.split("data-plot=")[1:]
    assert len(boxes) == sum(len(family.plots) for family in families(outcome).values())
    for box in boxes:
        assert "main-svg" in box
        assert DRAWN.search(box), box[:300]


@needs_chromium
def test_a_screenshot_shows_the_plots(outcome, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow reads the screenshot")
    shot = tmp_path / "report.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=6000"]
    flags += ["--window-size=1200,16000", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    subprocess.run(
        [CHROMIUM, *flags, (outcome.folder / "report.html").as_uri()], capture_output=True, timeout=180, check=True
    )
    with image.open(shot) as opened:
        colours = {colour: count for count, colour in opened.convert("RGB").getcolors(maxcolors=1 << 24)}
    blue, top_of_viridis = (0x00, 0x72, 0xB2), (0xFD, 0xE7, 0x25)
    assert colours.get(blue, 0) > 5000  # bars and lines of what is after
    assert colours.get(top_of_viridis, 0) > 1000  # the diagonal of the map of CKA


def test_a_model_compared_with_itself_does_not_drift_in_any_measure(tmp_path):
    start = tiny_refuser(tmp_path / "start")
    outcome = compared(tmp_path, start, start)
    found = families(outcome)
    assert {row.status for family in found.values() for row in family.comparisons} == {"MEASURED"}
    assert {row.delta for family in found.values() for row in family.comparisons} == {0}
    tables = {name: table.to_pylist() for name, table in long_tables(outcome).items()}
    assert {row["kl"] for row in tables["policy-divergence"]} == {0}
    assert all(row["before"] == row["after"] for row in tables["policy-prompts"])
    assert {row["norm"] for row in tables["representation-deltas"]} == {0}
    same = [row["cka"] for row in tables["representation-cka"] if row["layer_before"] == row["layer_after"]]
    assert [value for value in same if value is not None] == pytest.approx([1] * sum(v is not None for v in same))
    accuracy = {}
    for row in tables["representation-probes"]:
        accuracy.setdefault(row["probe"], []).append(row["accuracy"])
    assert accuracy["before"] == accuracy["after, probe of before"] == accuracy["after, retrained"]
    assert accuracy["control before"] == accuracy["control after"]
    for name, value in (
        ("representation-refusal-projections", "projection"),
        ("representation-refusal-scores", "score"),
    ):
        sides = [[row[value] for row in tables[name] if row["model"] == side] for side in ("before", "after")]
        assert sides[0] == sides[1]
    calibration = [
        [(row["confidence"], row["right"]) for row in tables["policy-calibration"] if row["model"] == side]
        for side in ("before", "after")
    ]
    assert calibration[0] == calibration[1]
    assert any("is 1.00 times what it was" in finding for finding in found["representation"].findings)


def executed(folder, monkeypatch, tmp_path):
    """Run the notebook on the results in `folder`; return its figures and what it printed."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel run the notebook")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PFH_RESULTS", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    figures = [
        output.data["application/vnd.plotly.v1+json"]
        for output in outputs
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    return figures, "".join(output.text for output in outputs if output.output_type == "stream")


def test_the_notebook_draws_every_figure_of_a_comparison(outcome, monkeypatch, tmp_path):
    figures, printed = executed(outcome.folder, monkeypatch, tmp_path)
    assert len(figures) == 12
    assert all(figure["data"] for figure in figures)
    assert "has no table" not in printed
    assert "expected calibration error" in json.dumps(figures)


def test_the_notebook_says_what_a_run_has_not(outcome, monkeypatch, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "results.json").write_bytes((outcome.folder / "results.json").read_bytes())
    figures, printed = executed(bare, monkeypatch, tmp_path)
    assert not any(figure["data"] for figure in figures)
    assert "This run has no table representation-cka" in printed


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
