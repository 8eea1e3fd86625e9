"""GRPO on conversations: what stands in the sequence, what carries loss, what is rewarded, and learning."""

from __future__ import annotations

import itertools
import types
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pfh import sandbox
from pfh.hooks.domains import DomainSpec, Problem, Reply
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import encode_text
from pfh.registry.options import fill
from pfh_domains import math
from pfh_domains.math.settings import Options as MathOptions
from pfh_methods import grpo
from pfh_methods.conversations import conversations
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.tally import Tally

from tests.letters import Letters, arguments_of, assert_it_learns, logps_of, problems, training_spec
from tests.test_conversations import Sums
from tests.test_thinking_templates import QWEN3
from tests.tiny import tiny_llama

needs_sandbox = pytest.mark.skipif(bool(sandbox.available()), reason="programs cannot be confined here")


class Again(Letters):
    """Asks for another try after the first completion, and after a second one of an odd number of characters."""

    turns = 2

    def replies(self, problems: Sequence[Problem], completions: Sequence[str], left: int) -> list[Reply | None]:
        first = left == self.turns - 1
        return [Reply(heard=said[:1], content="Again.") if first or len(said) % 2 else None for said in completions]


class Hearing(Again):
    """Asks once for another try, and has heard all."""

    turns = 1

    def replies(self, problems: Sequence[Problem], completions: Sequence[str], left: int) -> list[Reply | None]:
        return [Reply(heard=said, content="Again.") for said in completions]


