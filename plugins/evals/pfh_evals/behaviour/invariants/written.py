"""A file of invariants as a user writes it: prompts, checks, and the rates at which they must hold."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hold(_Model):
    """The rates at which an invariant must hold."""

    at_least: float | None = Field(default=None, gt=0, le=1)
    """Of the model after, by itself."""
    not_worse_by: float | None = Field(default=None, gt=0, lt=1)
    """The loss against the model before that is still accepted."""
    each: float | None = Field(default=None, gt=0, lt=1)
    """Of every prompt by itself, over its variants and repeats."""

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is asked."""
        return self.at_least is None and self.not_worse_by is None and self.each is None


class Vary(_Model):
    """Other ways to put a prompt, which stay inside its score."""

    typos: int = Field(default=0, ge=0, le=20)
    wording: tuple[str, ...] = ()
    """Texts with {ask} in them."""


class Turn(_Model):
    """One turn before the prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(_Model):
    """One prompt."""

    ask: str = Field(min_length=1)
    vars: dict[str, Any] = {}
    """Values of {vars.NAME} in prompts and checks."""
    sources: tuple[str, ...] = ()
    """What may be cited."""
    against: str = ""
    """Of a direction: the prompt whose answer must have less."""


def _prompt(value: object) -> object:
    return {"ask": value} if isinstance(value, str) else value


class OfFile(_Model):
    """Prompts in a file of JSON lines, beside the file of invariants."""

    file: str


class OfDataset(_Model):
    """Prompts of a dataset."""

    dataset: str = Field(pattern=r"^[^/]+/[^/]+/[^/]+/[^/]+$")
    """ORGANISATION/NAME/CONFIG/SPLIT."""
    field: str
    """Column of the prompts."""


class Defaults(_Model):
    """What holds for every invariant that says nothing else."""

    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    hold: Hold = Hold()


class Invariant(_Model):
    """One invariant: every prompt must pass all checks."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    kind: Literal["function", "invariance", "direction"] = "function"
    """Checks of each reply; the same answer over the variants; more of something than the prompt it stands against."""
    prompts: list[Annotated[Prompt, BeforeValidator(_prompt)]] | OfFile | OfDataset
    system: str = ""
    messages: tuple[Turn, ...] = ()
    vary: Vary = Vary()
    repeats: int = Field(1, ge=1, le=100)
    checks: tuple[dict[str, Any], ...] = ()
    extract: dict[str, Any] | None = None
    """What must be the same over the variants, or more than against the other prompt."""
    may_quote: bool = False
    """A right reply may repeat much of the prompt."""
    max_new_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    hold: Hold = Hold()
    why: str = ""
    passes: tuple[str, ...] = ()
    """Replies to the first prompt that the checks must let through."""
    fails: tuple[str, ...] = ()
    """Replies to the first prompt that they must not."""


class Written(_Model):
    """A file of invariants."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    tools: str = ""
    """A file of tools, as JSON, beside this one."""
    invariants: tuple[Invariant, ...] = Field(min_length=1)


_PLACE = re.compile(r"\{vars\.(\w+)\}")


def names_in(value: object) -> set[str]:
    """Return the names of the {vars.NAME} in a text, or in all texts of a list or mapping."""
    if isinstance(value, str):
        return set(_PLACE.findall(value))
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return {name for each in inside for name in names_in(each)}


def put_in(value: Any, given: dict[str, Any]) -> Any:  # noqa: ANN401 - what YAML holds
    """Return `value` with the values of {vars.NAME}: as they are where a text is nothing else, else as text."""
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        return given[whole[1]] if whole else _PLACE.sub(lambda match: str(given[match[1]]), value)
    if isinstance(value, dict):
        return {key: put_in(each, given) for key, each in value.items()}
    return [put_in(each, given) for each in value] if isinstance(value, list | tuple) else value
