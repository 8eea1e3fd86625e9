"""Time of an update of the online methods through pfh against TRL's trainers called directly, with one set of settings.

Both train a LoRA adapter of one model on rollouts of the same prompts with the same seed, so they write the same
completions; in one process and in turns, each round in the other order, so that whatever else the machine does falls
on both. What is timed is an update, from its beginning to the beginning of the next, logging and checkpoints included,
in seconds of this process on a CPU (which other processes disturb less) and of the clock on a GPU; the first update of
a round is a warm-up. pi-Distill and OPSD have no counterpart in TRL: their time stands beside
that of GRPO with the same settings.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.training import train_resumably, trainer_arguments
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_methods import grpo, opsd, pi_distill, reinforce
from pfh_methods.online import online_arguments, own_chat, set_up_online
from pfh_methods.privileged import two_chats
from pfh_methods.tally import Tally
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, Trainer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

WORDS = ("river", "stone", "lantern", "garden", "copper", "window", "harbour", "meadow")
SETTINGS = {"generations": 4, "batch_size": 8, "gradient_accumulation": 1, "temperature": 1.0, "inner_epochs": 1}
TOKENS = 16
"""Most tokens of a completion."""
BUILD: Mapping[ModuleType, Callable[..., Any]] = {
    grpo: grpo.grpo_trainer,
    reinforce: reinforce.reinforce_trainer,
    pi_distill: pi_distill.pi_distill_trainer,
    opsd: opsd.opsd_trainer,
}
PARTS = ("generation", "scoring", "update")
PAIRS = {"grpo": grpo, "reinforce": reinforce}
ALONE = {"pi-distill": pi_distill, "opsd": opsd}


CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time


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


class Lengths:
    """Rewards a completion with an even number of characters: some of every group are right."""

    name, version, holdouts = "lengths", "1", ()
    sampling = Sampling(max_new_tokens=TOKENS, temperature=1.0)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(len(completion) % 2 == 0), extracted=completion or None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a folder with safetensors; else the embedded model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--updates", type=int, default=6, help="a round")
    parser.add_argument("--method", choices=[*PAIRS, *ALONE], action="append", help="all of them unless given")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = arguments.model or embedded_model()
    print(f"{SETTINGS['batch_size']} completions of {TOKENS} tokens an update, LoRA, {model.name}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for name in arguments.method or [*PAIRS, *ALONE]:
        method = {**PAIRS, **ALONE}[name]
        sides = {"pfh": through_pfh} | ({"TRL called directly": directly} if name in PAIRS else {})
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        split: list[Mapping[str, float]] = []
        for turn in range(arguments.rounds):
            for side in sorted(sides, reverse=turn % 2 == 1):
                with tempfile.TemporaryDirectory() as folder:
                    times, rows = sides[side](method, training_spec(method, model, arguments.updates, Path(folder)))
                    seconds[side] += times
                    split += rows
        report(name, seconds, split)


def report(name: str, seconds: Mapping[str, list[float]], split: list[Mapping[str, float]]) -> None:
    for side, times in seconds.items():
        print(f"{name:10} {side:20} median {statistics.median(times):.3f} s an update, over {len(times)} updates")
    if len(seconds) == 2:
        ratio = statistics.median(seconds["pfh"]) / statistics.median(seconds["TRL called directly"])
        print(f"{name:10} ratio {ratio:.3f} (at most 1.03 is the aim)")
    parts = [f"{part} {statistics.median(row[f'seconds/{part}'] for row in split):.3f} s" for part in PARTS]
    print(f"{name:10} on the clock: {', '.join(parts)}")


def embedded_model() -> Path:
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    return embedded_start(session).path


def training_spec(method: ModuleType, model: Path, updates: int, folder: Path) -> TrainingSpec:
    options = method.Options(**SETTINGS, max_steps=updates)
    problems = []
    for number in range(updates * options.prompts_per_update):
        words = " ".join(WORDS[(number + step) % len(WORDS)] for step in range(6))
        chat = ({"role": "user", "content": f"Here is list {number}: {words}. How many letters has its first word?"},)
        problems.append(
            Problem(id=str(number), environment="benchmark", messages=chat, answer=str(len(words.split()[0])))
        )
    return TrainingSpec(
        checkpoint=Checkpoint(name="x", path=model, fingerprint="x"),
        domain=Lengths(),
        problems=problems,
        rollouts=lambda **_: (),
        seed=0,
        output_dir=folder,
        options=options,
    )


def through_pfh(method: ModuleType, spec: TrainingSpec) -> tuple[list[float], list[Mapping[str, float]]]:
    clock = Clock()
    chats = two_chats(spec) if method in ALONE.values() else own_chat

    def build(arguments: Mapping[str, Any]) -> Trainer:
        setup = set_up_online(spec, "benchmark", chats, Tally.read(spec.output_dir / "rollouts.json"))
        trainer = BUILD[method](setup, online_arguments(setup, arguments))
        trainer.add_callback(clock)
        return trainer

    trained = train_resumably(spec, build)
    return clock.updates, list(trained.curves[1:])


def directly(method: ModuleType, spec: TrainingSpec) -> tuple[list[float], list[Mapping[str, float]]]:
    clock, options = Clock(), spec.options
    settings = trainer_arguments(
        options, output_dir=spec.output_dir, seed=0, batch_size=options.batch_size, gradient_accumulation=1
    )
    settings |= {
        "include_num_input_tokens_seen": "no",
        "num_generations": options.generations,
        "max_completion_length": TOKENS,
        "temperature": 1.0,
        "beta": 0.0,
        "disable_dropout": True,
    }
    trainer_class, config_class = (GRPOTrainer, GRPOConfig) if method is grpo else (RLOOTrainer, RLOOConfig)

    def reward(completions: list[Any], **_: object) -> list[float]:
        return [spec.domain.verify(spec.problems[0], completion[0]["content"]).reward for completion in completions]

    trainer = trainer_class(
        model=AutoModelForCausalLM.from_pretrained(spec.checkpoint.path, dtype=torch.float32),
        reward_funcs=reward,
        args=config_class(**settings),
        train_dataset=Dataset.from_list([{"prompt": list(problem.messages)} for problem in spec.problems]),
        processing_class=AutoTokenizer.from_pretrained(spec.checkpoint.path),
        peft_config=LoraConfig(
            r=options.lora_rank, lora_alpha=options.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.updates, []


if __name__ == "__main__":
    main()
