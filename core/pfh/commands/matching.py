"""May two evaluations be compared? Task versions, settings, judges and prompts must be the same on both subjects."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from pfh.commands.aligning import aligned
from pfh.commands.subjects import StoredFamily, Subject
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark
from pfh.statistics.paired import paired_benchmarks

SHOWN = 6
"""Differences listed in an error; further ones are only counted."""


REMEDY = (
    "--allow-mismatch NAME compares the documents that both have in spite of one such difference ({names}), "
    "--allow-mismatch in spite of all."
)


def matched(
    before: Subject, after: Subject, *, allow_mismatch: bool | Collection[str]
) -> tuple[Subject, tuple[str, ...]]:
    """Return `after` as it may be compared with `before`, and what a reader must know about the match.

    Two models that were asked the same questions can only differ where a family answered them otherwise: no other
    command would help, and the benchmarks concerned become an ERROR in the comparison.

    Args:
        before: the one to compare with.
        after: the other.
        allow_mismatch: whether differences are allowed, or the names of those that are.

    Raises:
        UserError: what is stored was measured differently and that is not allowed, or they share no benchmark.
    """
    if before.from_log and after.from_log:
        after = aligned(before, after)
    shared = [name for name in before.families if name in after.families]
    pairs = [
        (family, x, y)
        for family in shared
        for x, y in _pairs(before.families[family], after.families[family])
        if x.status == y.status == "MEASURED"
    ]
    if not shared or not (pairs or any(_pairs(before.families[f], after.families[f]) for f in shared)):
        raise UserError(
            f"{before.text} and {after.text} have no benchmark in common: the first holds {_holds(before)}, "
            f"the second {_holds(after)}."
        )
    checks_prompts = before.from_log or after.from_log
    found: dict[tuple[str, str], list[str]] = {}
    for family, x, y in pairs:
        for name, what, benchmark in _differences(
            before.families[family], after.families[family], x, y, checks_prompts
        ):
            found.setdefault((name, what), []).append(benchmark)
    refused = {key: names for key, names in found.items() if not _allowed(key[0], allow_mismatch)}
    if refused and (before.checkpoint is None or after.checkpoint is None):
        names = ", ".join(dict.fromkeys(f"{name!r}" for name, _ in refused))
        raise UserError(
            f"{before.text} and {after.text} were measured differently: {_told(refused)}. {REMEDY.format(names=names)}"
        )
    differences = _told(found)
    notes = [f"Measured differently: {differences}."] if differences else []
    notes += _coverage(pairs, told=bool(differences))
    notes += _environments(before, after, shared)
    if not allow_mismatch or not differences:
        return after, tuple(notes)
    families = {name: _aligned(before.families.get(name), family) for name, family in after.families.items()}
    return dataclasses.replace(after, families=families), tuple(notes)


def _allowed(name: str, allow: bool | Collection[str]) -> bool:
    """Say whether a difference is allowed; its name may be written with hyphens."""
    if isinstance(allow, bool):
        return allow
    return _plain(name) in {_plain(each) for each in allow}


def _plain(name: str) -> str:
    return name.lower().replace("-", " ")


def _told(differences: Mapping[tuple[str, str], list[str]]) -> str:
    return _listed([f"{what} ({_listed(names, ', ')})" for (_, what), names in differences.items()])


def _pairs(before: StoredFamily, after: StoredFamily) -> list[tuple[Benchmark, Benchmark]]:
    return paired_benchmarks(before.evaluation, after.evaluation)


def _differences(
    before: StoredFamily, after: StoredFamily, x: Benchmark, y: Benchmark, checks_prompts: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield (name of the difference, what differs, benchmark)."""
    for field, name in (("version", "task version"), ("metric", "metric"), ("judge", "judge")):
        old, new = getattr(x, field), getattr(y, field)
        if old != new:
            yield name, f"{name} {old} before, {new} after", x.name
    old_settings, new_settings = before.settings.get(x.name, {}), after.settings.get(y.name, {})
    for name in sorted(old_settings.keys() & new_settings.keys() - {"task version"}):
        if old_settings[name] != new_settings[name]:
            yield name, f"{name} {old_settings[name]} before, {new_settings[name]} after", x.name
    if checks_prompts:
        yield from _other_prompts(x, y)


def _other_prompts(before: Benchmark, after: Benchmark) -> Iterator[tuple[str, str, str]]:
    later = {sample.id: sample for sample in after.samples}
    common = [(sample, later[sample.id]) for sample in before.samples if sample.id in later]
    hashes = [(x.extra.get("prompt_hash"), y.extra.get("prompt_hash")) for x, y in common]
    other = sum(bool(x and y) and x != y for x, y in hashes)
    if other:
        yield "prompts", f"the prompts of {other} of {len(common)} common documents differ", before.name
    if before.samples and after.samples and not common:
        yield "documents", "no document is in both", before.name


def _coverage(pairs: list[tuple[str, Benchmark, Benchmark]], *, told: bool) -> Iterator[str]:
    """Say how many samples are compared, where that is not all, or where `told` differences make it worth saying."""
    rows = []
    for _, x, y in pairs:
        if x.comparative:  # it pairs no samples
            continue
        common = len({sample.id for sample in x.samples} & {sample.id for sample in y.samples})
        if told or not common == len(x.samples) == len(y.samples):
            rows.append(f"{x.name} {common} (of {len(x.samples)} before and {len(y.samples)} after)")
    if rows:
        yield f"Compared are the documents that both have: {_listed(rows)}."


def _environments(before: Subject, after: Subject, shared: list[str]) -> Iterator[str]:
    for family in shared:
        old, new = before.families[family].inputs, after.families[family].inputs
        places = _flat(old.get("environment")), _flat(new.get("environment"))
        apart = [
            f"{name} {places[0].get(name)} and {places[1].get(name)}"
            for name in sorted(places[0] | places[1])
            if places[0].get(name) != places[1].get(name)
        ]
        if apart and places[0] and places[1]:
            yield f"{family} was measured in two environments, which moves scores by itself: {_listed(apart)}."
        if old.get("seed") != new.get("seed") and "seed" in old and "seed" in new:
            yield f"{family} was measured with seed {old['seed']} before and {new['seed']} after."


def _aligned(before: StoredFamily | None, after: StoredFamily) -> StoredFamily:
    """Give the benchmarks after the version and judge of those before, so that their common samples are compared."""
    if before is None:
        return after
    earlier = {benchmark.name: benchmark for benchmark in before.evaluation.benchmarks}
    benchmarks = tuple(
        dataclasses.replace(each, version=earlier[each.name].version, judge=earlier[each.name].judge)
        if each.name in earlier and each.metric == earlier[each.name].metric
        else each
        for each in after.evaluation.benchmarks
    )
    return dataclasses.replace(after, evaluation=dataclasses.replace(after.evaluation, benchmarks=benchmarks))


def _flat(environment: object) -> dict[str, object]:
    return dict(environment) if isinstance(environment, Mapping) else {}


def _holds(subject: Subject) -> str:
    names = [
        f"{family}:{benchmark.name}"
        for family, stored in subject.families.items()
        for benchmark in stored.evaluation.benchmarks
    ]
    return _listed(names, separator=", ") or "none"


def _listed(items: list[str], separator: str = "; ") -> str:
    shown = separator.join(items[:SHOWN])
    return shown if len(items) <= SHOWN else f"{shown}{separator}and {len(items) - SHOWN} more"
