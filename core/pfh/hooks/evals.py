"""What crosses the hooks of a benchmark family: evaluate, plan and analyze."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pfh.hooks.tables import LongTable, Plot, Table
from pfh.progress import Progress, Silent

if TYPE_CHECKING:
    from pfh.hooks.attacks import AttackResult, AttackSpec
    from pfh.hooks.backends import Engine
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.comparison import Comparison
    from pfh.hooks.datasets import DataSource
    from pfh.hooks.domains import Domain
    from pfh.hooks.evaluation import Evaluation
    from pfh.hooks.judges import Judge


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
class Part:
    """The documents that a comparison looks at first, where it may stop before it has seen all of them."""

    seed: int
    """Of the shuffle that puts the documents of a benchmark in order, before any of them is looked at."""
    count: int
    """So many of each benchmark: the first ones in that order. A larger part holds every smaller one."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """One family to put to one model."""

    engine: Engine
    """Journaled and with progress: an eval just calls it."""
    options: Any
    """An instance of the eval's options model."""
    data: DataSource
    judge: Callable[[str], Judge]
    """Opens a judge by its plugin name, which an option gives that is declared `Annotated[str, Names.JUDGE]`."""
    attack: Callable[[str, AttackSpec], AttackResult] | None = None
    """Runs an attack by its plugin name, which an option gives that is declared `Annotated[str, Names.ATTACK]`; its
    options are filled in."""
    domain: Domain | None = None
    """The run's domain, for an eval whose options declare `Wants.DOMAIN`."""
    reference: Reference | None = None
    """For an eval whose options declare `Wants.REFERENCE`, put to any model but the first one."""
    benchmarks: tuple[str, ...] = ()
    """Names asked for, as in `--eval safety:xstest`; empty is the family's default set."""
    default_set: bool = False
    """`benchmarks` are those of the default set that could not be run the time before; nobody named them."""
    limit: int | None = None
    """At most this many documents a benchmark: an evenly spread, fixed subset."""
    part: Part | None = None
    """Of the documents within the limit only these (`pfh.kit.subset.spread` takes it); a family that does not heed it
    is measured whole."""
    seed: int = 0
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True)
class CategorySpec:
    """A benchmark whose category is asked for."""

    benchmark: str
    """Its name, also of one that was measured earlier, or of kin of the family's own."""


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
    domain: Domain | None = None
    """As in `EvaluationSpec`."""
    limit: int | None = None
    """At most this many documents a benchmark."""
    seed: int = 0
    progress: Progress = field(default_factory=Silent)


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


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What became of a promise that a benchmark makes by itself, as an invariant of a user's does; a gate reads it."""

    benchmark: str
    """Name of the benchmark."""
    demand: str
    """What is asked, such as "held at least 0.95"."""
    state: Literal["holds", "broken", "undecided"]
    """What became of it, with 95% confidence, one-sided."""
    said: str
    """The figure, its limits, n, and what would decide: one line."""
    p_value: float | None = None
    """One-sided, of the hypothesis that the demand is met; None where that was not tested."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a family adds to the report."""

    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    findings: tuple[str, ...] = ()
    """Whole sentences, the most important first."""
    long_tables: tuple[LongTable, ...] = ()
    """What tables and plots are made of, written beside the results."""
    claims: tuple[Claim, ...] = ()
    """What became of the promises that the family's benchmarks make by themselves."""
