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

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from pfh.errors import UserError, did_you_mean
from pfh.hooks.backends import Message
from pfh.kit.thoughts import CHANNEL, behind_thought

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

DAY = datetime(2024, 7, 26, tzinfo=UTC)
"""Today, for templates that write the date: the day that Llama 3's falls back on."""
_CLOCK = "strftime_now"
_DIRECTIVES = [f"%{letter}" for letter in "aAbBcdDeFGHIjlmMpRSTuUVwWxXyYzZ"] + [f"%-{letter}" for letter in "dHIjmMSy"]
_MACRO = (
    f"{{% macro {_CLOCK}(form) %}}{{{{ form"
    + "".join(f" | replace({each!r}, {DAY.strftime(each)!r})" for each in [*_DIRECTIVES, "%%"])
    + " }}{% endmacro %}{{ '' }}"
)
"""Of Jinja, in place of the function of that name."""

SAID = "(what the model said)"
"""Stands in a template for an answer, to see what is around it."""


_ARGUMENTS_END = "{#- pfh: arguments of the template end here #}{{ '' }}"
_RENDERED_WITH = {
    "messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "pad_token", "unk_token",
    "raise_exception", "strftime_now", "namespace", "range", "dict",
}  # fmt: skip
"""What every template is rendered with: no argument of it."""


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the Jinja template that `tokenizer` renders chats with: its own, or pfh's plain one.

    A trainer sets it (`tokenizer.chat_template = chat_template(tokenizer)`) and then renders what `render` does.
    """
    if tokenizer.chat_template:
        return str(tokenizer.get_chat_template())
    return _PLAIN_TEMPLATE_WITH_BOS if _adds_bos(tokenizer) else PLAIN_TEMPLATE


def set_arguments(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    """Let `tokenizer` render every chat under `arguments`, whoever asks it: they are written into its template.

    Raises:
        UserError: the template has no such argument.
    """
    template = chat_template(tokenizer).rpartition(_ARGUMENTS_END)[2]
    known = template_arguments(template)
    for name in arguments:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise UserError(
                f"The model's chat template has no argument {name!r}.{did_you_mean(name, known)} It has {listed}."
            )
    written = "".join(f"{{% set {name} = {_literal(value)} %}}" for name, value in arguments.items())
    tokenizer.chat_template = written + _ARGUMENTS_END + template if written else template


def template_arguments(template: str) -> set[str]:
    """Return the names that a template reads and that nothing else gives it."""
    from jinja2 import Environment, meta

    environment = Environment(extensions=["jinja2.ext.loopcontrols"])  # noqa: S701 - nothing is rendered with it
    plain = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template)
    try:
        return meta.find_undeclared_variables(environment.parse(plain)) - _RENDERED_WITH
    except TemplateError:
        return set(re.findall(r"\b[a-z]+_[a-z_]+\b", template)) - _RENDERED_WITH


def bare_template(template: str) -> str:
    """Return a template as it was before `set_arguments`, to be saved with a model."""
    return template.rpartition(_ARGUMENTS_END)[2]


def _literal(value: Any) -> str:  # noqa: ANN401 - JSON
    """Return a JSON value as Jinja writes it."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(key))}: {_literal(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether chats are rendered with the plain template."""
    return chat_template(tokenizer) in (PLAIN_TEMPLATE, _PLAIN_TEMPLATE_WITH_BOS)


def stops(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the strings that end a completion whatever the sampling says: none for a model with its own template."""
    return PLAIN_STOPS if is_plain(tokenizer) else ()


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """Return the text that a model is fed for the chat `messages`, generation prompt included.

    The text holds every special token it needs: encode it with `add_special_tokens=False`. Earlier thoughts are left
    out where the template does so, as those of most reasoning models do; gpt-oss' refuses its own channels in a turn,
    so that only what was said is handed to it. A template that writes today's date gets `DAY`, so that a model is put
    the same before and after, and whenever a run is repeated.

    Raises:
        UserError: the model's own template refuses the chat, for instance its system turn.
    """
    return _rendered(tokenizer, messages, add_generation_prompt=True)


def render_answered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """Return the text of a chat that ends with the assistant's turn, as the template ends it.

    Raises:
        UserError: the model's own template refuses the chat.
    """
    return _rendered(tokenizer, messages, add_generation_prompt=False)


def after_the_answer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the template writes behind an assistant's answer that ends a chat.

    Raises:
        UserError: the template refuses an assistant's turn.
    """
    chat: list[Message] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}]
    _, said, after = render_answered(tokenizer, chat).rpartition(SAID)
    return after if said else ""


def end_of_turn_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the added token that the template writes behind an answer, white space before it aside; None without one.

    A model that was taught with the template writes it there, whatever its tokenizer says of its end of sequence.
    """
    try:
        after = after_the_answer(tokenizer)
    except UserError:
        return None
    added = tokenizer.added_tokens_decoder
    for token in tokenizer.encode(after, add_special_tokens=False):
        if token in added:
            return int(token)
        if tokenizer.decode([token]).strip():
            return None
    return None


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            [_spoken(message) for message in messages],
            chat_template=_dated(chat_template(tokenizer)),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise UserError(f"The model's chat template refuses a chat of the turns {roles}: {error}.") from error
    return str(text)


def _dated(template: str) -> str:
    """Return `template` with `DAY` for today: transformers hands it a clock, and lets nobody hand it another."""
    return template if _CLOCK not in template else _MACRO + template


def _spoken(message: Message) -> Message:
    if message["role"] != "assistant" or CHANNEL not in message["content"]:
        return message
    return {"role": "assistant", "content": behind_thought(message["content"])}


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
