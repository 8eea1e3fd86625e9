"""A task that a random tiny model can learn by reinforcement in seconds: write a letter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.training import trainer_arguments


class Letters:
    """Rewards a completion with a letter in it."""

    name, version = "letters", "1"
    sampling = Sampling(max_new_tokens=2, temperature=1.0)
    holdouts = ()

    def __init__(self, stop: tuple[str, ...] = (), reward: float | None = None) -> None:
        self.sampling = Sampling(max_new_tokens=2, temperature=1.0, stop=stop)
        self.reward = reward

    def verify(self, problem: Problem, completion: str) -> Verdict:
        lettered = any(sign.isascii() and sign.isalpha() for sign in completion)
        reward = float(lettered) if self.reward is None else self.reward
        return Verdict(reward=reward, extracted=completion or None)


def problems(count: int) -> tuple[Problem, ...]:
    """Return `count` problems with the answer "a"."""
    return tuple(
        Problem(
            id=f"p{number}",
            environment="letters",
            messages=({"role": "user", "content": f"Say {number}."},),
            answer="a",
        )
        for number in range(count)
    )


FAST: dict[str, Any] = {
    "learning_rate": 5e-2,
    "schedule": "constant_with_warmup",
    "warmup": 0.0,
    "batch_size": 32,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "epsilon_high": 0.2,
    "lora_rank": 8,
    "max_length": 256,
    "save_steps": 100,
}


def training_spec(
    method: Any, model: Path, output_dir: Path, *, count: int = 8, seed: int = 0, domain: Any = None, **options: Any
) -> TrainingSpec:
    """Return a spec of the module `method` that trains `model` on `count` problems."""
    return TrainingSpec(
        checkpoint=Checkpoint(name="tiny", path=model, fingerprint="tiny"),
        domain=domain or Letters(),
        problems=problems(count),
        rollouts=lambda **_: (),
        seed=seed,
        output_dir=output_dir,
        options=method.Options(**FAST | options),
    )


def arguments_of(spec: TrainingSpec) -> dict[str, Any]:
    """Return what `train_resumably` hands a method's trainer."""
    return trainer_arguments(
        spec.options,
        output_dir=spec.output_dir / "trainer",
        seed=spec.seed,
        batch_size=spec.options.batch_size,
        gradient_accumulation=spec.options.gradient_accumulation,
    )


def logps_of(model: Any, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0) -> np.ndarray:
    """Return the log-probability of every token of `completion`, computed with NumPy from the model's logits."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0].double().numpy() / temperature
    logits -= logits.max(axis=-1, keepdims=True)
    logps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    places = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return np.array([logps[place, token] for place, token in zip(places, completion, strict=True)])


def rows_of(batch: dict[str, Any], prompt: str = "prompt") -> list[tuple[list[int], list[int]]]:
    """Return the prompts and completions of a trainer's batch, padding left out."""
    rows = []
    for ids, mask, written, kept in zip(
        batch[f"{prompt}_ids"],
        batch[f"{prompt}_mask"],
        batch["completion_ids"],
        batch["completion_mask"],
        strict=True,
    ):
        rows.append((ids[mask.bool()].tolist(), written[kept.bool()].tolist()))
    return rows


def stir(model: Any, seed: int, size: float = 0.05) -> None:
    """Add noise to every trainable weight: a policy that differs from the one that wrote."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the one safetensors file in `folder`."""
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Say whether two sets of weights are equal to the bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def untimed(curves: Sequence[Any]) -> list[dict[str, float]]:
    """Return `curves` without the seconds, the only figures that two equal runs do not share."""
    return [{name: value for name, value in row.items() if not name.startswith("seconds/")} for row in curves]


def assert_it_learns(method: Any, model: Path, folder: Path, *, updates: int, seeds: int = 3, **options: Any) -> Any:
    """Train once a seed; assert that the reward rose in each, and significantly in all together; return a result.

    First and last are three batches of 32 rollouts: the standard error of the pooled difference is 0.04.
    """
    rises = []
    for seed in range(seeds):
        count = 32 // method.Options().generations
        spec = training_spec(method, model, folder / str(seed), seed=seed, count=count, epochs=updates, **options)
        result = method.train(spec)
        earned = rewards(result.curves)
        rises.append(np.mean(earned[-3:]) - np.mean(earned[:3]))
    assert min(rises) > 0.05, rises
    assert np.mean(rises) > 0.2, rises
    return result


def rewards(curves: Sequence[Any]) -> list[float]:
    """Return the mean reward of every batch of rollouts."""
    return [row["reward"] for row in curves if "reward" in row]
