"""The prompts of the refusal tuning: those written for this project, or a user's own in the same form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from pfh.errors import UserError

PromptKind = Literal["harmful", "benign", "look-alike"]


_FILE = Path(__file__).with_name("refusal_prompts.json")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One request of a user."""

    kind: PromptKind
    """A look-alike is benign and has the words or the form of a harmful request."""
    text: str
    refusal: str = ""
    """What the model is taught to answer to a harmful request; empty for the other kinds."""


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """The tuning prompts, and those that only measure what the tuning did."""

    tuning: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]


_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Texts = Annotated[list[_Text], Field(min_length=1)]


class _Form(BaseModel):
    """The form of the file."""

    model_config = ConfigDict(extra="forbid")

    harmful: Annotated[dict[str, _Texts], Field(min_length=1)]
    """By category."""
    benign: _Texts
    look_alike: list[_Text] = Field([], alias="look-alike")
    refusals: dict[str, _Texts]
    """By category; "any" is for those that have none of their own."""
    validation: dict[PromptKind, _Texts] = {}

    @model_validator(mode="after")
    def _every_category_has_refusals(self) -> _Form:
        without = sorted(set(self.harmful) - set(self.refusals))
        if without and "any" not in self.refusals:
            raise ValueError(f"refusals has neither {without[0]!r}, a category of harmful prompts, nor 'any'")
        return self


def load_prompts(file: Path = _FILE) -> PromptSet:
    """Return the prompts of `file` in a fixed order; harmful ones take the refusals of their category in turn.

    Raises:
        UserError: the file cannot be read, is no JSON, or has another form.
    """
    content = _read(file)
    tuning: list[Prompt] = []
    for category, texts in content["harmful"].items():
        refusals = content["refusals"].get(category, content["refusals"]["any"])
        tuning += [
            Prompt(kind="harmful", text=text, refusal=refusals[(len(tuning) + index) % len(refusals)])
            for index, text in enumerate(texts)
        ]
    tuning += [Prompt(kind="benign", text=text) for text in content["benign"]]
    tuning += [Prompt(kind="look-alike", text=text) for text in content["look-alike"]]
    validation = [Prompt(kind=kind, text=text) for kind, texts in content["validation"].items() for text in texts]
    return PromptSet(tuning=tuple(tuning), validation=tuple(validation))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return _Form.model_validate(json.loads(file.read_text(encoding="utf-8"))).model_dump(by_alias=True)
    except OSError as error:
        raise UserError(f"The prompts {file} cannot be read ({error.strerror}): name a JSON file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The prompts {file} are no UTF-8 text: save the file as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"The prompts {file} are no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"The prompts {file} have another form{f' at {place}' if place else ''}: "
            f"{first['msg'].removeprefix('Value error, ')}. docs/explanation/methods.md shows the form."
        ) from error
