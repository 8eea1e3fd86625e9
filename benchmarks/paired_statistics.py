"""Do tests hold their size and intervals their level? Simulated comparisons over the grid that users meet.

    python benchmarks/paired_statistics.py [--runs 1000] [--only binary,clusters,...]

Prints for every cell of the grid the share of comparisons without a change that are called one (size), or in which a
change is found (power), and the share of 95% intervals that hold the truth. A size above .06, or a coverage below .93,
is marked. Coverage above .97 is not: where few samples can change sides, intervals of counts cannot be exact.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from pfh.statistics.change import mean_change

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray | None]
Cell = tuple[str, Callable[[np.random.Generator], Drawn], float]
"""What is drawn, how, and the true change."""


def binary() -> Iterator[Cell]:
    """Independent documents of scores 0 or 1."""
    shares = ((0.02, 0.02), (0.1, 0.1), (0.25, 0.25), (0.15, 0.05), (0.3, 0.1))
    for n, (lost, gained) in itertools.product((20, 60, 200, 1000), shares):
        yield f"n={n} lost={lost} gained={gained}", _flips(n, 1, 0.0, lost, gained), gained - lost


def clusters() -> Iterator[Cell]:
    """Documents of scores 0 or 1 that belong together."""
    sizes, together, shares = ((30, 2), (40, 5), (20, 11), (50, 11)), (0.0, 0.5, 0.7, 0.95), ((0.1, 0.1), (0.2, 0.1))
    for (groups, size), same, (lost, gained) in itertools.product(sizes, together, shares):
        name = f"clusters={groups} of {size} same={same} lost={lost} gained={gained}"
        yield name, _flips(groups, size, same, lost, gained), gained - lost


def seeds() -> Iterator[Cell]:
    """Several trainings, each with a shift of its own."""
    for count, n, between, documents in itertools.product((2, 3, 5, 10), (60, 200), (0.0, 0.04, 0.08), (0.0, 0.15)):
        yield (
            f"seeds={count} n={n} between={between} documents={documents}",
            _trainings(count, n, between, documents),
            0.0,
        )


def continuous() -> Iterator[Cell]:
    """Independent documents of other scores."""
    shapes: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
        "normal": lambda generator, n: generator.normal(size=n),
        "exponential": lambda generator, n: generator.exponential(size=n) - 1,
        "lognormal": lambda generator, n: generator.lognormal(size=n) - np.exp(0.5),
        "few down a lot": lambda generator, n: (
            np.where(generator.random(n) < 0.8, 0.1, -0.4) + generator.normal(0, 0.02, n)
        ),
        "gamma": lambda generator, n: generator.gamma(0.3, size=n) - 0.3,
        "most unchanged": lambda generator, n: np.where(generator.random(n) < 0.7, 0.0, generator.normal(size=n)),
    }
    for (name, shape), n in itertools.product(shapes.items(), (16, 30, 60, 200, 1000)):
        yield f"{name} n={n}", _scores(shape, n), 0.0


def _scores(shape: Callable[[np.random.Generator, int], np.ndarray], n: int) -> Callable[[np.random.Generator], Drawn]:
    return lambda generator: (np.zeros(n), shape(generator, n), None)


def _flips(groups: int, size: int, same: float, lost: float, gained: float) -> Callable[[np.random.Generator], Drawn]:
    def draw(generator: np.random.Generator) -> Drawn:
        weights = [lost, gained, 1 - lost - gained]
        common = generator.choice([-1, 1, 0], (groups, 1), p=weights)
        alone = generator.choice([-1, 1, 0], (groups, size), p=weights)
        change = np.where(generator.random((groups, size)) < same, common, alone).ravel()
        before = np.where(change == 0, generator.integers(0, 2, change.size), change < 0).astype(float)
        return before, before + change, np.repeat(np.arange(groups), size)

    return draw


def _trainings(count: int, n: int, between: float, documents: float) -> Callable[[np.random.Generator], Drawn]:
    def draw(generator: np.random.Generator) -> Drawn:
        level = generator.uniform(0.2, 0.8, n)
        shift = generator.normal(0, between, (count, 1)) + generator.normal(0, documents, n)
        before = (generator.random((count, n)) < level).astype(float)
        after = (generator.random((count, n)) < np.clip(level + shift, 0, 1)).astype(float)
        return before, after, None

    return draw


GRID = {"binary": binary, "clusters": clusters, "seeds": seeds, "continuous": continuous}


def main() -> None:
    """Run the grid and print a line a cell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", default=",".join(GRID), help="parts of the grid, separated by commas")
    chosen = parser.parse_args()
    print(f"{'':62} found  covered")
    for part in chosen.only.split(","):
        for name, draw, truth in GRID[part]():
            generator = np.random.default_rng(0)
            found = covered = 0
            for _ in range(chosen.runs):
                change = mean_change(*draw(generator))
                low, high = change.interval()
                found += change.p_value <= 0.05
                covered += low <= truth <= high
            bad = (truth == 0 and found / chosen.runs > 0.06) or covered / chosen.runs < 0.93
            print(f"{part:10} {name:51} {found / chosen.runs:.3f}   {covered / chosen.runs:.3f}{' !' if bad else ''}")


if __name__ == "__main__":
    main()
