"""Start the ranks of a training, draw what they ask for, show their progress, and say how they ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from pfh.errors import EXIT_USER, StepFailedError, UserError
from pfh.hooks.methods import TrainingResult, TrainingSpec
from pfh.progress import Bar
from pfh.steps.ranks.configuration import Configuration
from pfh.steps.ranks.exchange import SECONDS_BETWEEN_LOOKS, Exchange, Failure, RankTask, read_draw

_LAST = 400
"""Characters of the ranks' own output that an error without a cause quotes."""


_PATIENCE = 5.0
"""Seconds that the launcher gets to end before it is killed."""


class RankFailed(Exception):  # noqa: N818 - it is the cause of an error: what one of the ranks said
    """The traceback of a rank."""


def train_in_ranks(
    method: str, spec: TrainingSpec, domain: str, domain_options: dict[str, object] | None, wanted: Configuration
) -> TrainingResult:
    """Run the hook `train` of a method in the processes of `wanted`; rollouts are drawn here.

    Args:
        method: the method's name.
        spec: as the hook would get it here.
        domain: name of the plugin that opened the domain.
        domain_options: what it was opened with.
        wanted: how many processes, and how they share the work.

    Raises:
        UserError: a rank says that the input is at fault.
        StepFailedError: a rank failed otherwise, or ended without a word.
    """
    job = RankTask(
        method=method,
        options=spec.options.model_dump(mode="json") if spec.options else None,
        domain=domain,
        domain_options=domain_options,
        checkpoint=spec.checkpoint,
        teacher=spec.teacher,
        problems=spec.problems,
        seed=spec.seed,
        output_dir=spec.output_dir,
        budget=spec.account.budget,
        keep_every=spec.keep_every,
        origin=spec.origin,
        others=spec.others,
    )
    log = spec.output_dir / "ranks.log"
    spec.progress.say(f"{method} trains in {wanted}")
    while True:
        folder = Path(tempfile.mkdtemp(prefix="pfh-ranks-"))
        exchange = Exchange(folder)
        try:
            exchange.put(job)
            with exchange.hold(), log.open("w") as written:
                code = _follow(_start(wanted, folder, written), exchange, spec)
            result, failure = exchange.result(), exchange.failure()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if failure is not None and failure.again:
            spec.progress.say(failure.line)
        elif failure is not None:
            raise _error(failure)
        elif code or result is None:
            raise _wordless(method, code, log)
        else:
            return result


def _start(wanted: Configuration, folder: Path, written: IO[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    how = ["--mixed_precision", "no"]  # The method's option `precision` says what training computes in.
    if wanted.kind == "MULTI_CPU":
        # Of itself accelerate starts several processes on CPUs through MPI alone.
        how.append("--multi_gpu")
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(wanted.path), *how]
    return subprocess.Popen(
        [*command, "--main_process_port", "0", "-m", "pfh.steps.ranks.worker", str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=written,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the waiting process, which ends the ranks by letting go of the lock.
    )


def _follow(launcher: subprocess.Popen[bytes], exchange: Exchange, spec: TrainingSpec) -> int:
    """Serve the ranks until they have ended; return the launcher's exit code."""
    with ExitStack() as stack:
        stack.callback(_end, launcher)
        bars: list[tuple[ExitStack, Bar]] = []
        while True:
            ended = launcher.poll() is not None
            for news in exchange.news():
                match news.pop("kind"):
                    case "say":
                        spec.progress.say(news["line"])
                    case "task":
                        opened = stack.enter_context(ExitStack())
                        bars.append((opened, opened.enter_context(spec.progress.task(**news))))
                    case "advance":
                        bars[-1][1].advance(**news)
                    case "note":
                        bars[-1][1].note(**news)
                    case "done":
                        bars.pop()[0].close()
                    case "draw":
                        draw = read_draw(news)
                        booked = len(spec.account.phases)
                        rollouts = spec.rollouts(
                            samples=draw.samples,
                            sampling=draw.sampling,
                            checkpoint=draw.checkpoint,
                            problems=draw.problems,
                            judged=draw.judged,
                        )
                        exchange.answer(draw.number, rollouts, spec.account.phases[booked:])
            if ended:
                return launcher.returncode
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _end(launcher: subprocess.Popen[bytes]) -> None:
    """End the launcher, which ends its ranks, if it still runs."""
    if launcher.poll() is not None:
        return
    launcher.send_signal(signal.SIGTERM)
    try:
        launcher.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _error(failure: Failure) -> UserError | StepFailedError:
    error = (UserError if failure.exit_code == EXIT_USER else StepFailedError)(failure.line)
    error.__cause__ = RankFailed(failure.traceback) if failure.traceback else None
    return error


def _wordless(method: str, code: int, log: Path) -> StepFailedError:
    said = " ".join(log.read_text(errors="replace").split())[-_LAST:]
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return StepFailedError(
        f"The processes of {method} broke off without a word of their own; their launcher {how}. A process that ran "
        f"out of memory ends like this. All that they wrote is in {log}, at its end: {said}"
    )
