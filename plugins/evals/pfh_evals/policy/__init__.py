"""How did what the model writes change? Diversity, length, repetition, formats, style, calibration, divergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError, UserError
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Embeds, Judge
from pfh.hooks.meanings import Draws, Names, Wants
from pfh.hooks.tables import Table
from pfh.kit.divergence import NotComparableError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pfh_evals.judging import error_arrays, open_judges
from pfh_evals.plans import Planned, Scores, plan_table
from pfh_evals.policy import calibration, divergence
from pfh_evals.policy.analysis import analyze_policy
from pfh_evals.policy.completions import Answers, draw, embed, measured, other_tokenizer
from pfh_evals.policy.measures import ACCURACY, CALIBRATION, DIVERGENCE, EMBEDDING, IN_TOKENS, REFUSAL, Measure, select
from pfh_evals.policy.prompts import gather

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(4, ge=1, description="completions a prompt; measures of diversity need at least 2")
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        1.0, ge=0, description="softmax temperature; 0 is greedy decoding, for one sample only"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass that is kept")
    max_new_tokens: int = Field(48, ge=1, description="length limit of a completion")
    instructions: str = Field(
        "", description="prompts, as organisation/name/config/split:FIELD; the built-in ones where empty"
    )
    dataset_prompts: int = Field(64, ge=1, description="so many prompts of such a dataset, a fixed subset")
    domain_prompts: Annotated[int, Wants.DOMAIN] = Field(
        8, ge=0, description="so many of the first held-out set of the run's domain (--domain); 0 for none"
    )
    judge: Annotated[str, Names.JUDGE] = Field(
        "rule",
        description="judge of refusals; 'embedding' also makes embedding-distance, which needs its encoder; of "
        "several, as in rule,embedding, the first decides and the others are shown beside it",
    )
    judge_errors: Annotated[str, Names.JUDGE_ERRORS] = Field(
        "",
        description="a file of your own labels beside the judge's, or counts of them, in place of the errors that the "
        "judge brings along",
    )
    reference: Annotated[bool, Wants.REFERENCE] = Field(
        True, description="measure the divergence from the start, along completions of both models"
    )
    divergence_samples: int = Field(
        1, ge=1, description="completions a prompt and model that the divergence goes along"
    )
    divergence_tokens: int = Field(32, ge=1, description="places of a completion that it compares, from the first on")

    @model_validator(mode="after")
    def _not_all_the_same(self) -> Options:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"at temperature 0 all {self.samples} samples are the same: raise it, or take one sample")
        return self


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Let the model answer every prompt several times, and take each measure of the same completions.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or a source is malformed.
    """
    chosen = select(spec.benchmarks)
    judges, no_judge = _judges(spec, chosen)
    if not spec.benchmarks and judges and not _embedding(judges):
        chosen = tuple(measure for measure in chosen if measure.name != EMBEDDING)
    rows = {measure.name: _row(measure, spec, judges, no_judge) for measure in chosen}
    written = [each for each in chosen if each.name not in CALIBRATION and rows[each.name].status == "MEASURED"]
    completed, arrays = _of_completions(spec, written, rows, judges)
    rows |= completed
    rows |= _of_questions(spec, [rows[measure.name] for measure in chosen if measure.name in CALIBRATION])
    errors = error_arrays(judges) if REFUSAL in rows else {}
    return Evaluation(family="policy", benchmarks=tuple(rows.values()), arrays={**arrays, **errors})


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many prompts `evaluate` would put to a model, and how often; what asks nothing more requests nothing.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or a source is malformed.
    """
    samples = spec.options.samples
    rows: list[Planned] = []
    try:
        prompts, source = gather(spec)
        count: int | None = len(prompts)
    except DataUnavailableError as error:
        count, source = None, f"cannot be run: {error}"
    for measure in select(spec.benchmarks):
        asked = len(calibration.questions(spec.limit)) if measure.name in CALIBRATION else count
        first = not any(row.requests for row in rows) and measure.name not in CALIBRATION
        rows.append(
            Planned(
                benchmark=measure.name,
                documents=asked,
                requests=None if asked is None else asked * samples if first else 0,
                scores=_scores(measure, samples),
                source="built in" if measure.name in CALIBRATION else source,
            )
        )
    return plan_table("policy", rows, "The measures share one pass of completions. Calibration scores options.")


def _scores(measure: Measure, samples: int) -> Scores:
    if measure.comparative:
        return "of all together"
    one = measure.name == ACCURACY or (measure.name in (REFUSAL, "truncation", "loops") and samples == 1)
    return "0 or 1" if one else "other"


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Show distributions where the paired figures show means: lengths, formats, calibration, divergence by place."""
    return analyze_policy(spec)


def _judges(spec: EvaluationSpec, chosen: Sequence[Measure]) -> tuple[list[Judge], str]:
    """Open the judges if a measure needs them; say why where one cannot be had."""
    if not {REFUSAL, EMBEDDING} & {measure.name for measure in chosen}:
        return [], ""
    try:
        return open_judges(spec), ""
    except UserError as error:
        return [], str(error)


