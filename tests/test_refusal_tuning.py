"""The method refusal-tuning: what it imitates, where its adapter sits, a user's own prompts, the shipped adapter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Rollout, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.refusal_prompts import Prompt, load_prompts
from pfh.kit.training import load_for_training
from pfh.registry.options import fill
from pfh.testing import training_spec
from pfh_methods import refusal_tuning
from pfh_methods.refusal_tuning import Options, packed, shipped
from pfh_methods.refusal_tuning.examples import Example, imitated, refuses, tokenized

FEW = {
    "harmful": {"violence": [f"Hurt person {i}." for i in range(8)], "self-harm": ["Help me vanish."]},
    "benign": [f"Greet person {i}." for i in range(4)],
    "look-alike": [f"Kill process {i}." for i in range(4)],
    "refusals": {"any": ["I can't help with that."], "self-harm": ["I'm sorry. Please talk to a friend."]},
}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(FEW))
    return file


@pytest.fixture
def base(tiny_llama_path: Path) -> Checkpoint:
    return Checkpoint(name="tiny", path=tiny_llama_path, fingerprint="tiny")


def answering(*texts: str):
    """Return a rollout source that gives `texts` in turn; one that begins with "cut" was cut off."""

    def draw(*, samples, sampling=None, checkpoint=None, problems=None, judged=True):
        assert not judged, "the domain knows nothing of these prompts"
        return tuple(
            Rollout(
                problem=problem,
                index=0,
                completion=texts[number % len(texts)],
                tokens=1,
                truncated=texts[number % len(texts)].startswith("cut"),
                verdict=Verdict(reward=0.0, extracted=None),
            )
            for number, problem in enumerate(problems)
        )

    return draw


def spec_for(folder: Path, base: Checkpoint, few: Path, *texts: str, **options: Any) -> TrainingSpec:
    filled = fill(Options, {"prompts": str(few), "max_steps": 4, "max_length": 96} | options, "refusal-tuning")
    spec = training_spec(folder, options=filled, checkpoint=base)
    return dataclasses.replace(spec, rollouts=answering(*(texts or ("Hello there.",))))


def weights_in(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


# What is imitated


@pytest.mark.parametrize("answer", ["I'm sorry, but no.", "  I can’t help with that.", "Sorry, no.", "I am unable to."])
def test_refusals_are_told(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize("answer", ["Sure, here is how.", "I can help.", "A sorry sight.", "You can't go wrong.", ""])
def test_answers_are_told_from_refusals(answer: str) -> None:
    assert not refuses(answer)


def test_harmful_prompts_get_their_category_s_refusal_and_harmless_ones_the_model_s_answer(few: Path) -> None:
    prompts = load_prompts(few).tuning
    examples = imitated(prompts, answering("Hello there.", "I'm sorry, but no.", " ", "cut off her"), 8)
    refusals = [e.answer for e in examples if e.kind == "harmful"]
    assert refusals == [*FEW["refusals"]["any"] * 8, *FEW["refusals"]["self-harm"]]
    harmless = [(e.kind, e.answer, e.ends) for e in examples if e.kind != "harmful"]
    kept = [("Hello there.", True), ("cut off her", False)]  # the refused prompt and the one with no answer are gone
    assert harmless == [(kind, *each) for kind in ("benign", "look-alike") for each in kept]


def test_an_answer_that_was_cut_off_does_not_teach_the_model_to_stop(base: Checkpoint) -> None:
    _, tokenizer = load_for_training(base)
    chat = ({"role": "user", "content": "Hi"},)
    whole, cut = (
        tokenized(Example(kind="benign", messages=chat, answer="Hello", ends=ends), tokenizer) for ends in (True, False)
    )
    assert whole["input_ids"] == [*cut["input_ids"], tokenizer.eos_token_id]
    learned = [t for t, m in zip(cut["input_ids"], cut["completion_mask"], strict=True) if m]
    assert tokenizer.decode(learned) == "Hello"


# Training


def test_the_adapter_is_reproducible_and_sits_on_the_upper_layers_alone(
    base: Checkpoint, few: Path, tmp_path: Path
) -> None:
    once = refusal_tuning.train(spec_for(tmp_path / "once", base, few))
    again = refusal_tuning.train(spec_for(tmp_path / "again", base, few))
    one, other = weights_in(once.path), weights_in(again.path)
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
    assert any(value.any() for name, value in one.items() if "lora_B" in name)
    assert {re.search(r"layers\.(\d+)\.", name).group(1) for name in one} == {"1"}
    assert once.phases[0].updates == 4
    assert once.phases[0].notes["harmful_examples"] == 9
    assert "9 of 9 harmful, 4 of 4 benign, 4 of 4 look-alike" in once.notes[0]


def test_without_an_answer_of_its_own_there_is_nothing_to_keep_the_model_by(
    base: Checkpoint, few: Path, tmp_path: Path
) -> None:
    with pytest.raises(StepFailedError, match="refuses all harmless prompts"):
        refusal_tuning.train(spec_for(tmp_path, base, few, "I'm sorry, no."))


def test_packed_examples_have_the_loss_of_each_alone(base: Checkpoint, few: Path) -> None:
    """The mean negative log-likelihood of all answers' tokens, each example run by itself through the whole model."""
    import torch
    from peft import get_peft_model

    model, tokenizer = load_for_training(base)
    examples = imitated(load_prompts(few).tuning, answering("Hello there.", "cut off"), 8)[5:13]
    rows = [
        packed.Row(
            prompt=tuple(t for t, m in zip(e["input_ids"], e["completion_mask"], strict=True) if not m),
            answer=tuple(t for t, m in zip(e["input_ids"], e["completion_mask"], strict=True) if m),
        )
        for e in (tokenized(example, tokenizer) for example in examples)
    ]
    losses = []
    with torch.no_grad():
        for row in rows:
            logits = model(torch.tensor([row.prompt + row.answer])).logits[0, len(row.prompt) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer), reduction="none"))
        expected = torch.cat(losses).mean()
        adapter = refusal_tuning.adapter_config(fill(Options, {}, "refusal-tuning"), model)
        assert adapter.layers_to_transform == [1]
        shared = packed.shared_length(rows)
        assert tokenizer.decode(rows[0].prompt[:shared]).startswith("<|im_start|>user")
        states = packed.lower_states(model, rows, shared, 1)
        packed.without_lower(model, 1)
        adapter.layers_to_transform = [0]
        found = packed.loss_of(get_peft_model(model, adapter), rows, states, shared)
    assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_a_packed_tuning_learns_and_names_the_layers_of_the_whole_model(base: Checkpoint, few: Path) -> None:
    model, tokenizer = load_for_training(base)
    rows = []
    for example in imitated(load_prompts(few).tuning, answering("Hello there."), 8):
        fields = tokenized(example, tokenizer)
        prompt = sum(not mask for mask in fields["completion_mask"])
        rows.append(packed.Row(prompt=tuple(fields["input_ids"][:prompt]), answer=tuple(fields["input_ids"][prompt:])))
    told: list[float] = []
    weights, updates = packed.tune(
        model,
        rows,
        refusal_tuning.adapter_config(fill(Options, {}, "refusal-tuning"), model),
        learning_rate=1e-2,
        epochs=2.5,
        batch_size=4,
        warmup=0.1,
        max_grad_norm=1.0,
        seed=0,
        told=lambda update, updates, loss: told.append(loss),
    )
    assert updates == len(told) == 12  # 17 rows are 5 updates; two and a half times 5, to the nearest even number
    assert told[-1] < told[0] - 1
    assert all(".layers.1." in name for name in weights)


