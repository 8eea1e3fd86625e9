"""Rollouts a second: pfh's batched rollouts against a loop of GEM's `env.step` with `model.generate`, one by one.

    python benchmarks/rollouts.py [--problems 8] [--samples 4] [--rounds 2]

Both get the embedded model in float32 and the same prompts of the domain `reasoning`, draw at its temperature, and end
a completion at its stop string or length limit; they take turns within one run. GEM's environment of the task judges
the completions of the loop. Seconds are given by the clock and by the processor: on a machine with other work the
second is the steadier. The draws differ, so the mean rewards agree only roughly.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

import gem
import torch
from pfh.hooks.backends import EngineSpec, Sampling
from pfh.hooks.domains import DomainSpec, GenerationSpec, Problem
from pfh.kit.conversations import roll_out
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_backends.hf.engine import HfEngine
from pfh_domains import reasoning
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

Drawn = list[tuple[int, float]]
"""Tokens and reward of each rollout."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Rollouts a second against a loop of env.step and model.generate.")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)  # importing gem turns on logging for everything

    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    checkpoint = embedded_start(session)
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    model = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32).eval()
    domain = reasoning.open_domain(DomainSpec(options=reasoning.Options(), data=HubData()))
    environments = {f"rg:{task}": gem.make(f"rg:{task}") for task in domain.options.tasks}

    totals: dict[str, list[float]] = {"pfh": [0.0, 0.0, 0.0, 0.0], "loop": [0.0, 0.0, 0.0, 0.0]}
    for turn in range(arguments.rounds):
        problems = domain.problems("train", arguments.problems, seed=turn)
        sampling = dataclasses.replace(domain.sampling, seed=turn)
        spec = GenerationSpec(
            domain=domain, engine=engine, problems=problems, samples=arguments.samples, sampling=sampling
        )
        runs: list[tuple[str, Callable[[], Drawn]]] = [
            ("pfh", lambda s=spec: [(one.tokens, one.verdict.reward) for one in roll_out(s).rollouts]),
            ("loop", lambda s=spec: loop(model, tokenizer, environments, s.problems, s.samples, s.sampling)),
        ]
        for name, run in runs if turn % 2 == 0 else reversed(runs):
            clock, processor = time.perf_counter(), time.process_time()
            drawn = run()
            spent = (time.perf_counter() - clock, time.process_time() - processor)
            tokens, rewards = (sum(values) for values in zip(*drawn, strict=True))
            totals[name] = [a + b for a, b in zip(totals[name], (*spent, tokens, rewards), strict=True)]
            print(
                f"round {turn + 1}, {name}: {len(drawn)} rollouts, {spent[0]:.1f} s, {spent[1]:.1f} processor-s",
                flush=True,
            )

    count = arguments.rounds * arguments.problems * arguments.samples
    print(f"\n{count} rollouts each, {torch.get_num_threads()} threads, {engine.identity}")
    for name, (clock, processor, tokens, rewards) in totals.items():
        print(
            f"{name}: {count / clock:.2f} rollouts/s by the clock, {count / processor:.2f} by processor time; "
            f"{tokens / count:.1f} tokens and a reward of {rewards / count:.2f} a rollout"
        )
    ratios = [theirs / ours for ours, theirs in zip(totals["pfh"][:2], totals["loop"][:2], strict=True)]
    print(f"pfh / loop: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor time")
    engine.close()


@torch.inference_mode()
def loop(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    environments: dict[str, gem.Env],
    problems: Sequence[Problem],
    samples: int,
    sampling: Sampling,
) -> Drawn:
    """Complete and judge one rollout after the other."""
    torch.manual_seed(sampling.seed)
    drawn = []
    for problem in problems:
        environment = environments[problem.environment]
        prompt = tokenizer.apply_chat_template(
            list(problem.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        for _ in range(samples):
            environment.set_state({"idx": 0, "data": {"answer": problem.answer}})
            output = model.generate(
                **prompt,
                max_new_tokens=sampling.max_new_tokens,
                do_sample=True,
                temperature=sampling.temperature,
                top_k=0,
                stop_strings=list(sampling.stop),
                tokenizer=tokenizer,
            )
            written = output[0, prompt["input_ids"].shape[1] :]
            answer = tokenizer.decode(written, skip_special_tokens=True).strip()
            try:
                reward = float(environment.step(f"\\boxed{{{answer}}}")[1])
            except Exception:  # noqa: BLE001 - GEM lets the errors of reasoning-gym's scorers through
                reward = 0.0
            drawn.append((len(written), reward))
    return drawn


if __name__ == "__main__":
    main()
