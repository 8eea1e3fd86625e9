"""How often a comparison that may stop early is wrong, and how many samples it saves.

    python benchmarks/early_stopping.py [--runs 2000] [--samples 1000] [--margin 0.05]

Prints for changes of 0, 2, 5 and 10 points, of scores 0 or 1 of which 20 in 100 flip and of bounded scores, the share
of comparisons that stop as each verdict, the share of the samples that was saved, and the share of such comparisons
that the fixed test of all samples finds. It looks after 50, 75, 113, ... samples, as `pfh compare --stop-early` does.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from pfh.statistics.change import mean_change
from pfh.statistics.looks import FIRST_LOOK, GROWTH, decided, evidence_of

VERDICTS = ("worse", "better", "no change larger than the margin", "undecided")


def flips(generator: np.random.Generator, samples: int, change: float) -> NDArray[np.float64]:
    """Return differences of scores of 0 and 1."""
    return generator.choice([-1.0, 0.0, 1.0], samples, p=[(0.2 - change) / 2, 0.8, (0.2 + change) / 2])


def bounded(generator: np.random.Generator, samples: int, change: float) -> NDArray[np.float64]:
    """Return differences of other scores, to two digits."""
    return np.clip(generator.normal(change, 0.25, samples), -1, 1).round(2)


def stop(differences: NDArray[np.float64], margin: float) -> tuple[str, int]:
    """Return the verdict of a comparison of one benchmark, and the samples that it looked at."""
    count = FIRST_LOOK
    while True:
        seen = differences[:count]
        found = decided({"": evidence_of(seen, margin)}, 0.05)[""]
        if found.changed:
            return VERDICTS[int(seen.mean() > 0)], len(seen)
        if found.within_margin or count >= len(differences):
            return VERDICTS[2 if found.within_margin else 3], len(seen)
        count = math.ceil(GROWTH * count)


def main() -> None:
    """Print a line a change."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--margin", type=float, default=0.05)
    chosen = parser.parse_args()
    print(f"{'scores':8} change  {'  '.join(VERDICTS)}  saved of {chosen.samples}  fixed test of all")
    for name, draw in (("0 or 1", flips), ("bounded", bounded)):
        for change in (0.0, -0.02, -0.05, -0.10):
            generator = np.random.default_rng(0)
            found: Counter[str] = Counter()
            looked, fixed = 0, 0
            for _ in range(chosen.runs):
                differences = draw(generator, chosen.samples, change)
                verdict, seen = stop(differences, chosen.margin)
                found[verdict] += 1
                looked += seen
                before = np.where(differences < 0, 1.0, 0.0) if draw is flips else np.zeros(chosen.samples)
                fixed += mean_change(before, before + differences).p_value <= 0.05
            shares = "  ".join(f"{found[verdict] / chosen.runs:{len(verdict)}.3f}" for verdict in VERDICTS)
            saved = 1 - looked / chosen.runs / chosen.samples
            print(f"{name:8} {100 * change:5.0f}   {shares}  {saved:12.0%}  {fixed / chosen.runs:17.3f}", flush=True)


if __name__ == "__main__":
    main()
