"""The domain of a run, opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.domains import Domain, Problem
    from pfh.registry.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class OpenDomain:
    """The domain of a run, opened, with the training problems that all its methods share."""

    name: str
    domain: Domain
    problems: tuple[Problem, ...]
    options: BaseModel | None = None
    """What the domain was opened with."""

    def identity(self, plugins: Plugins) -> dict[str, Any]:
        """Return what a step's key says of the domain where its training problems decide nothing."""
        return {
            "domain": self.name,
            "version": self.domain.version,
            "code": plugins.load("domains", self.name).code_version,
            "options": self.options.model_dump(mode="json") if self.options else {},
        }

    def inputs(self, plugins: Plugins) -> dict[str, Any]:
        """Return what a step's key says of the domain and its training problems."""
        ids = hashlib.sha256("\n".join(problem.id for problem in self.problems).encode()).hexdigest()
        return {**self.identity(plugins), "problems": ids}
