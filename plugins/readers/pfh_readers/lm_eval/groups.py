"""Groups of tasks, such as mmlu: all documents of the subtasks as one benchmark."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample

from pfh_readers.lines import Skipped
from pfh_readers.lm_eval.about import About
from pfh_readers.names import clean
from pfh_readers.scores import finite


def group_benchmarks(
    run: Mapping[str, Any], tasks: Sequence[Benchmark], settings: dict[str, Mapping[str, str]], skipped: Skipped
) -> Iterator[Benchmark]:
    """Yield a benchmark for every measure of every group of which two subtasks or more are there.

    Samples of one document that several subtasks ask belong together; a subtask is a category. `settings` is filled up.
    """
    groups = _groups(run)
    by_task: dict[str, dict[str, Benchmark]] = {}
    for benchmark in tasks:
        task, _, measure = benchmark.identity.rpartition(" [")
        by_task.setdefault(task, {})[measure.rstrip("]")] = benchmark
    for group in groups:
        leaves = list(dict.fromkeys(_leaves(group, groups, set())))
        held = [by_task[leaf] for leaf in leaves if leaf in by_task and leaf != group]
        if len(held) < 2 or group in by_task:
            continue
        if len(held) < len(leaves):
            skipped.say(f"{group}: the log has samples of {len(held)} of its {len(leaves)} subtasks")
        first = ""
        for measure in held[0]:
            parts = [each[measure] for each in held if measure in each and each[measure].status == "MEASURED"]
            if len(parts) < len(held):
                continue
            name = clean(f"{group} [{measure.partition(', ')[2]}]" if first else group)
            if first and any(name == other for other in settings):
                name = clean(f"{group} [{measure}]")
            settings[name] = _common([settings.get(part.name, {}) for part in parts])
            yield _pooled(name, first, f"{group} [{measure}]", parts, About(task=group, run=run), skipped)
            first = first or name


def _groups(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return group to its subtasks; before 0.4.3 only the settings of a task said to which groups it belongs."""
    told = run.get("group_subtasks")
    if isinstance(told, Mapping) and any(told.values()):
        return told
    groups: dict[str, list[str]] = {}
    configs, results = run.get("configs"), run.get("results")
    for task, config in configs.items() if isinstance(configs, Mapping) else ():
        of = config.get("group") if isinstance(config, Mapping) else None
        for group in of if isinstance(of, list) else [of]:
            if isinstance(group, str) and isinstance(results, Mapping) and group in results:
                groups.setdefault(group, []).append(str(task))
    return groups


def _leaves(group: str, groups: Mapping[str, Any], above: set[str]) -> Iterator[str]:
    """Yield the tasks below a group, through groups of groups."""
    below = groups.get(group)
    for name in below if isinstance(below, list) else ():
        if not isinstance(name, str) or name in above or name == group:
            continue
        if isinstance(groups.get(name), list) and groups[name]:
            yield from _leaves(name, groups, above | {group})
        else:
            yield name


def _common(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the settings that all subtasks share."""
    return {name: value for name, value in settings[0].items() if all(each.get(name) == value for each in settings)}


def _pooled(
    name: str, first: str, identity: str, parts: Sequence[Benchmark], about: About, skipped: Skipped
) -> Benchmark:
    asked = Counter(sample.id for part in parts for sample in part.samples)
    samples = tuple(_member(sample, name, part.name, asked) for part in parts for sample in part.samples)
    scores = [sample.score for sample in samples if sample.score is not None]
    filter_name, _, metric = identity.rpartition(" [")[2].rstrip("]").partition(", ")
    said = finite(about.figure((filter_name, metric)))
    if said is not None and scores and abs(said - sum(scores) / len(scores)) > 1e-6:
        skipped.say(
            f"{name}: lm-eval's figure is {said:.6g}, each subtask counted alike; here each document counts alike "
            f"({sum(scores) / len(scores):.6g})"
        )
    return Benchmark(
        name=name,
        identity=identity,
        version=about.version,
        metric=parts[0].metric,
        higher_is_better=parts[0].higher_is_better,
        source=clean(f"lm-eval log, {len(parts)} subtasks, filter {filter_name}"),
        same_documents_as=first,
        samples=samples,
    )


def _member(sample: Sample, group: str, task: str, asked: Mapping[str, int]) -> Sample:
    shared = sample.cluster or (sample.id if asked[sample.id] > 1 else "")
    return dataclasses.replace(
        sample, id=f"{task}:{sample.id}", benchmark=group, category=sample.category or task, cluster=shared
    )
