"""Subjects measured as far as their comparison needs: looks at ever more documents, until each benchmark is decided.

The first subject is compared with each of the others. What is stored of a subject, or was measured whole, is looked at
as it is. Every look is an evaluation of a part of the documents under its own key, and what was answered at an earlier
look is not asked again; what comes out is an evaluation whose key tells the rule and all that it was held against, so
that it is never taken for a whole one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.measuring import reference_of
from pfh.commands.subjects import StoredFamily, Subject, opened_family
from pfh.hooks.evals import Part
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.ledger import Phase, read_ledger, write_ledger
from pfh.statistics.looks import FIRST_LOOK, GROWTH, Evidence, can_stop, decided, evidence
from pfh.steps.evaluation import Question, documents_of, evaluate_family, evaluation_inputs
from pfh.store.evaluations import write_evaluation
from pfh.store.store import artifact_key

if TYPE_CHECKING:
    from pfh.commands.comparison import Compared
    from pfh.steps.session import Session

KEYS = "keys.json"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a comparison may stop."""

    level: float
    """Chance of a false stop in a family, over its benchmarks and all looks."""
    margin: float | None
    """The change that matters, of scores within 0 and 1; None is the default of the verdicts."""

    @classmethod
    def over(cls, families: int, alpha: float, margin: float | None) -> Rule:
        """Return the rule of each of so many families, at level `alpha` for all of them together."""
        return cls(level=alpha / families, margin=margin)


def looked_inputs(rule: Rule, question: Question, own: Mapping[str, Any], others: Mapping[int, Any]) -> dict[str, Any]:
    """Return what decides the key of an evaluation that stops early.

    Args:
        rule: when it may stop.
        question: what is asked.
        own: what would decide the key if everything was looked at.
        others: place of each subject to the key of its stored evaluation, or to what decides it.
    """
    told = {"level": rule.level, "margin": rule.margin, "shuffle": question.seed, "first": FIRST_LOOK, "growth": GROWTH}
    return {**own, "stop early": {**told, "with": artifact_key("looks", {str(k): v for k, v in others.items()})}}


def measured_in_looks(
    subjects: Sequence[Subject], session: Session, question: Question, rule: Rule
) -> list[StoredFamily]:
    """Return the answers of every subject to one family, as far as the comparison needed them.

    Args:
        subjects: the one before and those after; one that has answers to the family keeps them as they are.
        session: what measures.
        question: of one family.
        rule: when the comparison may stop.
    """
    return _Looks(subjects, session, question, rule).made()


def looks_note(compared: Sequence[Compared]) -> tuple[str, ...]:
    """Say where comparisons stopped, and how many documents were not looked at."""
    rows = [(family.family, row) for each in compared for family in each.stage.families for row in family.comparisons]
    looked = [(family, row) for family, row in rows if row.looked is not None]
    if not looked:
        return ()
    places, seen, total = [], 0, 0
    for family, row in looked:
        assert row.looked is not None
        of = row.looked.out_of or row.documents
        seen, total = seen + row.documents, total + of
        places.append(f"{family}:{row.benchmark} {row.verdict} after {row.documents:,} of {of:,}")
    saved = f"{total - seen:,} of {total:,} documents were not looked at" if total > seen else "no document was saved"
    level = looked[0][1].looked.level if looked[0][1].looked else 0.0
    return (
        f"Comparisons could stop at every look: {saved}. {'; '.join(places)}. Their verdicts are by bets (e-values), "
        f"e-BH over the benchmarks of a family at level {level:.3g}, and hold however often one looked; where a "
        "comparison stopped for a change, the mean itself lies a little too far from 0.",
    )


