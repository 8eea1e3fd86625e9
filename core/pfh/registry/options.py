"""Options of a plugin: strings from the command line, checked against the plugin's pydantic model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pfh.errors import UserError, did_you_mean
from pfh.text import redacted

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

_LARGEST = 1 << 63


def fill(model: type[BaseModel] | None, given: Mapping[str, Any], owner: str) -> BaseModel | None:
    """Return an instance of `model` filled from `given`; a comma separates the items of a list.

    Args:
        model: the plugin's options model, or None when it takes none.
        given: option names to values, as strings from the command line or as values from a script.
        owner: the plugin, as errors name it.

    Raises:
        UserError: an unknown option (with the nearest name) or a value of the wrong type or range.
    """
    from pydantic import ValidationError

    if model is None:
        if given:
            raise UserError(f"{owner} takes no options, but got {', '.join(sorted(given))}.")
        return None
    for key in given:
        if key not in model.model_fields:
            known = ", ".join(model.model_fields)
            raise UserError(f"{owner} has no option {key!r}.{did_you_mean(key, model.model_fields)} Options: {known}.")
    values = {key: _split(value, model.model_fields[key].annotation) for key, value in given.items()}
    try:
        filled = model.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_explain(detail, owner) for detail in error.errors())) from None
    for key in given:
        if not _is_finite(getattr(filled, key)):
            raise UserError(f"{owner}: option {key} got {str(given[key])[:40]!r}: no number that large can be used.")
    return filled


def _is_finite(value: object) -> bool:
    """Say whether every number in `value` is finite, and every whole one fits into 64 bits."""
    if isinstance(value, (list, tuple)):
        return all(_is_finite(each) for each in value)
    if isinstance(value, int):
        return abs(value) < _LARGEST
    return not isinstance(value, float) or math.isfinite(value)


def _split(value: Any, annotation: Any) -> Any:  # noqa: ANN401 - whatever a field's annotation may be
    if isinstance(value, str) and _holds_list(annotation):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _holds_list(annotation: Any) -> bool:  # noqa: ANN401
    if get_origin(annotation) in (Union, UnionType):
        return any(_holds_list(choice) for choice in get_args(annotation))
    return (get_origin(annotation) or annotation) in (tuple, list, set, frozenset)


def _explain(detail: ErrorDetails, owner: str) -> str:
    problem = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # Options that do not fit together.
        return f"{owner}: {problem}"
    option = ".".join(str(part) for part in detail["loc"])
    return f"{owner}: option {option} got {redacted(repr(detail['input']))}: {problem[:1].lower()}{problem[1:]}"
