"""The order of a study's tasks: what may begin, what has ended, and what a failed one takes down with it."""

from __future__ import annotations

import heapq
from collections import defaultdict

from pfh.hooks.launchers import LaunchSpec, TaskOutcome, TaskSpec, TaskState


class Order:
    """Hands out tasks whose needs are done, those with the most behind them first."""

    def __init__(self, spec: LaunchSpec) -> None:
        assert spec.folder is not None
        self._spec = spec
        self._cancel = spec.folder / "cancel"
        self._tasks = {task.id: task for task in spec.tasks}
        self._outcomes: dict[str, TaskOutcome] = {}
        self._waiting = {task.id: set(task.needs) for task in spec.tasks}
        self._followers: dict[str, list[str]] = defaultdict(list)
        for task in spec.tasks:
            for need in task.needs:
                self._followers[need].append(task.id)
        self._ready = [(-task.priority, task.id) for task in spec.tasks if not task.needs]
        heapq.heapify(self._ready)
        self._began: dict[str, int] = defaultdict(int)
        self.ended: list[TaskSpec] = []
        """Tasks that have ended, in the order in which they did."""

    @property
    def open(self) -> bool:
        """Some task has not ended."""
        return len(self._outcomes) < len(self._tasks)

    @property
    def ready(self) -> bool:
        """Some task may begin."""
        return bool(self._ready)

    def cancelled(self) -> bool:
        """Say whether the user ends the study, and tell that it is so."""
        if not self._cancel.exists():
            return False
        self._spec.progress.say("the study was cancelled; what is done is kept")
        return True

    def next(self) -> TaskSpec:
        """Take the task that is to begin."""
        task = self._tasks[heapq.heappop(self._ready)[1]]
        self._began[task.id] += 1
        return task

    def died(self, task: TaskSpec, why: str, most: int) -> None:
        """Let a task begin again whose worker died; one that has begun `most` times is what kills its workers."""
        if self._began[task.id] < most:
            self._spec.progress.say(f"the worker of {task.label} died ({why}); it is begun again")
            heapq.heappush(self._ready, (-task.priority, task.id))
        else:
            self.failed(task, f"its worker died {most} times, the last time with {why}")

    def done(self, task: TaskSpec) -> None:
        """Note that a task is done."""
        self._settle(task, "done")
        for name in self._followers[task.id]:
            self._waiting[name].discard(task.id)
            if not self._waiting[name] and name not in self._outcomes:
                heapq.heappush(self._ready, (-self._tasks[name].priority, name))

    def failed(self, task: TaskSpec, said: str) -> None:
        """Note that a task failed, and leave out what needs it."""
        self._spec.progress.say(f"failed: {task.label}: {said}")
        self._settle(task, "failed", said)
        for name in self._followers[task.id]:
            self._leave_out(self._tasks[name], task.label)

    def outcomes(self) -> tuple[TaskOutcome, ...]:
        """Return what became of each task, in their order; one that has not ended is cancelled."""
        return tuple(self._outcomes.get(name) or TaskOutcome(id=name, state="cancelled") for name in self._tasks)

    def _leave_out(self, task: TaskSpec, needed: str) -> None:
        if task.id in self._outcomes:
            return
        self._settle(task, "left out", f"it needs what failed: {needed}")
        for name in self._followers[task.id]:
            self._leave_out(self._tasks[name], needed)

    def _settle(self, task: TaskSpec, state: TaskState, said: str = "") -> None:
        self._outcomes[task.id] = TaskOutcome(id=task.id, state=state, said=said)
        self.ended.append(task)