class _Looks:
    def __init__(self, subjects: Sequence[Subject], session: Session, question: Question, rule: Rule) -> None:
        self.subjects, self.session, self.question, self.rule = subjects, session, question, rule
        family = question.family
        self.fixed = {place: each.families[family] for place, each in enumerate(subjects) if family in each.families}
        plain = {
            place: evaluation_inputs(session, each.checkpoint, question)
            for place, each in enumerate(subjects)
            if place not in self.fixed and each.checkpoint is not None
        }
        told: dict[int, Any] = {**{place: held.key for place, held in self.fixed.items()}, **plain}
        self.inputs: dict[int, dict[str, Any]] = {}
        for place, each in enumerate(subjects):
            if place in plain and each.checkpoint is not None:
                before = self._before_key() if place else ""
                own = evaluation_inputs(session, each.checkpoint, question, before)
                self.inputs[place] = looked_inputs(rule, question, own, told)
        self.seconds = dict.fromkeys(self.inputs, 0.0)

    def made(self) -> list[StoredFamily]:
        """Return the answers of every subject, from the store where they are there."""
        store = self.session.store
        whole = {"looks": list(self.inputs.values())}
        artifact = store.make("looks", whole, self._build)
        if any(store.find("evaluation", inputs) is None for inputs in self.inputs.values()):
            store.discard(artifact)
            store.make("looks", whole, self._build)
        found = dict(self.fixed)
        for place, inputs in self.inputs.items():
            evaluation = store.find("evaluation", inputs)
            assert evaluation is not None
            found[place] = opened_family(evaluation)
        return [found[place] for place in range(len(self.subjects))]

    def _before_key(self) -> str:
        return self.fixed[0].key if 0 in self.fixed else artifact_key("evaluation", self.inputs[0])

    def _build(self, work: Path, folder: Path) -> None:
        merged = self._looked(work)
        keys = []
        for place, inputs in self.inputs.items():
            evaluation, seconds = merged[place], self.seconds[place]

            def build(_: Path, into: Path, evaluation: Evaluation = evaluation, seconds: float = seconds) -> None:
                write_evaluation(into, evaluation)
                count = sum(len(benchmark.samples) for benchmark in evaluation.benchmarks)
                write_ledger(into / "ledger.json", [Phase(name="evaluation", seconds=seconds, samples=count)])

            keys.append(self.session.store.make("evaluation", inputs, build).key)
        (folder / KEYS).write_text(json.dumps(keys))

    def _looked(self, work: Path) -> dict[int, Evaluation]:
        """Look at ever more documents; return of each subject the benchmarks as they were last looked at."""
        found: dict[int, Evaluation] = {place: held.evaluation for place, held in self.fixed.items()}
        sizes = documents_of(self.question, self.session)
        asked: tuple[tuple[str, ...], tuple[str, ...]] = (self.question.benchmarks, ())
        count = FIRST_LOOK
        while True:
            before = {place: found.get(place) for place in self.inputs}
            for place in self.inputs:
                for names, part in zip(asked, (Part(seed=self.question.seed, count=count), None), strict=True):
                    if names or (part is not None and before[place] is None):
                        found[place] = _merged(found.get(place), self._measured(place, names, part, found, work))
            open_, whole = self._open(found, before, count)
            self.session.progress.say(
                f"{self.question.family}: looked at {count:,} documents of each benchmark; open are {len(open_)}"
            )
            if not open_ and not whole:
                break
            asked, count = (open_, whole), math.ceil(GROWTH * count)
        return {place: _with_sizes(found[place], sizes) for place in self.inputs}

    def _measured(
        self, place: int, names: tuple[str, ...], part: Part | None, found: Mapping[int, Evaluation], work: Path
    ) -> Evaluation:
        checkpoint = self.subjects[place].checkpoint
        assert checkpoint is not None
        named = bool(self.question.benchmarks) or not names
        question = dataclasses.replace(self.question, benchmarks=names, part=part, default_set=not named)
        reference = None
        if place:
            first = self.fixed.get(0)
            key = first.key if first else f"{self._before_key()} {sum(len(b.samples) for b in found[0].benchmarks)}"
            reference = reference_of(self.subjects[0], found[0], key)
        artifact, evaluation = evaluate_family(
            self.session, checkpoint, question, reference, work / f"answers-{place}.jsonl"
        )
        ledger = artifact.path / "ledger.json"
        self.seconds[place] += sum(phase.seconds for phase in read_ledger(ledger)) if ledger.is_file() else 0.0
        return evaluation

    def _open(
        self, found: Mapping[int, Evaluation], before: Mapping[int, Evaluation | None], count: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the benchmarks that need a further look, and those that cannot stop early and are to be seen whole."""
        open_: dict[str, None] = {}
        whole: dict[str, None] = {}
        for place in range(1, len(self.subjects)):
            later = {each.name: each for each in found[place].benchmarks}
            pairs = {each.name: (each, later[each.name]) for each in found[0].benchmarks if each.name in later}
            able = {name: pair for name, pair in pairs.items() if can_stop(*pair)}
            told: dict[str, Evidence] = {name: evidence(x, y, self.rule.margin) for name, (x, y) in able.items()}
            outcome = decided(told, self.rule.level)
            for name, pair in pairs.items():
                lead = pair[0].same_documents_as
                if all(not self._grows(each, name, count, found, before) for each in self.inputs):
                    continue
                if name in able:
                    open_ |= {} if outcome[name].ends else {name: None}
                elif lead in able and pair[1].status == "MEASURED":
                    open_ |= {} if outcome[lead].ends else {name: None}
                elif pair[0].status == pair[1].status == "MEASURED":
                    whole[name] = None
        return tuple(open_), tuple(name for name in whole if count == FIRST_LOOK and name not in open_)

    def _grows(
        self,
        place: int,
        name: str,
        count: int,
        found: Mapping[int, Evaluation],
        before: Mapping[int, Evaluation | None],
    ) -> bool:
        """Say whether a further look may show more documents: the last one brought some, and as many as asked for."""
        now, then = _documents(found[place], name), _documents(before[place], name)
        return now >= count and then < now


def _documents(evaluation: Evaluation | None, name: str) -> int:
    benchmarks = evaluation.benchmarks if evaluation else ()
    return sum(len({sample.id for sample in each.samples}) for each in benchmarks if each.name == name)


def _merged(before: Evaluation | None, now: Evaluation) -> Evaluation:
    """Return the benchmarks as they were last looked at, in the order of the first look."""
    if before is None:
        return now
    last = {each.name: each for each in now.benchmarks}
    known = {each.name for each in before.benchmarks}
    benchmarks = [last.get(each.name, each) for each in before.benchmarks]
    benchmarks += [each for each in now.benchmarks if each.name not in known]
    return dataclasses.replace(now, benchmarks=tuple(benchmarks), arrays={**before.arrays, **now.arrays})


def _with_sizes(evaluation: Evaluation, sizes: Mapping[str, int]) -> Evaluation:
    def sized(benchmark: Benchmark) -> Benchmark:
        size = sizes.get(benchmark.name, 0)
        return dataclasses.replace(benchmark, out_of=size) if size > len(benchmark.samples) else benchmark

    return dataclasses.replace(evaluation, benchmarks=tuple(sized(each) for each in evaluation.benchmarks))
