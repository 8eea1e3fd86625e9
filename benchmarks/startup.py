"""Start-up of the commands that people wait for, against a bare interpreter.

    python benchmarks/startup.py [--rounds 15]

Every round runs each command once, in turn, so that other work on the machine slows all of them alike. Prints the
median seconds and the ratio to `python -c pass` by the clock, and by processor time, which other work hardly moves.
The aim for both commands is 0.35 s where `python -c pass` takes 0.02 s: a ratio of at most 17.5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

PFH = [sys.executable, "-c", "import sys; from pfh_cli.main import main; sys.exit(main())"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import pfh": [sys.executable, "-c", "import pfh"],
    "pfh list-plugins": [*PFH, "list-plugins"],
    "pfh --help": [*PFH, "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            spent[name].append(measure(command))
    print(f"{'command':18}{'clock s':>9}{'ratio':>7}{'cpu s':>9}{'ratio':>7}")
    bare: tuple[float, ...] = ()
    for name, times in spent.items():
        medians = tuple(statistics.median(column) for column in zip(*times[1:], strict=True))  # the first fills caches
        bare = bare or medians
        cells = [f"{seconds:9.3f}{seconds / base:7.1f}" for seconds, base in zip(medians, bare, strict=True)]
        print(f"{name:18}{''.join(cells)}")


def measure(command: list[str]) -> tuple[float, float]:
    """Run `command`; return seconds by the clock and seconds of processor time."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    seconds, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


if __name__ == "__main__":
    main()
