"""How long pfh takes to compare 100,000 samples, and how much memory: `python benchmarks/compare.py [samples]`.

Two lm-eval logs are written first (not counted): multiple choice and generated answers in 20 tasks, and 20 more whose
scores are fractions, so that the slowest statistics are in it. Then, each in a process of its own:

- read: parse both logs, as `pfh compare lm-eval:A lm-eval:B` does the first time;
- compare: the whole command a second time, with both logs in the store: statistics, results.json and report.html;
- statistics: `compare_evaluations` alone, on the evaluations in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.logs import open_log
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import compare_evaluations
from pfh.store.store import Store

TASKS = 40
LIMIT_SECONDS, LIMIT_BYTES = 10.0, 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of comparing many samples.")
    parser.add_argument("samples", nargs="?", type=int, default=100_000)
    parser.add_argument("--step", choices=("read", "compare", "statistics"), help="one step, in this process")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        run(arguments.step, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seed, name in enumerate(("before", "after")):
            write_log(folder / name, arguments.samples // TASKS, seed)
        print(f"{arguments.samples:,} samples before and as many after, {TASKS} tasks, 4 categories of prompts")
        command = [sys.executable, __file__, "--folder", scratch, "--step"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        for step in ("read", "compare", "statistics"):
            subprocess.run([*command, step], check=True, env=environment)


def run(step: str, folder: Path) -> None:
    logs = [f"lm-eval:{folder / name}" for name in ("before", "after")]
    before, after = ([open_log(text) for text in logs]) if step == "statistics" else (None, None)
    began, spent = time.perf_counter(), time.process_time()
    if before and after:
        compare_evaluations(before.evaluations[0], after.evaluations[0])
    else:
        compare_logs(logs, folder)
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    label = {"read": "first time, logs read", "compare": "again, from the store", "statistics": "statistics alone"}
    verdict = "" if step == "statistics" else f"  within 10 s and 1 GB: {cpu <= LIMIT_SECONDS and peak <= LIMIT_BYTES}"
    print(f"{label[step]:24}{seconds:7.1f} s {cpu:7.1f} cpu-s {peak / 1e6:8.0f} MB peak{verdict}")


def compare_logs(logs: list[str], folder: Path) -> None:
    spec = CompareSpec(models=tuple(logs))
    compare(spec, plugins=Plugins(), store=Store(folder / "store"), progress=Silent(), output=folder / "out")


def write_log(folder: Path, documents: int, seed: int) -> None:
    """Write a log as lm-eval does: prompts of 600 characters, of which a quarter of a task shares the first 400."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    date = "2026-01-01T00-00-00.000000"
    results: dict[str, dict] = {name: {} for name in ("results", "configs", "versions", "n-shot", "higher_is_better")}
    for number in range(TASKS):
        task, kind = f"task{number:02}", ("multiple_choice", "generate_until")[number % 2]
        fractions = number >= TASKS // 2
        scores = generator.random(documents) if fractions else (generator.random(documents) < 0.6).astype(float)
        lines = (line(task, kind, place, float(score)) for place, score in enumerate(scores))
        (folder / f"samples_{task}_{date}.jsonl").write_text("".join(lines))
        results["results"][task] = {"acc,none": sum(scores.tolist()) / documents}
        results["configs"][task] = {"output_type": kind}
        results["versions"][task], results["n-shot"][task] = 1.0, 0
        results["higher_is_better"][task] = {"acc": True}
    (folder / f"results_{date}.json").write_text(json.dumps(results | {"model_name": folder.name}))


def line(task: str, kind: str, place: int, score: float) -> str:
    document = {"question": f"{task} question {place} " + "word " * 40}
    prompt = f"header {place % 4} " * 36 + document["question"]
    options = [" one", " two", " three", " four"] if kind == "multiple_choice" else [{"until": ["\n"]}]
    responses = [[str(-float(place % 7 + i)), "False"] for i in range(4)] if kind == "multiple_choice" else ["answer"]
    row = {
        "doc_id": place,
        "doc": document,
        "target": "0",
        "arguments": {f"gen_args_{i}": {"arg_0": prompt, "arg_1": option} for i, option in enumerate(options)},
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": hashlib.sha256(document["question"].encode()).hexdigest(),
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "target_hash": hashlib.sha256(b"0").hexdigest(),
        "acc": score,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
