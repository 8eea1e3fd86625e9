"""Multiple choice, items a processor-second: pfh's HF engine against lm-eval's `hf` backend.

    python benchmarks/scorer.py [--rounds 2] [--batch-size 8] [--long-options]

Both score the embedded model in float32 on one thread, and take turns within one run. lm-eval gets a part of each
round's items, at its `--batch-size`: it takes the same time for each of them. The engine gets all, as its work for the
common beginning is shared by them. On the items that both scored, log-likelihoods and predictions (by the sum, and by
the sum for each byte) are compared. Items are those of ARC-Challenge and of one subject of MMLU, from the mirror folder
`PFH_DATA_MIRROR`; without one they are made up. `--long-options` measures HellaSwag instead, whose endings are much
longer than what they share: there is less to gain.

Memory is what the process holds at its peak while the engine scores the last round's items once more, not timed, beyond
what it held before; it is compared with the keys and values of a batch: the engine's, and one of lm-eval's.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from pfh.hooks.backends import EngineSpec, Score, ScoringRequest
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_backends.hf.batching import CPU_BATCH_TOKENS
from pfh_backends.hf.engine import HfEngine
from pfh_backends.hf.trie import build

LETTERS = ("A", "B", "C", "D")
SUBJECT = "astronomy"
THINGS = ("river", "lamp", "harbour", "baker", "glacier", "violin", "orchard", "compass", "tunnel", "kettle", "heron")
DOINGS = ("freezes over", "is carried away", "waits for the morning", "sings a low note", "turns towards the sea")
PLACES = ("behind the old mill", "at the end of the street", "near the market", "under the bridge", "in the valley")


@dataclass(frozen=True)
class Item:
    """A question and its options."""

    question: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A kind of benchmark, with how many items a round has and the ratio that is wanted."""

    name: str
    wanted: float | None
    header: str
    items: Sequence[Item]
    ours: int
    theirs: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Items a processor-second of the HF engine against lm-eval's hf.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8, help="lm-eval's batch, in sequences")
    parser.add_argument("--long-options", action="store_true", help="HellaSwag, from the mirror folder, instead")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    checkpoint = embedded_start(session)
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    reference = HFLM(pretrained=str(checkpoint.path), device="cpu", dtype="float32", batch_size=arguments.batch_size)
    print(f"{engine.identity}, {torch.get_num_threads()} thread, lm-eval batches of {arguments.batch_size}", flush=True)
    engine.loglikelihood([ScoringRequest(id="0", context="Warm", continuation=" up")])
    for setting in long_settings() if arguments.long_options else settings():
        compare(setting, engine, reference, rounds=arguments.rounds, batch_size=arguments.batch_size)


def compare(setting: Setting, engine: HfEngine, reference: HFLM, *, rounds: int, batch_size: int) -> None:
    """Measure both on `setting` and print what came out."""
    ours, theirs = 0.0, 0.0
    forwarded = unique = changed = longest = 0
    largest = 0.0
    count = CountedTokens(engine)
    for turn in range(rounds):
        start = turn * setting.ours % max(1, len(setting.items) - setting.ours + 1)
        items = setting.items[start : start + setting.ours]
        requests = requests_of(setting.header, items)
        half = requests_of(setting.header, items[: setting.theirs])
        for name in ("engine", "lm-eval") if turn % 2 == 0 else ("lm-eval", "engine"):
            began = time.process_time()
            if name == "engine":
                scores = engine.loglikelihood(requests)
                ours += time.process_time() - began
            else:
                instances = [Instance("loglikelihood", {}, (r.context, r.continuation), 0) for r in half]
                expected = reference.loglikelihood(instances, disable_tqdm=True)
                theirs += time.process_time() - began
        rows = engine._encode_pairs(requests)
        unique += len(build([row.inputs for row in rows], [0] * len(rows)).tokens)
        longest = max(longest, max(len(row.inputs) for row in rows))
        pairs = list(zip(scores, expected, strict=False))
        largest = max(largest, max(abs(score.logprob - value) for score, (value, _) in pairs))
        changed += changed_predictions(items[: setting.theirs], scores, [value for value, _ in expected])
    forwarded = count.stop()
    with PeakMemory() as memory:
        engine.loglikelihood(requests)

    rates = (rounds * setting.ours / ours, rounds * setting.theirs / theirs)
    config = engine._model.config
    token_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    engine_cache, reference_cache = CPU_BATCH_TOKENS * token_bytes, batch_size * longest * token_bytes
    print(f"\n{setting.name}: {rounds} x {setting.ours} items ({setting.theirs} by lm-eval), up to {longest} tokens")
    print(f"  engine {rates[0]:.3f} items a processor-second, lm-eval {rates[1]:.3f}")
    print(f"  ratio {rates[0] / rates[1]:.1f}" + (f" (wanted: {setting.wanted})" if setting.wanted else ""))
    print(f"  forwarded / unique tokens: {forwarded} / {unique} = {forwarded / unique:.3f} (wanted: at most 1.1)")
    print(f"  largest difference of a log-likelihood {largest:.1e}, predictions changed {changed}")
    print(
        f"  memory beyond the weights {memory.peak / 2**20:.0f} MiB; keys and values of a batch of the engine "
        f"{engine_cache / 2**20:.0f} MiB (ratio {memory.peak / engine_cache:.2f}, wanted: at most 1.5), "
        f"of one of lm-eval {reference_cache / 2**20:.0f} MiB (ratio {memory.peak / reference_cache:.2f})",
        flush=True,
    )


