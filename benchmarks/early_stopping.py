"""How often a comparison that may stop at every sample is wrong, and how many samples it saves.

    python benchmarks/early_stopping.py [--runs 1000] [--samples 1000] [--margin 0.05]

Prints for changes of 0, 2, 5 and 10 points, of scores 0 or 1 of which 20 in 100 flip and of bounded scores, the share
of comparisons that stop as each verdict, the median of the samples that were looked at, and the share of such
comparisons that the fixed test of all samples finds.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from pfh.statistics.change import mean_change
from pfh.statistics.sequential import stopped

VERDICTS = ("worse", "better", "no change larger than the margin", "undecided")


def flips(generator: np.random.Generator, samples: int, change: float) -> NDArray[np.float64]:
    return generator.choice([-1.0, 0.0, 1.0], samples, p=[(0.2 - change) / 2, 0.8, (0.2 + change) / 2])


def bounded(generator: np.random.Generator, samples: int, change: float) -> NDArray[np.float64]:
    return np.clip(generator.normal(change, 0.25, samples), -1, 1)


def main() -> None:
    """Print a line a change."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--margin", type=float, default=0.05)
    chosen = parser.parse_args()
    print(f"{'scores':8} change  {'  '.join(VERDICTS)}  looked at (median of {chosen.samples})  fixed test")
    for name, draw in (("0 or 1", flips), ("bounded", bounded)):
        for change in (0.0, -0.02, -0.05, -0.10):
            generator = np.random.default_rng(0)
            found: Counter[str] = Counter()
            looked, fixed = [], 0
            for _ in range(chosen.runs):
                differences = draw(generator, chosen.samples, change)
                stop = stopped(differences, margin=chosen.margin, binary=draw is flips)
                found[stop.verdict] += 1
                looked.append(stop.n)
                before = np.where(differences < 0, 1.0, 0.0) if draw is flips else np.zeros(chosen.samples)
                fixed += mean_change(before, before + differences).p_value <= 0.05
            shares = "  ".join(f"{found[verdict] / chosen.runs:{len(verdict)}.3f}" for verdict in VERDICTS)
            print(f"{name:8} {100 * change:5.0f}   {shares}  {np.median(looked):6.0f}  {fixed / chosen.runs:20.3f}")


if __name__ == "__main__":
    main()
