"""Contracts inside a run: each is held against a stage as soon as that is measured, or against the run as a whole."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pfh.commands.comparison import compare_subjects
from pfh.commands.subjects import Subject
from pfh.errors import UserError, content_of, did_you_mean, reading
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.results.contracts import Contract, named_families, patterns, read_contract
from pfh.results.gate import judge_stages
from pfh.results.records import FamilyRecord, GateRecord, StageRecord
from pfh.steps.evaluation import Question


@dataclass(frozen=True, kw_only=True)
class RunContract:
    """A contract that a run was given."""

    file: Path
    contract: Contract

    def speaks_of(self, method: str) -> bool:
        """Say whether it names a stage of this method; one that names none speaks of the whole run."""
        return method in self.contract.scope.stages


def read_contracts(files: Sequence[str], methods: Sequence[str], families: Sequence[str]) -> list[RunContract]:
    """Read the contracts of a run before anything is measured.

    Args:
        files: YAML files.
        methods: stages of the run.
        families: what it measures.

    Raises:
        UserError: a contract is at fault, names a stage that the run does not have, or a family that is not measured.
    """
    read = [RunContract(file=Path(file), contract=read_contract(Path(file), reports=True)) for file in files]
    for each in read:
        for stage in each.contract.scope.stages:
            if stage not in methods:
                raise UserError(
                    f"The contract {each.file} speaks of a stage {stage!r}, which this run does not have."
                    f"{did_you_mean(stage, methods)} It has {', '.join(methods)}."
                )
        for family in named_families(each.contract):
            if family not in families:
                raise UserError(
                    f"The contract {each.file} speaks of {family!r}, which is not measured."
                    f"{did_you_mean(family, families)} Add --eval {family}; measured is {', '.join(families)}."
                )
    return read


def contents_of(files: Sequence[str]) -> list[str]:
    """Return the hashes of contracts, as they decide what results say.

    Raises:
        UserError: one cannot be read.
    """
    with reading(f"A contract ({', '.join(files)})", "name a file that is there"):
        return [hashlib.sha256(content_of(Path(file))).hexdigest()[:16] for file in files]


def check_clauses(contracts: Sequence[RunContract], before: Subject) -> None:
    """Refuse clauses that nothing of what the start was measured by can match, before anything is trained.

    Raises:
        UserError: there is such a clause.
    """
    names = sorted(_measured_names(before))
    for each in contracts:
        for pattern in patterns(each.contract):
            whole = pattern if "/" in pattern else f"{pattern}/*"
            if not any(fnmatch.fnmatchcase(name, whole) for name in names):
                benchmarks = [name for name in names if name.count("/") == 1]
                raise UserError(
                    f"The contract {each.file}: {pattern!r} matches nothing that this run measures."
                    f"{did_you_mean(pattern, names)} There is {', '.join(benchmarks[:8])}"
                    f"{' and more' if len(benchmarks) > 8 else ''}."
                )


def _measured_names(subject: Subject) -> set[str]:
    found = set()
    for family, stored in subject.families.items():
        for benchmark in stored.evaluation.benchmarks:
            name = f"{family}/{benchmark.name}"
            found |= {name} | {f"{name}/{sample.category}" for sample in benchmark.samples if sample.category}
    return found


@dataclass(frozen=True, kw_only=True)
class HeldStage:
    """A stage, held against the contracts that speak of it."""

    alone: tuple[FamilyRecord, ...] = ()
    """What it changed by itself; of the first stage that is what it changed since the start, so nothing is here."""
    gates: tuple[GateRecord, ...] = ()
    stops: str = ""
    """The contract after which the run ends; empty to go on."""


def hold_stage(
    contracts: Sequence[RunContract],
    stage: tuple[int, str],
    subjects: tuple[Subject, Subject],
    plugins: Plugins,
    questions: Sequence[Question],
    progress: Progress,
    margin: float | None = None,
) -> HeldStage:
    """Compare the model after a stage with the one before it, and hold that against the contracts of the stage.

    Args:
        contracts: those of the run.
        stage: its place, from 0, and its method.
        subjects: the model before the stage and the one after, measured.
        plugins: whose families say more than the paired figures.
        questions: what both were asked.
        progress: is told how each contract stands.
        margin: of the comparison's own verdicts.
    """
    place, method = stage
    speaking = [each for each in contracts if each.speaks_of(method)]
    if not speaking:
        return HeldStage()
    compared = compare_subjects([subjects], plugins, questions, margin=margin).stage.model_copy(
        update={"method": method}
    )
    gates = tuple(held(each, compared, place, progress) for each in speaking)
    bare = {"tables": (), "plots": (), "findings": ()}
    stopping = [
        each.file.name
        for each, gate in zip(speaking, gates, strict=True)
        if each.contract.when_broken == "stop" and not gate.passes
    ]
    return HeldStage(
        alone=tuple(record.model_copy(update=bare) for record in compared.families) if place else (),
        gates=gates,
        stops=next(iter(stopping), ""),
    )


def held(contract: RunContract, stage: StageRecord, place: int | None, progress: Progress) -> GateRecord:
    """Hold a contract against what one stage changed, or against the run (`place` is None), and say how it stands.

    A contract that asks what cannot be asked of what was measured is at fault: that is kept, and no training is lost.
    """
    where = "the run" if place is None else f"stage {place + 1} ({stage.method})"
    about = GateRecord(
        contract=contract.file.name,
        stage=place,
        method="" if place is None else stage.method,
        sentence="",
        passes=False,
    )
    try:
        gate = judge_stages(contract.contract, [stage])
    except UserError as error:
        progress.say(f"contract {contract.file.name}, {where}: it is at fault. {error}")
        return about.model_copy(update={"sentence": f"It is at fault: {error}", "at_fault": True})
    progress.say(f"contract {contract.file.name}, {where}: {gate.sentence}")
    for clause in gate.clauses:
        if clause.state in ("broken", "undecided", "not measured"):
            progress.say(f"  {clause.state}: {clause.name}: {clause.demand}; {clause.said}")
    told = {"sentence": gate.sentence, "passes": gate.passes, "chance": gate.chance, "clauses": gate.clauses}
    return about.model_copy(update=told)
