"""Conversations as the rollouts of TRL's GRPO: the domain's replies stand in the sequence and carry no loss."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError
from pfh.hooks.backends import Message
from pfh.hooks.domains import Converses, Problem
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import encode_text
from pfh.kit.tokens.taught import encode_prompt

from pfh_methods.on_domain import OnlineSetup, everywhere

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RolloutFunction = Callable[[Sequence[Sequence[Message]], Any], dict[str, list[Any]]]
"""TRL's `rollout_func`: (prompts, trainer) -> a list a field, an item a prompt."""

_SAID = "(what the model said)"


def conversations(setup: OnlineSetup, answering: Converses) -> RolloutFunction:
    """Return what holds a conversation on every prompt of a batch, for a trainer that `on_domain` made.

    All that still go on take each turn together: one generation, then one call of `answering.replies`. The model reads
    its own tokens as it drew them, up to the end of what was heard. A conversation ends with a completion that gets no
    reply, after `answering.turns` replies, or where another turn would find no room in `max_length`.

    "completion_ids" holds all that was said after the prompt, "env_mask" 1 for the model's tokens and 0 for the others,
    "last" the tokens of the last completion, which is the one that is rewarded, and "turns" the number of completions.
    """
    problems, longest = setup.spec.problems, setup.spec.options.max_length

    def roll_out(prompts: Sequence[Sequence[Message]], trainer: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - a class made by on_domain
        held = [
            Talk(problems[place], encode_text(setup.tokenizer, templates.render(setup.tokenizer, prompt)))
            for place, prompt in zip(trainer.asked, prompts, strict=True)
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
            going = answered(setup, going, answering, left - 1, room) if left else []
        return {
            "prompt_ids": [one.prompt for one in held],
            "completion_ids": [one.ids for one in held],
            "logprobs": [one.logprobs for one in held] if trainer.use_vllm else None,  # type: ignore[dict-item]
            "env_mask": [one.own for one in held],
            "last": [one.last for one in held],
            "turns": [one.turns for one in held],
        }

    return roll_out


@dataclass
class Talk:
    """One conversation: the prompt and what was said after it, in tokens."""

    problem: Problem
    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    chat: list[Message] = field(default_factory=list)
    """What was said and answered after the problem's messages."""
    turns: int = 0

    @property
    def context(self) -> list[int]:
        """What the model reads before its next turn."""
        return self.prompt + self.ids

    def say(self, ids: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """Add what the model wrote."""
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


def answered(setup: OnlineSetup, going: Sequence[Talk], answering: Converses, left: int, room: int) -> list[Talk]:
    """Add the domain's replies where another turn fits, and return the conversations that got one."""
    asked = [one.problem for one in going]
    said = [setup.read(one.problem, one.last).text for one in going]
    further = []
    for one, reply in zip(going, answering.replies(asked, said, left), strict=True):
        if reply is None:
            continue
        kept = _heard(setup, one, reply.heard)
        between = _between(setup.tokenizer, one.problem, reply.content)
        if len(one.context) - len(one.last) + kept + len(between) <= room:
            one.hear(kept, between)
            one.chat += [{"role": "assistant", "content": reply.heard}, {"role": "user", "content": reply.content}]
            measured = encode_prompt(setup.tokenizer, [*one.problem.messages, *one.chat])
            setup.tally.followed(1, measured != one.context)
            further.append(one)
    return further


def _heard(setup: OnlineSetup, one: Talk, heard: str) -> int:
    """Return how many tokens of the last completion it takes to say `heard`, with which it begins."""
    return bisect_left(
        range(len(one.last)), True, key=lambda end: setup.read(one.problem, one.last[:end]).text.startswith(heard)
    )


def _between(tokenizer: PreTrainedTokenizerBase, problem: Problem, reply: str) -> list[int]:
    """Return the tokens between two completions: the end of a turn, the reply, and the beginning of the next turn."""
    chat: list[Message] = [
        *problem.messages,
        {"role": "assistant", "content": _SAID},
        {"role": "user", "content": reply},
    ]
    _, said, after = templates.render(tokenizer, chat).partition(_SAID)
    if not said:
        raise StepFailedError("The model's chat template leaves out earlier turns: it cannot hold a conversation.")
    return encode_text(tokenizer, after)