def _embedding(judges: Sequence[Judge]) -> Judge | None:
    """Return the first judge that lends its embeddings."""
    return next((judge for judge in judges if isinstance(judge, Embeds)), None)


def _row(measure: Measure, spec: EvaluationSpec, judges: Sequence[Judge], no_judge: str) -> Benchmark:
    """Return the benchmark of `measure` without samples, and whether it can be run at all."""
    options = spec.options
    drawn = f"n{options.samples}-t{options.temperature:g}-p{options.top_p:g}-{options.max_new_tokens}"
    row = Benchmark(
        name=measure.name,
        version="1" if measure.name in CALIBRATION else f"1-{drawn}",
        metric=measure.metric,
        higher_is_better=measure.higher_is_better,
        comparative=measure.comparative,
    )
    if measure.name in (REFUSAL, EMBEDDING):
        if not judges:
            return replace(row, status="NOT_RUN", reason=f"the judge {options.judge} cannot be had: {no_judge}")
        lends = _embedding(judges) if measure.name == EMBEDDING else judges[0]
        if lends is None:
            return replace(
                row, status="NOT_RUN", reason=f"the judge {options.judge} has no embeddings: choose -o judge=embedding"
            )
        row = replace(row, judge=lends.name)
    if measure.group == "diversity" and options.samples < 2:
        return replace(row, status="INSUFFICIENT", reason="one sample a prompt: diversity needs at least two")
    return row


def _of_completions(
    spec: EvaluationSpec, written: Sequence[Measure], rows: dict[str, Benchmark], judges: Sequence[Judge]
) -> tuple[dict[str, Benchmark], dict[str, NDArray[Any]]]:
    """Fill the benchmarks of the generation pass; the first of them keeps every completion.

    The array "embeddings" has the vector of each prompt's first completion, where there is one.
    """
    if not written:
        return {}, {}
    try:
        prompts, source = gather(spec)
    except DataUnavailableError as error:
        return {each.name: replace(rows[each.name], status="NOT_RUN", reason=str(error)) for each in written}, {}
    try:
        answers = draw(spec, prompts)
    except NotNumbersError as error:
        return {each.name: replace(rows[each.name], status="ERROR", reason=str(error)) for each in written}, {}
    wanted = any(each.name == EMBEDDING for each in written)
    vectors: dict[str, NDArray[np.float32]] = {}
    lends = _embedding(judges)
    if wanted and isinstance(lends, Embeds):
        vectors = embed(answers, lends, spec)
    found = {}
    for measure in written:
        row = replace(rows[measure.name], source=source)
        if measure.name == DIVERGENCE and spec.reference is not None:
            row = _diverged(spec, row, answers)
        else:
            keep = measure is written[0]
            row = _unless_empty(replace(row, samples=measured(measure, answers, judges, vectors, spec, keep=keep)))
            if measure.group == IN_TOKENS:
                row = _unless_other_tokens(spec, row)
        found[measure.name] = row
    firsts = [vectors[each.prompt.id][0] for each in answers] if vectors else []
    return found, {"embeddings": np.stack(firsts)} if firsts else {}


def _unless_empty(row: Benchmark) -> Benchmark:
    """Say why nothing was scored, if nothing was."""
    if row.comparative or any(sample.score is not None for sample in row.samples):
        return row
    asked = "no prompt asks for a format" if row.name in ("json", "adherence") else "the completions are too short"
    return replace(row, status="INSUFFICIENT", reason=f"{asked}: no prompt has a score")


def _unless_other_tokens(spec: EvaluationSpec, row: Benchmark) -> Benchmark:
    """Say why lengths are not compared, where the start counts in other tokens."""
    if spec.reference is None or not other_tokenizer(row.samples, spec.reference.evaluation):
        return row
    return replace(
        row, status="NOT_RUN", samples=(), reason="the tokenizers differ: the start's lengths are in other tokens"
    )


def _diverged(spec: EvaluationSpec, row: Benchmark, answers: Sequence[Answers]) -> Benchmark:
    try:
        samples = divergence.measure(spec, answers)
    except (NotComparableError, UserError) as error:
        return replace(row, status="NOT_RUN", reason=str(error))
    if not samples:
        return replace(row, status="INSUFFICIENT", reason="the models have no prompt in common")
    return replace(row, samples=samples)


def _of_questions(spec: EvaluationSpec, rows: Sequence[Benchmark]) -> dict[str, Benchmark]:
    """Fill the benchmarks of calibration; the log-likelihoods of the second are found in the journal."""
    try:
        return {row.name: replace(row, source="built in", samples=calibration.ask(spec, row.name)) for row in rows}
    except UserError as error:
        return {row.name: replace(row, status="NOT_RUN", reason=str(error)) for row in rows}
    except NotNumbersError as error:
        return {row.name: replace(row, status="ERROR", reason=str(error)) for row in rows}