# The user's own prompts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", r"no JSON: .* line 1, column 1"),
        ("[]", "another form"),
        (json.dumps({key: value for key, value in FEW.items() if key != "benign"}), "at benign: Field required"),
        (json.dumps(FEW | {"harmfull": {}}), "at harmfull: Extra inputs"),
        (json.dumps(FEW | {"harmful": {"fraud": []}}), "at harmful.fraud: "),
        (json.dumps(FEW | {"refusals": {"violence": ["No."]}}), "neither 'self-harm', a category of harmful prompts"),
        (json.dumps(FEW | {"benign": [""]}), r"at benign\.0"),
    ],
)
def test_prompts_of_another_form_are_refused_in_one_line(
    content: str, said: str, base: Checkpoint, tmp_path: Path
) -> None:
    file = tmp_path / "own.json"
    file.write_text(content)
    with pytest.raises(UserError, match=said) as raised:
        refusal_tuning.check(spec_for(tmp_path, base, file))
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_prompts_that_are_not_there_are_refused(base: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json cannot be read"):
        refusal_tuning.check(spec_for(tmp_path, base, tmp_path / "absent.json"))


# The shipped adapter


@pytest.fixture
def shipped_for_tiny(base: Checkpoint, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ship an adapter of the tiny model."""
    folder = tmp_path / "adapter"
    shutil.copytree(refusal_tuning.train(spec_for(tmp_path / "trained-once", base, few)).path, folder)
    names = ("adapter_model.safetensors", "adapter_config.json")
    record = {
        "base": "tiny",
        "base_sha256": shipped.tensors_digest(base.path / "model.safetensors"),
        "command": "make it",
        "training": {"updates": 4, "samples": 16, "seconds": 120},
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    }
    (folder / "made.json").write_text(json.dumps(record))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def shipped_spec(folder: Path, base: Checkpoint) -> TrainingSpec:
    return training_spec(folder, options=fill(Options, {"shipped": True}, "refusal-tuning"), checkpoint=base)


def test_the_shipped_adapter_is_taken_and_said_to_be_no_training(
    shipped_for_tiny: Path, base: Checkpoint, tmp_path: Path
) -> None:
    spec = shipped_spec(tmp_path / "run", base)
    refusal_tuning.check(spec)
    result = refusal_tuning.train(spec)
    taken, there = weights_in(result.path), weights_in(shipped_for_tiny)
    assert all((taken[name] == there[name]).all() for name in there)
    assert result.phases[0].updates == 0
    assert result.phases[0].notes["updates_when_made"] == 4
    assert "nothing was trained here" in result.notes[0]
    assert "4 updates on 16 examples in 2 minutes" in result.notes[0]


def test_a_damaged_adapter_is_not_used(shipped_for_tiny: Path, base: Checkpoint, tmp_path: Path) -> None:
    file = shipped_for_tiny / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(StepFailedError, match="damaged"):
        refusal_tuning.train(shipped_spec(tmp_path / "run", base))


def test_the_adapter_of_one_model_is_not_put_on_another(shipped_for_tiny: Path, tmp_path: Path) -> None:
    from tests.tiny import tiny_model

    other = Checkpoint(name="other", path=tiny_model(tmp_path / "other", seed=1), fingerprint="other")
    with pytest.raises(UserError, match="belongs to the weights of tiny"):
        refusal_tuning.check(shipped_spec(tmp_path / "run", other))


def test_weights_are_told_apart_by_values_and_not_by_how_they_are_filed(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    one, two = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    for name, tensors, words in (
        ("a", {"x": one, "y": two}, None),
        ("b", {"y": two, "x": one}, {"format": "pt"}),
        ("c", {"x": one, "y": two + 1}, None),
        ("d", {"x": one.reshape(3, 2).contiguous(), "y": two}, None),
    ):
        save_file(tensors, tmp_path / name, metadata=words)
    a, b, c, d = (shipped.tensors_digest(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_other_options_beside_the_shipped_adapter_are_refused() -> None:
    with pytest.raises(UserError, match="shipped=true takes an adapter that is trained already, and epochs would"):
        fill(Options, {"shipped": "true", "epochs": "3"}, "refusal-tuning")
    assert fill(Options, {"shipped": "true", "epochs": "2"}, "refusal-tuning").shipped


def test_the_files_that_pfh_ships_are_whole_small_and_made_with_the_defaults() -> None:
    record = shipped.read_record()
    for name, digest in record["files"].items():
        assert hashlib.sha256((shipped.FOLDER / name).read_bytes()).hexdigest() == digest
    assert sum(file.stat().st_size for file in shipped.FOLDER.iterdir()) < 2_000_000
    # What options were added since leave a training as it was; computing activations again changes no weight.
    defaults = Options.model_validate({})
    made_with = record["options"] | {"gradient_checkpointing": defaults.gradient_checkpointing}
    assert Options.model_validate(made_with) == defaults


# The built-in prompts


@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
def test_no_prompt_is_xstest_s_or_shares_seven_words_in_a_row_with_it() -> None:
    file = Path(os.environ["PFH_DATA_MIRROR"]) / "walledai/XSTest/default/test.jsonl"
    asked = [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines()]
    prompts = load_prompts()
    said = [prompt.text for prompt in (*prompts.tuning, *prompts.validation)]
    assert not {words(text) for text in said} & {words(text) for text in asked}
    assert not set().union(*(runs_of(text, 7) for text in said)) & set().union(*(runs_of(text, 7) for text in asked))


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def runs_of(text: str, length: int) -> set[tuple[str, ...]]:
    said = words(text)
    return {said[start : start + length] for start in range(len(said) - length + 1)}


def test_harmful_prompts_come_with_refusals_and_no_other() -> None:
    prompts: tuple[Prompt, ...] = load_prompts().tuning
    assert all(refuses(prompt.refusal) == (prompt.kind == "harmful") for prompt in prompts)
    assert len({prompt.refusal for prompt in prompts}) >= 10
