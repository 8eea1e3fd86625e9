"""The prompts of the refusal tuning, all written for this project."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


def load_prompts() -> PromptSet:
    """Return the project's prompts in a fixed order; harmful ones take the refusals of their category in turn."""
    content = json.loads(_FILE.read_text(encoding="utf-8"))
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
