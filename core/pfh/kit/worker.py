"""The process behind `pfh.kit.workers`: calls one function with what it reads, within limits of its own.

Started as `python -m pfh.kit.worker MODULE:FUNCTION CPU_SECONDS BYTES`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from importlib import import_module


def main() -> None:
    """Answer each line of standard input, a JSON list of arguments, with the result as JSON; null if it raised."""
    module, _, name = sys.argv[1].partition(":")
    cpu_seconds, memory = float(sys.argv[2]), int(sys.argv[3])
    function = getattr(import_module(module), name)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    replies.write(b"ready\n")
    os.dup2(nowhere, 1)  # libraries may print; only replies reach the reader
    os.dup2(nowhere, 2)
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        # SIGPROF has no handler here: it ends the process, even in a computation that Python cannot interrupt.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            result = function(*json.loads(line))
        except Exception:  # noqa: BLE001 - libraries fed what a model wrote may raise anything, MemoryError too
            result = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(result).encode() + b"\n")


if __name__ == "__main__":
    main()
