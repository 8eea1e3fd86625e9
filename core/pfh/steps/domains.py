"""The domain of a run, opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Sampling
from pfh.hooks.domains import Verdict

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.domains import Domain, Problem, Split
    from pfh.registry.catalogue import Kind
    from pfh.registry.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class OpenDomain:
    """The domain of a run, opened, with the training problems that all its methods share."""

    name: str
    domain: Domain
    problems: tuple[Problem, ...]
    options: BaseModel | None = None
    """What the domain was opened with."""
    missing: str = ""
    """In a plan: why its problems are not here; keys that rest on it are not those of a store."""

    @property
    def plugins(self) -> list[tuple[Kind, str]]:
        """The plugin whose code the domain is; none where there is no domain."""
        return [("domains", self.name)] if self.name else []

    def identity(self, plugins: Plugins) -> dict[str, Any]:
        """Return what a step's key says of the domain where its training problems decide nothing."""
        return {
            "domain": self.name,
            "version": self.domain.version,
            "code": " ".join(plugins.load(kind, name).code_version for kind, name in self.plugins),
            "options": self.options.model_dump(mode="json") if self.options else {},
        }

    def inputs(self, plugins: Plugins) -> dict[str, Any]:
        """Return what a step's key says of the domain and its training problems."""
        ids = hashlib.sha256("\n".join(problem.id for problem in self.problems).encode()).hexdigest()
        return {**self.identity(plugins), "problems": self.missing or ids}


class _NoDomain:
    """Stands in for a domain where a method has prompts of its own."""

    name, version, sampling, holdouts = "", "1", Sampling(), ()

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return none."""
        return ()

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return none."""
        return ()

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge nothing."""
        return Verdict(reward=0.0, extracted=None)


NO_DOMAIN = OpenDomain(name="", domain=_NoDomain(), problems=())
"""What a method is trained on that has prompts of its own and is asked for without a domain."""
