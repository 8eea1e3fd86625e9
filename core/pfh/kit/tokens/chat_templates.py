"""How a chat becomes the text that a model is fed.

A model with a chat template gets its own. A base model without one gets pfh's plain template, the same in
generation, scoring and training:

    <system text>

    User: <user text>

    Assistant: <assistant text>

Turns are separated by an empty line. It begins with the beginning-of-sequence token where the tokenizer adds one to
plain text, and a closing assistant turn ends with the end-of-sequence token, so that training teaches the model to
stop. An untrained base model does not know that yet: generation also ends where it starts to write the next user turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from pfh.errors import UserError, reading
from pfh.hooks.backends import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if not loop.first -%}{{ '\n\n' }}{%- endif -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] }}"
    "{%- elif message['role'] == 'user' -%}{{ 'User: ' + message['content'] }}"
    "{%- else -%}{{ 'Assistant: ' + message['content'] }}{%- if loop.last -%}{{ eos_token }}{%- endif -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '\n\nAssistant:' }}{%- endif -%}"
)


_PLAIN_TEMPLATE_WITH_BOS = "{{- bos_token -}}" + PLAIN_TEMPLATE


PLAIN_STOPS = ("\n\nUser:",)


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the Jinja template that `tokenizer` renders chats with: its own, or pfh's plain one.

    A trainer sets it (`tokenizer.chat_template = chat_template(tokenizer)`) and then renders what `render` does.
    """
    if tokenizer.chat_template:
        return str(tokenizer.get_chat_template())
    return _PLAIN_TEMPLATE_WITH_BOS if _adds_bos(tokenizer) else PLAIN_TEMPLATE


def is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether chats are rendered with the plain template."""
    return chat_template(tokenizer) in (PLAIN_TEMPLATE, _PLAIN_TEMPLATE_WITH_BOS)


def stops(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the strings that end a completion whatever the sampling says: none for a model with its own template."""
    return PLAIN_STOPS if is_plain(tokenizer) else ()


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """Return the text that a model is fed for the chat `messages`, generation prompt included.

    The text holds every special token it needs: encode it with `add_special_tokens=False`.

    Raises:
        UserError: the model's own template refuses the chat, for instance its system turn.
    """
    template = chat_template(tokenizer)
    roles = ", ".join(message["role"] for message in messages)
    with reading(f"A chat of the turns {roles} in the model's chat template", "mend the template"):
        try:
            text = tokenizer.apply_chat_template(
                list(messages), chat_template=template, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise UserError(f"The model's chat template refuses a chat of the turns {roles}: {error}.") from error
    return str(text)


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
