"""Processes that judge what a model wrote: one that is stuck, or that grows too large, fails its own item only.

workers = Workers("pfh_domains.math.equality:equal", cpu_seconds=5)
workers.call("1/2", "0.5")                             one item
workers.call_many([("1/2", "0.5"), ("7", "8")])        many, over the cores
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pfh.errors import StepFailedError

MEMORY = 2 * 1024**3
"""Bytes of address space of a worker."""
START_SECONDS = 300.0
"""Wall-clock limit of a worker's imports; generous, as a machine may be busy."""


class Workers:
    """Calls one function in processes of its own, which start when they are needed and end with this object.

    The function's arguments and its result travel as JSON. The limit is on CPU time, so that a busy machine changes no
    verdict; it is kept by the kernel, which ends even a computation that Python cannot interrupt.
    """

    def __init__(self, function: str, *, cpu_seconds: float, memory: int = MEMORY) -> None:
        """Take `function` as "module:name", and what one call may take."""
        self._command = [sys.executable, "-P", "-m", "pfh.kit.worker", function, str(cpu_seconds), str(memory)]
        self._wall_seconds = 10 * cpu_seconds + 10  # only a process that sleeps, or is stopped, comes near it
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self._idle)

    def call(self, *arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Return the function's result, or None where it raised, overran a limit or crashed.

        Raises:
            StepFailedError: no worker can be started.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker(self._command)
        try:
            reply = worker.ask(arguments, self._wall_seconds)
        except BaseException:
            worker.end()
            raise
        if reply is None:
            worker.end()
            return None
        with self._lock:
            self._idle.append(worker)
        return json.loads(reply)

    def call_many(self, items: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the results of many calls, in their order.

        Raises:
            StepFailedError: no worker can be started.
        """
        count = min(_cores(), len(items))
        if count <= 1:
            return [self.call(*item) for item in items]
        with ThreadPoolExecutor(count, thread_name_prefix="verifier") as pool:
            return list(pool.map(lambda item: self.call(*item), items))

    def close(self) -> None:
        """End the processes that are idle; the next call starts new ones."""
        _end_all(self._idle)


class _Worker:
    """One process, which answers a line of JSON with a line of JSON."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the run, which then ends its workers
            env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )
        self._ready = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._ready.register(self._process.stdout, selectors.EVENT_READ)
        if self._line(START_SECONDS) is None:
            self.end()
            raise StepFailedError(
                f"the process that judges answers did not start: {' '.join(command)}. What it printed above says why."
            )

    def ask(self, arguments: Sequence[Any], seconds: float) -> bytes | None:
        """Return the reply's line, or None where the process ended or said nothing for `seconds`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        except BrokenPipeError:
            return None
        return self._line(seconds)

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._ready.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _line(self, seconds: float) -> bytes | None:
        assert self._process.stdout is not None
        received = b""
        until = time.monotonic() + seconds
        while not received.endswith(b"\n"):
            if not self._ready.select(max(0.0, until - time.monotonic())):
                return None
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                return None
            received += chunk
        return received


def _end_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
