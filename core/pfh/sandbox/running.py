"""Programs of a model, run in the sandbox: one, many over the cores, or as functions that tests call."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Literal, TypeVar

from pfh.errors import StepFailedError, UserError
from pfh.sandbox.inside import frames
from pfh.sandbox.inside.calls import PROGRAM_GONE
from pfh.sandbox.inside.run import PATIENCE
from pfh.sandbox.warm import open_job, refusal

Status = Literal["ok", "error", "timeout", "memory", "output"]
GRACE_SECONDS = 10.0
"""How much longer than its limit a run may take before its job is given up."""
ATTEMPTS = 2
"""How often a run is tried whose sandbox ended under it; then the step fails. It is never scored."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run of a program may use."""

    seconds: float = 20.0
    """Wall-clock time, less the time that others kept the program waiting for a processor."""
    cpu_seconds: int = 10
    """Processor time of all the program's processes together."""
    memory_mb: int = 1024
    """Address space of one process, and memory of all the program's processes together."""
    processes: int = 32
    """Processes and threads."""
    file_mb: int = 64
    """Size of a file, and of all files together."""
    output_kb: int = 4096
    """Output on stdout; a run that writes more is ended."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run."""

    status: Status
    """"ok" is exit status 0 within all limits; "error" any other end; the rest name the limit that was hit."""
    stdout: str = ""
    stderr: str = ""
    """Its end."""
    exit_code: int | None = None
    """Negative: the signal that ended it. None: it was killed at a limit."""
    seconds: float = 0.0
    """Wall-clock time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One program with one input."""

    code: str
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name to text: files in the program's working directory."""
    limits: Limits = Limits()


@dataclass(frozen=True, kw_only=True)
class UnitTests:
    """Tests that call functions of a program, from a process of their own that the program cannot reach."""

    script: str
    """Python that raises where the program is wrong."""
    names: tuple[str, ...]
    """What the program defines and the tests use."""
    setup: str = ""
    """Python that runs before the tests, and whose definitions `names` replace."""


class _JobLostError(Exception):
    """A job ended without an answer: killed from outside, or without what it takes to start a process."""


class Program:
    """A program in a job of its own, to be run several times: the runs share its private files, and nothing else.

    Raises:
        UserError: programs cannot be confined here; the message says what to do.
    """

    def __init__(
        self,
        code: str,
        *,
        prelude: str = "",
        files: Mapping[str, str] | None = None,
        limits: Limits = Limits(),
        packages: tuple[str, ...] = (),
        unsafe_local: bool | None = None,
    ) -> None:
        self.limits = limits
        self._description = {"role": "program", "code": code, "prelude": prelude, "files": files or {}}
        self._where: dict[str, Any] = {"unsafe_local": unsafe_local, "packages": packages}
        self._inputs: list[str] = []
        self._open()

    def run(self, stdin: str = "") -> Outcome:
        """Run it once; never raises for anything that the program does.

        Raises:
            StepFailedError: the sandbox ended under it, and again in a fresh one.
        """

        def attempt(number: int) -> Outcome:
            if number:
                self._job.close()
                self._open(again=True)
                for earlier in self._inputs:  # they may have left files
                    self._once(earlier)
            return self._once(stdin)

        outcome = _tried_again(attempt)
        self._inputs.append(stdin)
        return outcome

    def _open(self, *, again: bool = False) -> None:
        self._job = open_job(again=again, **self._where)
        _describe(self._job, limits=self.limits, **self._description)

    def _once(self, stdin: str) -> Outcome:
        _start(self._job, stdin)
        return _outcome(self._job, self.limits)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._job.close()


def run_python(
    code: str,
    *,
    stdin: str = "",
    limits: Limits = Limits(),
    files: Mapping[str, str] | None = None,
    packages: tuple[str, ...] = (),
    unsafe_local: bool | None = None,
) -> Outcome:
    """Run one program once.

    Args:
        code: Python source.
        stdin: what it can read from standard input.
        limits: what it may use.
        files: name to text of files in its working directory.
        packages: installed packages that it can import beside the standard library.
        unsafe_local: run it unconfined; None asks the environment variable PFH_UNSAFE_LOCAL_CODE.

    Raises:
        UserError: programs cannot be confined here; the message says what to do.
    """
    with Program(code, files=files, limits=limits, packages=packages, unsafe_local=unsafe_local) as program:
        return program.run(stdin)


