"""SoftCoT: its loss and the one gradient, thoughts in every prompt, the start without them, going on after a kill."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from pfh.commands.recover import RecoverSpec, recover
from pfh.commands.requests import validate
from pfh.commands.run import execute
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.methods import TrainingSpec
from pfh.kit.soft_thoughts import (
    Assistant,
    SoftThoughts,
    ThoughtTokens,
    are_soft_thoughts,
    closing,
    load_projection,
    save_soft_thoughts,
)
from pfh.kit.tokens.encoding import encode_text
from pfh.kit.tokens.loading import load_tokenizer, pick_device, pick_dtype
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.steps.training import checkpoint_of
from pfh.store.store import Store
from pfh_backends.auto import AutoEngine
from pfh_backends.hf.engine import HfEngine
from pfh_methods import softcot
from transformers import AutoModelForCausalLM

from tests.letters import Letters, problems, untimed, weights
from tests.plugin_dists import install
from tests.test_run import COIN
from tests.tiny import tiny_model

CHATS = [
    GenerationRequest(id=str(number), messages=({"role": "user", "content": text},))
    for number, text in enumerate(["Say 1.", "What is the sum of 2 and 3?", "Say 1."])
]
PAIRS = [
    ScoringRequest(id=f"{number}/{end}", context=context, continuation=end)
    for number, context in enumerate(["The answer is", "The other answer to the question is"])
    for end in (" a", " the")
]
SAMPLING = Sampling(max_new_tokens=6)
OPTIONS = {
    "assistant": "small",
    "bare_answers": "true",
    "thoughts": "3",
    "answering_thoughts": "2",
    "batch_size": "4",
    "max_steps": "2",
    "learning_rate": "1e-2",
    "max_length": "128",
}


@pytest.fixture(scope="module")
def base(tiny_llama_path):
    return Checkpoint(name="start", path=tiny_llama_path, fingerprint="start")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tiny_model(tmp_path_factory.mktemp("small"), "qwen2", seed=3, hidden_size=16, head_dim=4)
    return Checkpoint(name="small", path=path, fingerprint="small")


@pytest.fixture(scope="module")
def thinking(base, small, tmp_path_factory):
    """Return a function that makes a checkpoint with so many random thoughts."""

    def made(count: int, seed: int = 0) -> Checkpoint:
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp("thoughts")
        save_soft_thoughts(torch.nn.Linear(16, 32), base, SoftThoughts(assistant=small, count=count), folder)
        return base.with_adapter(folder, name="thinking", fingerprint=f"thinking-{count}-{seed}")

    return made


@pytest.fixture(scope="module")
def trained(base, small, tmp_path_factory):
    """Return what two updates leave, and the stage."""
    spec = stage(base, small, tmp_path_factory.mktemp("trained"))
    return Plugins().train("softcot", spec), spec


def stage(base, small, folder, **changes) -> TrainingSpec:
    return TrainingSpec(
        checkpoint=base,
        domain=Letters(),
        problems=problems(8),
        rollouts=lambda **_: (),
        seed=0,
        output_dir=folder,
        options=Plugins().options("methods", "softcot", OPTIONS | changes),
        teacher=small,
    )


def answers(engine: HfEngine):
    """Return everything that an engine says of a few texts."""
    texts = ["Say it.", "The answer"]
    return (
        [each.token_ids for each in engine.generate(CHATS, SAMPLING)],
        [each.logprob for each in engine.loglikelihood(PAIRS)],
        engine.next_token_logprobs(texts).tolist(),
        [stream.tolist() for stream in engine.hidden_states(texts, [0, 2])],
        [each.logprobs.tolist() for each in engine.distributions(CHATS[:2], ["abc", "the"])],
    )


def test_without_soft_thoughts_every_answer_is_the_starts_bit_for_bit(base, thinking):
    engine = HfEngine(EngineSpec(checkpoint=base, dtype="float32"))
    before = answers(engine)
    engine.use(thinking(0))
    assert answers(engine) == before
    engine.use(thinking(2))
    assert answers(engine) != before
    engine.use(base)
    assert answers(engine) == before


def test_the_thoughts_stand_in_the_prompt_as_computed_by_hand(base, small, thinking):
    """Every position is computed anew from embeddings that are put together here, without any engine."""
    checkpoint = thinking(2)
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(base)
    assistant = Assistant(small, torch.float32, torch.device("cpu"))
    projection = load_projection(checkpoint.adapter)

    def logprobs(before: list[int], question: str, behind: list[int]) -> torch.Tensor:
        embed = model.get_input_embeddings()
        parts = [
            embed(torch.tensor(before, dtype=torch.long)),
            projection(assistant.states(question, 2)),
            embed(torch.tensor(behind, dtype=torch.long)),
        ]
        with torch.no_grad():
            return model(inputs_embeds=torch.cat(parts)[None]).logits[0].log_softmax(-1)

    (score,) = engine.loglikelihood([PAIRS[1]])
    context, end = encode_text(tokenizer, PAIRS[1].context), encode_text(tokenizer, PAIRS[1].continuation)
    found = logprobs(context, PAIRS[1].context, end[:-1])
    places = range(len(found) - len(end), len(found))
    expected = sum(float(found[place, token]) for place, token in zip(places, end, strict=True))
    assert score.logprob == pytest.approx(expected, abs=1e-4)

    question = CHATS[1].messages[0]["content"]
    before = encode_text(tokenizer, f"<|im_start|>user\n{question}")
    behind = encode_text(tokenizer, "<|im_end|>\n<|im_start|>assistant\n")
    (told,) = engine.distributions([CHATS[1]], ["abc"])
    found = logprobs(before, question, [*behind, *encode_text(tokenizer, "abc")])[-4:]
    assert told.logprobs == pytest.approx(found.numpy(), abs=1e-4)
    written: list[int] = []
    for _ in range(4):
        written.append(int(logprobs(before, question, [*behind, *written])[-1].argmax()))
    (completion,) = engine.generate([CHATS[1]], Sampling(max_new_tokens=4))
    assert list(completion.token_ids) == written[: len(completion.token_ids)]
    assert completion.prompt_tokens == len(before) + 2 + len(behind)


def test_a_text_keeps_its_own_tokens_in_the_residual_stream(base, thinking):
    """Thoughts stand behind a text: whatever they are, not a bit of its own tokens' states is another."""

    def states(checkpoint):
        return HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32")).hidden_states(["Say it."], [0, 2])[0]

    plain, these, others = states(base), states(thinking(2)), states(thinking(2, seed=1))
    assert np.array_equal(these, others)
    assert these == pytest.approx(plain, rel=1e-5, abs=1e-5)  # a product of more rows is rounded in another order


