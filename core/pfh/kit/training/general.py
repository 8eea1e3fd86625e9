"""The general rows of a stage: their prompts with the answers that are rehearsed, or compared with the start's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.backends import Message, Sampling
from pfh.hooks.methods import Draw, StageSpec, TrainingSpec
from pfh.kit.rows import GeneralRow, read_rows
from pfh.kit.tokens.taught import encode_completion, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pfh.kit.training.mitigations import MitigationOptions


@dataclass(frozen=True, kw_only=True)
class GeneralAnswer:
    """A general prompt and an answer to it."""

    messages: tuple[Message, ...]
    answer: str
    ends: bool = True
    """The model is to end its turn after the answer."""
    token_ids: tuple[int, ...] = ()
    """Those that the start itself wrote the answer in, where it did."""


@dataclass(frozen=True, kw_only=True)
class GeneralAnswers:
    """What a stage rehearses or compares, and where it comes from."""

    answers: tuple[GeneralAnswer, ...]
    told: str
    """For the report."""


def replayed_answers(spec: TrainingSpec) -> GeneralAnswers | None:
    """Return what is rehearsed; None where nothing is.

    Raises:
        UserError: the rows cannot be had, or none has an answer.
        DataUnavailableError: likewise.
    """
    options: MitigationOptions = spec.options
    if not options.replay:
        return None
    read = read_rows(options.replay, spec.data, options.general_rows, spec.seed)
    if options.replay_answers == "own":
        own = _own_answers(spec, read.rows)
        return GeneralAnswers(answers=own, told=f"{len(own)} rows of {read.origin}, answered by the start itself")
    answered = tuple(GeneralAnswer(messages=row.problem.messages, answer=row.answer) for row in read.rows if row.answer)
    if not answered:
        raise UserError(
            f"The rows of {options.replay} have no answers to rehearse: take replay_answers=own, and the start of the "
            "run answers them."
        )
    return GeneralAnswers(answers=answered, told=f"{len(answered)} rows of {read.origin}")


def compared_answers(spec: TrainingSpec) -> GeneralAnswers | None:
    """Return the start's own answers along which the model is compared with it; None where it is not.

    Raises:
        UserError: the rows cannot be had, or the start says nothing to any.
        DataUnavailableError: likewise.
    """
    options: MitigationOptions = spec.options
    if not options.kl_source:
        return None
    read = read_rows(options.kl_source, spec.data, options.general_rows, spec.seed)
    own = _own_answers(spec, read.rows)
    return GeneralAnswers(answers=own, told=f"{len(own)} rows of {read.origin}, answered by the start itself")


def general_draws(spec: StageSpec, seed: int) -> tuple[Draw, ...]:
    """Return the answers that the start of the run gives before the training: one draw for each set of rows.

    Raises:
        UserError: the rows cannot be had.
        DataUnavailableError: likewise.
    """
    options: MitigationOptions = spec.options
    return tuple(
        _own_draw(options, read_rows(name, spec.data, options.general_rows, seed).rows)
        for name in options.answered_rows
    )


def _own_draw(options: MitigationOptions, rows: Sequence[GeneralRow]) -> Draw:
    return Draw(
        samples=1,
        by_origin=True,
        sampling=Sampling(max_new_tokens=options.answer_length, temperature=1.0),
        problems=tuple(row.problem for row in rows),
        judged=False,
    )


def _own_answers(spec: TrainingSpec, rows: Sequence[GeneralRow]) -> tuple[GeneralAnswer, ...]:
    draw = _own_draw(spec.options, rows)
    drawn = spec.rollouts(
        samples=draw.samples,
        sampling=draw.sampling,
        checkpoint=spec.origin,
        problems=draw.problems,
        judged=draw.judged,
    )
    own = tuple(
        GeneralAnswer(
            messages=rollout.problem.messages,
            answer=rollout.completion,
            ends=not rollout.truncated,
            token_ids=tuple(rollout.token_ids),
        )
        for rollout in drawn
        if rollout.completion.strip()
    )
    if not own:
        raise UserError("The start of the run says nothing to any of the general prompts: name other rows.")
    return own


def encoded(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[GeneralAnswer], end: Sequence[int], max_length: int
) -> list[tuple[list[int], int]]:
    """Return of each answer the tokens, and how many of them are the prompt's; what leaves no room is left out."""
    rows = []
    for each in answers:
        prompt = encode_prompt(tokenizer, each.messages)
        closing = end if each.ends else []
        answer = encode_completion(tokenizer, each.messages, each.answer, closing, each.token_ids)
        if len(prompt) < max_length and answer:
            rows.append(([*prompt, *answer][:max_length], len(prompt)))
    if not rows:
        raise UserError(f"No general row leaves room for an answer in max_length={max_length}: raise it.")
    return rows