def run_many(jobs: Sequence[Job], *, workers: int | None = None, unsafe_local: bool | None = None) -> list[Outcome]:
    """Run `jobs` over the cores; outcomes come in the order of the jobs, and a stuck job fails only itself.

    Raises:
        UserError: programs cannot be confined here; the message says what to do.
    """

    def run(job: Job) -> Outcome:
        return run_python(job.code, stdin=job.stdin, limits=job.limits, files=job.files, unsafe_local=unsafe_local)

    return in_parallel(run, jobs, workers=workers)


def run_tests(
    code: str,
    tests: UnitTests,
    *,
    prelude: str = "",
    limits: Limits = Limits(),
    packages: tuple[str, ...] = (),
    unsafe_local: bool | None = None,
) -> Outcome:
    """Run `tests` against the functions that `code` defines; "ok" says that all of them passed.

    Program and tests are two jobs that see neither each other's memory, processes nor files. The tests hold what they
    expect and send arguments; the program sends back plain values.

    Raises:
        UserError: programs cannot be confined here; the message says what to do.
        StepFailedError: the sandbox ended under them, and again in a fresh one.
    """

    def attempt(number: int) -> Outcome:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            judge = open_job(unsafe_local=unsafe_local, packages=packages, link=ours, again=number > 0)
            program = open_job(unsafe_local=unsafe_local, packages=packages, link=theirs)
        with judge, program:
            _describe(program, role="functions", code=code, prelude=prelude, files={}, limits=limits)
            _start(program, "")
            _describe(
                judge,
                role="tests",
                code=tests.script,
                files={},
                limits=limits,
                names=list(tests.names),
                setup=tests.setup,
            )
            _start(judge, "")
            outcome = _outcome(judge, limits)
            if outcome.exit_code == PROGRAM_GONE:
                _outcome(program, limits)  # it ended by itself, or was lost: only its own job knows
            return outcome

    return _tried_again(attempt)


@cache
def available() -> str:
    """Say why programs cannot be confined here, or return an empty string; tried once, with an empty program."""
    try:
        outcome = run_python("", unsafe_local=False)
    except UserError as error:
        return str(error)
    return "" if outcome.status == "ok" else refusal(outcome.stderr)


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> list[Result]:
    """Return `function` of every item, in their order; for functions that wait for the sandbox.

    Without `workers` twice the cores: while one job starts or ends, another runs.
    """
    count = min(workers or 2 * _cores(), len(items))
    if count <= 1:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(count, thread_name_prefix="sandbox")
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _describe(job: socket.socket, *, limits: Limits, **description: Any) -> None:  # noqa: ANN401 - JSON
    _send(job, description | {"limits": asdict(limits)})


def _start(job: socket.socket, stdin: str) -> None:
    _send(job, {"stdin": stdin})


def _send(job: socket.socket, message: dict[str, Any]) -> None:
    job.settimeout(GRACE_SECONDS)
    with contextlib.suppress(OSError):  # the job has ended: `_outcome` says so
        frames.send(job, message)


def _tried_again(attempt: Callable[[int], Outcome]) -> Outcome:
    for number in range(ATTEMPTS):
        try:
            return attempt(number)
        except _JobLostError as error:
            reason = str(error)
    raise StepFailedError(
        f"The sandbox ended under a program, and again in a fresh one ({reason}): nothing was scored. It may have been "
        "killed for want of memory or processes; free some and run the same command again."
    )


def _outcome(job: socket.socket, limits: Limits) -> Outcome:
    try:
        reply = frames.receive(job, PATIENCE * limits.seconds + GRACE_SECONDS)
    except TimeoutError as error:
        job.close()  # which ends it
        raise _JobLostError("it did not answer and was ended") from error
    if reply is None:
        raise _JobLostError("it ended without an answer")
    if "refused" in reply:
        raise UserError(refusal(reply["refused"]))
    if "failed" in reply:
        raise _JobLostError(reply["failed"].strip().rpartition("\n")[2])
    return Outcome(**reply)
