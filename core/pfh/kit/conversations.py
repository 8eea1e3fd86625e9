"""Conversations: rollouts in which the domain answers what the model writes, such as with what a program prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pfh.hooks.backends import GenerationRequest, Message
from pfh.hooks.domains import Converses, Generation, GenerationSpec, Problem, Rollout, verify_each
from pfh.kit.rollouts import single_turn
from pfh.text import storable


def roll_out(spec: GenerationSpec) -> Generation:
    """Draw rollouts the domain's way: conversations where it answers, single completions where it does not."""
    return multi_turn(spec, spec.domain) if isinstance(spec.domain, Converses) else single_turn(spec)


def multi_turn(spec: GenerationSpec, answering: Converses) -> Generation:
    """Hold `spec.samples` conversations on every problem and let the domain judge the last completion of each.

    All conversations that still go on take each turn together: one call of the engine, then one of
    `answering.replies`. A conversation ends with a completion that gets no reply, or after `answering.turns` replies.
    `spec.sampling.max_new_tokens` is the length limit of each completion.
    """
    conversations = [_Conversation(problem, index) for problem in spec.problems for index in range(spec.samples)]
    going = conversations
    for turn in range(answering.turns + 1):
        completions = spec.engine.generate([one.request(turn) for one in going], spec.sampling)
        for one, completion in zip(going, completions, strict=True):
            one.say("assistant", storable(completion.text))
            one.tokens += completion.tokens
            one.truncated = completion.truncated
        left = answering.turns - turn
        going = _answered(going, answering, left - 1) if left else []
        if not going:
            break
    verdicts = verify_each(
        spec.domain, [one.problem for one in conversations], [one.completion for one in conversations]
    )
    return Generation(
        rollouts=tuple(
            Rollout(
                problem=one.problem,
                index=one.index,
                completion=one.completion,
                tokens=one.tokens,
                truncated=one.truncated,
                verdict=verdict,
                messages=tuple(one.messages),
            )
            for one, verdict in zip(conversations, verdicts, strict=True)
        )
    )


@dataclass
class _Conversation:
    problem: Problem
    index: int
    messages: list[Message] = field(default_factory=list)
    """What was said after the problem's messages."""
    tokens: int = 0
    truncated: bool = False

    @property
    def completion(self) -> str:
        return self.messages[-1]["content"]

    def request(self, turn: int) -> GenerationRequest:
        identity = f"{self.problem.id}/{self.index}/{turn}"
        return GenerationRequest(id=identity, messages=(*self.problem.messages, *self.messages))

    def say(self, role: Literal["user", "assistant"], content: str) -> None:
        self.messages.append({"role": role, "content": content})


def _answered(going: Sequence[_Conversation], answering: Converses, left: int) -> list[_Conversation]:
    """Add the domain's replies, and return the conversations that got one."""
    replies = answering.replies([one.problem for one in going], [one.completion for one in going], left)
    answered = []
    for one, reply in zip(going, replies, strict=True):
        if reply is not None:
            one.messages.pop()  # said again without what stands behind a call
            one.say("assistant", reply.heard)
            one.say("user", storable(reply.content))
            answered.append(one)
    return answered
