"""A pool of worker processes, each of which executes one task after the other; one that dies is replaced."""

from __future__ import annotations

import heapq
import json
import os
import selectors
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pfh.hooks.launchers import LaunchSpec, TaskOutcome, TaskSpec, TaskState

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
    heard: list[str] = field(default_factory=list)


class Pool:
    """Executes the tasks of a study in `spec.workers` processes."""

    def __init__(self, spec: LaunchSpec) -> None:
        assert spec.folder is not None
        self._spec = spec
        self._folder = spec.folder
        self._outcomes: dict[str, TaskOutcome] = {}
        self._waiting = {task.id: set(task.needs) for task in spec.tasks}
        self._tasks = {task.id: task for task in spec.tasks}
        self._followers: dict[str, list[str]] = defaultdict(list)
        for task in spec.tasks:
            for need in task.needs:
                self._followers[need].append(task.id)
        self._ready = [(-task.priority, task.id) for task in spec.tasks if not task.needs]
        heapq.heapify(self._ready)
        self._attempts: dict[str, int] = defaultdict(int)
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> tuple[TaskOutcome, ...]:
        """Execute everything; return what became of each task, in their order."""
        with self._spec.progress.task("tasks", total=len(self._tasks)) as bar:
            self._bar = bar
            try:
                while len(self._outcomes) < len(self._tasks):
                    self._hand_out()
                    self._listen()
                    if (self._folder / "cancel").exists():
                        self._spec.progress.say("the study was cancelled; what is done is kept")
                        break
            finally:
                self._end()
        for name in self._tasks:
            self._outcomes.setdefault(name, TaskOutcome(id=name, state="cancelled"))
        return tuple(self._outcomes[name] for name in self._tasks)

    def _hand_out(self) -> None:
        while self._ready:
            worker = next((each for each in self._workers if each.task is None), None)
            if worker is None and len(self._workers) < self._spec.workers:
                worker = self._open()
            if worker is None:
                return
            task = self._tasks[heapq.heappop(self._ready)[1]]
            self._attempts[task.id] += 1
            worker.task = task
            assert worker.process.stdin is not None
            try:
                worker.process.stdin.write(f"{task.file}\n")
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
            said = _said(line)
            if worker.task is not None and said.get("task") == worker.task.id:
                task, worker.task = worker.task, None
                if said.get("code") == 0:
                    self._done(task)
                else:
                    self._failed(task, str(said.get("said", "")))

    def _died(self, worker: _Worker) -> None:
        self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type] # a pipe
        self._workers.remove(worker)
        code = worker.process.wait()
        task = worker.task
        if task is None:
            return
        if self._attempts[task.id] < ATTEMPTS:
            self._spec.progress.say(f"the worker of {task.label} died ({code}); it is begun again")
            heapq.heappush(self._ready, (-task.priority, task.id))
        else:
            self._failed(task, f"its worker died {ATTEMPTS} times, the last time with {code}")

    def _done(self, task: TaskSpec) -> None:
        self._settle(task, "done")
        for name in self._followers[task.id]:
            self._waiting[name].discard(task.id)
            if not self._waiting[name] and name not in self._outcomes:
                heapq.heappush(self._ready, (-self._tasks[name].priority, name))

    def _failed(self, task: TaskSpec, said: str) -> None:
        self._spec.progress.say(f"failed: {task.label}: {said}")
        self._settle(task, "failed", said)
        for name in self._followers[task.id]:
            self._leave_out(self._tasks[name], task.label)

    def _leave_out(self, task: TaskSpec, needed: str) -> None:
        if task.id in self._outcomes:
            return
        self._settle(task, "left out", f"it needs what failed: {needed}")
        for name in self._followers[task.id]:
            self._leave_out(self._tasks[name], needed)

    def _settle(self, task: TaskSpec, state: TaskState, said: str = "") -> None:
        self._outcomes[task.id] = TaskOutcome(id=task.id, state=state, said=said)
        self._bar.advance()

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


def _said(line: str) -> Mapping[str, object]:
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
