"""How long pfh takes to read large logs, and how much memory: `python benchmarks/read_logs.py [--share 0.1]`.

200,000 lines of lm-eval, and 20,000 samples of Inspect as .eval (packed with deflate) and as .json, are written first
(not counted). Each is read in a process of its own, twice: at a tenth of its size and whole, so that reading that is
not linear shows as a ratio above 10.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from compare import write_log
from pfh.logs import open_log

LIMIT_SECONDS, LIMIT_BYTES = 20.0, 1e9
SIZES = {"lm-eval": 200_000, "inspect.eval": 20_000, "inspect.json": 20_000}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of reading large logs.")
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--read", help="one log, in this process")
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name, size in SIZES.items():
        for share in (0.1 * arguments.share, arguments.share):
            with tempfile.TemporaryDirectory() as scratch:
                path = written(Path(scratch), name, int(size * share))
                subprocess.run([sys.executable, __file__, "--read", str(path)], check=True, env=environment)


def read(path: str) -> None:
    began, spent = time.perf_counter(), time.process_time()
    log = open_log(path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    samples = sum(len(benchmark.samples) for each in log.evaluations for benchmark in each.benchmarks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    within = cpu <= LIMIT_SECONDS and peak <= LIMIT_BYTES
    name = Path(path).name
    print(f"{name:16}{samples:9,} samples {seconds:7.1f} s {cpu:7.1f} cpu-s {peak / 1e6:7.0f} MB  within: {within}")


def written(folder: Path, name: str, size: int) -> Path:
    """Write a log of `size` samples as its tool does, with messages of about 1,500 characters."""
    if name == "lm-eval":
        write_log(folder / name, size // 40, 0)
        return folder / name
    about = {
        "version": 2,
        "status": "success",
        "eval": {
            "task": "questions",
            "model": "m",
            "created": "2026-01-01",
            "config": {},
            "dataset": {"samples": size},
        },
        "plan": {},
    }
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(about | {"samples": [sample(place) for place in range(size)]}))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(about))
        for place in range(size):
            archive.writestr(f"samples/{place}_epoch_1.json", json.dumps(sample(place)))
    return path


def sample(place: int) -> dict[str, object]:
    question, answer = f"Question {place}? " + "word " * 150, f"The answer is {place}. " + "so " * 150
    messages = [
        {"role": "user", "content": question, "source": "input"},
        {"role": "assistant", "content": answer, "source": "generate"},
    ]
    output = {"completion": answer, "choices": [{"message": messages[1], "stop_reason": "stop"}], "usage": {}}
    events = [{"event": "model", "output": output, "input": messages[:1]}, {"event": "score", "score": {"value": "C"}}]
    scores = {"match": {"value": "CI"[place % 3 == 0], "answer": str(place)}}
    return {
        "id": place,
        "epoch": 1,
        "input": question,
        "target": str(place),
        "messages": messages,
        "output": output,
        "scores": scores,
        "events": events,
    }


if __name__ == "__main__":
    main()
