"""kill -9 at random moments of run, eval, compare, an attack and report: is all as it is without a kill?

    python benchmarks/random_kills.py [--kills 100] [--only attack] [--seed 0]

Every command runs on tiny random models in a fork of this process, is killed up to three times at moments drawn over
the time that it takes, and is then run to its end. Compared are all figures of results.json, every sample with the
strings that a search sent (`attack` searches by gcg), the bytes of every trained weight, and which artifacts the store
holds; an artifact that was there may neither move nor go.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

SHARES = {"run": 0.3, "eval": 0.15, "compare": 0.15, "attack": 0.25, "report": 0.15}


def main() -> int:
    from tests.killing import kill_everything

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", choices=SHARES, help="one of the commands; all of them without it")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    shares = {asked.only: 1.0} if asked.only else SHARES
    plan = {name: round(share * asked.kills) for name, share in shares.items()}
    with tempfile.TemporaryDirectory() as folder:
        wrong = kill_everything(Path(folder), plan, random.Random(asked.seed), lambda line: print(line, flush=True))
    print(f"{sum(plan.values())} kills, {len(wrong)} of them with a difference")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
