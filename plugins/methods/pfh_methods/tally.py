"""What the rollouts of a training cost, over all attempts at it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Tally:
    """Counts of the rollouts of all processes, and the seconds that they took the first one."""

    generation_seconds: float = 0.0
    scoring_seconds: float = 0.0
    tokens: int = 0
    samples: int = 0
    asked: list[int] = field(default_factory=list)
    """Places of the problems that were put to the model."""
    told_apart: list[int] = field(default_factory=list)
    """Those of which a group of completions earned different rewards."""
    differences: dict[str, float] = field(default_factory=dict)
    """Summed log-ratio of the two prompts' policies by token, where a method reads completions after two prompts."""

    @classmethod
    def read(cls, path: Path) -> Tally:
        """Return the tally kept in `path`, or a new one that will be kept there."""
        tally = cls(**json.loads(path.read_text())) if path.exists() else cls()
        tally._keep_in(path)
        return tally

    def _keep_in(self, path: Path) -> None:
        self._path, self._told = path, (self.generation_seconds, self.scoring_seconds)

    def generated(self, seconds: float, tokens: int, samples: int = 0) -> None:
        """Count `tokens` that took `seconds` to generate, and the `samples` that are complete with them."""
        self.generation_seconds += seconds
        self.tokens += tokens
        self.samples += samples

    def scored(self, seconds: float, samples: int) -> None:
        """Count `samples` that the verifier judged in `seconds`."""
        self.scoring_seconds += seconds
        self.samples += samples

    def rewarded(self, problems: Sequence[int], different: Sequence[bool]) -> None:
        """Count a group of completions for each of `problems`, and whether their rewards were different."""
        self.asked = sorted({*self.asked, *problems})
        self.told_apart = sorted(
            {*self.told_apart, *(problem for problem, apart in zip(problems, different, strict=True) if apart)}
        )

    def differed(self, differences: Mapping[str, float]) -> None:
        """Add log-ratios by token."""
        for token, difference in differences.items():
            self.differences[token] = self.differences.get(token, 0.0) + difference

    def split(self, seconds: float) -> dict[str, float]:
        """Return how `seconds` since the last call divide into generation, scoring and the update."""
        before, self._told = self._told, (self.generation_seconds, self.scoring_seconds)
        generation, scoring = (now - then for now, then in zip(self._told, before, strict=True))
        return {
            "seconds/generation": generation,
            "seconds/scoring": scoring,
            "seconds/update": max(seconds - generation - scoring, 0.0),
        }

    def write(self) -> None:
        """Put the tally on the disk."""
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self)))
        beside.replace(self._path)
