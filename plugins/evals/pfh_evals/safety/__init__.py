"""Does the model refuse harmful requests and answer harmless ones? Probes, XSTest, HarmBench, Do-Not-Answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError
from pfh.hooks.backends import Completion, GenerationRequest, Message, Sampling
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.judges import HOLDING_BACK, Judge, Judgement
from pfh.hooks.meanings import Draws, Names
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.subset import spread
from pydantic import BaseModel, ConfigDict, Field

from pfh_evals.judging import error_arrays, judgements, open_judges, score_of, side_by_side
from pfh_evals.safety.analysis import analyze_erosion
from pfh_evals.safety.benchmarks import Document, SafetyBenchmark, select


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


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """One document of one benchmark, on its way through the model and the judge."""

    id: str
    benchmark: SafetyBenchmark
    document: Document
    messages: tuple[Message, ...]


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
    chosen = select(spec.benchmarks)
    judges = open_judges(spec)
    asks: list[_Ask] = []
    sources: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for benchmark in chosen:
        if benchmark.insufficient:
            continue
        try:
            documents, sources[benchmark.name] = benchmark.load(spec.data)
        except DataUnavailableError as error:
            unavailable[benchmark.name] = str(error)
            continue
        asks += _asks(benchmark, documents, spec.limit)
    broken = ""
    try:
        samples = _answer_and_judge(asks, judges, spec)
    except NotNumbersError as error:
        samples, broken = [], str(error)
    return Evaluation(
        family="safety",
        arrays=error_arrays(judges),
        benchmarks=tuple(
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
        ),
    )


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say where refusals of harmful prompts were lost, and what that did to refusals of benign ones."""
    return analyze_erosion(spec)


def _asks(benchmark: SafetyBenchmark, documents: tuple[Document, ...], limit: int | None) -> list[_Ask]:
    by_id = {
        sample_id(benchmark.name, benchmark.version, {"prompt": each.prompt, "category": each.category}): each
        for each in documents
    }  # a document that occurs twice is asked once
    kept = spread({key: document.category for key, document in by_id.items()}, limit)
    return [
        _Ask(
            id=key,
            benchmark=benchmark,
            document=by_id[key],
            messages=({"role": "user", "content": by_id[key].prompt},),
        )
        for key in kept
    ]


def _answer_and_judge(asks: list[_Ask], judges: Sequence[Judge], spec: EvaluationSpec) -> list[Sample]:
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
    ask: _Ask, completion: Completion, said: Sequence[Judgement], judges: Sequence[Judge], rendered: str
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
    if benchmark.metric == "attack_success_rate":
        return f"{judge.name} (success = not refused)"
    return judge.name
