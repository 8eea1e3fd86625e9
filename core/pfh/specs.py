"""What crosses a hook: one frozen spec in, one result out. A spec grows by fields with defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pfh.budget import Account
from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    from pfh.data import DataSource
    from pfh.domain import Domain, Problem, Rollout
    from pfh.engine import Engine, Sampling
    from pfh.evaluation import Evaluation
    from pfh.judging import Judge
    from pfh.ledger import Phase
    from pfh.models import Checkpoint
    from pfh.statistics import Comparison


class RolloutSource(Protocol):
    """Draws rollouts of the run's training problems, or finds them in the store."""

    def __call__(
        self,
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
    ) -> tuple[Rollout, ...]:
        """Return `samples` rollouts a problem, grouped by problem.

        Args:
            samples: rollouts a problem.
            sampling: how they are drawn; the domain's way unless given.
            checkpoint: which model writes them; the start unless given.
            problems: which are put to it; the run's unless given. One that is put in another way than the domain puts
                it needs an id that tells the two apart.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Which model a backend should make resident."""

    checkpoint: Checkpoint
    dtype: str = "auto"
    """"auto", "float32", "bfloat16" or "float16"."""
    batch_tokens: int = 0
    """Token budget of a batch, padding included; 0 lets the backend choose for the device."""
    memory_share: float = 0.9
    """Of the device's memory, what a backend may take that takes it all at once."""
    open_engine: Callable[[str, EngineSpec], Engine] | None = None
    """Opens another backend by its name, for a backend that answers through others."""
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """Which ground a domain should lay."""

    options: Any
    """An instance of the domain's options model."""
    data: DataSource


@dataclass(frozen=True, kw_only=True)
class GenerationSpec:
    """Rollouts to draw from one model on a domain's problems."""

    domain: Domain
    engine: Engine
    problems: Sequence[Problem]
    samples: int
    """Rollouts a problem."""
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Rollouts, grouped by problem in the order given."""

    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """What is known of a post-training stage before anything is measured."""

    checkpoint: Checkpoint
    """Where training starts; never changed."""
    domain: Domain
    problems: Sequence[Problem]
    """The training problems that every method of this run shares."""
    options: Any
    """An instance of the method's options model."""
    account: Account = field(default_factory=Account)
    """The stage's budget and what is spent of it; `pfh.training.train_resumably` keeps to it."""
    progress: Progress = field(default_factory=Silent)
    teacher: Checkpoint | None = None
    """The model that a method's option called `teacher` names."""


@dataclass(frozen=True, kw_only=True)
class TrainingSpec(StageSpec):
    """One post-training stage: all of `StageSpec`, and what training needs."""

    rollouts: RolloutSource
    seed: int
    output_dir: Path
    """A folder that outlives a killed process: leave trainer checkpoints here, and go on from them."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained checkpoint, and what it cost."""

    path: Path
    """A folder under `output_dir` with an adapter (adapter_config.json) or full weights (config.json), safetensors."""
    phases: tuple[Phase, ...]
    curves: tuple[Mapping[str, float], ...] = ()
    """One row a logged update, with at least "step"."""
    notes: tuple[str, ...] = ()
    """What a reader of the report must know, in whole sentences."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The model that an evaluated one is compared with: the start of the run, the first of a comparison."""

    evaluation: Evaluation
    """The same family's, with the same options."""
    artifact: str
    """Key in the store of that evaluation."""
    checkpoint: Checkpoint | None = None
    """None where only its stored evaluation is at hand."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """One family to put to one model."""

    engine: Engine
    """Journaled and with progress: an eval just calls it."""
    options: Any
    """An instance of the eval's options model."""
    data: DataSource
    judge: Callable[[str], Judge]
    """Opens a judge by its plugin name; an eval names it in an option called `judge`."""
    domain: Domain | None = None
    """The run's domain, for an eval that has an option called `domain`."""
    reference: Reference | None = None
    """For an eval whose option `reference` is true, put to any model but the first one."""
    benchmarks: tuple[str, ...] = ()
    """Names asked for, as in `--eval safety:xstest`; empty is the family's default set."""
    default_set: bool = False
    """`benchmarks` are those of the default set that could not be run the time before; nobody named them."""
    limit: int | None = None
    """At most this many documents a benchmark: an evenly spread, fixed subset."""
    seed: int = 0
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True)
class PlanSpec:
    """One family, as an `EvaluationSpec` would put it to a model, without the model."""

    options: Any
    """An instance of the eval's options model."""
    data: DataSource
    benchmarks: tuple[str, ...] = ()
    """Names asked for; empty is the family's default set."""
    default_set: bool = False
    """As in `EvaluationSpec`."""
    limit: int | None = None
    """At most this many documents a benchmark."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AnalysisSpec:
    """One family before and after, with the paired statistics that the core computed."""

    before: Evaluation
    after: Evaluation
    comparisons: tuple[Comparison, ...]
    """One a benchmark, in the order of `before`, p-values adjusted over the family; none for a comparative one."""
    options: Any
    """An instance of the eval's options model."""
    others: Mapping[str, tuple[Evaluation, Evaluation]] = field(default_factory=dict)
    """The other families of the same comparison: family to its evaluations before and after."""
    curves: tuple[Mapping[str, float], ...] = ()
    """What the training that lies between them logged, a row an update; none where no training is known of."""


Cell = str | float | int | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for the report, beyond the paired figures that every family gets."""

    title: str
    """What the table shows."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[Cell, ...], ...]
    """One cell a column in each."""
    note: str = ""
    """How to read it, in a sentence or two."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot for the report."""

    title: str
    """What the plot shows."""
    figure: Mapping[str, Any]
    """A Plotly figure as its JSON object: "data" and "layout"."""
    note: str = ""
    """How to read it, in a sentence or two."""


@dataclass(frozen=True, kw_only=True)
class LongTable:
    """Single values, one a row, for notebooks: kept as Parquet beside the results, and not shown in the report."""

    name: str
    """Of the file, in lower case: letters, digits and hyphens."""
    columns: Mapping[str, Sequence[Cell]]
    """Name to values, all of one length; a missing number is None, never NaN."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"the long table {self.name!r} is named with other than lower-case letters, digits and -")
        if len({len(values) for values in self.columns.values()}) > 1:
            raise ValueError(f"the columns of the long table {self.name} differ in length")

    @classmethod
    def of_rows(cls, name: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> LongTable:
        """Return the table with these rows, a cell a column in each."""
        values: dict[str, list[Cell]] = {column: [] for column in columns}
        for row in rows:
            for column, cell in zip(columns, row, strict=True):
                values[column].append(cell)
        return cls(name=name, columns=values)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a family adds to the report."""

    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    findings: tuple[str, ...] = ()
    """Whole sentences, the most important first."""
    long_tables: tuple[LongTable, ...] = ()
    """What tables and plots are made of, written beside the results."""


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """What a judge may need to open."""

    data: DataSource
    cache_dir: Path
    """A folder for weights that the judge fetches or fits."""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """Runs to execute."""

    runs: tuple[Any, ...]
    """`pfh.run.RunSpec`s."""
    execute: Callable[[Any], Any]
    """Executes one of them in this process."""


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What became of the runs, in their order."""

    outcomes: tuple[Any, ...]
    state: Literal["finished", "submitted"] = "finished"
