"""Time of an update through pfh against TRL called directly: gt-sft (SFTTrainer), dpo (DPOTrainer), sdft (SDFTTrainer).

The other methods whose data are there before they train have the trainer of one of these: sf-sft, cf-sft and
sdft-rewrite that of gt-sft, spin that of dpo. `methods.py` times the online ones.

Both sides train a LoRA adapter of one model on the same examples with the same settings, in one process and in turns,
each round in the other order, so that whatever else the machine does falls on both. What is timed is an update, from
its beginning to the beginning of the next, logging and checkpoints included, in seconds of this process on a CPU (which
other processes disturb less) and of the clock on a GPU; the first update of a round is a warm-up.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from pfh import testing
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem
from pfh.kit.preferences import Pair
from pfh.kit.supervised import Example, sft_trainer
from pfh.kit.training import TrainingOptions, train_resumably, trainer_arguments
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_methods import dpo, gt_sft, sdft
from pfh_methods.tally import Tally
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, Trainer, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.experimental.sdft import SDFTConfig, SDFTTrainer

WORDS = ("river", "stone", "lantern", "garden", "copper", "window", "harbour", "meadow")
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
METHODS = {"gt-sft": gt_sft, "dpo": dpo, "sdft": sdft}
TOKENS = 16
"""Most tokens of a completion that sdft writes."""


class Clock(TrainerCallback):
    """Notes when each update begins."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began.append(CLOCK())

    @property
    def updates(self) -> list[float]:
        """Seconds of every update but the first and the last."""
        return [after - before for before, after in zip(self.began[1:-1], self.began[2:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a folder with safetensors; else the embedded model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--updates", type=int, default=8, help="a round")
    parser.add_argument("--method", choices=METHODS, action="append", help="all of them unless given")
    arguments = parser.parse_args()
    model = arguments.model or embedded_model()
    for name in arguments.method or METHODS:
        compare(name, model, arguments.rounds, arguments.updates)


def compare(name: str, model: Path, rounds: int, updates: int) -> None:
    options = METHODS[name].Options(max_steps=updates, epochs=1)
    pairs = make_pairs(updates * options.batch_size)
    sides = {"TRL called directly": directly, "pfh": through_pfh}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sorted(sides, reverse=turn % 2 == 1):
            with tempfile.TemporaryDirectory() as folder:
                seconds[side] += sides[side](name, model, pairs, options, Path(folder))
    print(f"{name}, LoRA rank {options.lora_rank}, {options.batch_size} examples an update, {model.name}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for side, times in seconds.items():
        print(f"{side:20} median {statistics.median(times):.3f} s an update, over {len(times)} updates")
    medians = [statistics.median(seconds[side]) for side in ("pfh", "TRL called directly")]
    print(f"ratio {medians[0] / medians[1]:.3f} (at most 1.03 is the aim)")


def embedded_model() -> Path:
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    return embedded_start(session).path


def make_pairs(count: int) -> tuple[Pair, ...]:
    pairs = []
    for number in range(count):
        words = " ".join(WORDS[(number + step) % len(WORDS)] for step in range(6))
        chat = ({"role": "user", "content": f"Here is list {number}: {words}. How many letters has its first word?"},)
        problem = Problem(id=str(number), environment="benchmark", messages=chat, answer="")
        pairs.append(Pair(problem=problem, chosen=str(len(words.split()[0])), rejected="a few of them"))
    return tuple(pairs)


def through_pfh(name: str, model: Path, pairs: Sequence[Pair], options: TrainingOptions, folder: Path) -> list[float]:
    clock, checkpoint = Clock(), Checkpoint(name="x", path=model, fingerprint="x")
    examples = [Example(problem=pair.problem, completion=pair.chosen) for pair in pairs]

    def build(arguments: Mapping[str, Any]) -> Trainer:
        if name == "dpo":
            trainer = dpo.dpo_trainer(checkpoint, pairs, options, arguments)
        elif name == "gt-sft":
            trainer = sft_trainer(checkpoint, examples, options, arguments)
        else:
            generation = {"max_completion_length": TOKENS, "num_loss_tokens_to_skip": 0}
            tally = Tally.read(folder / "rollouts.json")
            trainer = sdft.sdft_trainer(checkpoint, examples, options, (), {**arguments, **generation}, tally)
        trainer.add_callback(clock)
        return trainer

    train_resumably(testing.training_spec(folder, options=options), build)
    return clock.updates


def directly(name: str, model: Path, pairs: Sequence[Pair], options: TrainingOptions, folder: Path) -> list[float]:
    clock = Clock()
    settings = trainer_arguments(
        options, output_dir=folder, seed=0, batch_size=options.batch_size, gradient_accumulation=1
    )
    trainer_class, config, rows = TRL[name](pairs, options, settings)
    trainer = trainer_class(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=config,
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


def of_dpo(
    pairs: Sequence[Pair], options: TrainingOptions, settings: dict[str, Any]
) -> tuple[type, Any, list[dict[str, Any]]]:
    rows = [
        {"prompt": list(pair.problem.messages), "chosen": said(pair.chosen), "rejected": said(pair.rejected)}
        for pair in pairs
    ]
    return DPOTrainer, DPOConfig(**settings, beta=options.beta, max_length=options.max_length), rows


def of_sft(
    pairs: Sequence[Pair], options: TrainingOptions, settings: dict[str, Any]
) -> tuple[type, Any, list[dict[str, Any]]]:
    rows = [{"prompt": list(pair.problem.messages), "completion": said(pair.chosen)} for pair in pairs]
    return SFTTrainer, SFTConfig(**settings, max_length=options.max_length), rows


def of_sdft(
    pairs: Sequence[Pair], options: TrainingOptions, settings: dict[str, Any]
) -> tuple[type, Any, list[dict[str, Any]]]:
    rows = [{"prompt": list(pair.problem.messages), "privileged_context": pair.chosen} for pair in pairs]
    config = SDFTConfig(
        **settings | {"include_num_input_tokens_seen": "no"},
        max_completion_length=TOKENS,
        num_loss_tokens_to_skip=0,
        num_generations=1,
        distillation_mode="full_logits",
        distillation_alpha=1.0,
        distillation_is_clip=None,
        teacher_model_kind="ema",
        teacher_update_rate=options.ema_rate,
        teacher_sync_steps=1,
        temperature=options.temperature,
        top_k=0,
        disable_dropout=True,
    )
    return SDFTTrainer, config, rows


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


TRL = {"dpo": of_dpo, "gt-sft": of_sft, "sdft": of_sdft}


if __name__ == "__main__":
    main()
