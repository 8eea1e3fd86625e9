"""The tokens that a training shows a model: the prompt as it is measured, the completion, and the end that stops it.

A chat template renders an answered chat in its own way: it may leave out a thought, add an empty one, or end a turn
with a token at which generation does not stop. What is taught is what the model reads and writes when it is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.kit.thoughts import CHANNEL, opened_by
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import as_written, encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens at which `model` stops generating."""
    return all_ends(model.generation_config.eos_token_id if model.generation_config else None, tokenizer)


def all_ends(stated: int | Sequence[int] | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that end a completion: those `stated` in a model's files, and the ends of its chat template.

    A base model's files may name its end of text alone, while its template ends turns with another token.
    """
    listed = stated if isinstance(stated, Sequence) else [stated]
    ends = (*listed, tokenizer.eos_token_id, templates.end_of_turn_token(tokenizer))
    return frozenset(token for token in ends if token is not None)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Return the tokens that the model is fed for the chat when it is measured."""
    return encode_text(tokenizer, templates.render(tokenizer, messages))


def encode_completion(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    text: str,
    end: Sequence[int],
    drawn: Sequence[int] = (),
) -> list[int]:
    """Return the tokens of a completion of the chat, apart from the prompt's as in generation, and `end` behind them.

    They are those `drawn`, where the model wrote it itself and they are known: its text may be put into others.
    With an empty `end` the completion was cut, and stays as it is. Else, where the prompt opens a thought, a text
    without one closes it first; and what the template puts before every answer, such as a channel, stands before this
    one, but no empty thought.
    """
    if drawn:
        return [*drawn, *end]
    prompt = templates.render(tokenizer, messages)
    opened = opened_by(prompt)
    text = as_written(prompt, text)
    if end and opened and opened.closer not in text:
        text = f"{opened.closer}\n\n{text}"
    elif end and CHANNEL not in text:
        text = _answer_opening(tokenizer, messages, prompt) + text
    space = " " if text and templates.is_plain(tokenizer) else ""
    return [*encode_text(tokenizer, space + text), *end]


def _answer_opening(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prompt: str) -> str:
    """Return the channel that the template opens between a prompt and its answer; an empty string for most."""
    if CHANNEL not in templates.chat_template(tokenizer):
        return ""
    answered = templates.render_answered(tokenizer, [*messages, {"role": "assistant", "content": templates.SAID}])
    opening, said, _ = answered.removeprefix(prompt).partition(templates.SAID)
    return opening if said and answered.startswith(prompt) else ""


def end_of_turn(tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> list[int]:
    """Return the tokens that end an assistant's turn: the template's, up to the first at which generation stops.

    Where the template writes none of `ends`, it is the tokenizer's end-of-sequence token.

    Raises:
        UserError: there is no such token either, or the template refuses an assistant's turn.
    """
    written = encode_text(tokenizer, templates.after_the_answer(tokenizer))
    for place, token in enumerate(written):
        if token in ends:
            return written[: place + 1]
    if tokenizer.eos_token_id is None:
        raise UserError(
            "The model's chat template writes no end of turn, and its tokenizer has no end-of-sequence token: what is "
            "trained on it would never stop writing. Set eos_token in its tokenizer_config.json."
        )
    return [tokenizer.eos_token_id]
