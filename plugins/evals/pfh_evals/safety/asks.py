"""The prompts of a benchmark as they are put to a model: a fixed, evenly spread subset, each with a stable id."""

from __future__ import annotations

from dataclasses import dataclass

from pfh.hooks.backends import Message
from pfh.hooks.evals import Part
from pfh.hooks.samples import sample_id
from pfh.kit.subset import spread

from pfh_evals.safety.benchmarks import SafetyBenchmark
from pfh_evals.safety.documents import Document


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One document of one benchmark, on its way through the model and the judge."""

    id: str
    benchmark: SafetyBenchmark
    document: Document
    messages: tuple[Message, ...]


def asks_of(
    benchmark: SafetyBenchmark, documents: tuple[Document, ...], limit: int | None, part: Part | None = None
) -> list[Ask]:
    """Return at most `limit` of the documents, or a part of them; one that occurs twice is asked once."""
    by_id = {
        sample_id(benchmark.name, benchmark.version, {"prompt": each.prompt, "category": each.category}): each
        for each in documents
    }
    kept = spread({key: document.category for key, document in by_id.items()}, limit, part)
    return [
        Ask(
            id=key,
            benchmark=benchmark,
            document=by_id[key],
            messages=({"role": "user", "content": by_id[key].prompt},),
        )
        for key in kept
    ]
