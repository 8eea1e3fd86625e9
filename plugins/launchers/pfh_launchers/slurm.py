"""Slurm: one job a task through submitit, with dependencies; what is preempted or out of time is queued again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.util import find_spec

from pfh import hookimpl
from pfh.errors import UserError, did_you_mean
from pfh.hooks.launchers import LaunchResult, LaunchSpec, SubmittedSpec, SubmittedTask, TaskOutcome
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pfh_launchers import slurm_queue as queue
from pfh_launchers.slurm_jobs import Job, jobs_of
from pfh_launchers.task_process import TaskProcess

LEAST_MINUTES = 60
ROOM = 4
"""Times as long as the plan says that a job may take: plans are estimates, and a job out of time is queued again."""
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")


class Options(BaseModel):
    """What jobs ask for; left out, it is as the cluster has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = Field(None, description="partition that jobs run in")
    account: str | None = Field(None, description="account that they are charged to")
    qos: str | None = Field(None, description="quality of service")
    time: int | str | None = Field(
        None,
        description="time limit: minutes, or as Slurm writes it; by default four times the plan's, at least an hour",
    )
    gpus: int | None = Field(None, ge=0, description="GPUs of a job")
    cpus: int | None = Field(None, ge=1, description="cores of a job")
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$", description="memory of a job, such as 64G")
    at_once: int = Field(256, ge=1, description="jobs of an array that run at once")
    lines: tuple[str, ...] = Field((), description="further options of sbatch, such as --constraint=a100")
    setup: tuple[str, ...] = Field((), description="lines of shell before a task, such as module load cuda")
    grace: int = Field(90, ge=1, description="seconds before its time limit at which a job is told to end")
    again: int = Field(10, ge=0, description="times that a job is queued again that ran out of time")

    @field_validator("time")
    @classmethod
    def _check_time(cls, value: int | str | None) -> int | str | None:
        if value is not None and minutes_of(value) < 1:
            raise ValueError('write minutes, such as 90, or "2:00:00" or "1-12:00:00"')
        return value

    @field_validator("lines")
    @classmethod
    def _check_lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if not re.fullmatch(r"--[a-z][a-z-]*(=.+)?", line):
                raise ValueError(f"{line!r} is no option of sbatch: write --NAME or --NAME=VALUE")
        return value


def minutes_of(time: int | str) -> int:
    """Return a time limit in whole minutes, rounded up; 0 for what is none."""
    if isinstance(time, int):
        return time
    if not _TIME.fullmatch(time):
        return 0
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    else:  # minutes, minutes:seconds, hours:minutes:seconds
        hours, minutes, seconds = (0, *parts, 0) if len(parts) == 1 else (0, *parts) if len(parts) == 2 else parts
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)


@hookimpl
def options() -> type[Options]:
    """Name the model of the settings."""
    return Options


@hookimpl
def launch(spec: LaunchSpec) -> LaunchResult:
    """Submit one job a task, those of equal shape and needs as an array; nothing is waited for."""
    if not spec.tasks:
        raise UserError("The launcher slurm executes studies: write the run as a study and give it to pfh matrix.")
    assert spec.folder is not None
    assert isinstance(spec.options, Options)
    if find_spec("submitit") is None:
        raise UserError("The launcher slurm needs submitit, which is not installed: pip install 'pfh[slurm]'")
    queue.check_here()
    _check_partition(spec.options)
    names = dict(spec.submitted)
    outcomes: dict[str, TaskOutcome] = {}
    for job in jobs_of(spec.tasks):
        needed = sorted({names[need] for need in job.needs if need in names})
        for task, name in zip(job.tasks, _submit(job, needed, spec, spec.options), strict=True):
            names[task.id] = name
            outcomes[task.id] = TaskOutcome(id=task.id, state="submitted", said=name)
    count = len({name.partition("_")[0] for name in names.values()})
    spec.progress.say(f"{len(outcomes)} tasks are in Slurm's queue as {count} jobs and arrays")
    return LaunchResult(outcomes=tuple(outcomes[task.id] for task in spec.tasks), state="submitted")


@hookimpl
def submitted_tasks(spec: SubmittedSpec) -> Sequence[SubmittedTask]:
    """Return what Slurm has of the study."""
    queue.check_here()
    return queue.queued(spec.folder)


@hookimpl
def cancel_tasks(spec: SubmittedSpec) -> Sequence[SubmittedTask]:
    """Cancel what Slurm has of the study."""
    queue.check_here()
    return queue.cancelled(spec.folder)


def _check_partition(options: Options) -> None:
    if options.partition is None:
        return
    known = queue.partitions()
    for name in options.partition.split(","):
        if name not in known:
            raise UserError(
                f"Slurm has no partition {name!r}.{did_you_mean(name, known)} It has {', '.join(sorted(known))}."
            )


def _submit(job: Job, needed: Sequence[str], spec: LaunchSpec, options: Options) -> list[str]:
    """Hand a job to Slurm; return the name of the job of each of its tasks."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    folder = spec.folder
    assert folder is not None
    queue.note(folder, job)
    executor = SlurmExecutor(folder=folder / "jobs" / "%j", max_num_timeout=options.again)
    executor.update_parameters(
        job_name=job.name,
        comment=queue.comment(folder),
        time=minutes_of(options.time) if options.time is not None else _minutes_planned(job),
        signal_delay_s=options.grace,
        array_parallelism=options.at_once,
        **{
            name: value
            for name, value in {
                "partition": options.partition,
                "account": options.account,
                "qos": options.qos,
                "gpus_per_node": options.gpus,
                "cpus_per_task": options.cpus,
                "mem": options.memory,
                "setup": list(options.setup) or None,
                "dependency": f"afterok:{':'.join(needed)}" if needed else None,
            }.items()
            if value is not None
        },
        additional_parameters={"requeue": True, "kill-on-invalid-dep": "yes", **_further(options.lines)},
    )
    processes = [TaskProcess(spec.command, task.file, folder / "logs" / f"{task.id}.log") for task in job.tasks]
    try:
        if len(processes) == 1:
            return [executor.submit(processes[0]).job_id]
        with executor.batch():
            submitted = [executor.submit(process) for process in processes]
        return [each.job_id for each in submitted]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise UserError(f"Slurm refused the job of {job.tasks[0].label}: {queue.first_line(error)}") from error


def _minutes_planned(job: Job) -> int:
    return max(LEAST_MINUTES, math.ceil(job.seconds * ROOM / 60))


def _further(lines: Sequence[str]) -> dict[str, str | bool]:
    """Return options of sbatch as submitit takes them."""
    parts = (line.removeprefix("--").partition("=") for line in lines)
    return {name: value if given else True for name, given, value in parts}