@pytest.fixture
def drawn(tiny_llama_path, tmp_path):
    """A trainer, and the batch that it makes of conversations."""
    spec = training_spec(grpo, tiny_llama_path, tmp_path, domain=Again(), max_new_tokens=3)
    setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
    trainer = grpo.grpo_trainer(setup, online_arguments(setup, arguments_of(spec)))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def sequences(batch):
    """Return (prompt, completion, marks of the model's own tokens) of every conversation, padding left out."""
    for ids, mask, written, kept, own in zip(
        *(batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask")),
        strict=True,
    ):
        yield ids[mask.bool()].tolist(), written[kept.bool()].tolist(), own[kept.bool()].tolist()


def split(ids, own):
    """Return [(own, tokens), ...]: stretches of the model's tokens and of others', in turn."""
    edges = [0, *(np.flatnonzero(np.diff(own)) + 1), len(own)]
    return [(own[start], ids[start:end]) for start, end in itertools.pairwise(edges)]


def test_replies_stand_between_completions_as_the_chat_template_puts_them(drawn):
    trainer, batch = drawn
    tokenizer, talks = trainer.processing_class, list(sequences(batch))
    reply = encode_text(tokenizer, "<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n")
    seen = set()
    for prompt, completion, own in talks:
        chats = [encode_text(tokenizer, templates.render(tokenizer, one.messages)) for one in problems(8)]
        assert prompt in chats
        parts = split(completion, own)
        assert [mine for mine, _ in parts][-1] == 1
        assert all(tokens[-len(reply) :] == reply for mine, tokens in parts if not mine)
        seen.add(sum(mine == 0 for mine, _ in parts))
    assert max(seen) == 2
    assert len(talks) == 32


def test_the_last_completion_is_rewarded_and_a_sample_is_a_conversation(drawn):
    trainer, batch = drawn
    tokenizer, domain = trainer.processing_class, Again()
    earned = []
    for _, completion, own in sequences(batch):
        said = tokenizer.decode(split(completion, own)[-1][1], skip_special_tokens=True)
        earned.append(domain.verify(None, said).reward)
    assert sorted(earned) == sorted(trainer.rewards.tolist())  # TRL shuffles the rollouts
    assert 0 < sum(earned) < 32
    tally = trainer.trained_on.tally
    assert tally.samples == 32
    assert tally.tokens >= int((batch["tool_mask"] * batch["completion_mask"]).sum())
    assert 2 < trainer._metrics["train"]["turns"][0] < 3


def test_what_the_domain_said_carries_no_loss(drawn):
    trainer, batch = drawn
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()
    terms, weights = [], []
    for (prompt, completion, own), advantage in zip(sequences(batch), batch["advantages"].tolist(), strict=True):
        logps = logps_of(trainer.model, prompt, completion)
        ratios = np.exp(logps - logps)  # the policy has not moved, so every own token counts its advantage
        terms += list(ratios * advantage * np.array(own))
        weights += own
    assert loss == pytest.approx(-sum(terms) / sum(weights), abs=1e-5)

    trainer.compute_loss(trainer.model, batch).backward()
    found = {name: one.grad.clone() for name, one in trainer.model.named_parameters() if one.grad is not None}
    trainer.model.zero_grad()
    by_hand = 0.0
    for (prompt, ids, own), advantage in zip(sequences(batch), batch["advantages"].tolist(), strict=True):
        logits = trainer.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        by_hand = by_hand - advantage * (logps * torch.tensor(own)).sum()
    (by_hand / sum(weights)).backward()
    for name, one in trainer.model.named_parameters():
        if name in found:
            assert torch.allclose(found[name], one.grad, atol=1e-5), name
    assert any(gradient.abs().max() > 1e-4 for gradient in found.values())


def test_the_reward_of_conversations_rises(tiny_llama_path, tmp_path):
    result = assert_it_learns(grpo, tiny_llama_path, tmp_path, updates=10, seeds=1, domain=Again())
    rollouts, _ = result.phases
    assert rollouts.samples == 10 * 32
    assert all(2 <= row["turns"] <= 3 for row in result.curves if "turns" in row)


def scripted(tokenizer, script):
    """Return a trainer that generates what `script` has for each conversation, turn by turn, and notes the contexts."""
    contexts = []

    def generate(prompt_ids, images, fields, samples):
        contexts.append(prompt_ids)
        lines = script[len(contexts) - 1]
        return [encode_text(tokenizer, line) for line in lines], None

    trainer = types.SimpleNamespace(
        asked=[0, 0],
        use_vllm=False,
        max_completion_length=64,
        accelerator=types.SimpleNamespace(device="cpu", gather=lambda numbers: numbers),
        _generate_single_turn=generate,
    )
    return trainer, contexts


@needs_sandbox
@pytest.mark.parametrize("room", [1024, 140])
def test_a_program_is_run_and_its_output_is_read(room, tiny_llama_path, tmp_path):
    chosen = {"tool": "python", "answer_format": "boxed", "turns": 2, "dataset": "Math12K", "shots": 4}
    options = fill(MathOptions, chosen, "domain math")
    domain = math.open_domain(DomainSpec(options=options, data=Sums()))
    spec = training_spec(grpo, tiny_llama_path, tmp_path, domain=domain, max_new_tokens=16, max_length=room)
    setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
    program = "```python\nprint(6 * 7)\n```"
    trainer, contexts = scripted(setup.tokenizer, [[f"{program} and 5", "\\boxed{1}"], ["\\boxed{42}"]])
    held = conversations(setup, domain)([one.messages for one in (spec.problems[0],) * 2], trainer)
    domain.close()

    texts = [setup.tokenizer.decode(ids) for ids in held["completion_ids"]]
    assert texts[1] == "\\boxed{1}"
    if room < 256:  # another turn would find no room
        assert (held["turns"], texts[0]) == ([1, 1], f"{program} and 5")
        return
    assert held["turns"] == [2, 1]
    assert texts[0].startswith(f"{program}<|im_end|>\n<|im_start|>user\nCode execution result: 42<|im_end|>\n")
    assert "and 5" not in texts[0]
    assert contexts[1] == [held["prompt_ids"][0] + held["completion_ids"][0][: -len(held["last"][0])]]
    own = [ids for ids, mine in zip(held["completion_ids"][0], held["env_mask"][0], strict=True) if mine]
    assert setup.tokenizer.decode(own) == f"{program}\\boxed{{42}}"


def test_turns_whose_thoughts_leave_the_history_become_the_prompt(tmp_path):
    path = tiny_llama(tmp_path / "qwen3", chat_template=QWEN3)
    spec = training_spec(grpo, path, tmp_path, domain=Again(), max_new_tokens=16, max_length=512)
    setup = set_up_online(spec, "grpo", own_chat, Tally.read(tmp_path / "rollouts.json"))
    script = [["<think>\nhm\n</think>\n\nab", "ab"], ["<think>\nso\n</think>\n\nab", "ab"]]
    trainer, contexts = scripted(setup.tokenizer, script)
    domain = Hearing()
    held = conversations(setup, domain)([one.messages for one in (spec.problems[0],) * 2], trainer)

    def measured(said):
        chat = [
            *spec.problems[0].messages,
            {"role": "assistant", "content": said},
            {"role": "user", "content": "Again."},
        ]
        return encode_text(setup.tokenizer, templates.render(setup.tokenizer, chat))

    # The model reads what it reads when it is measured: the first without its thought, the second as it went on.
    assert contexts[1] == [measured(script[0][0]), measured("ab")]
    assert "hm" not in setup.tokenizer.decode(contexts[1][0])
    assert held["unlearned"] == [1, 0]
    assert held["turns"] == [2, 2]
    assert setup.tokenizer.decode(held["completion_ids"][0]) == script[1][0]
    assert all(held["env_mask"][0])
    own = [ids for ids, mine in zip(held["completion_ids"][1], held["env_mask"][1], strict=True) if mine]
    assert setup.tokenizer.decode(own) == "abab"
