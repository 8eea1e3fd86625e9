"""Every method, run as a plugin for two updates: an adapter or all weights, and what changes memory or precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pfh.hooks.budget import Account, Budget
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Rollout
from pfh.hooks.methods import TrainingResult, TrainingSpec
from pfh.registry.plugins import Plugins

from tests.letters import Letters, problems, same, untimed, weights
from tests.tiny import tiny_model

SMALL = {
    "max_steps": 2,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "learning_rate": 1e-2,
    "warmup": 0.0,
    "lora_rank": 4,
    "max_length": 256,
    "gradient_checkpointing": False,
}
ONLINE = {"generations": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    "gt-sft": {},
    "sf-sft": {"teacher": "llama"},
    "cf-sft": {"teacher": "qwen2"},
    "spin": {"iterations": 1},
    "sdft": {},
    "sdft-rewrite": {},
    "grpo": ONLINE,
    "reinforce": ONLINE,
    "dpo": {},
    "pi-distill": ONLINE,
    "opsd": ONLINE,
    "refusal-tuning": {"answer_tokens": 4},
}
PROBLEMS = problems(16)
WHILE_TRAINING = {"sdft", "grpo", "reinforce", "pi-distill", "opsd"}
"""They draw rollouts themselves, and book them."""

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="module", params=OPTIONS)
def train(request: pytest.FixtureRequest, tiny_llama_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return a function that trains with one method and some options, once for each set of them."""
    method, plugins = request.param, Plugins()
    folder = tmp_path_factory.mktemp(method)
    done: dict[str, TrainingResult] = {}

    def run(take: str = "", account: Account | None = None, **changes: str) -> TrainingResult:
        told = f"{changes}{take}{account}"
        if told not in done:
            options = {name: str(value) for name, value in (SMALL | OPTIONS[method] | changes).items()}
            done[told] = plugins.train(
                method,
                TrainingSpec(
                    checkpoint=Checkpoint(name="start", path=tiny_llama_path, fingerprint="start"),
                    domain=Letters(),
                    problems=PROBLEMS,
                    rollouts=half_right,
                    seed=0,
                    output_dir=folder / str(len(done)),
                    options=plugins.options("methods", method, options),
                    account=account or Account(),
                    teacher=teacher(OPTIONS[method].get("teacher"), folder),
                ),
            )
        return done[told]

    run.method = method
    return run


def teacher(architecture: str | None, folder: Path) -> Checkpoint | None:
    if architecture is None:
        return None
    return Checkpoint(name="teacher", path=tiny_model(folder / "teacher", architecture, seed=1), fingerprint="teacher")


def half_right(*, samples, sampling=None, checkpoint=None, problems=PROBLEMS, judged=True) -> tuple[Rollout, ...]:
    """Return rollouts of which every second one is right; where one a problem is drawn, none is."""
    texts = ["12", "ab"]
    return tuple(
        Rollout(
            problem=problem,
            index=index,
            completion=texts[index % 2],
            tokens=2,
            truncated=False,
            verdict=Letters().verify(problem, texts[index % 2]),
        )
        for problem in problems
        for index in range(samples)
    )


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_it_trains_and_leaves_safetensors_curves_and_a_ledger(train, adapter, tiny_llama_path):
    result = train(adapter=adapter)
    names = {file.name for file in result.path.iterdir()}
    merged = adapter == "full" or train.method == "spin"
    assert names >= ({"config.json", "model.safetensors"} if merged else {"adapter_config.json"})
    trained = weights(result.path)
    assert {value.dtype for value in trained.values()} == {np.dtype("float32")}
    assert all(np.isfinite(value).all() for value in trained.values())
    if merged:
        assert not same(trained, weights(tiny_llama_path))
    else:
        assert all(value.any() for name, value in trained.items() if "lora_B" in name)
    assert [row["step"] for row in result.curves] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in result.curves)
    drawn = ["rollouts"] if train.method in WHILE_TRAINING else []
    assert [phase.name for phase in result.phases] == [*drawn, "training"]
    assert all(phase.tokens > 0 and phase.samples > 0 for phase in result.phases)
    assert result.phases[-1].updates == 2


def test_one_seed_gives_one_result_whether_activations_are_kept_or_computed_again(train, monkeypatch):
    import transformers.modeling_utils as models

    computed_again, checkpoint = [], models.checkpoint

    def counted(*arguments, **named):
        computed_again.append(True)
        return checkpoint(*arguments, **named)

    monkeypatch.setattr(models, "checkpoint", counted)
    first = train(adapter="lora")
    assert not computed_again
    second = train(adapter="lora", gradient_checkpointing="true")
    assert computed_again
    assert same(weights(first.path), weights(second.path))
    assert untimed(first.curves) == untimed(second.curves)


@pytest.mark.parametrize("unit", ["updates", "samples", "tokens", "seconds"])
def test_a_budget_in_any_unit_ends_it(train, unit, monkeypatch):
    if unit == "seconds":
        ticks = itertools.count()
        monkeypatch.setattr("pfh.kit.training.spending.time.monotonic", lambda: float(next(ticks)))
    unlimited = train(adapter="lora").phases[-1]
    amount = {"updates": 1, "samples": 15, "tokens": unlimited.tokens, "seconds": 12}[unit]
    limited = train(adapter="lora", max_steps="1000", account=Account(Budget(amount=amount, unit=unit)))
    phase = limited.phases[-1]
    assert phase.samples == phase.updates * 8
    if unit == "tokens":  # no two methods' updates take the same, nor two of one that writes its own completions
        assert amount <= phase.tokens < 2 * amount
    else:
        assert phase.updates == {"updates": 1, "samples": 1, "seconds": phase.updates}[unit]
        assert 1 <= phase.updates < 12


def test_bfloat16_rounds_the_computation_and_leaves_the_weights_whole(train):
    exact, rounded = train(adapter="lora"), train(adapter="lora", precision="bfloat16")
    trained = weights(rounded.path)
    assert {value.dtype for value in trained.values()} == {np.dtype("float32")}
    assert all(np.isfinite(value).all() for value in trained.values())
    assert not same(trained, weights(exact.path))
    if train.method not in WHILE_TRAINING:
        assert rounded.curves[0]["loss"] == pytest.approx(exact.curves[0]["loss"], rel=0.02)
