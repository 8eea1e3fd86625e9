"""What Slurm's own commands say of a study's jobs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from getpass import getuser
from pathlib import Path

from pfh.errors import UserError
from pfh.hooks.launchers import SubmittedTask

from pfh_launchers.slurm_jobs import Job

ANSWERS_WITHIN = 60.0
"""Seconds."""
_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT", "STOPPED"}


def check_here() -> None:
    """Refuse a machine from which no job can be submitted.

    Raises:
        UserError: it is one.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel", "sinfo", "srun") if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"The launcher slurm needs {missing[0]}, which is not on this machine: call pfh matrix on a login node of "
            "the cluster, or take --launcher local."
        )


def comment(folder: Path) -> str:
    """Return what all jobs of a study say in their comment, and no others."""
    return f"pfh {hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}"


def note(folder: Path, job: Job) -> None:
    """Write down which tasks a job has, before it is submitted: the queue tells only its name."""
    (folder / "jobs").mkdir(exist_ok=True)
    _notes(folder, job.name).write_text(json.dumps([task.id for task in job.tasks]))


def queued(folder: Path) -> tuple[SubmittedTask, ...]:
    """Return the tasks of a study that have not ended."""
    said = _call("squeue", "--noheader", "--array", "--user", getuser(), "--format", "%i|%T|%r|%k|%j")
    found = []
    for line in said.splitlines():
        job, state, reason, remark, name = line.strip().split("|", 4)
        if remark != comment(folder):
            continue
        try:
            tasks = json.loads(_notes(folder, name).read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"What tasks job {job} has cannot be read from {_notes(folder, name)}: cancel it with scancel {job}, "
                "and call pfh matrix again."
            ) from error
        _, _, index = job.partition("_")
        found.append(
            SubmittedTask(
                id=tasks[int(index or 0)],
                job=job,
                state="queued" if state in _WAITS else "running",
                said="" if reason == "None" else reason,
            )
        )
    return tuple(found)


def cancelled(folder: Path) -> tuple[SubmittedTask, ...]:
    """Cancel the jobs of a study, and return their tasks."""
    tasks = queued(folder)
    if tasks:
        _call("scancel", *sorted({task.job for task in tasks}))
    return tasks


def partitions() -> set[str]:
    """Return the partitions of the cluster."""
    return set(_call("sinfo", "--noheader", "--format", "%R").split())


def first_line(error: BaseException) -> str:
    """Return what Slurm's command said was wrong, without its own name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ") if lines else "?"


def _notes(folder: Path, name: str) -> Path:
    return folder / "jobs" / f"{name}.json"


def _call(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ANSWERS_WITHIN)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"Slurm does not answer {command[0]} ({type(error).__name__}): try again later.") from error
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["no word"]
        raise UserError(f"Slurm does not answer {command[0]}: {lines[-1]}")
    return ended.stdout
