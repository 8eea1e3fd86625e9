"""The client of a Ray cluster, a process of its own: reads tasks, a line each, and writes how each ended.

`python -m pfh_launchers.ray_client OPTIONS`, with the options as JSON.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pfh_launchers.ray_task import TaskDied, execute, passed_on, write_what_came_back

OBJECTS = 100 << 20
"""Bytes of the object store of a cluster that is started here: tasks exchange files, and no objects."""
STARTS, START_SECONDS = 3, 120
"""Times that a cluster is started here before it is given up, and how long its server may take: a loaded machine needs
longer than the half minute that Ray waits."""
ANSWERS_WITHIN = 20.0
"""Seconds in which a cluster that exists accepts a connection."""
POLL = 0.2
"""Seconds between two looks at what has ended."""


def main(told: dict[str, Any]) -> None:
    """Serve tasks until standard input ends and all have ended."""
    import ray

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    answers = sys.stdout
    sys.stdout = sys.stderr  # where Ray may print
    try:
        _connect(told)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, the launcher says it
        lines = str(error).strip().splitlines()
        place = told["address"] or "here"
        said = f"No Ray cluster can be reached at {place} ({type(error).__name__}: {lines[0] if lines else '?'})."
        _say(answers, {"unreached": said})
        return
    remote = ray.remote(execute).options(
        num_cpus=told["cpus"],
        num_gpus=told["gpus"] if told["gpus"] is not None else min(1, ray.cluster_resources().get("GPU", 0)),
        memory=int(told["memory"] * (1 << 30)) if told["memory"] else None,
        max_retries=told["tries"] - 1,
        retry_exceptions=[TaskDied],
    )
    lines_in: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(sys.stdin, lines_in), daemon=True).start()
    more = True
    running: dict[Any, Path] = {}
    while more or running:
        while not lines_in.empty():
            given = lines_in.get()
            if not given:
                more = False
                break
            line = json.loads(given)
            reference = remote.remote(line["file"], line["text"], told["command"], int(told["cpus"]), passed_on())
            running[reference] = Path(line["file"])
        ended, _ = ray.wait(list(running), timeout=POLL) if running else ((), ())
        for reference in ended:
            file = running.pop(reference)
            _say(answers, {"task": file.stem} | _result(ray, reference, file, told["tries"]))
        if not running:
            time.sleep(POLL)
    ray.shutdown()


def _connect(told: dict[str, Any]) -> None:
    import ray

    if told["address"]:
        check_answers(told["address"])
        ray.init(address=told["address"], log_to_driver=False)
        return
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(START_SECONDS))
    cores = max(1, round(told["workers"] * told["cpus"]))
    for left in reversed(range(STARTS)):
        try:
            ray.init(num_cpus=cores, object_store_memory=OBJECTS, include_dashboard=False, log_to_driver=False)
            return
        except Exception:  # whatever Ray raises where its own processes took too long
            ray.shutdown()
            if not left:
                raise
            traceback.print_exc()


def check_answers(address: str) -> None:
    """Look whether anybody listens at host:port; Ray itself tries for many minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()


def _result(ray: Any, reference: Any, file: Path, tries: int) -> dict[str, Any]:  # noqa: ANN401 - Ray has no types
    try:
        came_back = ray.get(reference)
    except ray.exceptions.RayError as error:
        return {"code": 3, "said": why_it_failed(ray, error, tries)}
    write_what_came_back(file, came_back)
    return {"code": came_back["code"], "said": came_back["said"]}


def why_it_failed(ray: Any, error: Exception, tries: int) -> str:  # noqa: ANN401 - Ray has no types
    """Say what Ray raised in place of what a task returns: its process or worker was lost, or it raised itself."""
    lines = str(error).strip().splitlines()
    if not isinstance(error, ray.exceptions.RayTaskError):
        lost = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError")
        how = f"its worker died {tries} times, the last time with" if type(error).__name__ in lost else "Ray says"
        return f"{how}: {lines[-1] if lines else type(error).__name__}"
    if isinstance(error.cause, TaskDied):
        return f"its process died {tries} times, the last time with: {error.cause}"
    said = str(error.cause).strip().splitlines()
    return f"it could not be executed ({type(error.cause).__name__}: {said[0] if said else '?'})"


def read_lines(stream: Iterable[str], lines: queue.Queue[str]) -> None:
    """Put every line of the stream into the queue, and at its end an empty one."""
    for line in stream:
        lines.put(line)
    lines.put("")


def _say(answers: Any, said: dict[str, Any]) -> None:  # noqa: ANN401 - a stream
    answers.write(json.dumps(said) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
