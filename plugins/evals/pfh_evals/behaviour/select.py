"""Which benchmarks of the family are measured: by name, by group, or the default set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import UserError, did_you_mean

from pfh_evals.behaviour import needle, tool_likelihood
from pfh_evals.behaviour.asks import Generated
from pfh_evals.behaviour.citation import CITATION
from pfh_evals.behaviour.constraints import CONSTRAINTS
from pfh_evals.behaviour.forms import FORMS
from pfh_evals.behaviour.invariants.measure import PREFIX
from pfh_evals.behaviour.invariants.opened import Opened, open_invariants
from pfh_evals.behaviour.invariants.written import Invariant
from pfh_evals.behaviour.robustness import ROBUST, Robust
from pfh_evals.behaviour.scope import SCOPE
from pfh_evals.behaviour.tools import TOOLS
from pfh_evals.behaviour.willingness import WILLINGNESS

if TYPE_CHECKING:
    from pfh_evals.behaviour.asks import Spec


@dataclass(frozen=True)
class ToolLikelihood:
    """The benchmark of tool calls by log-likelihood."""

    name: str = tool_likelihood.NAME


@dataclass(frozen=True)
class NeedleLikelihood:
    """The benchmark of needles by log-likelihood."""

    length: needle.Length

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return self.length.ll_name


@dataclass(frozen=True)
class Own:
    """An invariant of the user's file."""

    opened: Opened
    invariant: Invariant

    @property
    def name(self) -> str:
        """Name of the benchmark."""
        return PREFIX + self.invariant.id


Chosen = Generated | Robust | ToolLikelihood | NeedleLikelihood | Own


def everything(spec: Spec) -> dict[str, tuple[str, bool, Chosen]]:
    """Return every benchmark by name, with its group and whether it is in the default set."""
    found: dict[str, tuple[str, bool, Chosen]] = {each.name: ("robustness", each.by_default, each) for each in ROBUST}
    for each in (*WILLINGNESS, *SCOPE, *CONSTRAINTS, *FORMS, *TOOLS):
        found[each.name] = (each.group, True, each)
    found[tool_likelihood.NAME] = ("tools", True, ToolLikelihood())
    for length in needle.lengths(spec.options.needle_words):
        generated = needle.generated(length)
        found[generated.name] = ("needle", True, generated)
        found[length.ll_name] = ("needle-ll", False, NeedleLikelihood(length))
    found |= {each.name: (each.group, True, each) for each in CITATION}
    if spec.options.file:
        opened = open_invariants(spec.options.file)
        for invariant in opened.written.invariants:
            own = Own(opened, invariant)
            found[own.name] = ("invariants", True, own)
    return found


def select(names: Sequence[str], spec: Spec) -> list[Chosen]:
    """Return the benchmarks that `names` (of benchmarks or groups) stand for; the default set where there are none.

    Raises:
        UserError: there is no such benchmark or group.
    """
    known = everything(spec)
    named = names or [name for name in spec.options.unless_named.split(",") if name]
    if not named:
        return [benchmark for _, by_default, benchmark in known.values() if by_default]
    groups = {group for group, _, _ in known.values()}
    for name in named:
        if name.split("/")[0] == "invariants" and not spec.options.file:
            raise UserError("invariants are read from a file of yours: name it with -o behaviour.file=FILE.yaml.")
        if name not in known and name not in groups:
            every = list(dict.fromkeys((*groups, *known)))
            raise UserError(
                f"the family behaviour has no benchmark {name!r}.{did_you_mean(name, every)} It has {', '.join(known)}."
            )
    return [benchmark for name, (group, _, benchmark) in known.items() if name in named or group in named]
