"""Conversations as the rollouts of TRL's GRPO: the domain's replies stand in the sequence and carry no loss."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pfh.hooks.backends import Message
from pfh.hooks.domains import Converses, Problem
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import as_written, encode_text

from pfh_methods.on_domain import OnlineSetup, everywhere

RolloutFunction = Callable[[Sequence[Sequence[Message]], Any], dict[str, list[Any]]]
"""TRL's `rollout_func`: (prompts, trainer) -> a list a field, an item a prompt."""


def conversations(setup: OnlineSetup, answering: Converses) -> RolloutFunction:
    """Return what holds a conversation on every prompt of a batch, for a trainer that `on_domain` made.

    All that still go on take each turn together: one generation, then one call of `answering.replies`. The model reads
    its own tokens as it drew them, up to the end of what was heard. A conversation ends with a completion that gets no
    reply, after `answering.turns` replies, or where another turn would find no room in `max_length`.

    "completion_ids" holds all that was said after the prompt, "env_mask" 1 for the model's tokens and 0 for the others,
    "last" the tokens of the last completion, which is the one that is rewarded, and "turns" the number of completions.

    Every turn is read as it is when the model is measured. Where the template puts an earlier turn otherwise than it
    was written, as those of reasoning models leave thoughts out, all before the next turn becomes the prompt: these
    turns carry no loss, and "unlearned" counts them.
    """
    problems, longest = setup.spec.problems, setup.spec.options.max_length

    def roll_out(prompts: Sequence[Sequence[Message]], trainer: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - a class made by on_domain
        rendered = [templates.render(setup.tokenizer, prompt) for prompt in prompts]
        held = [
            _Conversation(problems[place], list(prompt), text, encode_text(setup.tokenizer, text))
            for place, prompt, text in zip(trainer.asked, prompts, rendered, strict=True)
        ]
        going = held
        for turn in range(answering.turns + 1):
            if everywhere(trainer.accelerator, len(going)) == [0]:
                break
            asked = going or held[:1]  # processes generate together, also where one has nothing left to ask
            drawn, logprobs = trainer._generate_single_turn([one.context for one in asked], None, {}, 1)
            for place, one in enumerate(going):
                one.say(drawn[place], logprobs and logprobs[place])
            left = answering.turns - turn
            room = longest - trainer.max_completion_length
            going = _answered(setup, going, answering, left - 1, room) if left else []
        return {
            "prompt_ids": [one.prompt for one in held],
            "completion_ids": [one.ids for one in held],
            "logprobs": [one.logprobs for one in held] if trainer.use_vllm else None,  # type: ignore[dict-item]
            "env_mask": [one.own for one in held],
            "last": [one.last for one in held],
            "turns": [one.turns for one in held],
            "unlearned": [one.unlearned for one in held],
        }

    return roll_out


@dataclass
class _Conversation:
    problem: Problem
    chat: list[Message]
    text: str
    """What the model reads for its next turn."""
    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    turns: int = 0
    unlearned: int = 0

    @property
    def context(self) -> list[int]:
        return self.prompt + self.ids

    def say(self, ids: Sequence[int], logprobs: Sequence[float] | None) -> None:
        self.last = list(ids)
        self.turns += 1
        self.ids += ids
        self.own += [1] * len(ids)
        self.logprobs += logprobs if logprobs is not None else [0.0] * len(ids)

    def hear(self, kept: int, reply: Sequence[int]) -> None:
        """Leave out the last completion behind its first `kept` tokens, and add the reply."""
        end = len(self.ids) - len(self.last) + kept
        self.ids[end:] = reply
        self.own[end:] = [0] * len(reply)
        self.logprobs[end:] = [0.0] * len(reply)

    def begin_anew(self, prompt: Sequence[int]) -> None:
        """Put all that was said into the prompt."""
        self.prompt, self.ids, self.own, self.logprobs = list(prompt), [], [], []
        self.unlearned = self.turns


def _answered(
    setup: OnlineSetup, going: Sequence[_Conversation], answering: Converses, left: int, room: int
) -> list[_Conversation]:
    """Add the domain's replies where another turn fits, and return the conversations that got one."""
    asked = [one.problem for one in going]
    said = [setup.read(one.problem, one.last).text for one in going]
    answered = []
    for one, reply in zip(going, answering.replies(asked, said, left), strict=True):
        if reply is None:
            continue
        chat: list[Message] = [
            *one.chat,
            {"role": "assistant", "content": reply.heard},
            {"role": "user", "content": reply.content},
        ]
        text = templates.render(setup.tokenizer, chat)
        space = " " if templates.is_plain(setup.tokenizer) else ""
        read = one.text + space + as_written(one.text, reply.heard)
        goes_on = text.startswith(read)
        kept = _heard(setup, one, reply.heard)
        between = encode_text(setup.tokenizer, text[len(read) :] if goes_on else text)
        before = len(one.context) - len(one.last) + kept if goes_on else 0
        if before + len(between) <= room:
            if goes_on:
                one.hear(kept, between)
            else:
                one.begin_anew(between)
            one.chat, one.text = chat, text
            answered.append(one)
    return answered


def _heard(setup: OnlineSetup, one: _Conversation, heard: str) -> int:
    """Return how many tokens of the last completion it takes to say `heard`, with which it begins."""
    return bisect_left(
        range(len(one.last)), True, key=lambda end: setup.read(one.problem, one.last[:end]).text.startswith(heard)
    )
