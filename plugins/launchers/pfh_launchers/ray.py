"""Ray: tasks on a cluster that exists or that is started here; those of a lost worker or node run again."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from importlib.util import find_spec

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.launchers import LaunchResult, LaunchSpec, SubmittedSpec, SubmittedTask, TaskOutcome
from pydantic import BaseModel, ConfigDict, Field

from pfh_launchers.order import Order
from pfh_launchers.pool import POLL, said_in
from pfh_launchers.ray_client import read_lines


class Options(BaseModel):
    """Of the cluster, and what a task asks it for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(None, description="of a cluster, such as 10.0.0.1:6379; without it one is started here")
    cpus: float = Field(1, gt=0, description="cores of a task")
    gpus: float | None = Field(None, ge=0, description="GPUs of a task; by default one, where the cluster has any")
    memory: float | None = Field(None, gt=0, description="memory of a task in GiB, which it waits for")
    tries: int = Field(3, ge=1, description="times that a task is begun whose worker or node is lost")


@hookimpl
def options() -> type[Options]:
    """Name the model of the settings."""
    return Options


@hookimpl
def submitted_tasks(spec: SubmittedSpec) -> tuple[SubmittedTask, ...]:
    """Refuse a machine without Ray; nothing stays with the cluster when its launcher has ended."""
    _check_here()
    return ()


@hookimpl
def launch(spec: LaunchSpec) -> LaunchResult:
    """Execute the tasks as their needs allow, and wait for all."""
    _check_here()
    if not spec.tasks:
        raise UserError("The launcher ray executes studies: write the run as a study and give it to pfh matrix.")
    assert isinstance(spec.options, Options)
    return LaunchResult(outcomes=run_tasks(spec, spec.options))


def _check_here() -> None:
    if find_spec("ray") is None:
        raise UserError("The launcher ray needs Ray, which is not installed: pip install 'pfh[ray]'")


def run_tasks(spec: LaunchSpec, options: Options) -> tuple[TaskOutcome, ...]:
    """Hand tasks to a process that is the cluster's client: Ray ends its client when its cluster goes away."""
    assert spec.folder is not None
    order, running = Order(spec), {}
    told = json.dumps(options.model_dump() | {"command": list(spec.command[1:]), "workers": spec.workers})
    with (spec.folder / "logs" / "ray.log").open("a") as log:
        client = subprocess.Popen(
            [sys.executable, "-m", "pfh_launchers.ray_client", told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert client.stdin is not None
    assert client.stdout is not None
    answers: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(client.stdout, answers), daemon=True).start()
    try:
        with spec.progress.task("tasks", total=len(spec.tasks)) as bar:
            while order.open and not order.cancelled():
                while order.ready:
                    task = order.next()
                    running[task.id] = task
                    client.stdin.write(json.dumps({"file": str(task.file), "text": task.file.read_text()}) + "\n")
                    client.stdin.flush()
                try:
                    line = answers.get(timeout=POLL)
                except queue.Empty:
                    continue
                if not line:
                    raise BrokenPipeError
                said = said_in(line)
                if unreached := said.get("unreached"):
                    raise UserError(str(unreached))
                if task_ended := running.pop(str(said.get("task")), None):
                    if said.get("code") == 0:
                        order.done(task_ended)
                    else:
                        order.failed(task_ended, str(said.get("said", "")))
                    bar.advance()
    except BrokenPipeError:
        place = f"at {options.address}" if options.address else "that was started here"
        for task in running.values():
            order.failed(
                task,
                f"the Ray cluster {place} went away (its words are in {spec.folder / 'logs' / 'ray.log'}); the same "
                "command goes on with what is missing",
            )
    finally:
        client.terminate()
        try:
            client.wait(timeout=30)
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
    return order.outcomes()
