"""Samples: the unit that every figure is computed from, and how they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SampleStatus = Literal["ok", "format_failure", "truncated", "refused", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One document of a benchmark, put to one model."""

    id: str
    """Stable: a hash of the benchmark, its version and the document's content (`sample_id`)."""
    benchmark: str
    category: str = ""
    prompt: str
    """The rendered text that the model was fed."""
    completion: str
    extracted: str | None = None
    """What the extractor took out of the completion: the answer, or the judge's label."""
    target: str | None = None
    score: float | None
    """The benchmark's metric on this sample; None where it could not be scored."""
    status: SampleStatus = "ok"
    choices: int | None = None
    """Number of options of a multiple-choice document; None for free text."""
    tokens: int | None = None
    """Length of the completion in tokens."""
    cluster: str = ""
    """What the document shares with others, such as its passage, or the problem that it puts in one language; samples
    of one cluster are not independent. Empty: it stands alone."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that a later figure needs, as JSON.

    "user_prompt" is the document's own text, for the contamination check: no chat template, no worked examples.
    "labels", where several judges read the completions: name of each judge to its labels, one a completion.
    """

    @property
    def cut(self) -> bool:
        """Say whether the completion hit the length limit, whatever else its status tells."""
        return self.status == "truncated" or self.extra.get("truncated") is True


def sample_id(benchmark: str, version: str, document: Mapping[str, Any]) -> str:
    """Return the stable id of `document`: 16 hexadecimal digits of a SHA-256 over its content."""
    text = json.dumps([benchmark, version, document], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
