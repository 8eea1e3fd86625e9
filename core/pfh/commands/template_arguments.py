"""Arguments of chat templates, such as enable_thinking: what the user says, and the models that take them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.commands.subjects import Subject
from pfh.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from pfh.hooks.checkpoint import Checkpoint


def parse_arguments(given: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Any]:
    """Return arguments by name, of NAME=VALUE each or of one JSON object.

    A value is JSON where it is, such as false or 3, and else a text.

    Raises:
        UserError: it is neither.
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    arguments: dict[str, Any] = {}
    for text in [given] if isinstance(given, str) else given:
        if text.lstrip().startswith("{"):
            arguments |= _object(text)
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UserError(
                f"--chat-template-kwargs got {text!r}: write NAME=VALUE, such as enable_thinking=false, or a JSON "
                "object."
            )
        arguments[name.strip()] = _value(value.strip())
    return arguments


def under_arguments(subject: Subject, arguments: Mapping[str, Any], *, among_others: bool) -> Subject:
    """Return a model that takes `arguments`; stored results and logs are as they were made.

    Args:
        subject: what was opened.
        arguments: by name.
        among_others: it is compared with others, one of which may be the one that has an argument.

    Raises:
        UserError: the model's chat template has no such argument, and the model is not among others.
    """
    checkpoint = subject.checkpoint
    if checkpoint is None or not arguments:
        return subject
    known = _known(checkpoint)
    taken = {name: value for name, value in arguments.items() if known is None or name in known}
    lacking = [name for name in arguments if name not in taken]
    if lacking and not among_others:
        raise _unknown(lacking[0], checkpoint.name, known or set())
    changed = checkpoint.with_template_arguments(taken)
    told = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in taken.items())
    return dataclasses.replace(
        subject,
        checkpoint=changed,
        model=subject.model.model_copy(update={"fingerprint": changed.fingerprint}),
        label=f"{subject.label}, chat template with {told}" if told else subject.label,
        notes=(*subject.notes, *(f"Its chat template has no argument {name}: it was put without." for name in lacking)),
    )


def check_taken(arguments: Mapping[str, Any], subjects: Sequence[Subject]) -> None:
    """Check that each argument is one of a model's.

    Raises:
        UserError: no model's chat template has it.
    """
    models = [subject.checkpoint for subject in subjects if subject.checkpoint is not None]
    for name in arguments:
        if models and not any(name in model.chat_template_kwargs for model in models):
            known = set[str]().union(*(_known(model) or set() for model in models))
            raise _unknown(name, " or ".join(model.name for model in models), known)


def _known(checkpoint: Checkpoint) -> set[str] | None:
    """Return the arguments that a model's template has; None where only its endpoint could tell."""
    if checkpoint.endpoint is not None:
        return None
    from pfh.kit.tokens.loading import arguments_of

    return arguments_of(checkpoint)


def _unknown(name: str, model: str, known: set[str]) -> UserError:
    listed = ", ".join(sorted(known)) or "none"
    return UserError(
        f"The chat template of {model} has no argument {name!r}.{did_you_mean(name, known)} It has {listed}."
    )


def _object(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--chat-template-kwargs got no JSON object: {error}.") from error
    if not isinstance(read, dict) or not all(name.isidentifier() for name in read):
        raise UserError("--chat-template-kwargs got JSON whose keys are no names of arguments.")
    return read


def _value(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except (ValueError, RecursionError):
        return text
