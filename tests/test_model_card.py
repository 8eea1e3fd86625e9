"""A trained model as it is handed on: weights, and a card that says how it was made."""

import json
import re

import pytest
from pfh import testing as fakes
from pfh.hooks.ledger import Phase
from pfh.results.model_card import LINKED_FROM, model_card, write_model
from pfh.results.records import FamilyRecord

from tests.cli.pretence import results


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "store" / "weights"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"x" * LINKED_FROM)
    (folder / "README.md").write_text("somebody else's card")
    return folder


def run_results(**changes):
    family = FamilyRecord(
        family="fake", comparisons=fakes.analysis_spec().comparisons, before_artifact="a", after_artifact="b"
    )
    stage = (
        results()
        .stages[0]
        .model_copy(
            update={
                "families": (family,),
                "ledger": (Phase(name="training", seconds=75, tokens=12_000, updates=8, samples=32),),
                "budget": "8 updates",
                "options": {"beta": 0.1},
                "notes": ("12 of 16 prompts gave 20 pairs.",),
                **changes,
            }
        )
    )
    return results().model_copy(update={"stages": (stage,), "domain": "reasoning", "provenance": {"pfh": "0.1.0"}})


def test_the_card_states_data_method_budget_versions_and_drift(weights):
    card = model_card(run_results(), 0, 16, weights)
    assert "| 1 | `dpo` | reasoning | 16, seed 0 | 8 updates | 1 min 15 s | 12,000 | 8 | 32 |" in card
    assert "`beta=0.1`" in card
    assert "12 of 16 prompts gave 20 pairs." in card
    assert re.search(r"^- pfh: \d", card, re.MULTILINE)
    row = fakes.analysis_spec().comparisons[0]
    assert re.search(rf"^\| {row.benchmark} \| .* \| {row.verdict} \|$", card, re.MULTILINE)


def test_the_front_matter_is_what_a_hub_reads(weights):
    front = model_card(run_results(), 0, 16, weights).split("---")[1]
    described = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert json.loads(described["library_name"]) == "peft"
    assert json.loads(described["tags"]) == ["pfh", "dpo"]


def test_text_cannot_break_out_of_the_card(weights):
    card = model_card(run_results(notes=("<script>alert(1)</script> | [x](javascript:1)",)), 0, 16, weights)
    assert "<script>" not in card
    assert "\\| \\[x](javascript:1)" in card


def test_weights_are_not_stored_twice_and_the_store_stays_as_it_is(weights, tmp_path):
    folder = tmp_path / "out" / "model"
    for _ in range(2):
        write_model(folder, weights, run_results(), 0, 16)
    assert (folder / "adapter_model.safetensors").samefile(weights / "adapter_model.safetensors")
    assert not (folder / "adapter_config.json").samefile(weights / "adapter_config.json")
    assert (folder / "README.md").read_text().startswith("---\nbase_model:")
    assert (weights / "README.md").read_text() == "somebody else's card"
