"""The backend vllm against the backend hf: tokens generated and continuations scored a second, and what they answer.

    python benchmarks/backends.py [--prompts 32] [--new-tokens 64] [--scored 48] [--rounds 2]

Run it with a Python that has vLLM. Both get the embedded model in float32 and take turns; what they answer is compared.
vLLM starts within the process, so the processor's seconds are counted for both. Starting is timed apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from generation import make_prompts
from pfh.hooks.backends import Engine, EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_backends import hf, vllm

OPTIONS = (" It is old and nobody knows.", " Yes.", " People made it for use in houses.", " A kind of small animal.")


def main() -> None:
    parser = argparse.ArgumentParser(description="The backend vllm against the backend hf.")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--scored", type=int, default=48, help="continuations, four a context")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()

    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    spec = EngineSpec(checkpoint=embedded_start(session), dtype="float32")
    engines: dict[str, Engine] = {}
    for name, backend in (("hf", hf), ("vllm", vllm)):
        began = time.perf_counter()
        engines[name] = backend.open_engine(spec)
        print(f"{name}: ready after {time.perf_counter() - began:.1f} s; {engines[name].identity}", flush=True)
    sampling = Sampling(max_new_tokens=arguments.new_tokens)
    generated = measure(
        engines,
        arguments.rounds,
        lambda engine, turn: [(a.text, a.tokens) for a in engine.generate(chats(arguments.prompts, turn), sampling)],
        lambda answers: sum(tokens for _, tokens in answers),
        "tokens",
    )
    scored = measure(
        engines,
        arguments.rounds,
        lambda engine, turn: [(a.greedy, a.logprob) for a in engine.loglikelihood(pairs(arguments.scored, turn))],
        len,
        "continuations",
    )
    same = sum(one == other for one, other in zip(generated["hf"], generated["vllm"], strict=True))
    apart = max(abs(one[1] - other[1]) for one, other in zip(scored["hf"], scored["vllm"], strict=True))
    print(f"\nthreads: {torch.get_num_threads()}; identical completions: {same} of {arguments.prompts}")
    print(f"largest difference between log-likelihoods: {apart:.1e} nats")
    for engine in engines.values():
        engine.close()


def chats(count: int, turn: int) -> list[GenerationRequest]:
    """Return questions that no other turn asks: what vLLM has cached of earlier ones must not count."""
    return [
        GenerationRequest(id=str(index), messages=({"role": "user", "content": prompt},))
        for index, prompt in enumerate(make_prompts(count, seed=turn))
    ]


def pairs(count: int, turn: int) -> list[ScoringRequest]:
    """Return continuations to score, some a context."""
    return [
        ScoringRequest(id=f"{index}-{option}", context=f"{prompt}\nAnswer:", continuation=option)
        for index, prompt in enumerate(make_prompts(count // len(OPTIONS), seed=1000 + turn))
        for option in OPTIONS
    ]


def measure(
    engines: dict[str, Engine],
    rounds: int,
    run: Callable[[Engine, int], list[tuple]],
    count: Callable[[list[tuple]], int],
    unit: str,
) -> dict[str, list[tuple]]:
    """Let `engines` take turns, print how fast they were, and return their answers of the last turn."""
    answers: dict[str, list[tuple]] = {}
    for engine in engines.values():
        run(engine, rounds)  # the first time tries out and warms up
    spent, done = {name: [0.0, 0.0] for name in engines}, dict.fromkeys(engines, 0)
    for turn in range(rounds):
        for name in engines if turn % 2 == 0 else reversed(engines):
            clock, processor = time.perf_counter(), time.process_time()
            answers[name] = run(engines[name], turn)
            spent[name][0] += time.perf_counter() - clock
            spent[name][1] += time.process_time() - processor
            done[name] += count(answers[name])
    rates = {name: [done[name] / seconds for seconds in spent[name]] for name in engines}
    for name, (clock, processor) in rates.items():
        print(f"{name}: {clock:.1f} {unit}/s by the clock, {processor:.1f} by processor time")
    ratios = [mine / theirs for mine, theirs in zip(rates["vllm"], rates["hf"], strict=True)]
    print(f"vllm / hf: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor time", flush=True)
    return answers


if __name__ == "__main__":
    main()
