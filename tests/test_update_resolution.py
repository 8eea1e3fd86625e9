"""Small updates in bfloat16: what is left of them is measured, and adapters are measured whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pfh.hooks.backends import EngineSpec, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.ledger import Phase
from pfh.kit.update_resolution import UpdateLeft, update_left
from pfh.steps.resolution import UPDATE_LEFT, UPDATE_MEASURED, with_measured_update
from pfh.steps.training import TrainedStage
from pfh_backends.hf.engine import HfEngine
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.tiny import tiny_adapter, tiny_llama

ASKED = [ScoringRequest(id=str(i), context="The sky is", continuation=word) for i, word in enumerate((" blue", " red"))]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a model whose weights are bfloat16 numbers, as most checkpoints' are."""
    folder = tiny_llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def small_adapter(base: Path, folder: Path, scale: float, **changes: object) -> Path:
    adapter = tiny_adapter(base, folder, **changes)
    file = adapter / "adapter_model.safetensors"
    save_file({name: t * scale if "lora_B" in name else t for name, t in load_file(file).items()}, file)
    return adapter


def checkpoint(base: Path) -> Checkpoint:
    return Checkpoint(name="start", path=base, fingerprint="start")


def merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()


@pytest.mark.parametrize("changes", [{}, {"use_rslora": True, "lora_alpha": 16}])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_share_is_the_projection_of_the_rounded_update(
    base: Path, tmp_path: Path, scale: float, changes: dict[str, object]
) -> None:
    adapter = small_adapter(base, tmp_path / "adapter", scale, **changes)
    before = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    kept = exact = 0.0
    for name, after in merged(base, adapter).items():
        difference = (after - before[name]).double()
        kept += float(((after.bfloat16().double() - before[name].double()) * difference).sum())
        exact += float((difference**2).sum())
    assert update_left(checkpoint(base), adapter) == pytest.approx(kept / exact, abs=0.02)


def test_the_share_of_a_training_of_all_weights(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-5)  # below half a unit in the last place of every bfloat16
    model.save_pretrained(tmp_path / "full")
    assert update_left(checkpoint(base), tmp_path / "full") == 0.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    model.save_pretrained(tmp_path / "large")
    assert update_left(checkpoint(base), tmp_path / "large") == pytest.approx(1.0, abs=0.01)


def test_an_unchanged_model_has_lost_nothing() -> None:
    left = UpdateLeft(torch.bfloat16)
    left.add(torch.ones(2, 2), torch.zeros(2, 2))
    assert left.share == 1.0


def test_a_small_adapter_counts_whole_when_it_is_measured_in_bfloat16(base: Path, tmp_path: Path) -> None:
    adapter = small_adapter(base, tmp_path / "adapter", 2e-3)
    tuned = checkpoint(base).with_adapter(adapter, name="tuned", fingerprint="tuned")
    assert (update_left(checkpoint(base), adapter) or 0) < 0.5
    engine = HfEngine(EngineSpec(checkpoint=checkpoint(base), dtype="bfloat16"))
    model, start = engine._model, engine.loglikelihood(ASKED)
    pristine = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine.use(tuned)
    layer = model.model.layers[0].self_attn.q_proj
    exact = (
        merged(base, adapter)["model.layers.0.self_attn.q_proj.weight"]
        - pristine["model.layers.0.self_attn.q_proj.weight"].float()
    )
    torch.testing.assert_close(layer.get_delta_weight("default"), exact, atol=1e-6, rtol=1e-2)
    probe = torch.randn(4, exact.shape[1]).bfloat16()
    torch.testing.assert_close(layer(probe).float(), probe.float() @ (pristine[
        "model.layers.0.self_attn.q_proj.weight"].float() + exact).T, atol=2e-2, rtol=2e-2)  # fmt: skip
    assert engine.loglikelihood(ASKED)
    engine.use(checkpoint(base))
    assert engine._model is model
    assert all(torch.equal(tensor, pristine[name]) for name, tensor in model.state_dict().items())
    assert engine.loglikelihood(ASKED) == start


def test_a_large_adapter_is_merged_in_bfloat16_and_any_in_float32(base: Path, tmp_path: Path) -> None:
    large = small_adapter(base, tmp_path / "large", 50.0)
    small = small_adapter(base, tmp_path / "small", 2e-3)
    for adapter, dtype in ((large, "bfloat16"), (small, "float32")):
        tuned = checkpoint(base).with_adapter(adapter, name="tuned", fingerprint=str(adapter))
        engine = HfEngine(EngineSpec(checkpoint=tuned, dtype=dtype))
        assert isinstance(engine._model.model.layers[0].self_attn.q_proj, torch.nn.Linear)
        assert not hasattr(engine._model.model.layers[0].self_attn.q_proj, "lora_A")


@pytest.mark.parametrize(
    ("adapter", "left", "dtype", "measured", "said"),
    [
        (None, 0.4, "bfloat16", 0.4, "Warning: 40% of the update is left .* use --dtype float32"),
        (None, 0.4, "float32", 1.0, "Warning: 40% of the update is left .* whole here, in float32"),
        ("a", 0.4, "bfloat16", 1.0, "Warning: 40% of the update is left .* the adapter beside them"),
        ("a", 0.95, "bfloat16", 0.95, ""),
        (None, 0.95, "float32", 1.0, ""),
    ],
)
def test_what_is_left_where_it_is_measured_is_in_the_ledger_and_under_nine_tenths_a_warning(
    adapter: str | None, left: float, dtype: str, measured: float, said: str
) -> None:
    phases = (Phase(name="training", seconds=1.0, updates=1, notes={UPDATE_LEFT: left}),)
    after = Checkpoint(name="after", path=Path("base"), adapter=adapter and Path(adapter), fingerprint="f")
    stage = TrainedStage(checkpoint=after, phases=phases, curves=(), notes=("first",))
    found = with_measured_update(stage, dtype)
    assert found.phases[-1].notes == {UPDATE_LEFT: left, UPDATE_MEASURED: measured}
    assert found.notes[0] == "first"
    assert bool(said) == (len(found.notes) == 2)
    assert re.search(said, found.notes[-1])
    assert with_measured_update(stage, "float16") == stage
    assert with_measured_update(TrainedStage(checkpoint=after, phases=(), curves=(), notes=()), dtype).notes == ()
