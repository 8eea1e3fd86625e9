"""A pool of worker processes, each of which executes one task after the other; one that dies is replaced."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from pfh.hooks.launchers import LaunchSpec, TaskOutcome, TaskSpec

from pfh_launchers.order import Order
from pfh_launchers.threads import cores_here, thread_settings

ATTEMPTS = 3
"""Times that a task is begun whose worker dies: what kills a worker three times is the task."""
POLL = 0.2
"""Seconds between two looks at whether the study was cancelled."""


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    device: int
    task: TaskSpec | None = None


class Pool:
    """Executes the tasks of a study in `spec.workers` processes."""

    def __init__(self, spec: LaunchSpec) -> None:
        assert spec.folder is not None
        self._spec = spec
        self._folder = spec.folder
        self._order = Order(spec)
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> tuple[TaskOutcome, ...]:
        """Execute everything; return what became of each task, in their order."""
        with self._spec.progress.task("tasks", total=len(self._spec.tasks)) as bar:
            try:
                while self._order.open and not self._order.cancelled():
                    before = len(self._order.ended)
                    self._hand_out()
                    self._listen()
                    bar.advance(len(self._order.ended) - before)
            finally:
                self._end()
        return self._order.outcomes()

    def _hand_out(self) -> None:
        while self._order.ready:
            worker = next((each for each in self._workers if each.task is None), None)
            if worker is None and len(self._workers) < self._spec.workers:
                worker = self._open()
            if worker is None:
                return
            worker.task = self._order.next()
            assert worker.process.stdin is not None
            try:
                worker.process.stdin.write(f"{worker.task.file}\n")
                worker.process.stdin.flush()
            except OSError:
                self._died(worker)

    def _open(self) -> _Worker:
        taken = {worker.device for worker in self._workers}
        device = next(number for number in range(self._spec.workers) if number not in taken)
        process = subprocess.Popen(
            [*self._spec.command, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / "logs" / f"worker-{device}.log").open("a"),
            text=True,
            env={**os.environ, **_pinned(device, self._spec)},
        )
        worker = _Worker(process, device)
        self._workers.append(worker)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type] # a pipe
        return worker

    def _listen(self) -> None:
        for key, _ in self._selector.select(POLL):
            worker: _Worker = key.data
            assert worker.process.stdout is not None
            line = worker.process.stdout.readline()
            if not line:
                self._died(worker)
                continue
            said = said_in(line)
            if worker.task is not None and said.get("task") == worker.task.id:
                task, worker.task = worker.task, None
                if said.get("code") == 0:
                    self._order.done(task)
                else:
                    self._order.failed(task, str(said.get("said", "")))

    def _died(self, worker: _Worker) -> None:
        self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type] # a pipe
        self._workers.remove(worker)
        code = worker.process.wait()
        if worker.task is not None:
            self._order.died(worker.task, str(code), ATTEMPTS)

    def _end(self) -> None:
        for worker in self._workers:
            busy = worker.task is not None
            if worker.process.stdin is not None and not busy:
                worker.process.stdin.close()
            if busy:
                worker.process.terminate()
        for worker in self._workers:
            try:
                worker.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._selector.close()


def said_in(line: str) -> Mapping[str, object]:
    """Return what a line of JSON says; nothing where it is none."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _pinned(device: int, spec: LaunchSpec) -> dict[str, str]:
    """Return the environment of a worker: its share of the cores, and one accelerator where there are any."""
    settings = thread_settings(max(1, cores_here() // spec.workers))
    if spec.devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(number) for number in range(spec.devices)]
        settings["CUDA_VISIBLE_DEVICES"] = devices[device % len(devices)]
    return settings
