"""results.json: the schema that scripts read. Fields are added, never renamed, within one schema version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from pfh.errors import content_of
from pfh.hooks.comparison import Comparison, FamilyChange
from pfh.hooks.evals import Claim
from pfh.hooks.ledger import Phase
from pfh.hooks.tables import Plot, Table
from pfh.results.clauses import Judged
from pfh.results.recovery import RecoveryRecord
from pfh.statistics.divergence import Divergence
from pfh.statistics.single import Measurement
from pfh.text import json_text, write_whole

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION: Literal["2"] = "2"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelRecord(_Record):
    """A model as the results name it."""

    name: str
    """What the user called it, or what the run made of it."""
    fingerprint: str
    """Hash of the weights, adapter, configuration and tokenizer."""
    path: str = ""
    """Where the weights lie on the machine that ran; empty if they were not kept."""


class FamilyRecord(_Record):
    """One benchmark family, before and after one stage."""

    family: str
    """Name of the eval plugin."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Every option of the family, defaults included; empty for what another tool measured."""
    comparisons: tuple[Comparison, ...]
    """One a benchmark; those that could not be measured are among them, with the reason."""
    whole: FamilyChange | None = None
    """The family as a whole; null where nothing of it was tested."""
    tables: tuple[Table, ...] = ()
    """What the family adds to the paired figures."""
    plots: tuple[Plot, ...] = ()
    """Plotly figures that the family adds."""
    findings: tuple[str, ...] = ()
    """Whole sentences, the most important first."""
    claims: tuple[Claim, ...] = ()
    """What became of promises that benchmarks make by themselves, such as invariants."""
    before_artifact: str
    """Key in the store of the evaluation before."""
    after_artifact: str
    """Key in the store of the evaluation after."""


class GateRecord(_Record):
    """A contract held against one stage of a run, or against the run."""

    contract: str
    """Name of its file."""
    stage: int | None
    """Place of the stage, from 0; what was held is what that stage changed by itself. Null: the whole run."""
    method: str
    """Of the stage; empty for the whole run."""
    sentence: str
    """The verdict in one sentence."""
    passes: bool
    """Whether the model may go on."""
    at_fault: bool = False
    """The contract asks what cannot be asked of what was measured; the sentence says what."""
    chance: float = 1.0
    """That a truly unchanged model passes all non-inferiority clauses, if they were independent."""
    clauses: tuple[Judged, ...] = ()
    """What became of every clause."""


class AlongRecord(_Record):
    """A checkpoint along the way of a training."""

    update: int
    """Updates made by then."""
    device_seconds: float
    """Spent by then, rollouts and a teacher's generation included."""
    tokens: int
    """Tokens of the sequences trained on by then."""
    flops: float
    """Floating-point operations by then."""
    gain: float
    """What it gained against the start on the family that is matched, in percentage points."""
    path: str
    """Where its weights lie in the store."""


class MatchRecord(_Record):
    """The way of a training to a gain at which methods are compared."""

    family: str
    """The family whose gain is matched."""
    wanted: float | None
    """The gain that was asked for, in percentage points; null where none was."""
    along: tuple[AlongRecord, ...]
    """The checkpoints that were measured, by their updates."""
    matched: int | None
    """Updates of the checkpoint that is compared: the first that reached the gain; null: the model as it ended."""


