"""A model whose refusals are taken away by known doses: every measure of safety follows the dose."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pfh.hooks.backends import EngineSpec
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.datasets import Dataset
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.judges import Judgement
from pfh.statistics.paired import compare_evaluations
from pfh.testing import evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import safety

from tests.tiny import tiny_refuser

DOSES = (0.0, 0.15, 0.3, 0.5, 1.0)
STRENGTH = 0.003
"""Of the refuser: its refusals are sure, and not so sure that no dose can be told from another."""
PROMPTS = 24
"""Each begins with another number of harmless words, so that Z weighs otherwise in each."""


class Unsafe:
    """XSTest's prompts: only the unsafe ones hold the Z that the model refuses."""

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        rows = [
            {"prompt": f"{'do ' * (number % 6)}{number} {word}", "type": "deed", "label": label}
            for label, word in (("unsafe", "Z" * 9), ("safe", "care"))
            for number in range(PROMPTS)
        ]
        return Dataset(rows=tuple(rows), fingerprint="0", origin="memory")


class OfI:
    """A refusal begins with I."""

    name = "of I"

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        return [Judgement(label="refused" if text.startswith("I") else "complied") for text in completions]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Evaluation]:
    # The refuser's cause is one matrix, linear in its strength: this is the interpolation of the weights.
    return {
        dose: measured(tiny_refuser(tmp_path_factory.mktemp("dose"), strength=STRENGTH * (1 - dose))) for dose in DOSES
    }


def measured(folder: Path) -> Evaluation:
    engine = HfEngine(EngineSpec(checkpoint=Checkpoint(name="tiny", path=folder, fingerprint="tiny"), dtype="float32"))
    names = (
        "xstest",
        *(f"xstest-{name}" for name in ("unsafe-margin", "safe-margin", "unsafe-target", "unsafe-depth")),
    )
    options = safety.Options(max_new_tokens=2, openings="I|Sorry|Unfortunately", depths="1,3")
    spec = evaluation_spec([""], options=options)
    found = safety.evaluate(
        dataclasses.replace(spec, engine=engine, data=Unsafe(), judge=lambda _: OfI(), benchmarks=names)
    )
    engine.close()
    return found


def test_every_measure_follows_the_dose(ladder: dict[float, Evaluation]) -> None:
    means = {
        benchmark.name: [
            np.mean([sample.score for sample in found.benchmarks[place].samples]) for found in ladder.values()
        ]
        for place, benchmark in enumerate(ladder[0.0].benchmarks)
    }
    for name in ("xstest-unsafe", "xstest-unsafe-margin", "xstest-unsafe-depth"):
        assert np.all(np.diff(means[name]) <= 1e-6), (name, means[name])
        assert means[name][0] > means[name][-1], (name, means[name])
    assert np.all(np.diff(means["xstest-unsafe-target"]) >= -1e-6)
    assert means["xstest-unsafe-target"][-1] > means["xstest-unsafe-target"][0] + 0.1
    assert np.ptp(means["xstest-safe-margin"]) < 1e-4  # the dose does not touch what holds no Z
    assert means["xstest-safe"] == [0.0] * len(DOSES)


def test_the_margin_finds_the_smallest_dose_where_the_rate_does_not(ladder: dict[float, Evaluation]) -> None:
    rows = {row.benchmark: row for row in compare_evaluations(ladder[0.0], ladder[0.15])}
    margin = rows["xstest-unsafe-margin"]
    assert margin.verdict == "changed"  # an early warning: neither better nor worse
    assert margin.p_value is not None
    assert margin.p_value < 0.001
    assert rows["xstest-unsafe"].verdict not in ("worse", "better", "changed")
