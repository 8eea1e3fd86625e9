"""Instruction adherence: answers in exactly one word, in N words, as a JSON list, and how long free answers are.

Every score is computed from the completion by a rule; nothing a model writes is executed and no judge is needed.
"""

from __future__ import annotations

from typing import Annotated

from pfh import hookimpl
from pfh.errors import DataUnavailableError, UserError, did_you_mean
from pfh.hooks.backends import Completion, GenerationRequest, Message, Sampling
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample, SampleStatus, sample_id
from pydantic import BaseModel, Field

from pfh_brevity.analysis import describe_misses
from pfh_brevity.checkers import Found, check
from pfh_brevity.documents import DOCUMENTS, Document

VERSION = "1"
"""Raised whenever a prompt or a score may change: pfh never pairs two versions."""

Count = Annotated[int, Field(ge=1, le=50)]


class Options(BaseModel):
    """Options of the family, as `-o brevity.words=3,5` gives them."""

    words: tuple[Count, ...] = Field((3, 5, 10), description="lengths that word-count asks for")
    items: tuple[Count, ...] = Field((2, 3, 5), description="list lengths that json-list asks for")
    max_new_tokens: int = Field(64, ge=8, description="length limit of a completion, in tokens")
    fenced: bool = Field(True, description="accept a JSON list inside a Markdown code fence")


@hookimpl
def options() -> type[Options]:
    """Name the options model."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put the benchmarks that were asked for, or all of them, to the model."""
    for name in spec.benchmarks:
        if name not in DOCUMENTS:
            raise UserError(
                f"evals:brevity has no benchmark {name!r}.{did_you_mean(name, DOCUMENTS)} "
                f"Benchmarks: {', '.join(DOCUMENTS)}."
            )
    names = spec.benchmarks or tuple(DOCUMENTS)
    return Evaluation(family="brevity", benchmarks=tuple(_measure(name, spec) for name in names))


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say how the answers miss the form, before and after."""
    return describe_misses(spec)


def _measure(name: str, spec: EvaluationSpec) -> Benchmark:
    adherence = name != "length"
    metric, better = ("adherence", True) if adherence else ("words", None)
    try:
        documents, source = DOCUMENTS[name](spec)
    except DataUnavailableError as error:
        return Benchmark(
            name=name, version=VERSION, metric=metric, higher_is_better=better, status="NOT_RUN", reason=str(error)
        )
    distinct = list({document.prompt: document for document in documents}.values())
    return Benchmark(
        name=name,
        version=VERSION,
        metric=metric,
        higher_is_better=better,
        source=source,
        samples=_answers(name, _spread(distinct, spec.limit), spec),
    )


def _answers(name: str, documents: list[Document], spec: EvaluationSpec) -> tuple[Sample, ...]:
    ids = [sample_id(name, VERSION, {"prompt": document.prompt}) for document in documents]
    chats: list[tuple[Message, ...]] = [({"role": "user", "content": document.prompt},) for document in documents]
    completions = spec.engine.generate(
        [GenerationRequest(id=key, messages=chat) for key, chat in zip(ids, chats, strict=True)],
        Sampling(max_new_tokens=spec.options.max_new_tokens, seed=spec.seed),
    )
    samples = []
    for key, document, chat, completion in zip(ids, documents, chats, completions, strict=True):
        found = check(document.form, document.asked, completion.text, fenced=spec.options.fenced)
        samples.append(
            Sample(
                id=key,
                benchmark=name,
                category=document.category,
                prompt=spec.engine.render(chat),
                completion=completion.text,
                extracted=found.extracted,
                target=None if document.asked is None else str(document.asked),
                score=found.score,
                status=_status(found, completion),
                tokens=completion.tokens,
                extra={"asked": document.asked, "counted": found.counted},
            )
        )
    return tuple(samples)


def _status(found: Found, completion: Completion) -> SampleStatus:
    if completion.truncated:
        return "truncated"
    return "format_failure" if found.extracted is None else "ok"


def _spread(documents: list[Document], limit: int | None) -> list[Document]:
    """Return at most `limit` documents, evenly spread, so that every category keeps its share."""
    if limit is None or limit >= len(documents):
        return documents
    return [documents[place * len(documents) // limit] for place in range(limit)]
