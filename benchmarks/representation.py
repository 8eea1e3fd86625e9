"""What the family representation costs: activations, CKA over all layer pairs, spectra of LoRA deltas.

    python benchmarks/representation.py [--rounds 3] [--texts 32]

- activations: the mean stream of every layer of the embedded model, against plain forward passes of the same batches
  that keep nothing; in turns, processor time. Aim: at most 1.15 times.
- cka: the map of all pairs of 25 layers, 1,024 wide, over 1,000 prompts (random activations, as no such model is
  embedded), from features to both maps. Aim: at most 2 GB beyond what the process held before.
- spectra: a rank-16 delta by its factors against the dense way, one thread, for two shapes. Aim: at least 20 times.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfh.hooks.backends import EngineSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_backends.hf.batching import pad_left
from pfh_backends.hf.engine import HfEngine
from pfh_evals.representation import documents, similarity, spectra
from pfh_evals.representation.activations import batches, pooled

LAYERS, WIDTH, PROMPTS = 25, 1024, 1000
RANK = 16
SHAPES = ((1536, 576), (2048, 2048))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure_activations(arguments.rounds, arguments.texts)
    measure_cka()
    for shape in SHAPES:
        measure_spectra(shape, arguments.rounds)


def measure_activations(rounds: int, texts: int) -> None:
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    engine = HfEngine(EngineSpec(checkpoint=embedded_start(session), dtype="float32"))
    found = documents.instructions("", session.data, texts).texts
    chats = [engine.render([{"role": "user", "content": text}]) for text in found]
    plain, taken = [], []
    for number in range(rounds + 1):
        seconds = timed(lambda: forward_only(engine, chats)), timed(lambda: pooled(engine, chats, "mean", Silent(), ""))
        if number:  # the first round warms up
            plain.append(seconds[0])
            taken.append(seconds[1])
    print(
        f"activations of {engine.depth + 1} layers: {min(taken):.2f} s, forward alone {min(plain):.2f} s, "
        f"{min(taken) / min(plain):.3f} times (best of {rounds} rounds)"
    )


def forward_only(engine: HfEngine, texts: list[str]) -> None:
    for batch in batches(engine, texts):
        rows = [tuple(engine.encode(texts[index])) for index in batch]
        ids, mask, positions = pad_left(rows, torch.device("cpu"))
        with torch.inference_mode():
            engine._model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1)


def measure_cka() -> None:
    features = np.random.default_rng(0).standard_normal((PROMPTS, LAYERS, WIDTH), dtype=np.float32)
    with Peak() as peak:
        began = time.process_time()
        before = similarity.grams(features)
        after = similarity.grams(features)
        maps = [similarity.similarity(before, after, debiased=way) for way in (True, False)]
        seconds = time.process_time() - began
    assert all(np.allclose(np.diag(each), 1) for each in maps)
    stored = (before.nbytes + after.nbytes) / 1e9
    print(
        f"CKA of {LAYERS} x {LAYERS} layers over {PROMPTS} prompts: {seconds:.1f} s, "
        f"{stored:.2f} GB stored for both models, {peak.gigabytes:.2f} GB at the peak"
    )


def measure_spectra(shape: tuple[int, int], rounds: int) -> None:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((shape[0], RANK)), generator.standard_normal((RANK, shape[1]))
    fast = min(timed(lambda: spectra.of_factors(left, right, 8)) for _ in range(rounds + 1))
    dense = min(timed(lambda: spectra.of_dense(left @ right, 8)) for _ in range(rounds))
    values = spectra.of_factors(left, right, 8).values, spectra.of_dense(left @ right, 8).values[:RANK]
    apart = float(np.abs(values[0] / values[1] - 1).max())
    print(
        f"spectrum of a rank-{RANK} delta of {shape[0]} x {shape[1]}: {fast * 1e3:.1f} ms by factors, "
        f"{dense * 1e3:.0f} ms dense, {dense / fast:.0f} times as fast; singular values differ by {apart:.1e} at most"
    )


def timed(work: Callable[[], Any]) -> float:
    """Return the processor seconds that `work` took."""
    began = time.process_time()
    work()
    return time.process_time() - began


class Peak:
    """Memory beyond what the process held at the start, at its peak."""

    def __enter__(self) -> Peak:
        self._start = self._highest = resident()
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    @property
    def gigabytes(self) -> float:
        return (self._highest - self._start) / 1e9

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self._highest = max(self._highest, resident())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
