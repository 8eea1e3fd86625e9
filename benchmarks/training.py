"""Time of an update through pfh's dpo against TRL's DPOTrainer called directly, on the embedded model or one you name.

Both train a LoRA adapter of one model on the same pairs with the same settings, in one process and in turns, each
round in the other order, so that whatever else the machine does falls on both. What is timed is an update, from its
beginning to the beginning of the next, logging and checkpoints included; the first update of a round is a warm-up.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from pfh.domain import Problem
from pfh.models import Checkpoint
from pfh.plugins import Plugins
from pfh.progress import Silent
from pfh.session import Session
from pfh.steps import embedded_start
from pfh.store import Store, default_root
from pfh.training import train_resumably, trainer_arguments
from pfh_methods import dpo
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

WORDS = ("river", "stone", "lantern", "garden", "copper", "window", "harbour", "meadow")


class Clock(TrainerCallback):
    """Notes when each update begins."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began.append(time.perf_counter())

    @property
    def updates(self) -> list[float]:
        """Seconds of every update but the first and the last."""
        return [after - before for before, after in zip(self.began[1:-1], self.began[2:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a folder with safetensors; else the embedded model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--updates", type=int, default=8, help="a round")
    arguments = parser.parse_args()
    model = arguments.model or embedded_model()
    options = dpo.Options(max_steps=arguments.updates, epochs=1)
    pairs = make_pairs(arguments.updates * options.batch_size)
    sides = {"TRL called directly": directly, "pfh": through_pfh}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(arguments.rounds):
        for side in sorted(sides, reverse=turn % 2 == 1):
            with tempfile.TemporaryDirectory() as folder:
                seconds[side] += sides[side](model, pairs, options, Path(folder))
    print(f"DPO, LoRA rank {options.lora_rank}, {options.batch_size} pairs an update, {model.name}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for side, times in seconds.items():
        print(f"{side:20} median {statistics.median(times):.3f} s an update, over {len(times)} updates")
    medians = [statistics.median(seconds[side]) for side in ("pfh", "TRL called directly")]
    print(f"ratio {medians[0] / medians[1]:.3f} (at most 1.03 is the aim)")


def embedded_model() -> Path:
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    return embedded_start(session).path


def make_pairs(count: int) -> tuple[dpo.Pair, ...]:
    pairs = []
    for number in range(count):
        words = " ".join(WORDS[(number + step) % len(WORDS)] for step in range(6))
        chat = ({"role": "user", "content": f"Here is list {number}: {words}. How many letters has its first word?"},)
        problem = Problem(id=str(number), environment="benchmark", messages=chat, answer="")
        pairs.append(dpo.Pair(problem=problem, chosen=str(len(words.split()[0])), rejected="a few of them"))
    return tuple(pairs)


def through_pfh(model: Path, pairs: Sequence[dpo.Pair], options: dpo.Options, folder: Path) -> list[float]:
    clock = Clock()

    def build(batch_size: int, gradient_accumulation: int) -> DPOTrainer:
        arguments = trainer_arguments(
            options, output_dir=folder, seed=0, batch_size=batch_size, gradient_accumulation=gradient_accumulation
        )
        trainer = dpo.dpo_trainer(Checkpoint(name="x", path=model, fingerprint="x"), pairs, options, arguments)
        trainer.add_callback(clock)
        return trainer

    train_resumably(build, output_dir=folder, batch_size=options.batch_size, gradient_accumulation=1, progress=Silent())
    return clock.updates


def directly(model: Path, pairs: Sequence[dpo.Pair], options: dpo.Options, folder: Path) -> list[float]:
    clock = Clock()
    settings = trainer_arguments(
        options, output_dir=folder, seed=0, batch_size=options.batch_size, gradient_accumulation=1
    )
    rows = [
        {
            "prompt": list(pair.problem.messages),
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=DPOConfig(**settings, beta=options.beta, max_length=options.max_length),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(
            r=options.lora_rank, lora_alpha=options.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.updates


if __name__ == "__main__":
    main()
