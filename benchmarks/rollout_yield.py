"""What share of a domain's prompts gives a preference pair, task by task (`python rollout_yield.py base safe`).

A prompt gives a pair when some of its rollouts are right and some wrong. The models are the two starts of pfh, or
folders. `--tasks`, `--shots` and `--difficulty` are the options of the domain `reasoning`; `--domain math` and
`--domain qa` are taken with their defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from pfh.hooks.backends import Engine
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Domain, DomainSpec, GenerationSpec, Rollout
from pfh.kit.rollouts import single_turn
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.sources.models import resolve
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start, safe_start
from pfh.store.store import Store, default_root
from pfh_domains import math, qa, reasoning
from pfh_domains.math.settings import Options as MathOptions
from pfh_domains.qa.settings import Options as QaOptions

LINE = "{:24} {:>14} {:>12} {:>10} {:>16} {:>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="base, safe, or a folder")
    parser.add_argument("--domain", choices=("reasoning", "math", "qa"), default="reasoning")
    parser.add_argument("--tasks", default="", help="comma-separated; empty is the domain's default")
    parser.add_argument("--shots", type=int, default=None)
    parser.add_argument("--difficulty", default="{}", help='JSON, such as {"gcd": {"max_value": 9}}')
    parser.add_argument("--problems", type=int, default=12, help="a task")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--show", action="store_true", help="print some completions of every task")
    arguments = parser.parse_args()
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    given: dict[str, Any] = {"tasks": tuple(arguments.tasks.split(","))} if arguments.tasks else {}
    given["difficulty"] = arguments.difficulty
    given |= {"shots": arguments.shots} if arguments.shots is not None else {}
    chosen = reasoning.Options(**given)
    for name in arguments.models:
        engine = session.engine(find(name, session))
        print(name)
        print(LINE.format("task", "prompt tokens", "mean reward", "no answer", "right and wrong", "seconds"))
        for task, domain in domains(arguments.domain, chosen):
            began = time.monotonic()
            rollouts = draw(engine, domain, arguments.problems, arguments.samples)
            seconds = f"{time.monotonic() - began:.0f}"
            print(LINE.format(task, *row(rollouts, engine), seconds), flush=True)
            if arguments.show:
                print([(one.problem.answer, one.completion) for one in rollouts[:: arguments.samples // 2]])


def domains(name: str, chosen: reasoning.Options) -> Iterator[tuple[str, Domain]]:
    """Yield what is measured apart, each with its name: the tasks of `reasoning`, or the whole domain."""
    if name == "math":
        yield name, math.Math(MathOptions(), HubData())
    elif name == "qa":
        yield name, qa.Qa(QaOptions(), HubData())
    else:
        for task in chosen.tasks:
            difficulty = {task: chosen.difficulty.get(task, {})}
            options = chosen.model_copy(update={"tasks": (task,), "difficulty": difficulty})
            yield task, reasoning.open_domain(DomainSpec(options=options, data=HubData()))


def find(name: str, session: Session) -> Checkpoint:
    if name == "base":
        return embedded_start(session)
    if name == "safe":
        return safe_start(session)
    return resolve(str(Path(name)), cache_dir=session.store.cache)


def draw(engine: Engine, domain: Domain, problems: int, samples: int) -> tuple[Rollout, ...]:
    sampling = dataclasses.replace(domain.sampling, seed=0)
    spec = GenerationSpec(
        domain=domain, engine=engine, problems=domain.problems("train", problems, 0), samples=samples, sampling=sampling
    )
    return single_turn(spec).rollouts


def row(rollouts: tuple[Rollout, ...], engine: Engine) -> tuple[str, ...]:
    rewards: dict[str, list[float]] = defaultdict(list)
    for rollout in rollouts:
        rewards[rollout.problem.id].append(rollout.verdict.reward)
    length = mean(engine.count_tokens(engine.render(rollout.problem.messages)) for rollout in rollouts)
    return (
        f"{length:.0f}",
        f"{mean(rollout.verdict.reward for rollout in rollouts):.2f}",
        f"{mean(rollout.verdict.extracted is None for rollout in rollouts):.0%}",
        f"{sum(0 < sum(got) < len(got) for got in rewards.values())}/{len(rewards)}",
    )


if __name__ == "__main__":
    main()
