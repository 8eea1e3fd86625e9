"""Before and after: `pfh compare` of a model and its adapter against two runs of `lm-eval`, start-up included.

    python benchmarks/battery.py [--few-shot 8] [--zero-shot 12] [--rounds 1] [--batch 8]

Every program is started from the command line on one thread, on the same invented multiple-choice tasks (options of
several tokens), with the embedded model in float32 and a LoRA adapter of it. lm-eval runs twice with its own `hf`
backend, once for each model; pfh runs once, with a new store every time. They take turns. Seconds are given by the
clock and by the processor: on a machine with other work the second is the steadier. The accuracies are compared too.

The limit is what the arithmetic alone would take: the tokens that differ between the requests, each once for each
model, times the FLOPs of a token, over the rate of matrix products of the model's shape measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

WORDS = (
    *("river", "stone", "lamp", "garden", "winter", "copper", "letter", "window", "market", "bridge", "silver"),
    *("paper", "forest", "candle", "harbour", "kettle", "meadow", "pocket", "ribbon", "saddle", "thunder", "valley"),
    *("whistle", "anchor", "basket", "cotton", "dragon", "engine", "feather", "glove", "hammer", "island"),
)
THREADS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
SHOTS = 5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One task of the benchmark."""

    name: str
    documents: int
    shots: int
    question_words: int


@dataclass(kw_only=True)
class Spent:
    """Seconds of the rounds so far."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description="pfh compare against two runs of lm-eval.")
    parser.add_argument("--few-shot", type=int, default=8, help="documents of the task with a fixed 5-shot header")
    parser.add_argument("--zero-shot", type=int, default=12, help="documents of the task without examples")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="batch size of lm-eval")
    arguments = parser.parse_args()
    os.environ.update(THREADS)
    settings = (
        Setting(name="zero_shot", documents=arguments.zero_shot, shots=0, question_words=40),
        Setting(name="few_shot", documents=arguments.few_shot, shots=SHOTS, question_words=120),
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        base = embedded_model()
        adapter = make_adapter(base, work / "adapter")
        rate = matrix_rate()
        print(f"matrix products: {rate / 1e9:.1f} GFLOP/s on one thread", flush=True)
        for setting in settings:
            task = write_task(work, setting)
            spent = {"lm-eval": Spent(), "pfh": Spent()}
            accuracies: dict[str, list[float]] = {}
            for turn in range(arguments.rounds):
                out = work / f"{setting.name}-{turn}"
                order = ("lm-eval", "pfh") if turn % 2 == 0 else ("pfh", "lm-eval")
                for program in order:
                    runner = partial(run_lm_eval, arguments.batch) if program == "lm-eval" else run_pfh
                    accuracies[program] = timed(spent[program], partial(runner, base, adapter, task, out))
            report(setting, spent, accuracies, base, task, rate)


def report(
    setting: Setting,
    spent: dict[str, Spent],
    accuracies: dict[str, list[float]],
    base: Path,
    task: Path,
    rate: float,
) -> None:
    unique, fed, per_token = work_of(base, task)
    print(f"{setting.name}: {setting.documents} documents, {setting.shots}-shot, 2 models")
    for program, seconds in spent.items():
        print(f"  {program:8} {sum(seconds.wall):7.1f} s  {sum(seconds.processor):7.1f} cpu-s")
    ratio = sum(spent["lm-eval"].processor) / sum(spent["pfh"].processor)
    clock = sum(spent["lm-eval"].wall) / sum(spent["pfh"].wall)
    print(f"  pfh is {ratio:.1f} times as fast per cpu-second, {clock:.1f} times by the clock")
    limit = 2 * unique * per_token / rate
    share = limit * len(spent["pfh"].processor) / sum(spent["pfh"].processor)
    print(f"  {fed} tokens asked a model, {unique} of them different; the limit is {limit:.1f} s, of which pfh reaches")
    print(f"  {share:.0%}, start-up included")
    same = accuracies["lm-eval"] == accuracies["pfh"]
    print(f"  accuracies before and after {'agree' if same else 'DIFFER'}: {accuracies}", flush=True)


def timed(spent: Spent, run: Callable[[], list[float]]) -> list[float]:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.wall.append(time.perf_counter() - began)
    spent.processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return found


def run_lm_eval(batch: int, base: Path, adapter: Path, task: Path, out: Path) -> list[float]:
    accuracies = []
    for label, model in (("before", f"pretrained={base}"), ("after", f"pretrained={base},peft={adapter}")):
        folder = out / f"lm-eval-{label}"
        arguments = f"--model hf --model_args {model},dtype=float32 --tasks {task} --batch_size {batch} --device cpu"
        run("lm_eval", "run", *arguments.split(), "--output_path", str(folder), "--log_samples")
        (file,) = folder.rglob("results_*.json")
        accuracies.append(json.loads(file.read_text())["results"][task.stem]["acc,none"])
    return accuracies


def run_pfh(base: Path, adapter: Path, task: Path, out: Path) -> list[float]:
    folder = out / "pfh"
    arguments = f"--eval forgetting -o tasks={task} --dtype float32 --quiet --output {folder} --store {folder}-store"
    run("pfh_cli.main", "compare", str(base), str(adapter), *arguments.split())
    (stage,) = json.loads((folder / "results.json").read_text())["stages"]
    (row,) = stage["families"][0]["comparisons"]
    return [row["before"], row["after"]]


def run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def embedded_model() -> Path:
    from pfh.progress import Silent
    from pfh.registry.plugins import Plugins
    from pfh.steps.session import Session
    from pfh.steps.starts import embedded_start
    from pfh.store.store import Store, default_root

    return embedded_start(Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())).path


def make_adapter(base: Path, folder: Path) -> Path:
    """Save a LoRA adapter of `base` with small random matrices, as a training would leave one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    tuned.save_pretrained(folder)
    return folder


