"""The notebook from a study's report to the figures of a paper runs on a study that was made up."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pfh.results.study.records import EffectRecord

from tests.test_study_report import analyzed, made

NOTEBOOK = Path(__file__).parents[1] / "examples" / "a-study-in-figures.ipynb"


@pytest.fixture
def report(tmp_path):
    found, table = analyzed(*made({("gt-sft", "target"): 0.2, ("grpo", "safety"): -0.3}, documents=200))
    place = tmp_path / "study-report"
    place.mkdir()
    (place / "study.json").write_text(found.model_dump_json())
    table.to_parquet(place / "samples.parquet", index=False)
    rows = [row.model_dump(mode="json") for row in found.effects]
    pd.DataFrame(rows, columns=list(EffectRecord.model_fields)).to_parquet(place / "effects.parquet", index=False)
    return tmp_path, found


def test_it_draws_every_figure_from_the_report(report, monkeypatch, capsys):
    folder, found = report
    monkeypatch.setenv("PFH_STUDY", str(folder))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in found.recommendations)
    drawn = [names["figure_1"], names["figure_2"], names["figure_4"], names["figure_5"], *names["figures_3"].values()]
    assert all(len(figure.data) for figure in drawn)
    assert set(names["figures_3"]) == {"forgetting", "safety"}
    heat = names["figure_1"].data[0]
    place = list(heat.y).index("grpo"), list(heat.x).index("safety")
    assert heat.z[place[0]][place[1]] == pytest.approx(-30, abs=10)
    assert heat.z[list(heat.y).index("none")][place[1]] == 0  # what is not significant has no colour
    assert not any(cell.get("outputs") for cell in cells)
