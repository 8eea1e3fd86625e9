"""CPI-FT: cores, their overlap and fusion by hand, and entries that stay as they are through AdamW."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pfh.errors import StepFailedError, UserError
from pfh.kit.tensors import Tensors
from pfh.registry.plugins import Plugins
from pfh_methods.cores import core_of, freeze, fused, joined, overlap, stages_of

from tests.letters import weights
from tests.test_held_near import spec_of, trainer_for
from tests.tiny import tiny_llama


def test_a_core_is_what_moved_most_over_all_matrices_together(tmp_path):
    start, probed = (Tensors(tiny_llama(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    core = core_of(start, probed, 0.01)
    assert not any("embed" in name or "norm" in name for name in core)
    moved = {name: (probed[name] - start[name]).abs().reshape(-1) for name in core}
    total = sum(len(each) for each in moved.values())
    assert sum(map(len, core.values())) == round(0.01 * total)
    least = min(float(moved[name][places].min()) for name, places in core.items() if len(places))
    outside = [np.delete(moved[name].numpy(), places.numpy()) for name, places in core.items()]
    assert max(float(each.max()) for each in outside) <= least
    whole = core_of(start, probed, 1.0)
    assert all(len(whole[name]) == len(moved[name]) for name in whole)


def places(*numbers: int) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(numbers)}


def test_tasks_whose_cores_overlap_are_one_stage_also_through_a_third():
    assert overlap(places(1, 2), places(1, 2)) == 1
    assert overlap(places(1, 2, 3), places(3, 4)) == 0.25
    assert overlap(places(1), {"other": torch.tensor([1])}) == 0
    chain = {"a": places(1, 2), "b": places(2, 3), "c": places(3, 4), "d": places(9)}
    assert stages_of(chain, 0.3) == (("a", "b", "c"), ("d",))
    assert stages_of(chain, 0.3, last="a") == (("d",), ("a", "b", "c"))
    assert stages_of(chain, 0.0) == (("a", "b", "c", "d"),)
    assert len(stages_of(chain, 0.5)) == 4
    assert joined([places(1, 2), places(2, 5)])["w"].tolist() == [1, 2, 5]


def test_each_core_keeps_its_own_values_and_the_one_that_moved_more_wins():
    start = torch.zeros(4)
    one, two = torch.tensor([1.0, 2.0, 0.5, 0.0]), torch.tensor([0.0, 3.0, 0.5, 1.0])
    found = fused("w", start, [one, two], [places(0, 1), places(1, 3)]).tensor
    assert found[[0, 1, 3]].tolist() == [1.0, 3.0, 1.0]
    alone = fused("w", start, [one, two], [places(0, 1, 2, 3), {}]).tensor
    assert torch.equal(alone, one)


def test_frozen_entries_keep_their_bits_through_adamw_with_weight_decay(tiny_llama_path, tmp_path):
    spec = spec_of(tiny_llama_path, tmp_path, adapter="full", max_steps="3")
    trainer = trainer_for(spec, count=16)
    trainer.args.weight_decay = 0.1
    name = "model.layers.0.mlp.up_proj.weight"
    kept = torch.arange(0, 500, 7)
    stray = freeze(trainer, {"elsewhere.weight": kept})
    with pytest.raises(StepFailedError, match=r"cannot keep entries of elsewhere\.weight"):
        stray.on_train_begin(trainer.args, trainer.state, trainer.control)
    trainer.add_callback(freeze(trainer, {name: kept}))
    trainer.train()
    before = torch.from_numpy(weights(tiny_llama_path)[name]).reshape(-1)
    after = dict(trainer.model.named_parameters())[name].detach().reshape(-1)
    assert trainer.state.global_step == 3
    assert torch.equal(after[kept], before[kept])
    others = torch.ones(len(before), dtype=torch.bool)
    others[kept] = False
    assert (after[others] != before[others]).float().mean() > 0.9


def test_the_cores_of_earlier_tasks_are_as_they_were_when_the_domain_has_been_trained(tiny_llama_path, tmp_path):
    spec = spec_of(
        tiny_llama_path, tmp_path, "cpi-ft", tasks="refusals", task_rows="8", core_share="0.05", overlap="0.9"
    )
    result = Plugins().train("cpi-ft", spec)
    assert [phase.name for phase in result.phases] == [
        "probe of the domain",
        "probe of refusals",
        "stage 1",
        "stage 2",
    ]
    start, probed = Tensors(tiny_llama_path), Tensors(tmp_path / "probed-1")
    core = core_of(start, probed, 0.05)
    staged, trained = Tensors(tmp_path / "staged-0"), Tensors(result.path)
    for name, kept in core.items():
        assert torch.equal(trained[name].reshape(-1)[kept], staged[name].reshape(-1)[kept])
    assert any("in this order, refusals; then the domain" in note for note in result.notes)


def test_what_cannot_be_kept_is_told(tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match="leave it out"):
        Plugins().options("methods", "cpi-ft", {"adapter": "lora"})
    spec = spec_of(tiny_llama_path, tmp_path, "cpi-ft", tasks="builtin")
    with pytest.raises(UserError, match="rows without answers"):
        Plugins().check_stage("cpi-ft", spec)
    none = dataclasses.replace(spec, options=spec.options.model_copy(update={"tasks": ""}))
    with pytest.raises(UserError, match="none is named"):
        Plugins().check_stage("cpi-ft", none)
