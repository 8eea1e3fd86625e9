"""Run a benchmark and keep what it printed, by version of pfh, with the machine that it ran on.

    python benchmarks/results/record.py benchmarks/startup.py [its arguments]

Writes benchmarks/results/VERSION/NAME.txt. Quote the ratios: seconds belong to the machine.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "trl", "peft", "lm-eval")


def machine() -> str:
    """Return what the machine is, in lines."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in about.splitlines() if line.startswith("model name")]
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return "\n".join(
        (
            f"date: {datetime.now(UTC):%Y-%m-%d}",
            f"processor: {models[0] if models else platform.processor()}, {os.cpu_count()} cores",
            f"load when it began: {os.getloadavg()[0]:.1f}",
            f"python {platform.python_version()}, {libraries}",
        )
    )


def main() -> int:
    """Run the script that is named; return its exit code."""
    script, *arguments = sys.argv[1:]
    header = f"{Path(script).name} {' '.join(arguments)}".rstrip() + "\n" + machine() + "\n\n"
    print(header, end="", flush=True)
    ran = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    print(ran.stdout, end="")
    if ran.returncode == 0:
        kept = Path(__file__).parent / version("pfh") / f"{Path(script).stem}.txt"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(header + ran.stdout)
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
