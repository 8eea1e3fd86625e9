"""A chat template and a tokenizer of unknown origin, tried before anything rests on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.kit.tokens.chat_templates import render
from pfh.kit.trials import trouble

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pfh.hooks.backends import Message
    from pfh.hooks.checkpoint import Checkpoint

_TEXT = "Is 7 * 6 = 42?\n\n" + "What does the model know of it, and why (in one_word or two)? Ça dépend... 漢字 " * 3
_tried: set[str] = set()


def rehearse(tokenizer: PreTrainedTokenizerBase, checkpoint: Checkpoint) -> None:
    """Render and encode a few chats within limits, once for a checkpoint; what only fails is left to fail later.

    Raises:
        UserError: it took too long or too much memory, or the process died of it.
    """
    key = f"{checkpoint.fingerprint} {tokenizer.chat_template}"
    if key not in _tried and (took := trouble(lambda: _use(tokenizer))):
        raise UserError(
            f"A short chat in the chat template and tokenizer of {checkpoint.name} takes {took}: mend its template or "
            "tokenizer, or take those of the model that it was made from."
        )
    _tried.add(key)


def _use(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.encode(_TEXT)
    for chat in _chats():
        try:
            text = render(tokenizer, chat)
        except UserError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from None
            continue
        tokenizer.encode(text, add_special_tokens=False)


def _chats() -> list[list[Message]]:
    user: Message = {"role": "user", "content": _TEXT}
    answer: Message = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    return [[user], [{"role": "system", "content": "Answer briefly."}, user], [user, answer, user]]
