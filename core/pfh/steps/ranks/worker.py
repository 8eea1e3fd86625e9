"""One rank: `python -m pfh.steps.ranks.worker FOLDER`, started by accelerate; FOLDER is an `Exchange`."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pfh.errors import EXIT_STEP_FAILED, PfhError, StartAgainError, out_of_resources
from pfh.hooks.backends import Sampling
from pfh.hooks.budget import Account
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import DomainSpec, Problem, Rollout
from pfh.hooks.methods import TrainingResult, TrainingSpec
from pfh.progress import Bar, Progress, Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.steps.ranks.exchange import Draw, Exchange, Failure, RankTask


def main(folder: Path) -> int:
    """Do this rank's part of the job in `folder`; return the exit code."""
    rank, exchange = int(os.environ.get("RANK", "0")), Exchange(folder)
    exchange.end_with_the_other_side()
    try:
        result = _train(exchange.job(), exchange, first=rank == 0)
    except PfhError as error:
        exchange.fail(rank, _failure(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last boundary of this process: the other side must hear of it
        line = f"unexpected {type(error).__name__}: {error}"
        exchange.fail(rank, Failure(when=time.time(), exit_code=EXIT_STEP_FAILED, line=line, traceback=_text(error)))
        return EXIT_STEP_FAILED
    if rank == 0:
        exchange.finish(result)
    return 0


def _train(job: RankTask, exchange: Exchange, *, first: bool) -> TrainingResult:
    plugins = Plugins()
    plugins.load_wrappers()
    account, drawn = Account(job.budget), 0

    def draw(
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
        judged: bool = True,
    ) -> tuple[Rollout, ...]:
        nonlocal drawn
        asked = Draw(
            number=drawn,
            samples=samples,
            sampling=sampling,
            checkpoint=checkpoint,
            problems=problems,
            judged=judged,
        )
        rollouts, phases = exchange.ask(asked, aloud=first)
        drawn += 1
        for phase in phases:
            account.add(phase)
        return rollouts

    options = plugins.options("domains", job.domain, job.domain_options or {})
    spec = TrainingSpec(
        checkpoint=job.checkpoint,
        domain=plugins.open_domain(job.domain, DomainSpec(options=options, data=HubData())),
        problems=job.problems,
        rollouts=draw,
        seed=job.seed,
        output_dir=job.output_dir,
        options=plugins.options("methods", job.method, job.options or {}),
        account=account,
        progress=_Told(exchange) if first else Silent(),
        teacher=job.teacher,
        keep_every=job.keep_every,
        origin=job.origin,
        others=job.others,
        data=HubData(),
    )
    return plugins.train(job.method, spec)


class _Told(Progress):
    """Progress that the waiting process shows."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Bar]:
        self._exchange.tell("task", description=description, total=total, done=done)
        yield _ToldBar(self._exchange)
        self._exchange.tell("done")

    def say(self, line: str) -> None:
        self._exchange.tell("say", line=line)


class _ToldBar(Bar):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def advance(self, amount: int = 1) -> None:
        self._exchange.tell("advance", amount=amount)

    def note(self, text: str) -> None:
        self._exchange.tell("note", text=text)


def _failure(error: PfhError) -> Failure:
    cause = error.__cause__
    foreseen = cause is None or isinstance(cause, PfhError) or bool(out_of_resources(cause))
    return Failure(
        when=time.time(),
        exit_code=error.exit_code,
        line=str(error),
        traceback="" if foreseen else _text(error),
        again=isinstance(error, StartAgainError),
    )


def _text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
