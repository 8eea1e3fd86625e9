"""What the family puts to a model: its own texts, or any dataset's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import DataSource
from pfh.kit.refusal_prompts import load_prompts

Item = TypeVar("Item")

BUILT_IN = "built in"
_FOLDER = Path(__file__).parent
_SOURCE = re.compile(
    r"(?P<id>[^/:\s]+/[^/:\s]+)(/(?P<config>[^/:\s]+)/(?P<split>[^/:\s]+))?:(?P<fields>[^:\s]+(:[^:\s]+)*)"
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, and where they come from."""

    texts: tuple[str, ...]
    origin: str

    @property
    def version(self) -> str:
        """Tell these texts from any others."""
        return f"1-{digest(self.texts)}"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A labelled text for probes."""

    text: str
    label: str
    group: str
    """Statements of one group are on one side of the split: the true and the false one of a fact, equal texts."""
    category: str = ""


def digest(texts: Sequence[str]) -> str:
    """Return eight hexadecimal digits of a hash of `texts`."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def instructions(source: str, data: DataSource, limit: int | None) -> Texts:
    """Return the probe set of CKA: the built-in instructions, or a dataset's texts as `source` names them.

    Raises:
        UserError: `source` is malformed.
        DataUnavailableError: the dataset cannot be had, or lacks the field.
    """
    if not source:
        return Texts(texts=evenly(json.loads((_FOLDER / "instructions.json").read_text()), limit), origin=BUILT_IN)
    rows, origin = _rows(source, data, ("text",))
    return Texts(texts=evenly([text for (text,) in rows], limit), origin=origin)


def statements(source: str, data: DataSource, limit: int | None) -> tuple[tuple[Statement, ...], str]:
    """Return labelled statements and where they come from; built in are facts, each once true and once false.

    Raises:
        UserError: `source` is malformed.
        DataUnavailableError: the dataset cannot be had, or lacks a field.
    """
    if source:
        rows, origin = _rows(source, data, ("text", "label"))
        kept = evenly(sorted(set(rows)), limit)
        return tuple(Statement(text=text, label=label, group=digest([text])) for text, label in kept), origin
    facts = json.loads((_FOLDER / "statements.json").read_text())
    kept_facts = evenly(facts, None if limit is None else max(1, limit // 2))
    return tuple(
        Statement(text=fact[label], label=label, group=digest([fact["true"]]), category=fact["topic"])
        for fact in kept_facts
        for label in ("true", "false")
    ), BUILT_IN


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Harmful and harmless requests: to find the refusal direction, to choose among candidates, and to measure on."""

    train: dict[str, tuple[str, ...]]
    """"harmful" and "harmless" to requests; so the others."""
    validation: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    origin: str

    @property
    def version(self) -> str:
        """Tell these held-out requests from any others."""
        return f"1-{digest([*self.held_out['harmful'], *self.held_out['harmless']])}"


def requests(
    harmful: str, harmless: str, data: DataSource, *, train: int, validation: int, limit: int | None
) -> Requests:
    """Return requests to find a direction with, and the family's own held-out ones.

    Built in, the direction is found on the prompts of the refusal tuning; the held-out requests are in no tuning and no
    other benchmark.

    Raises:
        UserError: a source is malformed.
        DataUnavailableError: a dataset cannot be had, or lacks the field.
    """
    found, origins = {}, []
    tuning = load_prompts().tuning
    built_in = {
        "harmful": [prompt.text for prompt in tuning if prompt.kind == "harmful"],
        "harmless": [prompt.text for prompt in tuning if prompt.kind != "harmful"],
    }
    for kind, source in (("harmful", harmful), ("harmless", harmless)):
        if source:
            rows, origin = _rows(source, data, ("text",))
            found[kind] = sorted({text for (text,) in rows}, key=lambda text: digest([text]))
        else:
            found[kind], origin = sorted(built_in[kind], key=lambda text: digest([text])), BUILT_IN
        origins.append(origin)
    own = json.loads((_FOLDER / "requests.json").read_text())
    return Requests(
        train={kind: tuple(texts[validation : validation + train]) for kind, texts in found.items()},
        validation={kind: tuple(texts[:validation]) for kind, texts in found.items()},
        held_out={kind: evenly(own[kind], limit) for kind in found},
        origin=f"built in; the direction is found on: {', '.join(dict.fromkeys(origins))}",
    )


def evenly(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Return at most `limit` of `items`, evenly spread."""
    if limit is None or limit >= len(items):
        return tuple(items)
    return tuple(items[index * len(items) // limit] for index in range(limit))


def _rows(source: str, data: DataSource, wanted: tuple[str, ...]) -> tuple[list[tuple[str, ...]], str]:
    """Return the fields that `source` names of every row, as text."""
    found = _SOURCE.fullmatch(source)
    names = found["fields"].split(":") if found else []
    if found is None or len(names) != len(wanted):
        raise UserError(
            f"{source!r} names no dataset: write organisation/name/config/split:{':'.join(wanted).upper()}, the last "
            f"being the name{'s' if len(wanted) > 1 else ''} of the dataset's field{'s' if len(wanted) > 1 else ''}."
        )
    dataset = data.load(found["id"], found["config"] or "default", found["split"] or "train")
    for number, row in enumerate(dataset.rows, start=1):
        if missing := [name for name in names if row.get(name) is None]:
            raise DataUnavailableError(
                f"row {number} of {dataset.origin} has no {missing[0]}; its fields are {', '.join(sorted(row))}"
            )
    return [tuple(str(row[name]) for name in names) for row in dataset.rows], dataset.origin