def test_only_a_special_token_tells_where_the_turn_closes(base, tmp_path):
    tokenizer = load_tokenizer(base)
    closed = tuple(encode_text(tokenizer, "<|im_end|>\n<|im_start|>assistant\n"))
    assert closing(tokenizer) == closed
    marks = ThoughtTokens(300, 2, tokenizer)
    assert marks.into((7, 8, *closed, 9), "q", answered=1) == (7, 8, 300, 301, *closed, 9)
    assert marks.into((7, 8), "r") == (7, 8, 302, 303)
    assert marks.into((7,), "q") == (7, 300, 301)
    plain = Checkpoint(name="p", path=tiny_model(tmp_path, chat_template=None), fingerprint="p")
    assert closing(load_tokenizer(plain)) == ()


def test_the_loss_and_its_gradient_are_those_of_the_projection_alone(base, small, tmp_path):
    """One step of plain gradient descent, computed from the embeddings by hand."""
    changes = {"max_steps": "1", "batch_size": "1", "max_grad_norm": "1e9", "gradient_checkpointing": "false"}
    spec = dataclasses.replace(stage(base, small, tmp_path, **changes), problems=problems(1))
    result = Plugins().train("softcot", spec)
    tokenizer = load_tokenizer(base)
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32).eval().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        projection = torch.nn.Linear(16, 32)
    device = pick_device()
    states = Assistant(small, pick_dtype("auto", device), device).states("Say 0.", 3).cpu()
    embed = model.get_input_embeddings()
    prompt = encode_text(tokenizer, "<|im_start|>user\nSay 0.")
    behind = encode_text(tokenizer, "<|im_end|>\n<|im_start|>assistant\n")
    answer = [*encode_text(tokenizer, "a"), tokenizer.eos_token_id]
    rows = [embed(torch.tensor(prompt)), projection(states), embed(torch.tensor([*behind, *answer]))]
    logits = model(inputs_embeds=torch.cat(rows)[None]).logits[0, -len(answer) - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
    loss.backward()
    norm = torch.cat([one.grad.flatten() for one in projection.parameters()]).norm()
    assert result.curves[0]["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert result.curves[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)


def test_a_training_leaves_thoughts_over_weights_that_are_the_starts(trained, base, small, tmp_path):
    result, spec = trained
    assert {file.name for file in result.path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        before = torch.nn.Linear(16, 32)
    left = weights(result.path)
    assert all(value.dtype == np.float32 for value in left.values())
    assert not np.array_equal(left["weight"], before.weight.detach().numpy())
    assert [phase.name for phase in result.phases] == ["assistant", "training"]
    reading, training = result.phases
    assert (reading.samples, reading.updates, training.updates, training.notes["thoughts"]) == (8, 0, 2, 3)
    assert reading.passed > 0
    assert reading.flops > 0
    assert [phase.name for phase in spec.account.phases] == ["assistant", "training"]
    found = checkpoint_of(result.path, base, name="x", fingerprint="x")
    assert are_soft_thoughts(found)
    engine = HfEngine(EngineSpec(checkpoint=base, dtype="float32"))
    plain = engine.generate(CHATS, SAMPLING)
    engine.use(found)
    assert engine.generate(CHATS, SAMPLING)[0].prompt_tokens == plain[0].prompt_tokens + 2
    moved = resolve(str(shutil.copytree(result.path, tmp_path / "moved")), cache_dir=tmp_path)
    assert are_soft_thoughts(moved)
    assert moved.path == base.path


def test_a_killed_training_goes_on_from_its_projection(trained, base, small, tmp_path, monkeypatch):
    result, _ = trained
    build = softcot.softcot_trainer

    def killed(*arguments):
        trainer = build(*arguments)
        inner = trainer.training_step

        def training_step(*arguments, **named):
            if trainer.state.global_step == 1:
                raise KeyboardInterrupt
            return inner(*arguments, **named)

        trainer.training_step = training_step
        return trainer

    monkeypatch.setattr(softcot, "softcot_trainer", killed)
    with pytest.raises(KeyboardInterrupt):
        softcot.train(stage(base, small, tmp_path, save_steps="1"))
    monkeypatch.setattr(softcot, "softcot_trainer", build)
    kept = {file.name for file in (tmp_path / "trainer" / "checkpoint-1").iterdir()}
    assert "adapter_model.safetensors" in kept
    assert "model.safetensors" not in kept
    again = stage(base, small, tmp_path, save_steps="1")
    ended = softcot.train(again)
    assert untimed(ended.curves) == untimed(result.curves)
    left, expected = weights(ended.path), weights(result.path)
    assert all(np.array_equal(left[name], expected[name]) for name in expected)
    assert [phase.name for phase in again.account.phases] == ["assistant", "training"]


def test_a_run_measures_it_with_its_thoughts_and_as_its_start_without_any(base, small, tmp_path, monkeypatch):
    folder = install(tmp_path, "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    monkeypatch.syspath_prepend(str(folder))

    def ran(thoughts: int):
        chosen = OPTIONS | {"assistant": str(small.path), "answering_thoughts": str(thoughts), "max_length": "512"}
        spec = RunSpec(
            methods=("softcot",),
            evals=(EvalChoice(family="safety", benchmarks=("probes",)),),
            domain="coin",
            model=str(base.path),
            options={"methods:softcot": chosen},
            problems=6,
            limit=4,
            divergence_prompts=2,
        )
        place = tmp_path / f"out-{thoughts}"
        store = Store(tmp_path / "store")
        return execute(spec, plugins=Plugins(), store=store, progress=Silent(), output=place).results.stages[-1], place

    (without, _), (with_thoughts, place) = ran(0), ran(2)
    (rehearsed, *_) = (tmp_path / "store" / "artifacts" / "rehearsal").glob("*/rehearsal.json")
    assert json.loads(rehearsed.read_text())["seconds"] > 0
    assert all(row.delta == 0 for row in without.families[0].comparisons)
    assert without.after.fingerprint != without.before.fingerprint
    assert without.divergence.start_to_after == 0
    assert with_thoughts.divergence.start_to_after > 0
    phases = [phase.name for phase in with_thoughts.ledger]
    assert phases == ["assistant", "training"]
    with pytest.raises(UserError, match="neither be trained on nor merged"):
        recover(
            RecoverSpec(run=place, ways=("ties",)),
            plugins=Plugins(),
            store=Store(tmp_path / "store"),
            progress=Silent(),
        )


def test_a_training_that_a_look_stops_leaves_the_thoughts_of_the_look_before(base, small, tmp_path):
    looked: dict[int, dict[str, np.ndarray]] = {}

    def look(folder, update):
        looked[update] = weights(folder)
        return update == 3

    spec = dataclasses.replace(stage(base, small, tmp_path, max_steps="5"), look=look, look_every=1)
    result = softcot.train(spec)
    assert list(looked) == [1, 2, 3]
    left = weights(result.path)
    assert all(np.array_equal(left[name], looked[2][name]) for name in left)
    assert not np.array_equal(left["weight"], looked[3]["weight"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"assistant": ""}, "name the assistant"),
        ({"adapter": "full"}, "leave adapter=full out"),
        ({"replay": "builtin", "l2_sp": "0.1"}, "takes no replay, l2_sp"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        Plugins().options("methods", "softcot", OPTIONS | changes)


def test_what_it_cannot_do_is_told_before_anything_is_trained(base, small, thinking, tmp_path):
    plugins = Plugins()
    with pytest.raises(UserError, match="learns from worked solutions"):
        plugins.check_stage("softcot", stage(base, small, tmp_path, bare_answers="false"))
    written = [
        dataclasses.replace(each, solution="1 + 2 = 3, 3 + 4 = 7, 7 + 8 = 15, 15 + 16 = 31") for each in problems(8)
    ]
    unaccepted = dataclasses.replace(stage(base, small, tmp_path, bare_answers="false"), problems=written)
    with pytest.raises(UserError, match="has one that the verifier accepts"):
        plugins.check_stage("softcot", unaccepted)
    adapted = dataclasses.replace(small, adapter=tmp_path)
    with pytest.raises(UserError, match="must be plain weights"):
        plugins.check_stage("softcot", stage(base, adapted, tmp_path))
    evals = (EvalChoice(family="safety"),)
    spec = RunSpec(methods=("softcot", "gt-sft"), evals=evals, options={"methods:softcot": OPTIONS})
    with pytest.raises(UserError, match="make it the last --method"):
        validate(spec, plugins)
    from pfh.kit.training import load_for_training

    with pytest.raises(UserError, match="neither be trained on nor merged"):
        load_for_training(thinking(2))
    from pfh_backends.vllm.adapters import room_for

    with pytest.raises(UserError, match="use --backend hf"):
        room_for(thinking(2))


def test_the_backend_auto_answers_with_what_can_have_thoughts(base, thinking):
    opened = []

    def open_backend(name: str, spec: EngineSpec) -> HfEngine:
        opened.append(name)
        return HfEngine(spec)

    engine = AutoEngine(EngineSpec(checkpoint=thinking(2), dtype="float32"), "vllm", open_backend)
    assert engine.generate(CHATS[:1], SAMPLING)[0].prompt_tokens
    assert opened == ["hf"]
    assert "vllm" not in engine.identity
    engine.use(base)
    assert "vllm" in engine.identity


def test_thoughts_whose_models_are_gone_or_others_are_told_in_a_line(base, small, thinking, tmp_path):
    checkpoint = thinking(2)
    settings = checkpoint.adapter / "adapter_config.json"
    told = json.loads(settings.read_text())
    settings.write_text(json.dumps(told | {"assistant_path": str(tmp_path / "gone")}))
    with pytest.raises(UserError, match="no longer in"):
        HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    settings.write_text(json.dumps(told | {"assistant_path": str(base.path)}))
    with pytest.raises(UserError, match="the assistant is 32 wide"):
        HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    settings.write_text(json.dumps({"peft_type": "SOFT_THOUGHTS"}))
    with pytest.raises(UserError, match="does not say which assistant"):
        HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
