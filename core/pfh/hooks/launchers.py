"""What a launcher is handed: runs, and the function that executes one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pfh.errors import UserError
from pfh.hooks.budget import Budget
from pfh.hooks.stopping import StopWhen
from pfh.progress import Progress, Silent

Start = Literal["safe", "base"]


@dataclass(frozen=True, kw_only=True)
class EvalChoice:
    """One benchmark family to run, or some of its benchmarks."""

    family: str
    benchmarks: tuple[str, ...] = ()
    """Asked for by name: a run ends with exit code 2 when one of them could not be run. Empty: the default set."""

    @classmethod
    def parse(cls, text: str) -> EvalChoice:
        """Read "safety" or "safety:xstest,harmbench"."""
        family, _, names = text.partition(":")
        return cls(family=family, benchmarks=tuple(name.strip() for name in names.split(",") if name.strip()))


@dataclass(frozen=True, kw_only=True)
class Match:
    """At which gain on which family the model is compared, and not as its training ended."""

    family: str
    gain: float | None = None
    """In percentage points; None measures the checkpoints along the way and compares the model as it ended."""
    every: int = 10
    """Updates between the checkpoints."""

    @classmethod
    def parse(cls, text: str, every: int = 10) -> Match:
        """Read "target" or "target=+5".

        Raises:
            UserError: what stands behind "=" is no number of points above 0.
        """
        family, said, gain = text.partition("=")
        number = re.fullmatch(r"\s*\+?(\d+(?:\.\d+)?)\s*(?:pp|points?)?\s*", gain)
        if said and (number is None or not float(number[1])):
            raise UserError(f"--match got {text!r}: write a family and a gain in points, such as target=+5.")
        return cls(family=family.strip(), gain=float(number[1]) if number else None, every=every)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every command that measures models is asked for."""

    evals: tuple[EvalChoice, ...] = ()
    """What to measure; empty, where stored results or logs are compared: every family that they hold."""
    domain: str = "reasoning"
    """Where training problems come from, and those of the families that put a domain's problems to the model."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Plugin key such as "methods:dpo" to its options."""
    seed: int = 0
    limit: int | None = None
    """At most this many documents a benchmark."""
    backend: str = "hf"
    dtype: str = "auto"
    revision: str | None = None
    """Of the hub ids among the models."""
    allow_pickle: bool = False
    margin: float | None = None
    """The largest change that counts as none, of scores between 0 and 1; None is 0.05."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the models' chat templates, such as enable_thinking."""
    stop_early: float | None = None
    """Where models are compared: the chance of a false stop at which a comparison may end before it has looked at all
    documents; None looks at all."""


@dataclass(frozen=True, kw_only=True)
class RunSpec(Request):
    """What to run."""

    methods: tuple[str, ...]
    """Stages, in their order: each trains from the checkpoint of the one before."""
    model: str | None = None
    """Hub id or path; None is the embedded model."""
    start: Start | None = None
    """Which start `model` is; for the embedded model, which of its two starts to take (None: SAFE)."""
    problems: int = 48
    """Training problems, shared by all methods."""
    budget: Budget | None = None
    """What every stage may spend; None lets each method end by its own options."""
    divergence_prompts: int = 16
    """Held-out prompts along whose completions the divergence from the start is measured; 0 for none."""
    contracts: tuple[str, ...] = ()
    """YAML files of what a stage, or the run, may and must not change."""
    match: Match | None = None
    """Compare at an equal gain; None compares the model as the training ended."""
    stop_when: StopWhen | None = None
    """Stop a training that certainly lost more of a family than it may."""
    accelerate: str | None = None
    """A configuration of accelerate: in how many processes each stage trains, and how; None is this one alone."""
    rehearsal: bool = True
    """Try each method on two examples before anything is measured; never done for several processes."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task of a study: a JSON file that a command executes on any machine that sees the store."""

    id: str
    """Unlike any other's of the study."""
    label: str
    """What a reader calls it."""
    file: Path
    """To be added to `LaunchSpec.command`."""
    needs: tuple[str, ...] = ()
    """Ids of the tasks that come before; every task stands behind those that it needs."""
    seconds: float = 0.0
    """How long it takes on one device, by the plan."""
    priority: float = 0.0
    """Seconds that it and all behind it take: what has more of them comes first."""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """Runs or tasks to execute."""

    runs: tuple[Any, ...] = ()
    """`pfh.hooks.launchers.RunSpec`s."""
    execute: Callable[[Any], Any] | None = None
    """Executes one of them in this process."""
    tasks: tuple[TaskSpec, ...] = ()
    """Tasks of a study, in place of runs; a launcher that knows none is not asked to launch them."""
    command: tuple[str, ...] = ()
    """Executes a task, whose file is added; with --serve it executes those whose files it reads, a line each."""
    folder: Path | None = None
    """Where the study is kept: logs of tasks go into its folder `logs`, and a file `cancel` in it ends everything."""
    workers: int = 1
    """Tasks at once, where the launcher does not know better."""
    devices: int = 0
    """Accelerators of this machine."""
    options: Any = None
    """Of the launcher, as its hook `options` has them: what `launchers` of the study's file says under its name, over
    what `~/.config/pfh/NAME.yaml` says."""
    submitted: Mapping[str, str] = field(default_factory=dict)
    """Tasks that were submitted earlier and are not done, id to job; tasks may need them."""
    progress: Progress = field(default_factory=Silent)


TaskState = Literal["done", "failed", "left out", "cancelled", "submitted"]


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What became of a task."""

    id: str
    state: TaskState
    said: str = ""
    """Why it failed, or the name of the job that it was submitted as."""


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What became of the runs, in their order, or of the tasks."""

    outcomes: tuple[Any, ...]
    """Whatever executing a run returned; of tasks `TaskOutcome`s."""
    state: Literal["finished", "submitted"] = "finished"


@dataclass(frozen=True, kw_only=True)
class SubmittedSpec:
    """Whose submitted tasks are meant."""

    folder: Path
    """Where the study is kept, as `LaunchSpec` had it."""
    options: Any = None
    """Of the launcher."""


@dataclass(frozen=True, kw_only=True)
class SubmittedTask:
    """A task that a cluster has, and that has not ended."""

    id: str
    job: str
    """As the cluster calls it."""
    state: Literal["queued", "running"]
    said: str = ""
    """Why it waits, as the cluster says it."""
