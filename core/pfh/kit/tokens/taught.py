"""The tokens that a training shows a model: the prompt as it is measured, the completion, and the end that stops it.

A chat template renders an answered chat in its own way: it may leave out a thought, add an empty one, or end a turn
with a token at which generation does not stop. What is taught is what the model reads and writes when it is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

THOUGHT, THOUGHT_ENDS = "<think>", "</think>"
"""What templates of reasoning models put around a thought."""


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
    without one closes it first.
    """
    if drawn:
        return [*drawn, *end]
    if end and templates.render(tokenizer, messages).rstrip().endswith(THOUGHT):
        opened, _, rest = text.partition(THOUGHT)
        text = rest.lstrip("\n") if not opened.strip() and rest else text
        text = text if THOUGHT_ENDS in text else f"{THOUGHT_ENDS}\n\n{text}"
    space = " " if text and templates.is_plain(tokenizer) else ""
    return [*encode_text(tokenizer, space + text), *end]


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
