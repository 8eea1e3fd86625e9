"""Two logs made to speak of the same things by the same names.

A name depends on what else a log holds (the second filter of a task is called as the task where it is alone), and a
document's hash on columns that nobody was asked. What is measured and what was asked do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pfh.commands.subjects import StoredFamily, Subject
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample

UNKNOWN = "unknown"


def aligned(before: Subject, after: Subject) -> Subject:
    """Return `after` with the names, and with the ids of documents, by which `before` has the same."""
    families = {
        name: _family(before.families[name], family) if name in before.families else family
        for name, family in after.families.items()
    }
    return dataclasses.replace(after, families=families)


def _family(before: StoredFamily, after: StoredFamily) -> StoredFamily:
    earlier = {each.identity: each for each in before.evaluation.benchmarks if each.identity}
    if not earlier:
        return after
    names = _names(earlier, after.evaluation.benchmarks)
    benchmarks = tuple(
        _benchmark(earlier.get(each.identity), each, name, names)
        for each, name in zip(after.evaluation.benchmarks, names.values(), strict=True)
    )
    settings = {names.get(name, name): told for name, told in after.settings.items()}
    evaluation = dataclasses.replace(after.evaluation, benchmarks=benchmarks)
    return dataclasses.replace(after, evaluation=evaluation, settings=settings)


def _names(earlier: Mapping[str, Benchmark], later: Sequence[Benchmark]) -> dict[str, str]:
    """Return the new name of every benchmark: that of the same measure before, else one that no other has."""
    taken = {benchmark.name for benchmark in earlier.values()}
    names = {}
    for benchmark in later:
        if benchmark.identity in earlier:
            names[benchmark.name] = earlier[benchmark.identity].name
        elif benchmark.name in taken and benchmark.identity:
            names[benchmark.name] = benchmark.identity
        else:
            names[benchmark.name] = benchmark.name
    return names


def _benchmark(before: Benchmark | None, after: Benchmark, name: str, names: Mapping[str, str]) -> Benchmark:
    samples = after.samples if before is None else _same_documents(before.samples, after.samples)
    if name != after.name:
        samples = tuple(dataclasses.replace(sample, benchmark=name) for sample in samples)
    same = names.get(after.same_documents_as, after.same_documents_as)
    found = dataclasses.replace(after, name=name, samples=samples, same_documents_as="" if same == name else same)
    if before is None:
        return found
    if UNKNOWN in (before.version, after.version):
        found = dataclasses.replace(found, version=before.version)
    # One measure: a log that broke off does not say what its scorer's metric is called.
    return dataclasses.replace(found, metric=before.metric, judge=before.judge)


def _same_documents(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[Sample, ...]:
    """Give documents that are not found by their id the id of the one with the same prompt and target, if it is alone.

    A new column of a dataset changes the hash of every document, and not what is asked.
    """
    earlier, later = {sample.id for sample in before}, {sample.id for sample in after}
    if earlier == later:
        return tuple(after)
    lone = _by_question([sample for sample in before if sample.id not in later])
    asked = _by_question([sample for sample in after if sample.id not in earlier])
    renamed = {
        samples[0].id: lone[question][0].id
        for question, samples in asked.items()
        if len(samples) == len(lone.get(question, ())) == 1
    }
    return tuple(
        dataclasses.replace(sample, id=renamed[sample.id]) if sample.id in renamed else sample for sample in after
    )


def _by_question(samples: Sequence[Sample]) -> dict[tuple[str, str | None], list[Sample]]:
    found: dict[tuple[str, str | None], list[Sample]] = {}
    for sample in samples:
        if told := sample.extra.get("prompt_hash"):
            found.setdefault((str(told), sample.target), []).append(sample)
    return found
