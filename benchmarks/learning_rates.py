"""Learning rates of a LoRA adapter against those of all weights: what each gains on the target, and at which cost.

    python benchmarks/learning_rates.py [--methods gt-sft,dpo] [--lora 5e-5,2e-4,1e-3] [--full 5e-6,2e-5,1e-4]
                                        [--budget 12updates] [--every 4] [--problems 24] [--limit 24] [--shots 2]
                                        [--minutes 25]

Each rate is a `pfh run --match target` of its own from the embedded start, on the domain `reasoning`: checkpoints along
the way are measured on the held-out problems, and rates are put side by side at an equal gain, the smallest of the
largest gains of all that gained at all: the update that reached it, the divergence from the start at the end of the
training, and the largest gain. Without worked examples in the prompt (`--shots 0`) the embedded model answers next to
nothing, so that a training on ground truth has much to gain, and a method that learns from rollouts nothing to learn
from. Runs share the start's measurement, problems and rollouts through the store. When
`--minutes` are over no further rate is begun; the table is of those that ended.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from pathlib import Path

import pfh
from pfh.results.common_gain import at_common_gain
from pfh.results.records import RunResults


def main() -> None:
    parser = argparse.ArgumentParser(description="A sweep of learning rates at an equal gain.")
    parser.add_argument("--methods", default="gt-sft,dpo")
    parser.add_argument("--lora", default="5e-5,2e-4,1e-3")
    parser.add_argument("--full", default="5e-6,2e-5,1e-4")
    parser.add_argument("--budget", default="12updates")
    parser.add_argument("--every", default="4")
    parser.add_argument("--problems", default="24")
    parser.add_argument("--limit", default="24")
    parser.add_argument("--shots", default="2")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--output", type=Path, default=Path("pfh-results/learning-rates"))
    arguments = parser.parse_args()

    ends = time.monotonic() + 60 * arguments.minutes
    rates = {"lora": arguments.lora.split(","), "full": arguments.full.split(",")}
    # Rate by rate over all methods and adapters, so that an early end leaves none of them out.
    order = sorted(
        (
            (place, method, adapter, rate)
            for method in arguments.methods.split(",")
            for adapter, all_ in rates.items()
            for place, rate in enumerate(all_)
        ),
        key=lambda each: each[0],
    )
    ended: dict[tuple[str, str, str], RunResults] = {}
    for _, method, adapter, rate in order:
        if time.monotonic() > ends:
            print(f"{method} {adapter} {rate}: not begun, the time is over", flush=True)
            continue
        folder = arguments.output / f"{method}-{adapter}-{rate}"
        began = time.monotonic()
        done = subprocess.run(command(method, adapter, rate, folder, arguments), check=False)
        print(f"{method} {adapter} {rate}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode == 0:
            ended[method, adapter, rate] = pfh.load(folder)
    for method, runs in itertools.groupby(sorted(ended.items()), key=lambda item: item[0][0]):
        print_table(method, [(adapter, rate, results) for (_, adapter, rate), results in runs])


def command(method: str, adapter: str, rate: str, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Return the `pfh run` of one rate."""
    words = [sys.executable, "-m", "pfh_cli.main", "run", "--quiet", "--base", "--method", method]
    words += ["--domain", "reasoning", "--eval", "target", "--limit", arguments.limit, "--problems", arguments.problems]
    words += ["-o", f"reasoning.shots={arguments.shots}"]
    words += ["--match", "target", "--match-every", arguments.every, "--budget", arguments.budget]
    return [*words, "-o", f"adapter={adapter}", "-o", f"learning_rate={rate}", "--output", str(folder)]


def print_table(method: str, runs: list[tuple[str, str, RunResults]]) -> None:
    """Print the rates of one method at their common gain."""
    largest = {
        (adapter, rate): max(point.gain for point in results.stages[-1].match.along) for adapter, rate, results in runs
    }
    gained = [run for run in runs if largest[run[:2]] > 0]
    reached = {}
    gain = 0.0
    if gained:
        gain, found = at_common_gain([(f"{adapter} {rate}", results) for adapter, rate, results in gained], "target")
        reached = {(adapter, rate): each.point.update for (adapter, rate, _), each in zip(gained, found, strict=True)}
    print(f"\n{method}: update that first gained {gain:+.1f} points on the target; largest gain; KL(start || end)")
    for adapter, rate, results in runs:
        divergence = results.stages[-1].divergence
        apart = (
            "not measured"
            if divergence is None or divergence.start_to_after is None
            else f"{divergence.start_to_after:.3g}"
        )
        update = reached.get((adapter, rate), "never")
        print(f"  {adapter} {rate}: {update}; {largest[adapter, rate]:+.1f}; {apart}")


if __name__ == "__main__":
    main()
