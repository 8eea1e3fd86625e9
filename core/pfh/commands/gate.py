"""`pfh gate`: may this version go out? Results held against a contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfh.commands.comparison import compare_subjects
from pfh.commands.drift import sealed_part
from pfh.commands.subjects import START, open_subject
from pfh.errors import EXIT_FELL_SHORT, UserError
from pfh.hooks.evaluation import Evaluation
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.contracts import Contract, read_contract
from pfh.results.gate import Gate, judge, judge_stages
from pfh.results.junit import junit
from pfh.results.stored import open_results
from pfh.steps.session import Session
from pfh.store.store import Store
from pfh.text import write_whole

MOST = 5
"""Samples that a broken clause names."""


@dataclass(frozen=True)
class Samples:
    """What the results rest on."""

    store: Store
    sealed: float = 0.0
    """Hold the contract against this share alone, which `pfh drift --sealed` keeps out of its page; 0 is all."""


def gate(
    results: Path,
    contract: Path,
    *,
    junit_file: Path | None = None,
    samples: Samples | None = None,
) -> tuple[Gate, int]:
    """Hold `results` against `contract`; return what became of every clause, and the exit code.

    Args:
        results: a folder that pfh wrote, or its results.json.
        contract: a YAML file.
        junit_file: where to write the clauses as JUnit XML.
        samples: for a sealed share, and for the ids of those that flipped where the whole run broke a clause; without
            them the figures of `results` are held against it, and no ids are named.

    Returns:
        The gate, and 0 where it is open, 1 where a clause is broken, or undecided or not measured under `fail`.

    Raises:
        UserError: the results cannot be read, the contract is at fault, or the file cannot be written.
    """
    asked, opened = read_contract(contract), open_results(results)
    sealed = samples if samples is not None and samples.sealed else None
    held = judge(asked, opened) if sealed is None else _of_sealed(asked, results, sealed)
    if junit_file is not None:
        flipped = {} if samples is None or sealed or asked.scope.stages else _flipped(results, held, samples.store)
        text = junit(held, opened, undecided=asked.undecided, not_measured=asked.not_measured, flipped=flipped)
        try:
            junit_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(junit_file, text)
        except OSError as error:
            raise UserError(f"{junit_file} cannot be written ({error.strerror}); name another with --junit.") from error
    return held, 0 if held.passes else EXIT_FELL_SHORT


def _flipped(results: Path, held: Gate, store: Store) -> dict[str, list[str]]:
    """Return of every broken clause the ids of at most `MOST` samples that flipped for the worse.

    Of a benchmark without a direction those that flipped at all; nothing where the store no longer has the samples.
    """
    broken = [clause.name for clause in held.clauses if clause.state == "broken"]
    if not broken:
        return {}
    session = Session(plugins=Plugins(), store=store, progress=Silent())
    try:
        before, after = (open_subject(f"{results}{which}", session) for which in (START, ""))
    except UserError:
        return {}
    found: dict[str, list[str]] = {}
    for name in broken:
        family, _, rest = name.partition("/")
        pair = [subject.families[family].evaluation for subject in (before, after) if family in subject.families]
        if len(pair) == len((before, after)):
            found[name] = _of_benchmark(rest, *pair)
    return found


def _of_benchmark(name: str, before: Evaluation, after: Evaluation) -> list[str]:
    rows = {row.name: row for row in after.benchmarks if name == row.name or name.startswith(f"{row.name}/")}
    row = rows[max(rows, key=len)] if rows else None
    first = next((each for each in before.benchmarks if row is not None and each.name == row.name), None)
    if row is None or first is None:
        return []
    category = name.removeprefix(row.name).removeprefix("/")
    scores = {sample.id: sample.score for sample in first.samples}
    sign = {True: -1, False: 1, None: 0}[row.higher_is_better]
    changes: list[tuple[float, str]] = []
    for sample in row.samples:
        old = scores.get(sample.id)
        if old is not None and sample.score is not None and category in ("", sample.category):
            change = sample.score - old
            changes.append((sign * change if sign else abs(change), sample.id))
    return [key for lost, key in sorted(changes, reverse=True)[:MOST] if lost > 0]


def _of_sealed(contract: Contract, results: Path, samples: Samples) -> Gate:
    """Hold a contract against what changed from start to end on the sealed items alone.

    Raises:
        UserError: the contract speaks of single stages, or the store no longer has the samples.
    """
    if contract.scope.stages:
        raise UserError("A contract of single stages is held against all items: leave out --sealed.")
    session = Session(plugins=Plugins(), store=samples.store, progress=Silent())
    before, after = (sealed_part(open_subject(f"{results}{which}", session), samples.sealed) for which in (START, ""))
    return judge_stages(contract, [compare_subjects([(before, after)], session.plugins, []).stage])
