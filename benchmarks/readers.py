"""Logs of many samples, read on one thread: seconds and memory by reader.

    python benchmarks/readers.py [--samples 20000]

The logs are made here, in the forms that Inspect (.eval, .json) and lm-eval write. The aim for Inspect is 20,000
samples in less than 20 s; seconds are of the processor, which other work on the machine moves less than the clock.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = "the sum of two numbers is asked for in a sentence of some length " * 6


def inspect_sample(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"{WORDS}{number}"}, {"role": "assistant", "content": f"{WORDS}{number}"}]
    output = {"choices": [{"message": said[1], "stop_reason": "stop"}], "completion": said[1]["content"]}
    score = {"match": {"value": "C" if number % 3 else "I", "answer": str(number)}}
    sample = {"id": number, "epoch": 1, "input": said[0]["content"], "target": str(number), "messages": said}
    return sample | {"output": output, "scores": score, "metadata": {"category": number % 7}}


def inspect_header() -> dict[str, Any]:
    about = {"task": "sums", "task_version": 0, "model": "org/model", "created": "2026-01-01", "config": {}}
    return {"version": 2, "status": "success", "eval": about, "plan": {}}


def write_logs(folder: Path, count: int) -> dict[str, str]:
    with zipfile.ZipFile(folder / "log.eval", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps(inspect_header()))
        for number in range(count):
            file.writestr(f"samples/{number}_epoch_1.json", json.dumps(inspect_sample(number)))
    whole = inspect_header() | {"samples": [inspect_sample(number) for number in range(count)]}
    (folder / "log.json").write_text(json.dumps(whole))
    with (folder / "samples_sums_2026-01-01T00-00-00.000001.jsonl").open("w") as lines:
        for number in range(count):
            row = {"doc_id": number, "doc": {"q": WORDS}, "target": str(number), "resps": [[WORDS]], "filter": "none"}
            row |= {
                "filtered_resps": [WORDS],
                "metrics": ["acc"],
                "acc": float(number % 3 > 0),
                "doc_hash": str(number),
            }
            lines.write(json.dumps(row) + "\n")
    names = {"Inspect, .eval": "inspect:log.eval", "Inspect, .json": "inspect:log.json"}
    return names | {"lm-eval": "lm-eval:samples_sums_2026-01-01T00-00-00.000001.jsonl"}


def measure(folder: str, log: str) -> tuple[int, float, float]:
    """Return the samples that were read, the processor seconds and the MiB that it took."""
    from pfh.logs import open_log

    os.chdir(folder)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    read = open_log(log)
    spent, after = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples = sum(len(benchmark.samples) for each in read.evaluations for benchmark in each.benchmarks)
    return samples, spent, (after - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    count = parser.parse_args().samples
    context = multiprocessing.get_context("spawn")
    print(f"{'log':16}{'samples':>9}{'MB':>7}{'cpu s':>8}{'MiB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, log in write_logs(Path(folder), count).items():
            size = (Path(folder) / log.partition(":")[2]).stat().st_size / 1e6
            with context.Pool(1) as pool:  # a process of its own, whose memory tells
                samples, seconds, memory = pool.apply(measure, (folder, log))
            print(f"{name:16}{samples:9}{size:7.1f}{seconds:8.2f}{memory:7.0f}", flush=True)


if __name__ == "__main__":
    main()