def settings() -> list[Setting]:
    """Return the settings that a ratio is wanted of."""
    chance = random.Random(0)
    if os.environ.get("PFH_DATA_MIRROR"):
        texts, letters, letter_shots = arc(), mmlu("test"), mmlu("dev")
    else:
        print("PFH_DATA_MIRROR is not set: the items are made up")
        texts = [made_up(chance, letters=False) for _ in range(300)]
        letters = [made_up(chance, letters=True) for _ in range(300)]
        letter_shots = letters[-5:]
    return [
        Setting("5-shot, options of several tokens", 15, worked(texts[-5:], chance), texts[:-5], ours=64, theirs=8),
        Setting("0-shot, options of several tokens", 3.4, "", texts[:-5], ours=32, theirs=32),
        Setting("5-shot, options of one token", 4.5, worked(letter_shots, chance), letters, ours=48, theirs=8),
    ]


def long_settings() -> list[Setting]:
    """Return settings with long options."""
    chance = random.Random(0)
    rows = list(HubData().load("Rowan/hellaswag", split="validation").rows)
    chance.shuffle(rows)
    items = [
        Item(f"{row['activity_label']}: {row['ctx']}", tuple(f" {ending}" for ending in row["endings"])) for row in rows
    ]
    return [
        Setting("5-shot, long options", None, worked(items[-5:], chance), items[:-5], ours=32, theirs=4),
        Setting("0-shot, long options", None, "", items[:-5], ours=16, theirs=16),
    ]


def worked(items: Sequence[Item], chance: random.Random) -> str:
    """Return `items` as worked examples, any option standing for the answer."""
    return "".join(f"{item.question}{chance.choice(item.options)}\n\n" for item in items)


def arc() -> list[Item]:
    """Return items of ARC-Challenge with four options, which have some tokens each."""
    rows = list(HubData().load("allenai/ai2_arc", "ARC-Challenge", "test").rows)
    return [
        Item(f"Question: {row['question']}\nAnswer:", tuple(f" {text}" for text in row["choices"]["text"]))
        for row in rows
        if len(row["choices"]["text"]) == len(LETTERS)
    ]


def mmlu(split: str) -> list[Item]:
    """Return items of one subject of MMLU, asked for a letter."""
    return [
        Item(
            f"{row['question'].strip()}\n"
            + "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True))
            + "Answer:",
            tuple(f" {letter}" for letter in LETTERS),
        )
        for row in HubData().load("cais/mmlu", SUBJECT, split).rows
    ]


def made_up(chance: random.Random, *, letters: bool) -> Item:
    """Return an item of invented sentences, about as long as those of the public benchmarks."""

    def sentence() -> str:
        return f"the {chance.choice(THINGS)} {chance.choice(DOINGS)} {chance.choice(PLACES)}"

    told = ". ".join(sentence().capitalize() for _ in range(chance.randint(2, 5)))
    endings = [sentence() for _ in LETTERS]
    if letters:
        listed = "".join(f"{letter}. {ending}\n" for letter, ending in zip(LETTERS, endings, strict=True))
        return Item(f"{told}. What happens next?\n{listed}Answer:", tuple(f" {letter}" for letter in LETTERS))
    return Item(f"{told}. Then", tuple(f" {ending}" for ending in endings))


def requests_of(header: str, items: Sequence[Item]) -> list[ScoringRequest]:
    """Return one request an option."""
    return [
        ScoringRequest(id=f"{index}-{option}", context=header + item.question, continuation=text)
        for index, item in enumerate(items)
        for option, text in enumerate(item.options)
    ]


def changed_predictions(items: Sequence[Item], scores: Sequence[Score], expected: Sequence[float]) -> int:
    """Return on how many items the best option differs, by the sum or by the sum for each byte."""
    changed = start = 0
    for item in items:
        places = range(start, start + len(item.options))
        sizes = dict(zip(places, (len(option.encode()) for option in item.options), strict=True))
        mine, other = {place: scores[place].logprob for place in places}, {place: expected[place] for place in places}
        by_sum = max(places, key=mine.__getitem__) != max(places, key=other.__getitem__)
        by_byte = max(places, key=lambda p, s=mine, n=sizes: s[p] / n[p]) != max(
            places, key=lambda p, s=other, n=sizes: s[p] / n[p]
        )
        changed += by_sum or by_byte
        start += len(item.options)
    return changed


class CountedTokens:
    """Counts the tokens that the engine's model is fed."""

    def __init__(self, engine: HfEngine) -> None:
        self.tokens = 0
        self._handle = engine._model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: torch.nn.Module, args: object, inputs: dict[str, torch.Tensor]) -> None:
        self.tokens += inputs["input_ids"].numel()

    def stop(self) -> int:
        """Stop counting, and return the number."""
        self._handle.remove()
        return self.tokens


class PeakMemory:
    """Watches how much more memory the process holds than at the beginning, in bytes."""

    def __enter__(self) -> PeakMemory:
        self.peak = 0
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken now
        self._before = resident_bytes()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, resident_bytes() - self._before)


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
