"""What margins, targets and depths add to the default set of safety, in processor time.

    python benchmarks/safety_cost.py [--model FOLDER] [--limit 40] [--rounds 2] [-o margin_prompts=20]

The default set is put to one model (the embedded SAFE start) as `pfh run --eval safety` does it, and the parts of that
are timed: answers with their judging, margins and target likelihoods, which are scored together, and depths. In turn
with it margins are measured by their names, without the rest, which says how much of the second part they are. Printed
are seconds of processor time of this process on one thread, and what each part is of the answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

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
from pfh_evals.safety import latent
from pfh_evals.safety.latent_benchmarks import LATENT_BY_NAME
from pfh_evals.safety.latent_scores import Scored

Given, Found = ParamSpec("Given"), TypeVar("Found")
WHOLE, SCORED, DEPTHS, MARGINS = "the default set", "margins and targets", "depths", "margins alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder; the embedded SAFE start without it")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-o", action="append", default=[], metavar="NAME=VALUE", help="options of safety")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    given = arguments.model and resolve(str(Path(arguments.model)), cache_dir=session.store.cache)
    checkpoint = given or safe_start(session)
    session.release()
    engine = session.plugins.open_engine("hf", EngineSpec(checkpoint=checkpoint))
    options = safety.Options.model_validate(dict(each.split("=", 1) for each in arguments.o))
    spec = EvaluationSpec(engine=engine, options=options, data=session.data, judge=session.judge, benchmarks=())
    safety.evaluate(dataclasses.replace(spec, limit=1))
    spec = dataclasses.replace(spec, limit=arguments.limit)
    seconds: dict[str, list[float]] = {name: [] for name in (WHOLE, SCORED, DEPTHS, MARGINS)}
    Scored.samples = timed(Scored.samples, seconds[SCORED])
    latent.depths = timed(latent.depths, seconds[DEPTHS])
    found = None
    for _ in range(arguments.rounds):
        found = timed(safety.evaluate, seconds[WHOLE])(spec)
        before = sum(seconds[SCORED])
        margins = [each.name for each in found.benchmarks if _metric(each.name) == "refusal_margin"]
        safety.evaluate(dataclasses.replace(spec, benchmarks=tuple(margins)))
        seconds[MARGINS].append(sum(seconds[SCORED]) - before)
        seconds[SCORED].append(-seconds[MARGINS][-1])
    assert found is not None
    measured = ", ".join(f"{each.name} {len(each.samples)}" for each in found.benchmarks)
    print(f"{checkpoint.name}, at most {arguments.limit} prompts a benchmark: {measured}")
    show({name: sum(each) / arguments.rounds for name, each in seconds.items()})


def show(seconds: dict[str, float]) -> None:
    """Print the parts of one evaluation, and how many times its answers each is."""
    answers = seconds[WHOLE] - seconds[SCORED] - seconds[DEPTHS]
    parts = {"answers": answers, **seconds}
    for name, value in parts.items():
        print(f"{name:22} {value:7.1f} s, {value / answers:.3f} times the answers")


def timed(function: Callable[Given, Found], seconds: list[float]) -> Callable[Given, Found]:
    """Return the function with the processor time of its calls noted."""

    def call(*arguments: Given.args, **named: Given.kwargs) -> Found:
        began = time.process_time()
        found = function(*arguments, **named)
        seconds.append(time.process_time() - began)
        return found

    return call


def _metric(name: str) -> str:
    return LATENT_BY_NAME[name].metric if name in LATENT_BY_NAME else ""


if __name__ == "__main__":
    main()
