"""Weights merged at no training cost, against NumPy and against the models themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit import merging
from pfh.kit.merge_models import merge_models
from pfh.kit.merging import Recipe, interpolated, mean, merged, slerp
from pfh.kit.rows import read_rows, rows_fingerprint
from pfh.kit.tensors import Tensors, write_tensors
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.sources.models import resolve
from pfh.steps.domains import NO_DOMAIN
from pfh.steps.session import Session
from pfh.steps.training import train_stage
from pfh.store.store import Store

from tests.letters import same, weights
from tests.tiny import tiny_adapter, tiny_llama

PROMPTS = [({"role": "user", "content": text},) for text in ("Say one.", "Why is the sky blue?", "Z")]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_task_vectors_are_merged_as_numpy_merges_them():
    start, models = drawn(40, 30), [drawn(40, 30, seed=1), drawn(40, 30, seed=2), drawn(40, 30, seed=3)]
    base, vectors = start.numpy(), np.stack([(model - start).numpy() for model in models])
    added = merged(start, models, "w", Recipe(how="task-arithmetic", scale=0.3)).numpy()
    np.testing.assert_allclose(added, base + 0.3 * vectors.sum(axis=0), atol=1e-5)
    kept = []
    for vector in vectors:
        least = np.sort(np.abs(vector).reshape(-1))[-int(0.2 * vector.size)]
        kept.append(np.where(np.abs(vector) >= least, vector, 0))
    trimmed = np.stack(kept)
    sign = np.where(trimmed.sum(axis=0) >= 0, 1, -1)
    agreeing = (np.sign(trimmed) == sign) & (trimmed != 0)
    expected = (trimmed * agreeing).sum(axis=0) / np.maximum(agreeing.sum(axis=0), 1)
    found = merged(start, models, "w", Recipe(how="ties", density=0.2)).numpy()
    np.testing.assert_allclose(found, base + expected, atol=1e-5)


@pytest.mark.parametrize("kept", [0, 1, 300, 999, 1000])
def test_the_least_magnitude_that_is_kept_is_that_of_a_sort(kept, monkeypatch):
    monkeypatch.setattr(merging, "BLOCK", 64)
    dice = np.random.default_rng(kept)
    vector = (dice.normal(size=1000) * 10.0 ** dice.integers(-30, 30, size=1000)).astype(np.float32)
    vector[dice.integers(0, 1000, 200)] = vector[7]
    least = merging._least_kept(torch.zeros(1000), torch.from_numpy(vector), kept)
    magnitudes = np.sort(np.abs(vector))[::-1]
    assert least == (int(magnitudes[kept - 1].view(np.int32)) if kept else merging.ABOVE_ALL)


@pytest.mark.parametrize("how", ["dare", "dare-ties"])
def test_dare_drops_the_same_share_for_one_seed_and_rescales_what_is_left(how):
    start, model = torch.zeros(500, 200), torch.ones(500, 200)
    recipe = Recipe(how=how, drop=0.9, seed=3)
    found = merged(start, [model], "w", recipe)
    assert sorted(set(found.unique().tolist())) == pytest.approx([0.0, 10.0])
    assert float((found > 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(found, merged(start, [model], "w", recipe))
    assert not torch.equal(found, merged(start, [model], "another", recipe))


def test_an_interpolation_is_exact_at_its_ends_and_where_nothing_changed():
    start, model = drawn(7, 5), drawn(7, 5, seed=1)
    model[0] = start[0]
    assert interpolated(start, model, 0) is start
    assert interpolated(start, model, 1) is model
    between = interpolated(start, model, 0.3)
    assert torch.equal(between[0], start[0])
    np.testing.assert_allclose(between.numpy(), 0.7 * start.numpy() + 0.3 * model.numpy(), atol=1e-6)
    count = torch.tensor([3])
    assert interpolated(count, count + 1, 0.5) == 4
    assert mean([drawn(3), 3 * drawn(3)]).numpy() == pytest.approx(2 * drawn(3).numpy())


def test_slerp_keeps_to_the_great_circle_and_to_the_line_where_that_is_one():
    one, two = torch.nn.functional.normalize(drawn(2, 64), dim=-1)
    halfway, line = slerp(one, two, 0.25)
    assert not line
    assert float(halfway.norm()) == pytest.approx(1, abs=1e-6)
    angle = np.arccos(float(one @ two))
    assert np.arccos(float(one @ halfway)) == pytest.approx(0.25 * angle, abs=1e-4)
    assert slerp(one, two, 0)[0] is one
    assert slerp(one, two, 1)[0] is two
    near, line = slerp(one, one + 1e-4 * two, 0.5)
    assert line
    assert near.numpy() == pytest.approx((one + 5e-5 * two).numpy(), abs=1e-6)


def test_tensors_are_written_in_pieces_and_read_back(tmp_path):
    source = Tensors(tiny_llama(tmp_path / "one"))
    folder = tmp_path / "pieces"
    folder.mkdir()
    write_tensors(folder, source, {name: source.dtype(name) for name in source}, source.__getitem__, shard_bytes=9000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert json.loads((folder / "model.safetensors.index.json").read_text())["metadata"]["total_size"] > 0
    found = Tensors(folder)
    assert set(found) == set(source)
    assert all(torch.equal(found[name], source[name]) for name in source)


def checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(name=path.name, path=path, fingerprint=path.name)


def test_models_of_different_kinds_are_refused_and_other_names_are_rewritten(tmp_path):
    from safetensors.torch import load_file, save_file

    one, two = tiny_llama(tmp_path / "one"), tiny_llama(tmp_path / "two", seed=1)

    def halfway(*paths: Path) -> Path:
        return merge_models(
            [checkpoint(path) for path in paths],
            lambda name, tensors: mean(tensors),
            tmp_path / "out",
            work=tmp_path / "work",
            progress=Silent(),
        )

    expected = weights(halfway(one, two))
    tensors = load_file(two / "model.safetensors")
    renamed = {name.removeprefix("model."): value for name, value in tensors.items()}
    save_file(renamed, two / "model.safetensors", metadata={"format": "pt"})
    assert same(weights(halfway(one, two)), expected)
    with pytest.raises(UserError, match="another kind of model than one: its"):
        halfway(tiny_llama(tmp_path / "wide", hidden_size=48), one)
    with pytest.raises(UserError, match="only one of the two has the tensor"):
        halfway(one, tiny_llama(tmp_path / "deep", num_hidden_layers=3))


@pytest.fixture
def session(tmp_path):
    opened = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), dtype="float32")
    yield opened
    opened.release()


def logprobs(session, model):
    engine = session.engine(model)
    return engine.next_token_logprobs([engine.render(prompt) for prompt in PROMPTS])


def stage(session, model, method, origin=None, **options):
    filled = session.plugins.options("methods", method, options)
    return train_stage(session, model, NO_DOMAIN, method, options=filled, seed=0, origin=origin).checkpoint


def test_the_ends_of_wise_ft_give_the_two_models_bit_for_bit_and_an_adapter_scaled_its_curve(
    session, tiny_llama_path, tmp_path
):
    start = resolve(str(tiny_llama_path), cache_dir=session.store.cache)
    folder = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    trained = start.with_adapter(folder, name="trained", fingerprint="trained")
    ends = {alpha: stage(session, trained, "wise-ft", start, alpha=str(alpha)) for alpha in (0, 1)}
    assert np.array_equal(logprobs(session, ends[0]), logprobs(session, start))
    assert np.array_equal(logprobs(session, ends[1]), logprobs(session, trained))
    halfway = stage(session, trained, "wise-ft", start, alpha="0.3")
    settings = json.loads((folder / "adapter_config.json").read_text())
    for alpha, expected in ((0.0, start), (1.0, trained), (0.3, halfway)):
        changed = settings | {"lora_alpha": alpha * settings["lora_alpha"]}
        (folder / "adapter_config.json").write_text(json.dumps(changed))
        scaled = start.with_adapter(folder, name="scaled", fingerprint=f"scaled-{alpha}")
        found, wanted = logprobs(session, scaled), logprobs(session, expected)
        assert np.array_equal(found, wanted) if alpha in (0.0, 1.0) else np.abs(found - wanted).max() < 1e-5


def test_a_later_stage_knows_what_the_run_began_with_and_merges_are_keyed_by_it(session, tiny_llama_path, tmp_path):
    start = resolve(str(tiny_llama_path), cache_dir=session.store.cache)
    other, third = (
        resolve(str(tiny_llama(tmp_path / name, seed=seed)), cache_dir=session.store.cache)
        for name, seed in (("other", 1), ("third", 2))
    )
    from_start = stage(session, other, "merge", start, how="task-arithmetic", scale="0.5")
    assert from_start == stage(session, other, "merge", start, how="task-arithmetic", scale="0.5")
    from_third = stage(session, other, "merge", third, how="task-arithmetic", scale="0.5")
    assert from_start.fingerprint != from_third.fingerprint
    halfway = stage(session, other, "wise-ft", start, alpha="0.5")
    for name, value in weights(halfway.path).items():
        np.testing.assert_allclose(weights(from_start.path)[name], value, atol=1e-6)
    soup = stage(session, other, "soup", start, models=f"{start.path},{third.path}")
    name = "model.layers.0.mlp.up_proj.weight"
    expected = np.mean([weights(each.path)[name] for each in (other, start, third)], axis=0)
    np.testing.assert_allclose(weights(soup.path)[name], expected, atol=1e-6)


def test_rows_are_read_in_the_forms_that_people_have(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [
        {"instruction": "Name a fruit.", "context": "Of summer.", "response": "A peach."},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]},
        {"prompt": [{"role": "user", "content": "Why?"}]},
        {"text": "no prompt at all"},
        {"prompt": [{"role": "tool", "content": "x"}]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    found = read_rows(str(file), HubData(), 10, seed=0)
    said = {row.problem.messages[-1]["content"]: row.answer for row in found.rows}
    assert said == {"Name a fruit.\n\nOf summer.": "A peach.", "Hi": "Hello!", "Why?": ""}
    assert found.origin == f"{file} (without 2 that have no prompt)"
    before = rows_fingerprint(str(file), HubData())
    file.write_text(json.dumps(rows[0]))
    assert rows_fingerprint(str(file), HubData()) != before
    assert len(read_rows("refusals", HubData(), 20, seed=0).rows) == 20
    assert all(row.answer for row in read_rows("refusals", HubData(), 20, seed=0).rows)
    for name, told in (("nothing", "names no rows"), (str(tmp_path / "no.jsonl"), "cannot be read")):
        with pytest.raises(UserError, match=told):
            read_rows(name, HubData(), 1, seed=0)
    file.write_text('{"text": 1}')
    with pytest.raises(UserError, match="No row of"):
        read_rows(str(file), HubData(), 1, seed=0)


def test_merges_without_a_model_to_merge_are_refused():
    from pfh.testing import training_spec

    plugins = Plugins()
    for method, options, told in (
        ("wise-ft", {}, "no stage comes before it"),
        ("merge", {}, "nothing to merge"),
        ("soup", {}, "two models or more"),
    ):
        with pytest.raises(UserError, match=told):
            plugins.check_stage(method, training_spec(Path(), options=plugins.options("methods", method, options)))
    with pytest.raises(UserError, match="alpha"):
        plugins.options("methods", "wise-ft", {"alpha": "1.5"})
