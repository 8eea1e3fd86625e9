"""Families of a run by simulation: the error over the whole run, the power of a pooled test, shrunken estimates."""

import numpy as np
import pytest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.families import adjust_run, family_change
from pfh.statistics.paired import compare_evaluations
from pfh.statistics.shrinkage import shrunken
from scipy.stats import norm

BENCHMARKS = 11


def family(generator, change, *, documents=50, benchmarks=BENCHMARKS, flips=0.15, better=True):
    """Return the rows of a family whose benchmarks all change by `change`; `flips` of the documents change sides."""
    sides = []
    for number in range(benchmarks):
        kind = generator.choice([-1, 1, 0], documents, p=[(flips - change) / 2, (flips + change) / 2, 1 - flips])
        before = np.where(kind == 0, generator.integers(0, 2, documents), kind < 0).astype(float)
        sides.append([(f"b{number}", before), (f"b{number}", before + kind)])
    evaluations = [
        Evaluation(
            family="f",
            benchmarks=tuple(
                Benchmark(
                    name=side[place][0],
                    version="1",
                    metric="accuracy",
                    higher_is_better=better,
                    samples=tuple(
                        Sample(id=str(i), benchmark=side[place][0], prompt="", completion="", score=float(score))
                        for i, score in enumerate(side[place][1])
                    ),
                )
                for side in sides
            ),
        )
        for place in (0, 1)
    ]
    return compare_evaluations(*evaluations)


def test_a_run_without_a_change_has_a_headline_in_one_of_twenty():
    generator = np.random.default_rng(0)
    runs, headlines = 40, 0
    for _ in range(runs):
        rows = adjust_run({name: family(generator, 0.0, benchmarks=5) for name in "abcd"})
        headlines += any(
            row.verdict == "worse" or row.verdict == "better" for found, _ in rows.values() for row in found
        )
    assert headlines / runs <= 0.08


def test_a_loss_everywhere_is_found_by_the_family_where_no_benchmark_shows_it():
    generator = np.random.default_rng(1)
    together = named = 0
    for _ in range(25):
        rows, whole = adjust_run({"forgetting": family(generator, -0.05)})["forgetting"]
        together += whole.p_adjusted <= 0.05 and whole.change < 0
        named += sum(row.verdict == "worse" for row in rows)
    assert together / 25 >= 0.7
    assert named / (25 * BENCHMARKS) < 0.1


def test_a_family_is_turned_towards_the_good():
    generator = np.random.default_rng(2)
    attacks = family_change(family(generator, 0.1, better=False))
    assert attacks.change < 0
    assert attacks.low < attacks.change < attacks.high
    assert attacks.mean == pytest.approx(attacks.change), "benchmarks of one size weigh the same either way"


def test_a_benchmark_counts_only_in_a_family_that_changed_and_at_the_level_left():
    generator = np.random.default_rng(3)
    changed, same = family(generator, -0.14, documents=300), family(generator, 0.0, benchmarks=3)
    alone = {row.benchmark: row.p_adjusted for row in changed}
    found = adjust_run({"changed": changed, "same": same})
    rows, whole = found["changed"]
    assert whole.p_adjusted <= 0.05
    for row in rows:
        assert row.p_adjusted >= min(2 * alone[row.benchmark], 1.0) - 1e-12
    assert all(row.verdict not in ("worse", "better") for row in found["same"][0])


def rates_with_margins(generator, shift):
    """Return the rows of a family whose two rates stay as they are and whose margins, of the same prompts, shift."""
    sides = ([], [])
    for number in range(2):
        rate = generator.integers(0, 2, 40).astype(float)
        margin = generator.normal(0, 1, 40)
        after = margin + shift + generator.normal(0, 1, 40)
        for place, scores in enumerate((margin, after)):
            for name, values, lead in ((f"r{number}", rate, ""), (f"m{number}", scores, f"r{number}")):
                samples = tuple(
                    Sample(id=str(i), benchmark=name, prompt="", completion="", score=float(score))
                    for i, score in enumerate(values)
                )
                sides[place].append(
                    Benchmark(
                        name=name,
                        version="1",
                        metric="m",
                        higher_is_better=True if not lead else None,
                        samples=samples,
                        same_documents_as=lead,
                    )
                )
    return compare_evaluations(*(Evaluation(family="f", benchmarks=tuple(side)) for side in sides))


def test_margins_that_move_under_rates_that_do_not_are_told_beside_other_families():
    generator = np.random.default_rng(6)
    found = adjust_run({"safety": rates_with_margins(generator, 1.0), "other": family(generator, 0.0, benchmarks=3)})
    rows, whole = found["safety"]
    assert whole.p_adjusted == 1
    assert [row.p_adjusted <= 0.05 for row in rows] == [False, True, False, True]


def test_margins_that_do_not_move_are_told_in_one_run_of_twenty():
    generator = np.random.default_rng(7)
    told = 0
    for _ in range(60):
        found = adjust_run({name: rates_with_margins(generator, 0.0) for name in "ab"})
        told += any(row.p_adjusted <= 0.05 for rows, _ in found.values() for row in rows)
    assert told / 60 <= 0.1


def test_one_family_is_adjusted_as_before():
    rows = family(np.random.default_rng(4), -0.1)
    found, _ = adjust_run({"only": rows})["only"]
    assert [row.p_adjusted for row in found] == [row.p_adjusted for row in rows]


def test_shrunken_estimates_err_half_as_much_and_cover():
    generator = np.random.default_rng(5)
    raw, shrunk, covered = [], [], []
    for _ in range(300):
        truth = generator.normal(-0.03, 0.02, BENCHMARKS)
        variances = generator.uniform(0.04, 0.06, BENCHMARKS) ** 2
        seen = generator.normal(truth, np.sqrt(variances))
        found = np.array(shrunken(seen, variances))
        raw.append(np.mean((seen - truth) ** 2))
        shrunk.append(np.mean((found[:, 0] - truth) ** 2))
        covered.append(np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])))
    assert np.sqrt(np.mean(shrunk)) < 0.65 * np.sqrt(np.mean(raw))
    assert 0.93 <= np.mean(covered) <= 0.99


def test_shrunken_estimates_are_the_integral_of_the_posterior():
    """Three estimates: the posterior of their truths by a grid over mean and spread."""
    estimates, variances = np.array([0.1, 0.0, -0.3]), np.array([0.01, 0.02, 0.01])
    widest = 3 * 0.4 + 3 * np.sqrt(0.02)
    spread, mean = np.meshgrid(np.linspace(1e-3, widest, 400), np.linspace(-3, 3, 1201), indexing="ij")
    likelihood = np.ones_like(spread)
    for y, v in zip(estimates, variances, strict=True):
        likelihood *= norm.pdf(y, mean, np.sqrt(v + spread**2))
    likelihood /= likelihood.sum()
    expected = [
        float(np.sum(likelihood * (y * spread**2 + mean * v) / (v + spread**2)))
        for y, v in zip(estimates, variances, strict=True)
    ]
    assert [each[0] for each in shrunken(estimates, variances)] == pytest.approx(expected, abs=0.01)
