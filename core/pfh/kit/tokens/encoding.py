"""Requests to tokens and tokens to completions, the same in every backend, so that their figures can be compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.backends import Completion, GenerationRequest, ScoringRequest
from pfh.kit.thoughts import CHANNEL, HARMONY_MARKS, SPECIAL_MARKS, opened_by, thinks_on
from pfh.kit.tokens import chat_templates as templates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of `text`, special ones not added."""
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return tokens


def encode_prompts(tokenizer: PreTrainedTokenizerBase, requests: Sequence[GenerationRequest]) -> list[tuple[int, ...]]:
    """Return the tokens that a model is fed for each of `requests`."""
    return [
        tuple(encode_text(tokenizer, templates.render(tokenizer, request.messages)))
        if request.prompt is None
        else tuple(encode_context(tokenizer, request.prompt))
        for request in requests
    ]


def fit_prompt(prompt: tuple[int, ...], new_tokens: int, window: int) -> tuple[tuple[int, ...], int]:
    """Return `prompt` without the beginning that finds no room, and how many tokens may follow it in the window."""
    cut = prompt[-max(window - new_tokens, window // 2) :]
    return cut, min(new_tokens, window - len(cut))


def stop_strings(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[GenerationRequest], stop: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what ends a completion of `requests`, all chats or all prompts: `stop`, and what the template says."""
    return (*stop, *(templates.stops(tokenizer) if requests[0].prompt is None else ()))


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return where the first of `stops` begins in `text`, or None."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found) if found else None


def decode_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return the text of `tokens`, special ones left out but for those that tell thoughts from answers."""
    marks, others = _special_tokens(tokenizer)
    if marks:
        kept = [token for token in tokens if token not in others]
        return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[frozenset[int], frozenset[int]]:
    """Return the special tokens that mark thoughts, and the others."""
    special = {str(tokenizer.convert_ids_to_tokens(token)): token for token in tokenizer.all_special_ids}
    known = SPECIAL_MARKS | (HARMONY_MARKS if CHANNEL in special else frozenset())
    marks = frozenset(token for text, token in special.items() if text in known)
    return marks, frozenset(special.values()) - marks


def read_completion(
    tokenizer: PreTrainedTokenizerBase,
    request: GenerationRequest,
    written: Sequence[int],
    *,
    prompt_tokens: int,
    end_tokens: Collection[int],
    stops: Sequence[str],
    truncated: bool,
) -> Completion:
    """Return the completion that the tokens `written` are, the one that ended it included.

    A thought that the prompt opened is opened in the text, so that whoever reads it knows. One that is still open at
    the end was cut, whatever ended it.
    """
    kept = written[:-1] if written and written[-1] in end_tokens else written
    text = decode_tokens(tokenizer, kept)
    if request.prompt is None:
        text = text.removeprefix(" ") if templates.is_plain(tokenizer) else text
    stop = first_stop(text, stops)
    text = text[:stop]
    if request.prompt is None and (opened := opened_by(templates.render(tokenizer, request.messages))):
        text = opened.text + text
    return Completion(
        text=text,
        tokens=len(kept),
        prompt_tokens=prompt_tokens,
        truncated=truncated or thinks_on(text),
        token_ids=tuple(kept) if stop is None else (),
    )


def as_written(prompt: str, text: str) -> str:
    """Return a completion as the model wrote it behind `prompt`: without the opening of a thought that stands there."""
    opened = opened_by(prompt)
    if opened is None or not text.lstrip().startswith(opened.opener):
        return text
    behind = text.lstrip().removeprefix(opened.opener)
    tail = opened.text.removeprefix(opened.opener)
    return behind.removeprefix(tail) if behind.startswith(tail) else behind.lstrip("\n")


def encode_completed(
    tokenizer: PreTrainedTokenizerBase, requests: Sequence[GenerationRequest], completions: Sequence[str], window: int
) -> list[Encoded]:
    """Return each request with its completion in tokens, as they were when it was generated; all of it is input.

    The completion is put into tokens apart from the prompt; with the plain template it gets back the space that
    `read_completion` took away. Completions longer than the window lose their end.
    """
    space = " " if requests and requests[0].prompt is None and templates.is_plain(tokenizer) else ""
    rows = []
    prompts = encode_prompts(tokenizer, requests)
    for request, prompt, text in zip(requests, prompts, completions, strict=True):
        if request.prompt is None:
            text = as_written(templates.render(tokenizer, request.messages), text)
        written = encode_text(tokenizer, space + text if text else "")[: window - 1]
        rows.append(Encoded(inputs=(*prompt, *written)[-window:], targets=tuple(written)))
    return rows


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One request in tokens."""

    inputs: tuple[int, ...]
    """What the model is fed, cut on the left to the window; what is scored, without its last token."""
    targets: tuple[int, ...]
    """The continuation's tokens; the last `len(targets)` inputs predict them."""


def encode_pairs(tokenizer: PreTrainedTokenizerBase, requests: Sequence[ScoringRequest], window: int) -> list[Encoded]:
    """Tokenise `requests` for a model that sees `window` tokens.

    A continuation longer than the window is scored on its last `window` tokens.
    """
    contexts: dict[str, list[int]] = {}
    rows = []
    for request in requests:
        context, continuation = encode_pair(tokenizer, request.context, request.continuation, contexts)
        inputs = (context + continuation)[-(window + 1) :][:-1]
        rows.append(Encoded(inputs=tuple(inputs), targets=tuple(continuation[-window:])))
    return rows


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, contexts: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """Return the tokens of context and continuation, split as lm-eval 0.4 splits them (`TemplateLM._encode_pair`).

    Spaces that end the context go to the continuation; the whole is encoded at once and cut at the context's own
    length; an empty context becomes the beginning-of-sequence token, or the end-of-sequence one where there is none.
    `contexts` remembers the tokens of contexts: the options of a question have one.
    """
    stripped = context.rstrip()
    if stripped == "":
        prefix = _prefix_token(tokenizer)
        tokens = tokenizer.encode(context + continuation, add_special_tokens=False)
        return (tokens[:1], tokens[1:]) if tokens[:1] == [prefix] else ([prefix], tokens)
    whole = encode_context(tokenizer, context + continuation)
    if stripped not in contexts:
        contexts[stripped] = encode_context(tokenizer, stripped)
    context_tokens = contexts[stripped]
    return context_tokens, whole[len(context_tokens) :]


def encode_context(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of `text`, special ones added in front unless it already begins with the first of them.

    A tokenizer that ends every text (`add_eos_token`) does not end one that is to be continued.
    """
    prefix = _prefix_token(tokenizer)
    given = text.startswith(tokenizer.decode(prefix))
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=not given)
    for token, written in (
        (tokenizer.eos_token_id, tokenizer.eos_token),
        (tokenizer.sep_token_id, tokenizer.sep_token),
    ):
        if token is not None and len(tokens) > 1 and tokens[-1] == token and not text.endswith(written):
            return tokens[:-1]
    return tokens


def _prefix_token(tokenizer: PreTrainedTokenizerBase) -> int:
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise UserError("The model's tokenizer has neither a beginning- nor an end-of-sequence token: set one of them.")
    return int(token)
