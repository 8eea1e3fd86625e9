"""Every method from the same start, on the same problems, within the same budget: what each gained, lost and cost.

    python benchmarks/all_methods.py [--methods dpo,grpo] [--budget 8updates] [--problems 24] [--limit 10]
                                       [--completions 8]

Each method is a `pfh run` of its own on the domain `reasoning`, with the families target, safety and forgetting. They
share the start, its evaluation and what rollouts they have in common through the store, and a killed benchmark goes on
where it stopped. The teacher of `sf-sft` and `cf-sft` is `--teacher`, by default the embedded model as it comes: of the
student's own family, so `cf-sft` is told to put up with it. At the end stands the table of `pfh report --summary`.

The defaults are for two cores and are far too small to rank methods by: with 10 documents a benchmark an interval is
tens of points wide. What they show is that every method goes all the way, and what its updates cost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

METHODS = (
    "gt-sft",
    "sf-sft",
    "cf-sft",
    "spin",
    "sdft",
    "sdft-rewrite",
    "dpo",
    "grpo",
    "reinforce",
    "pi-distill",
    "opsd",
)
TAUGHT = ("sf-sft", "cf-sft")
ONLINE = ("grpo", "reinforce", "pi-distill", "opsd")
BATCH = 8
"""Completions that the online methods train on at once, by their own defaults."""


def main() -> None:
    parser = argparse.ArgumentParser(description="All methods, matched.")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--budget", default="8updates")
    parser.add_argument("--problems", default="24")
    parser.add_argument("--limit", default="10")
    parser.add_argument(
        "--completions",
        type=int,
        default=BATCH,
        help=f"of an update of the online methods, a multiple of {BATCH}; their own default of 32 takes minutes here",
    )
    parser.add_argument("--model", help="the start; unset: the embedded SAFE start")
    parser.add_argument("--teacher", help="of sf-sft and cf-sft; unset: the embedded model as it comes")
    parser.add_argument("--output", type=Path, default=Path("pfh-results/all-methods"))
    arguments = parser.parse_args()

    runs = []
    for method in arguments.methods.split(","):
        folder = arguments.output / method
        began = time.monotonic()
        ended = subprocess.run(command(method, folder, arguments), check=False)
        took = time.monotonic() - began
        print(f"{method}: exit code {ended.returncode} after {took:.0f} s", flush=True)
        if ended.returncode == 0:
            runs.append(str(folder))
    if runs:
        subprocess.run([sys.executable, "-m", "pfh_cli.main", "report", *runs, "--summary"], check=True)


def command(method: str, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Return the `pfh run` of one method."""
    words = [sys.executable, "-m", "pfh_cli.main", "run", "--method", method, "--domain", "reasoning"]
    words += ["--eval", "target", "--eval", "safety", "--eval", "forgetting"]
    words += ["--budget", arguments.budget, "--problems", arguments.problems, "--limit", arguments.limit]
    words += ["--output", str(folder)]
    if arguments.model:
        words += ["--model", arguments.model, "--safe"]
    if method in ONLINE:
        words += ["-o", f"gradient_accumulation={arguments.completions // BATCH}"]
    if method in TAUGHT:
        words += ["-o", f"teacher={arguments.teacher or embedded()}", "-o", "allow_family_mismatch=true"]
    return words


def embedded() -> str:
    """Return the folder of the embedded model as it comes, converted if it is not yet in the store."""
    from pfh.progress import Silent
    from pfh.registry.plugins import Plugins
    from pfh.steps.session import Session
    from pfh.steps.starts import embedded_start
    from pfh.store.store import Store, default_root

    return str(embedded_start(Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())).path)


if __name__ == "__main__":
    main()
