"""results.json: the schema that scripts read. Fields are added, never renamed, within one schema version."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pfh.ledger import Phase
from pfh.specs import Plot, Table
from pfh.statistics import Comparison

SCHEMA_VERSION: Literal["1"] = "1"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(_Record):
    """A model as the results name it."""

    name: str
    fingerprint: str = Field(description="hash of the weights, adapter, configuration and tokenizer")
    path: str = Field("", description="where the weights lie on the machine that ran; empty if they were not kept")


class FamilyRecord(_Record):
    """One benchmark family, before and after one stage."""

    family: str
    comparisons: tuple[Comparison, ...] = Field(description="one a benchmark")
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = Field((), description="Plotly figures")
    findings: tuple[str, ...] = ()
    before_artifact: str = Field(description="key in the store of the evaluation before")
    after_artifact: str = Field(description="key in the store of the evaluation after")


class StageRecord(_Record):
    """One training stage, measured against the start of the run."""

    method: str = Field(description="name of the method's plugin; empty for a comparison of two models")
    options: dict[str, Any] = Field(default_factory=dict, description="every option of the method, defaults included")
    before: ModelRecord
    after: ModelRecord
    ledger: tuple[Phase, ...] = ()
    curves: tuple[dict[str, float], ...] = Field((), description="one row a logged update")
    notes: tuple[str, ...] = ()
    families: tuple[FamilyRecord, ...] = ()


class RunResults(_Record):
    """Everything that a run found out."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    title: str = Field(description="the run in a few words")
    headline: str = Field(description="the verdict in one sentence")
    start: str = Field(description='"SAFE", "BASE" or "custom", and what that is')
    domain: str = ""
    seed: int = 0
    limit: int | None = None
    provenance: dict[str, str] = Field(description="versions of pfh, its plugins and its libraries; the device")
    notes: tuple[str, ...] = ()
    stages: tuple[StageRecord, ...]


def write_results(path: Path, results: RunResults) -> None:
    """Write `results` as JSON."""
    path.write_text(results.model_dump_json(indent=1) + "\n")


def read_results(path: Path) -> RunResults:
    """Read what `write_results` wrote.

    Raises:
        pydantic.ValidationError: the file is no results file of this schema version.
    """
    return RunResults.model_validate_json(path.read_text())
