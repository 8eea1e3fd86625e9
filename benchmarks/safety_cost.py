"""What margins, targets and depths add to the default set of safety, in processor time.

    python benchmarks/safety_cost.py [--model FOLDER] [--limit 40] [--rounds 2]

The default set is put to one model (the embedded SAFE start) as `pfh run --eval safety` does it: with its answers
alone, with margins and target likelihoods, and with depths as well. The three take turns, each round in another order,
after one that counts for nothing. Printed are processor seconds of this process, on one thread, and their ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import torch
from pfh.hooks.backends import EngineSpec
from pfh.hooks.evals import EvaluationSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.steps.session import Session
from pfh.steps.starts import safe_start
from pfh.store.store import Store, default_root
from pfh_evals import safety
from pfh_evals.safety.latent_benchmarks import Chosen, LatentBenchmark, choose

Kept = Callable[[LatentBenchmark], bool]
ARMS: dict[str, Kept] = {
    "answers": lambda latent: False,
    "answers, margins": lambda latent: latent.metric == "refusal_margin",
    "answers, margins, targets": lambda latent: latent.metric != "alignment_depth",
    "all": lambda latent: True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder; the embedded SAFE start without it")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    given = arguments.model and resolve(str(Path(arguments.model)), cache_dir=session.store.cache)
    checkpoint = given or safe_start(session)
    session.release()
    engine = session.plugins.open_engine("auto", EngineSpec(checkpoint=checkpoint))
    spec = EvaluationSpec(
        engine=engine, options=safety.Options(), data=session.data, judge=session.judge, benchmarks=()
    )
    told = seconds(dataclasses.replace(spec, limit=2), "all")
    print(f"{checkpoint.name}, {arguments.limit} prompts a benchmark at most; warmed up in {told:.1f} s")
    spec = dataclasses.replace(spec, limit=arguments.limit)
    found: dict[str, list[float]] = {name: [] for name in ARMS}
    for round_ in range(arguments.rounds):
        names = list(ARMS)
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            found[name].append(seconds(spec, name))
            print(f"  round {round_ + 1}, {name}: {found[name][-1]:.1f} s", flush=True)
    alone = fmean(found["answers"])
    for name, each in found.items():
        print(f"{name:26} {fmean(each):7.1f} s, {fmean(each) / alone:.3f} times the answers alone")


def seconds(spec: EvaluationSpec, arm: str) -> float:
    """Return the processor time of one evaluation of the default set, with what the arm keeps of it."""

    def chosen(names: Sequence[str]) -> Chosen:
        whole = choose(names)
        return dataclasses.replace(whole, latent=tuple(each for each in whole.latent if ARMS[arm](each)))

    safety.choose = chosen
    began = time.process_time()
    found = safety.evaluate(spec)
    spent = time.process_time() - began
    assert all(benchmark.status == "MEASURED" for benchmark in found.benchmarks), found.benchmarks
    return spent


if __name__ == "__main__":
    main()
