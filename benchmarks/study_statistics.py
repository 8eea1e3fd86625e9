"""How well the statistics of a study hold on made-up ones with known effects.

    python benchmarks/study_statistics.py [--studies 400]

Prints, for seeds that vary more than documents and the other way round, how often an interval of an effect covers it,
and how often those of statsmodels do: of the generalised estimating equation, which takes the seeds as they are, and of
a mixed model; how often studies without any effect are said to have an order of methods, or a method to recommend; and
how often the interval of a component of variance covers it.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pfh.results.study.recommendations import Candidate, recommend
from pfh.statistics.components import components
from pfh.statistics.crossed import Scores, effect, joint_draws, order_of
from pfh.statistics.second_opinion import marginal_mean

METHODS = "abcdef"
DOCUMENTS = 60
GRID = (("seeds", 0.15, 0.3), ("documents", 0.02, 0.5), ("no seeds", 0.0, 0.5))
"""Name, standard deviation of seeds, of documents."""


def drawn(dice: np.random.Generator, seeds: int, of_seeds: float, of_documents: float, mean: float) -> Scores:
    """Return the changes of one method under several seeds."""
    changes = mean + dice.normal(0, of_seeds, (seeds, 1)) + dice.normal(0, of_documents, (1, DOCUMENTS))
    return Scores(
        benchmark="b",
        seeds=tuple(range(seeds)),
        documents=tuple(map(str, range(DOCUMENTS))),
        changes=changes + dice.normal(0, 0.3, (seeds, DOCUMENTS)),
    )


def mixed_model_covers(changes: NDArray[np.float64], mean: float) -> bool:
    """Say whether statsmodels' mixed model with both parts random, whose interval is normal, covers the mean."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    seeds, documents = changes.shape
    table = pd.DataFrame(
        {
            "change": changes.ravel(),
            "seed": np.repeat(np.arange(seeds), documents),
            "document": np.tile(np.arange(documents), seeds),
            "one": 1,
        }
    )
    parts = {"seed": "0 + C(seed)", "document": "0 + C(document)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MixedLM.from_formula("change ~ 1", table, groups="one", vc_formula=parts).fit()
    low, high = fitted.conf_int().loc["Intercept"]
    return bool(low <= mean <= high)


def coverage(studies: int) -> None:
    """Print how often intervals of an effect cover it."""
    few = max(studies // 20, 1)
    print(f"{'varies more':12} seeds  covered  by the GEE  by the mixed model (of {few})")
    for name, of_seeds, of_documents in GRID:
        for seeds in (2, 3, 6):
            dice = np.random.default_rng(1)
            covered, marginal, mixed = 0, 0, 0
            for number in range(studies):
                scores = drawn(dice, seeds, of_seeds, of_documents, 0.1)
                low, high = effect([scores]).interval()
                covered += low <= 0.1 <= high
                low, high = marginal_mean([scores]).interval()
                marginal += low <= 0.1 <= high
                if number % 20 == 0 and number < 20 * few:
                    mixed += mixed_model_covers(scores.changes, 0.1)
            shares = f"{covered / studies:7.3f}  {marginal / studies:10.3f}  {mixed / few:.2f}"
            print(f"{name:12} {seeds:5}  {shares}", flush=True)


def without_effect(studies: int) -> None:
    """Print how often something is said of methods that change nothing."""
    print(f"\n{'varies more':12} seeds  an order is told  a method is recommended")
    for name, of_seeds, of_documents in GRID:
        for seeds in (1, 2, 3):
            dice = np.random.default_rng(2)
            ordered = recommended = 0
            for number in range(studies):
                cells = {method: [drawn(dice, seeds, of_seeds, of_documents, 0.0)] for method in METHODS}
                ranks = order_of(joint_draws(cells, count=500, seed=number)).ranks
                ordered += any(low > 1 or high < len(METHODS) for low, high in ranks.values())
                found = [
                    Candidate(method=method, effects={"target": effect(scores)}, device_seconds=1.0)
                    for method, scores in cells.items()
                ]
                said = " ".join(recommend(found))
                recommended += "these do" in said or "the one training does" in said
            print(f"{name:12} {seeds:5}  {ordered / studies:16.3f}  {recommended / studies:.3f}", flush=True)


def of_components(studies: int) -> None:
    """Print how often intervals of the variance of methods and seeds cover it."""
    method = np.repeat(np.arange(6), 6)
    levels = {"method": list(map(str, method)), "seed": list(map(str, range(36)))}
    covered = dict.fromkeys(levels, 0)
    dice = np.random.default_rng(3)
    for _ in range(studies):
        values = dice.normal(0, 0.1, 6)[method] + dice.normal(0, 0.05, 36)
        for part in components(values, np.zeros((36, 36)), levels):
            covered[part.source] += part.low <= {"method": 0.1, "seed": 0.05}[part.source] ** 2 <= part.high
    print(f"\ncomponents of variance covered: {', '.join(f'{name} {n / studies:.3f}' for name, n in covered.items())}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=400)
    chosen = parser.parse_args()
    coverage(chosen.studies)
    without_effect(chosen.studies)
    of_components(max(chosen.studies // 4, 1))


if __name__ == "__main__":
    main()
