"""Tokens a second: pfh's HF engine against `model.generate` on unsorted batches of the same size.

    python benchmarks/generation.py [--prompts 48] [--new-tokens 64] [--rounds 2]

Both get the embedded model in float32 and the same prompts of mixed length, decode greedily, and take turns within one
run; the batch size of `model.generate` is the mean size of the engine's batches. Only tokens up to the end of each
completion count: padding and what follows an end-of-sequence token do not. The completions are compared too. Seconds
are given by the clock and by the processor: on a machine with other work the second is the steadier.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_backends.hf.engine import HfEngine
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

TOPICS = (
    "tides",
    "bees",
    "volcanoes",
    "glass",
    "clouds",
    "maps",
    "bread",
    "clocks",
    "bridges",
    "sleep",
    "salt",
    "moss",
)
NOTES = (
    "People have wondered about this for a very long time.",
    "Some of what is written about it is wrong, and some is only half right.",
    "I have read two books on the matter and still have questions.",
    "A friend of mine, who teaches at a small school, asked me the same thing last week.",
    "Please keep in mind that the answer is for somebody who is new to the subject.",
    "It rained all day, so we had time to talk about such things.",
)
QUESTIONS = (
    "What are {}? One word.",
    "Say hello to {}.",
    "Write a short paragraph about {}.",
    "List three facts about {}.",
    "Is it true that {} are old? Answer yes or no.",
    "Explain {} to a child, step by step.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens a second of the HF engine against model.generate.")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()

    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    checkpoint = embedded_start(session)
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
    sampling = Sampling(max_new_tokens=arguments.new_tokens)
    totals: dict[str, list[float]] = {"engine": [0, 0, 0], "model.generate": [0, 0, 0]}
    same = 0
    for turn in range(arguments.rounds):
        prompts = make_prompts(arguments.prompts, seed=turn)
        requests = [
            GenerationRequest(id=str(index), messages=({"role": "user", "content": prompt},))
            for index, prompt in enumerate(prompts)
        ]
        batch_size = -(-len(requests) // len(engine.batches(requests)))
        texts = [engine.render(request.messages) for request in requests]
        runs: list[tuple[str, Callable[[], list[tuple[str, int]]]]] = [
            ("engine", lambda r=requests: [(c.text, c.tokens) for c in engine.generate(r, sampling)]),
            ("model.generate", lambda t=texts, b=batch_size: generate(model, tokenizer, t, b, sampling.max_new_tokens)),
        ]
        written = {}
        for name, run in runs if turn % 2 == 0 else reversed(runs):
            clock, processor = time.perf_counter(), time.process_time()
            written[name] = run()
            tokens = sum(count for _, count in written[name])
            spent = (tokens, time.perf_counter() - clock, time.process_time() - processor)
            totals[name] = [total + part for total, part in zip(totals[name], spent, strict=True)]
            print(
                f"round {turn + 1}, {name}: {spent[0]} tokens, {spent[1]:.1f} s, {spent[2]:.1f} processor-s", flush=True
            )
        same += sum(one[0] == other[0] for one, other in zip(written["engine"], written["model.generate"], strict=True))

    count = arguments.rounds * arguments.prompts
    print(f"\n{count} prompts, {batch_size} a batch, {torch.get_num_threads()} threads, {engine.identity}")
    print(f"identical completions: {same} of {count}")
    rates = {name: (tokens / clock, tokens / processor) for name, (tokens, clock, processor) in totals.items()}
    for name, (by_clock, by_processor) in rates.items():
        print(f"{name}: {by_clock:.1f} tokens/s by the clock, {by_processor:.1f} by processor time")
    ratios = [ours / theirs for ours, theirs in zip(rates["engine"], rates["model.generate"], strict=True)]
    print(f"engine / model.generate: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor time (wanted: 1.30)")
    engine.close()


def make_prompts(count: int, seed: int) -> list[str]:
    """Return prompts of about 10 to 250 words, none equal to another."""
    chance = random.Random(seed)
    prompts = []
    for index in range(count):
        notes = " ".join(chance.choice(NOTES) for _ in range(chance.choice((0, 0, 1, 2, 4, 8, 16))))
        question = chance.choice(QUESTIONS).format(chance.choice(TOPICS))
        prompts.append(f"Note {index}. {notes} {question}")
    return prompts


@torch.inference_mode()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], batch_size: int, new_tokens: int
) -> list[tuple[str, int]]:
    """Complete `texts` in their order with `model.generate`; return each completion and its length in tokens."""
    written = []
    for start in range(0, len(texts), batch_size):
        inputs = tokenizer(
            texts[start : start + batch_size], return_tensors="pt", padding=True, add_special_tokens=False
        )
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
        )
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            kept = row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row
            written.append((tokenizer.decode(kept, skip_special_tokens=True), len(kept)))
    return written


if __name__ == "__main__":
    main()
