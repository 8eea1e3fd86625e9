"""The domain of a run, opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.domains import Domain, Problem


@dataclass(frozen=True, kw_only=True)
class OpenDomain:
    """The domain of a run, opened, with the training problems that all its methods share."""

    name: str
    domain: Domain
    problems: tuple[Problem, ...]
    options: BaseModel | None = None
    """What the domain was opened with."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What a step's key says of the domain."""
        ids = hashlib.sha256("\n".join(problem.id for problem in self.problems).encode()).hexdigest()
        return {"domain": self.name, "version": self.domain.version, "problems": ids}
