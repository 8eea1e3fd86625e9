"""Does the model refuse harmful requests and answer harmless ones, and how firmly?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.judges import HOLDING_BACK, Judge, Judgement
from pfh.hooks.meanings import Draws, Names
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Table
from pfh.kit import refusal_margin
from pydantic import BaseModel, ConfigDict, Field

from pfh_evals.judging import error_arrays, judgements, open_judges, score_of, side_by_side
from pfh_evals.safety.analysis import analyze_erosion
from pfh_evals.safety.asks import Ask, asks_of
from pfh_evals.safety.benchmarks import SafetyBenchmark
from pfh_evals.safety.latent import measure_latent
from pfh_evals.safety.latent_benchmarks import choose
from pfh_evals.safety.plan import planned


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(
        48, ge=1, description="length limit of a completion; a refusal shows in its first words"
    )
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        0.0, ge=0, description="softmax temperature; 0 is greedy decoding"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass that is kept")
    judge: Annotated[str, Names.JUDGE] = Field(
        "rule",
        description="judge that labels completions: 'rule' needs nothing; 'embedding' (an 84 MB download, slower) "
        "agrees better with people where a model lectures or deflects instead of refusing in words; of several, as in "
        "rule,embedding, the first decides and the others are shown beside it",
    )
    judge_errors: Annotated[str, Names.JUDGE_ERRORS] = Field(
        "",
        description="a file of your own labels beside the judge's, or counts of them, in place of the errors that the "
        "judge brings along",
    )
    openings: str = Field(
        "|".join(refusal_margin.OPENINGS),
        description="what a refusal begins with, separated by |: the refusal margin is their log-odds",
    )
    depths: str = Field(
        "1,2,3,5,8,16",
        pattern=r"^[1-9][0-9]*(,[1-9][0-9]*)*$",
        description="numbers of tokens of the wanted answer that are put into the model's mouth, for the depth of its "
        "refusals",
    )
    depth_tokens: int = Field(12, ge=1, description="length limit of a completion after such a prefill")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put every prompt to the model in one call, label all completions, and score each benchmark by the first judge.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or the judge cannot be opened.
    """
    chosen, latent = choose(spec.benchmarks)
    judges = open_judges(spec)
    asks: list[Ask] = []
    sources: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for benchmark in dict.fromkeys((*chosen, *(each.of for each in latent))):
        if benchmark.insufficient:
            continue
        try:
            documents, sources[benchmark.name] = benchmark.load(spec.data)
        except DataUnavailableError as error:
            unavailable[benchmark.name] = str(error)
            continue
        asks += asks_of(benchmark, documents, spec.limit, spec.part)
    broken = ""
    try:
        samples = _answer_and_judge([ask for ask in asks if ask.benchmark in chosen], judges, spec)
    except NotNumbersError as error:
        samples, broken = [], str(error)
    rates = [
        Benchmark(
            name=benchmark.name,
            version=benchmark.version,
            metric=benchmark.metric,
            higher_is_better=benchmark.higher_is_better,
            status=_status(benchmark, unavailable, broken),
            reason=benchmark.insufficient or unavailable.get(benchmark.name, "") or broken,
            judge=_judged_by(benchmark, judges[0]),
            source=sources.get(benchmark.name, ""),
            sensitive=benchmark.harmful,
            samples=tuple(sample for sample in samples if sample.benchmark == benchmark.name),
        )
        for benchmark in chosen
    ]
    labels = {sample.id: sample.extracted or "broken" for sample in samples}
    under = measure_latent(latent, asks, labels, judges[0], spec, unavailable, sources)
    return Evaluation(family="safety", arrays=error_arrays(judges), benchmarks=(*rates, *under))


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many prompts `evaluate` would put to a model.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    return planned(spec)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say where refusals of harmful prompts were lost, and what that did to refusals of benign ones."""
    return analyze_erosion(spec)


def _answer_and_judge(asks: list[Ask], judges: Sequence[Judge], spec: EvaluationSpec) -> list[Sample]:
    if not asks:
        return []
    sampling = Sampling(
        max_new_tokens=spec.options.max_new_tokens,
        temperature=spec.options.temperature,
        top_p=spec.options.top_p,
        seed=spec.seed,
    )
    completions = spec.engine.generate([GenerationRequest(id=ask.id, messages=ask.messages) for ask in asks], sampling)
    prompts = [ask.document.prompt for ask in asks]
    texts = [completion.text for completion in completions]
    said = judgements(judges, prompts, texts, spec)
    return [
        _sample(ask, completion, found, judges, spec.engine.render(ask.messages))
        for ask, completion, *found in zip(asks, completions, *said, strict=True)
    ]


def _sample(
    ask: Ask, completion: Completion, said: Sequence[Judgement], judges: Sequence[Judge], rendered: str
) -> Sample:
    first = said[0]
    broken = first.label == "broken" or not completion.text.strip()
    holds_back = first.label in HOLDING_BACK and not broken
    return Sample(
        id=ask.id,
        benchmark=ask.benchmark.name,
        category=ask.document.category,
        prompt=rendered,
        completion=completion.text,
        extracted=first.label,
        target="refused" if ask.benchmark.harmful else "complied",
        score=score_of(["broken" if broken else first.label], refusals=ask.benchmark.metric == "refusal_rate"),
        status="format_failure" if broken else "refused" if holds_back else "ok",
        tokens=completion.tokens,
        extra={
            "user_prompt": ask.document.prompt,
            "confidence": first.confidence,
            "truncated": completion.truncated,
            **side_by_side(judges, [[each.label] for each in said]),
            **ask.document.extra,
        },
    )


def _status(benchmark: SafetyBenchmark, unavailable: dict[str, str], broken: str) -> BenchmarkStatus:
    if benchmark.insufficient:
        return "INSUFFICIENT"
    if benchmark.name in unavailable:
        return "NOT_RUN"
    return "ERROR" if broken else "MEASURED"


def _judged_by(benchmark: SafetyBenchmark, judge: Judge) -> str:
    return judge.name
