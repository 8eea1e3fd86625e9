"""Does the model still behave as it did? Robustness, willingness, scope, forms, tools, retention, needles, citation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError, UserError
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.meanings import Draws, Names, Wants
from pfh.hooks.tables import Table
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from pfh_evals.behaviour import generated, needle, robustness, tool_likelihood
from pfh_evals.behaviour.analysis import analyze_behaviour
from pfh_evals.behaviour.asks import Generated
from pfh_evals.behaviour.invariants import measure as invariants
from pfh_evals.behaviour.invariants.opened import open_invariants
from pfh_evals.behaviour.plan import planned
from pfh_evals.behaviour.questions import Named
from pfh_evals.behaviour.robustness import Robust
from pfh_evals.behaviour.select import Chosen, NeedleLikelihood, Own, select


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: ClassVar[Wants] = Wants.REFERENCE
    """Whether a model answers anything at all is judged of the start alone."""

    unless_named: str = Field(
        "",
        description="benchmarks or groups, with commas, to measure where none is named; empty for all usual ones",
    )
    max_new_tokens: int = Field(96, ge=1, description="length limit of a reply")
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        0.0, ge=0, description="softmax temperature; 0 is greedy decoding"
    )
    questions: Named | Literal[""] = Field(
        "", description="dataset of the questions of options, wording and surface; 40 built-in ones where empty"
    )
    needle_words: str = Field(
        "192,768,1536",
        pattern=r"^[1-9][0-9]{1,5}(,[1-9][0-9]{1,5})*$",
        description="lengths of the texts in which a needle lies, in words",
    )
    tools: Literal["prompt", "native"] = Field(
        "prompt", description="how tools are shown: in the first user turn, or by the model's own chat template"
    )
    tool_cases: Literal["built-in", "bfcl"] = Field(
        "built-in", description="requests for tools: 48 built-in ones, or the single-turn Python cases of BFCL v4"
    )
    judge: Annotated[str, Names.JUDGE] = Field("rule", description="judge that says which replies refuse")
    file: str = Field("", description="a YAML file of invariants of your own: prompts with checks and rates")

    @field_validator("file")
    @classmethod
    def _without_fault(cls, file: str) -> str:
        if file:
            open_invariants(file)
        return file

    @computed_field  # type: ignore[prop-decorator]  # a file that changed asks something else
    @property
    def file_content(self) -> str:
        """Hash of the file of invariants and of those that it names."""
        return open_invariants(self.file).digest if self.file else ""


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put all chats to the model in one call, and the options of each benchmark by log-likelihood in another.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or the judge cannot be opened.
    """
    chosen = select(spec.benchmarks, spec)
    written = [each for each in chosen if isinstance(each, Generated)]
    own = [each for each in chosen if isinstance(each, Own)]
    judge = spec.judge(spec.options.judge) if written or own else None
    rows = generated.measure(written, judge, spec) if written and judge else {}
    if own and judge:
        rows |= invariants.measure(own[0].opened, [each.invariant for each in own], judge, spec)
    found = tuple(rows.get(each.name) or _by_likelihood(each, spec) for each in chosen)
    return Evaluation(family="behaviour", benchmarks=found)


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many items `evaluate` would put to a model, and how many requests that takes.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    return planned(spec)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Show what lies under the rates: classes of replies, agreement, positions, and the grid of all families."""
    return analyze_behaviour(spec)


def _by_likelihood(each: Chosen, spec: EvaluationSpec) -> Benchmark:
    row = Benchmark(name=each.name, version="1", metric="accuracy", higher_is_better=True, source="built in")
    if isinstance(each, Robust):
        row = replace(row, metric=each.metric, version="2")
    try:
        if isinstance(each, Robust):
            samples, source = robustness.measure(each, spec)
            row = replace(row, source=source, samples=samples)
            floor = robustness.floored(samples) if each.name == "options" and spec.reference is None else ""
            return replace(row, status="INSUFFICIENT", reason=floor) if floor else row
        if isinstance(each, NeedleLikelihood):
            unfit = needle.too_long(spec.engine, needle.asks_of(each.length))
            if unfit:
                return replace(row, status="INSUFFICIENT", reason=unfit)
            return replace(row, version="2", samples=needle.measure_ll(each.length, spec))
        return replace(row, samples=tool_likelihood.measure(spec))
    except NotNumbersError as error:
        return replace(row, status="ERROR", reason=str(error))
    except DataUnavailableError as error:
        return replace(row, status="NOT_RUN", reason=str(error))
    except UserError as error:
        return replace(row, status="NOT_RUN", reason=str(error))