def write_task(folder: Path, setting: Setting) -> Path:
    draw = random.Random(setting.name)
    splits = {"test": setting.documents, "train": max(setting.shots, 1)}
    files = {}
    for split, count in splits.items():
        file = folder / f"{setting.name}-{split}.jsonl"
        rows = [json.dumps(document(draw, setting.question_words)) for _ in range(count)]
        file.write_text("\n".join(rows) + "\n")
        files[split] = str(file)
    configuration = {
        "task": setting.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": setting.shots,
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "options",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    file = folder / f"{setting.name}.yaml"
    file.write_text(json.dumps(configuration))  # JSON is YAML
    return file


def document(draw: random.Random, words: int) -> dict[str, Any]:
    options = [" ".join(draw.choices(WORDS, k=draw.randint(4, 8))) for _ in range(4)]
    return {"question": " ".join(draw.choices(WORDS, k=words)) + "?", "options": options, "gold": draw.randrange(4)}


def work_of(base: Path, task: Path) -> tuple[int, int, float]:
    """Return the different tokens of a battery's requests, all their tokens, and the FLOPs of a token."""
    from pfh.hooks.backends import Score, ScoringRequest
    from pfh.sources.datasets import HubData
    from pfh.testing import FakeEngine, evaluation_spec
    from pfh_evals import forgetting
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked: list[ScoringRequest] = []

    class Recorder(FakeEngine):
        def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
            asked.extend(requests)
            return super().loglikelihood(requests)

    spec = evaluation_spec([""], options=forgetting.Options(tasks=(str(task),)))
    forgetting.evaluate(replace(spec, engine=Recorder(), data=HubData()))
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [tuple(tokenizer.encode(each.context + each.continuation)[:-1]) for each in asked]
    prefixes = {row[:length] for row in rows for length in range(1, len(row) + 1)}
    model = AutoModelForCausalLM.from_pretrained(base)
    body = sum(parameter.numel() for parameter in model.model.layers.parameters())
    return len(prefixes), sum(len(row) for row in rows), 2.0 * body


def matrix_rate() -> float:
    """Return FLOPs a second of the processor in float32 products of the embedded model's shape."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.randn(512, 576), torch.randn(576, 1536)
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(50):
            left @ right
        best = max(best, 50 * 2 * 512 * 576 * 1536 / (time.process_time() - began))
    return best


if __name__ == "__main__":
    main()
