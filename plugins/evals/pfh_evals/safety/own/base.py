"""A benchmark that scores answers its own way: what it is, and what measuring it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfh.errors import DataUnavailableError, NotNumbersError, UserError
from pfh.hooks.backends import Completion, GenerationRequest, Message, Sampling
from pfh.hooks.datasets import DataSource
from pfh.hooks.evals import EvaluationSpec, Part
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus
from pfh.hooks.judges import Judge, Reads, reads_of
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.subset import spread

from pfh_evals.plans import Scores
from pfh_evals.safety.documents import Document, Loaded
from pfh_evals.safety.rating import too_many_unparsed

Documents = Mapping[str, Document]
"""Documents by the id of their sample, the chosen ones alone."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What measuring a benchmark gives."""

    samples: Sequence[Sample]
    insufficient: str = ""
    """Why the samples are no figure."""


@dataclass(frozen=True, kw_only=True)
class OwnBenchmark:
    """One benchmark that is measured where it is asked for."""

    name: str
    group: str
    metric: str
    load: Callable[[DataSource], Loaded]
    measure: Callable[[Documents, Sequence[Judge], EvaluationSpec], Measured]
    """Puts the documents to the model and has the answers judged by judges of what it `reads`, one each; by all that
    were named where it says nothing of that."""
    reads: tuple[Reads, ...] = ()
    judges: str = ""
    """Names of judges that read it, for whoever named none."""
    higher_is_better: bool = True
    sensitive: bool = False
    version: str = "1"
    scores: Scores = "0 or 1"
    requests: Callable[[Any], int] = lambda options: 1
    """Requests a document, under the family's options."""


def kept_of(
    benchmark: OwnBenchmark, documents: Sequence[Document], limit: int | None, part: Part | None = None
) -> dict[str, Document]:
    """Return at most the limit of documents by sample id; one that occurs twice is asked once."""
    by_id = {
        sample_id(benchmark.name, benchmark.version, {"prompt": each.prompt, "category": each.category}): each
        for each in documents
    }
    kept = spread({key: document.category for key, document in by_id.items()}, limit, part)
    return {key: by_id[key] for key in kept}


def measured(benchmark: OwnBenchmark, judges: Sequence[Judge], spec: EvaluationSpec) -> Benchmark:
    """Return the benchmark with its samples, or with the reason why there are none."""
    source, samples = "", tuple[Sample, ...]()
    status: BenchmarkStatus = "NOT_RUN"
    chosen = [next((judge for judge in judges if kind in reads_of(judge)), None) for kind in benchmark.reads]
    found = [judge for judge in chosen if judge is not None]
    try:
        if len(found) < len(chosen):
            raise UserError(
                f"{benchmark.metric} takes judges of {' and '.join(benchmark.reads)}: "
                f"-o safety.judge=rule,{benchmark.judges}"
            )
        documents, source = benchmark.load(spec.data)
        kept = kept_of(benchmark, documents, spec.limit, spec.part)
        if not kept:
            raise UserError("no prompt is left of it")
        result = benchmark.measure(kept, found if benchmark.reads else judges, spec)
        samples, reason = tuple(result.samples), result.insufficient
        status = "INSUFFICIENT" if reason else "MEASURED"
        if unread := too_many_unparsed(samples):
            status, reason = "ERROR", unread
    except NotNumbersError as error:
        status, reason = "ERROR", str(error)
    except (DataUnavailableError, UserError) as error:
        reason = str(error)
    return Benchmark(
        name=benchmark.name,
        version=benchmark.version,
        metric=benchmark.metric,
        higher_is_better=benchmark.higher_is_better,
        status=status,
        reason=reason,
        judge=", ".join(judge.name for judge in found),
        source=source,
        sensitive=benchmark.sensitive,
        samples=samples,
    )


def completed(
    chats: Mapping[str, tuple[Message, ...]], spec: EvaluationSpec, sampling: Sampling
) -> dict[str, Completion]:
    """Return the model's answer to each chat, by the id of its sample."""
    requests = [GenerationRequest(id=key, messages=chat) for key, chat in chats.items()]
    return dict(zip(chats, spec.engine.generate(requests, sampling), strict=True))


def asking(prompt: str) -> tuple[Message, ...]:
    """Return a chat of one turn."""
    return ({"role": "user", "content": prompt},)
