"""How did the inside of the model change? CKA of its layers, linear probes, weight deltas, the refusal direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pfh import hookimpl
from pfh.errors import DataUnavailableError
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.meanings import Wants
from pfh.hooks.tables import Table
from pydantic import BaseModel, ConfigDict, Field

from pfh_evals.representation import benchmarks, refusal_benchmarks
from pfh_evals.representation.activations import NotFiniteError
from pfh_evals.representation.analysis import analyze_drift
from pfh_evals.representation.benchmarks import GROUPS, Measured, broken, not_run, select
from pfh_evals.representation.plan import planned


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Annotated[bool, Wants.REFERENCE] = Field(
        True, description="measure what needs the start too: weight deltas, its probes and its refusal direction"
    )
    instructions: str = Field(
        "", description="prompts for CKA, as organisation/name/config/split:FIELD; the built-in ones where empty"
    )
    statements: str = Field(
        "", description="labelled texts for probes, as organisation/name/config/split:TEXT:LABEL; built-in where empty"
    )
    harmful: str = Field(
        "", description="requests to find the refusal direction with, as organisation/name/config/split:FIELD"
    )
    harmless: str = Field("", description="the harmless ones, likewise")
    refusal_train: int = Field(
        64, ge=8, description="requests of each kind that the direction is the mean over (the paper: 128)"
    )
    refusal_validation: int = Field(
        16, ge=4, description="requests of each kind that choose among the candidates (the paper: 32)"
    )
    largest_kl: float = Field(
        0.1,
        gt=0,
        description="nats by which ablating the direction may move answers to harmless requests",
    )
    layer_step: int = Field(1, ge=1, description="try the refusal direction of every so many-th layer")
    openings: str = Field(
        "I,Sorry,Unfortunately",
        pattern=r"\w",
        description="what a refusal begins with; the first token of each of these counts",
    )
    top: int = Field(8, ge=1, description="singular directions that make the energy share and the angle of a delta")


MEASURES: dict[str, Callable[[EvaluationSpec], Measured]] = {
    "cka": benchmarks.cka,
    "probes": benchmarks.probes,
    "deltas": benchmarks.deltas,
    "refusal": refusal_benchmarks.refusal,
}


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Take each group of benchmarks that is asked for of the model.

    Raises:
        UserError: a benchmark was asked for that the family does not have, a source is malformed, or the backend shows
            no hidden states.
    """
    chosen = select(spec.benchmarks)
    taken: list[Measured] = []
    for group, names in GROUPS.items():
        if not set(names) & set(chosen):
            continue
        try:
            taken.append(MEASURES[group](spec))
        except DataUnavailableError as error:
            taken.append(Measured(benchmarks=tuple(not_run(name, str(error)) for name in names)))
        except NotFiniteError as error:
            taken.append(Measured(benchmarks=tuple(broken(name, str(error)) for name in names)))
    return Evaluation(
        family="representation",
        benchmarks=tuple(each for measured in taken for each in measured.benchmarks if each.name in chosen),
        arrays={name: array for measured in taken for name, array in measured.arrays.items()},
    )


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many texts `evaluate` would read.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or a source is malformed.
    """
    return planned(spec)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Show what changed by layer and by matrix, and what became of the refusal direction."""
    return analyze_drift(spec)