class StageRecord(_Record):
    """One training stage, measured against the start of the run."""

    method: str
    """Name of the method's plugin; empty for a comparison of two models."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Every option of the method, defaults included."""
    before: ModelRecord
    """The start of the run, which every stage is compared with."""
    after: ModelRecord
    """The model that this stage left."""
    budget: str = ""
    """What the stage could spend, such as "100 updates"; empty without a budget."""
    budget_spent: float | None = None
    """Share of the budget that was spent; null without one."""
    ledger: tuple[Phase, ...] = ()
    """What the stage spent, phase by phase."""
    curves: tuple[Mapping[str, float | None], ...] = ()
    """One row a logged update, with at least "step"; null where the trainer logged no finite number."""
    notes: tuple[str, ...] = ()
    """What a reader must know about the training, in whole sentences."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """Versions that the training rests on: of its method, its domain and the libraries that train."""
    families: tuple[FamilyRecord, ...] = ()
    """One a family that was evaluated."""
    alone: tuple[FamilyRecord, ...] = ()
    """What this stage changed by itself, against the model that the stage before it left; only where a contract speaks
    of the stage, and it is not the first."""
    match: MatchRecord | None = None
    """Where checkpoints along the way were measured; null where they were not."""
    divergence: Divergence | None = None
    """How far the model is from the start, measured the same way whatever the method; null in older results."""


class MeasuredFamily(_Record):
    """One benchmark family, put to one model that nothing was compared with."""

    family: str
    """Name of the eval plugin."""
    benchmarks: tuple[Measurement, ...]
    """One a benchmark; those that could not be measured are among them, with the reason."""
    artifact: str
    """Key in the store of the evaluation."""


class MeasuredModel(_Record):
    """One model measured by itself, as `pfh eval` does."""

    model: ModelRecord
    """The model."""
    families: tuple[MeasuredFamily, ...]
    """One a family that was evaluated."""


class RunResults(_Record):
    """Everything that a run found out."""

    schema_version: Literal["1", "2"] = SCHEMA_VERSION
    """Version of this schema; fields may be added within a version, never renamed, removed or redefined. Results of
    version 1 can be read: the cells of their tables are text where those of version 2 are quantities."""
    title: str
    """The run in a few words."""
    headline: str
    """The verdict in one sentence."""
    start: str
    """"SAFE", "BASE" or "custom", and what that is."""
    domain: str = ""
    """Name of the domain that the methods trained on; empty for a comparison of two models."""
    seed: int = 0
    """Seed of every random draw of the run."""
    limit: int | None = None
    """At most this many documents a benchmark were evaluated; null is all of them."""
    provenance: dict[str, str]
    """Versions that the figures rest on: of pfh, the families, the backend and the libraries; the device."""
    notes: tuple[str, ...] = ()
    """What a reader must know about the run, in whole sentences."""
    stages: tuple[StageRecord, ...]
    """The training stages in their order; without a method for a comparison of models, one a model after."""
    gates: tuple[GateRecord, ...] = ()
    """Contracts that the run was held against, in the order in which that was done."""
    recovery: RecoveryRecord | None = None
    """What `pfh recover` found of the run's model without training; null where it was not asked."""
    measured: tuple[MeasuredModel, ...] = ()
    """The models that were measured by themselves; there are no stages then."""
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """The folder that holds results.json, report.html and a run's models; None where they were not written."""
        return self._folder

    def kept_in(self, folder: Path) -> RunResults:
        """Return the same results, with the folder that holds them."""
        kept = self.model_copy()
        kept._folder = folder
        return kept

    def to_pandas(self, *, categories: bool = False) -> DataFrame:
        """Return a data frame with a row a benchmark, or a category of one: its figures, and what was compared.

        Of what was compared, `stage` counts from 1, `method`, `model_before` and `model_after` are as the stage has
        them; of what was measured by itself, there is `model`.
        """
        from pfh.results.frames import frame

        return frame(self, categories=categories)


def results_json(results: RunResults) -> str:
    """Return `results` as strict JSON: UTF-8 can hold every string of it, and no number is NaN or infinite."""
    return json_text(results.model_dump(mode="json"), indent=1)


def write_results(path: Path, results: RunResults) -> None:
    """Write `results` as JSON."""
    write_whole(path, results_json(results) + "\n")


def read_results(path: Path) -> RunResults:
    """Read what `write_results` wrote.

    Raises:
        pydantic.ValidationError: the file is no results file of this schema version.
        UserError: it is no file.
    """
    return RunResults.model_validate_json(content_of(path))
