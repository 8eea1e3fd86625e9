"""What the refusal tuning imitates: refusals, and the model's own answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Message, Sampling
from pfh.hooks.domains import Problem
from pfh.hooks.methods import Draw, RolloutSource
from pfh.kit.refusal_prompts import Prompt
from pfh.kit.tokens.taught import all_ends, encode_completion, encode_prompt, end_of_turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REFUSAL = re.compile(
    r"\W*((i'm|i am) (so |very |really )?sorry|sorry\b|i (cannot|can't|won't|will not)|(i'm|i am) (not able|unable))",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and the answer to imitate."""

    kind: str
    messages: tuple[Message, ...]
    answer: str
    ends: bool
    """The model is to end its turn after the answer."""
    token_ids: Sequence[int] = ()
    """Those that the model itself wrote the answer in, where it did."""


def imitated(prompts: Sequence[Prompt], rollouts: RolloutSource, answer_tokens: int) -> tuple[Example, ...]:
    """Return the examples, in the order of `prompts`; a harmless one that is refused, or not answered, gives none.

    Args:
        prompts: what to answer.
        rollouts: where the model's own answers come from.
        answer_tokens: how long they may be.
    """
    asked = own_answers(prompts, answer_tokens)
    drawn = rollouts(samples=1, sampling=asked.sampling, problems=asked.problems, judged=False)
    own = {rollout.problem.id: rollout for rollout in drawn}
    examples = []
    for prompt in prompts:
        problem = _problem(prompt)
        if prompt.kind == "harmful":
            examples.append(Example(kind=prompt.kind, messages=problem.messages, answer=prompt.refusal, ends=True))
            continue
        answer = own[problem.id]
        if answer.completion.strip() and not refuses(answer.completion):
            examples.append(
                Example(
                    kind=prompt.kind,
                    messages=problem.messages,
                    answer=answer.completion,
                    ends=not answer.truncated,
                    token_ids=answer.token_ids,
                )
            )
    return tuple(examples)


def own_answers(prompts: Sequence[Prompt], answer_tokens: int) -> Draw:
    """Return what the model is asked before it is trained: every harmless prompt."""
    asked = [_problem(prompt) for prompt in prompts if prompt.kind != "harmful"]
    return Draw(samples=1, sampling=Sampling(max_new_tokens=answer_tokens), problems=asked, judged=False)


def refuses(answer: str) -> bool:
    """Tell whether `answer` opens with one of the phrases that the tuning teaches, or a common one like them."""
    return _REFUSAL.match(answer.replace("’", "'")) is not None


def tokenized(example: Example, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return one row for TRL; an answer cut at the length limit gets no end of turn, so answers stay as long."""
    prompt = encode_prompt(tokenizer, example.messages)
    end = end_of_turn(tokenizer, all_ends(None, tokenizer)) if example.ends else []
    answer = encode_completion(tokenizer, example.messages, example.answer, end, example.token_ids)
    return {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}


def _problem(prompt: Prompt) -> Problem:
    return Problem(
        id=f"{prompt.kind}/{hashlib.sha256(prompt.text.encode()).hexdigest()[:16]}",
        environment="refusal-tuning",
        messages=({"role": "user", "content": prompt.text},),
        answer="",
    )
