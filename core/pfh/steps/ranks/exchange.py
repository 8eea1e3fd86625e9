"""What a training's ranks and the process that started them tell each other, as files in one private folder."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pfh.hooks.backends import Sampling
from pfh.hooks.budget import Budget
from pfh.hooks.checkpoint import Checkpoint, Endpoint
from pfh.hooks.domains import Problem, Rollout
from pfh.hooks.ledger import Phase
from pfh.hooks.methods import TrainingResult
from pfh.store.rollouts import read_rollouts, write_rollouts

SECONDS_BETWEEN_LOOKS = 0.1


_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class RankTask:
    """What every rank needs to build the same `TrainingSpec`."""

    method: str
    options: Mapping[str, Any] | None
    domain: str
    domain_options: Mapping[str, Any] | None
    checkpoint: Checkpoint
    teacher: Checkpoint | None
    problems: Sequence[Problem]
    seed: int
    output_dir: Path
    budget: Budget | None
    keep_every: int | None = None
    origin: Checkpoint | None = None
    others: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Rollouts that a method asks for."""

    number: int
    """Of the draw, from 0: every rank asks for the same in the same order."""
    samples: int
    sampling: Sampling | None
    checkpoint: Checkpoint | None
    problems: Sequence[Problem] | None
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a rank ended that did not finish."""

    when: float
    """Seconds of the clock; the first to fail is the cause, the others lost their peer."""
    exit_code: int
    line: str
    """For the user."""
    traceback: str = ""
    """Where the cause is a bug in some code."""
    again: bool = False
    """The same training started again goes on with what the rank left."""


class Exchange:
    """The folder, seen from either side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = 0

    # The process that waits.

    def hold(self) -> IO[str]:
        """Return a file whose lock tells the ranks, as long as it is open, that somebody waits for them."""
        held = (self.folder / "held").open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
        return held

    def put(self, job: RankTask) -> None:
        """Leave the job for the ranks."""
        self._write("job.json", dataclasses.asdict(job))

    def news(self) -> Iterator[dict[str, Any]]:
        """Yield what the first rank has told since the last call."""
        path = self.folder / "news.jsonl"
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._read)
            whole = stream.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        for line in whole.splitlines():
            yield json.loads(line)

    def answer(self, number: int, rollouts: Sequence[Rollout], phases: Sequence[Phase]) -> None:
        """Give every rank the rollouts of a draw, and what they cost."""
        write_rollouts(self.folder / f"draw-{number}.parquet", rollouts)
        self._write(f"draw-{number}.json", [dataclasses.asdict(phase) for phase in phases])

    def result(self) -> TrainingResult | None:
        """Return what the method returned; None before it did."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        fields = json.loads(path.read_text())
        return TrainingResult(
            path=Path(fields["path"]),
            phases=tuple(Phase(**phase) for phase in fields["phases"]),
            curves=tuple(fields["curves"]),
            notes=tuple(fields["notes"]),
        )

    def failure(self) -> Failure | None:
        """Return how the first rank that failed did so."""
        failures = [Failure(**json.loads(path.read_text())) for path in self.folder.glob("failure-*.json")]
        return min(failures, key=lambda failure: failure.when) if failures else None

    # A rank.

    def job(self) -> RankTask:
        """Return the job."""
        fields = json.loads((self.folder / "job.json").read_text())
        return RankTask(
            **fields
            | {
                "checkpoint": _checkpoint(fields["checkpoint"]),
                "teacher": _checkpoint(fields["teacher"]),
                "origin": _checkpoint(fields["origin"]),
                "others": tuple(map(_checkpoint, fields["others"])),
                "problems": _problems(fields["problems"]),
                "output_dir": Path(fields["output_dir"]),
                "budget": Budget(**fields["budget"]) if fields["budget"] else None,
            }
        )

    def end_with_the_other_side(self) -> None:
        """End this process, from now on, when nobody waits for it any more: interrupted, finished, or killed."""

        def watch() -> None:
            with (self.folder / "held").open() as held:
                fcntl.flock(held, fcntl.LOCK_SH)
            os._exit(_INTERRUPTED)

        threading.Thread(target=watch, daemon=True).start()

    def tell(self, kind: str, **what: object) -> None:
        """Tell the waiting process something; for the first rank alone."""
        with (self.folder / "news.jsonl").open("a", encoding="ascii") as stream:
            stream.write(json.dumps({"kind": kind, **what}, default=_plain) + "\n")

    def ask(self, draw: Draw, *, aloud: bool) -> tuple[tuple[Rollout, ...], list[Phase]]:
        """Wait for the rollouts of `draw`, asking for them if `aloud`; return them and what they cost."""
        if aloud:
            self.tell("draw", **dataclasses.asdict(draw))
        path = self.folder / f"draw-{draw.number}.json"
        while not path.exists():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        phases = [Phase(**phase) for phase in json.loads(path.read_text())]
        return read_rollouts(path.with_suffix(".parquet")), phases

    def finish(self, result: TrainingResult) -> None:
        """Leave what the method returned."""
        fields = {"path": result.path, "phases": [dataclasses.asdict(phase) for phase in result.phases]}
        self._write("result.json", fields | {"curves": [dict(row) for row in result.curves], "notes": result.notes})

    def fail(self, rank: int, failure: Failure) -> None:
        """Leave word of how this rank ended."""
        self._write(f"failure-{rank}.json", dataclasses.asdict(failure))

    def _write(self, name: str, content: object) -> None:
        partial = self.folder / f".{name}"
        partial.write_text(json.dumps(content, default=_plain))
        partial.replace(self.folder / name)


def read_draw(fields: Mapping[str, Any]) -> Draw:
    """Return the draw that a rank told of."""
    return Draw(
        number=fields["number"],
        samples=fields["samples"],
        sampling=Sampling(**fields["sampling"] | {"stop": tuple(fields["sampling"]["stop"])})
        if fields["sampling"]
        else None,
        checkpoint=_checkpoint(fields["checkpoint"]),
        problems=None if fields["problems"] is None else _problems(fields["problems"]),
        judged=fields["judged"],
    )


def _problems(rows: Sequence[Mapping[str, Any]]) -> tuple[Problem, ...]:
    return tuple(Problem(**{**row, "messages": tuple(row["messages"])}) for row in rows)


def _checkpoint(fields: Any) -> Any:  # noqa: ANN401 - a mapping gives a checkpoint, None gives None
    if fields is None:
        return None
    adapter, endpoint = fields["adapter"], fields["endpoint"]
    paths = {"path": Path(fields["path"]), "adapter": Path(adapter) if adapter else None}
    return Checkpoint(**fields | paths | {"endpoint": Endpoint(**endpoint) if endpoint else None})


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a message.")
