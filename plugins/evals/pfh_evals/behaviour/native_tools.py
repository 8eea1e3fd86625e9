"""Tools as the model's own chat template writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError, UserError
from pfh.kit.tokens.loading import load_tokenizer

from pfh_evals.behaviour.asks import Ask, ask, chat

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine
    from transformers import PreTrainedTokenizerBase


def asks(cases: Sequence[Mapping[str, Any]], engine: Engine | None) -> list[Ask]:
    """Return every case as the engine's model is fed it; without an engine nothing is rendered.

    Raises:
        DataUnavailableError: the model's template knows no tools, or is not at hand.
    """
    tokenizer = None if engine is None else _with_tools(engine)
    found = []
    for case in cases:
        each = ask("tools native", case["kind"], chat(case["asked"]), case)
        found.append(each if tokenizer is None else _rendered(each, tokenizer))
    return found


def _with_tools(engine: Engine) -> PreTrainedTokenizerBase:
    if engine.checkpoint.endpoint is not None:
        raise DataUnavailableError("a remote model renders its chats itself: take -o behaviour.tools=prompt")
    try:
        tokenizer = load_tokenizer(engine.checkpoint)
    except UserError as error:
        raise DataUnavailableError(str(error)) from error
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    if "tools" not in template:
        raise DataUnavailableError("the model's chat template has no tools: take -o behaviour.tools=prompt")
    return tokenizer


def _rendered(item: Ask, tokenizer: PreTrainedTokenizerBase) -> Ask:
    from dataclasses import replace

    from jinja2 import TemplateError

    tools = [{"type": "function", "function": dict(tool)} for tool in item.case["tools"]]
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in item.messages], tools=tools, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise DataUnavailableError(f"the model's chat template refuses tools: {error}") from error
    return replace(item, prompt=str(text))
