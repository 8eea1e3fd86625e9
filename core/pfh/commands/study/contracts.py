"""The contracts of a study: read before anything is planned, each held against the runs that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfh.commands.stage_contracts import RunContract, read_contracts
from pfh.commands.study.schema import Study
from pfh.commands.study.yaml_lines import Document
from pfh.errors import UserError
from pfh.hooks.meanings import Learns, has_variable
from pfh.registry.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class StudyContracts:
    """The contracts of a study."""

    contracts: tuple[RunContract, ...]
    idle: frozenset[str]
    """Methods that train nothing: what is measured again changes by chance alone, and no contract speaks of that."""

    def files(self, stages: Sequence[str]) -> tuple[str, ...]:
        """Return the files of those that speak of a run of these stages."""
        if all(stage in self.idle for stage in stages):
            return ()
        return tuple(
            str(each.file)
            for each in self.contracts
            if not each.contract.scope.stages or any(each.speaks_of(stage) for stage in stages)
        )


def contracts_of(
    study: Study, document: Document, plugins: Plugins, variants: Sequence[Sequence[str]], families: Sequence[str]
) -> StudyContracts:
    """Read the contracts that a study names.

    Raises:
        UserError: one cannot be read, names a stage that no run has or a family that is not measured; with its line.
    """
    stages = list(dict.fromkeys(stage for variant in variants for stage in variant))
    found: list[RunContract] = []
    for index, name in enumerate(study.contracts):
        file = (document.file.parent / name).absolute()
        try:
            (read,) = read_contracts([str(file)], stages, families)
        except UserError as error:
            raise document.error(("contracts", index), str(error)) from None
        if file.name in [each.file.name for each in found]:
            raise document.error(("contracts", index), f"two contracts are called {file.name}: results name them so.")
        found.append(read)
    idle = {stage for stage in stages if study.contracts and _trains_nothing(stage, plugins)}
    return StudyContracts(contracts=tuple(found), idle=frozenset(idle))


def _trains_nothing(method: str, plugins: Plugins) -> bool:
    return has_variable(plugins.options_model("methods", method), Learns.NOTHING)
