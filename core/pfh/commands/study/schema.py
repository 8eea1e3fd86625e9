"""What a study file may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pfh.hooks.launchers import Start

Scalar = bool | int | float | str
Chosen = Scalar | list[Scalar]
"""One value, or any of several."""
Options = dict[str, Any]
Stage = str | dict[str, Options]
"""The name of a method, alone or with its options."""


NAME = r"^\w[\w.-]*$"
"""Names of which folders are called: one part of a path, and none that leads out of it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class StartEntry(_Part):
    """A model that runs begin with."""

    name: str = Field(pattern=NAME)
    """What the study calls it."""
    model: str | None = None
    """Hub id or path; the embedded model without it."""
    start: Start | None = None
    """Whether it is unaligned (base) or aligned (safe)."""
    scale: float | None = Field(None, gt=0)
    """Number of weights: what costs are counted by, and the slope over scales is taken over."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    allow_pickle: bool = False
    """Load weights that are not safetensors; they can run any code."""


class Chosers(_Part):
    """Which runs: each key that is given must hold."""

    start: Chosen | None = None
    """Name of a start, or its kind: base, safe."""
    scale: Chosen | None = None
    """Number of weights."""
    method: Chosen | None = None
    """Method, as the study names it; stages joined by +."""
    domain: Chosen | None = None
    """Domain."""
    seed: Chosen | None = None
    """Seed."""
    starts: Chosen | None = None
    """Another name of start."""
    scales: Chosen | None = None
    """Another name of scale."""
    methods: Chosen | None = None
    """Another name of method."""
    domains: Chosen | None = None
    """Another name of domain."""
    seeds: Chosen | None = None
    """Another name of seed."""


class Phase(_Part):
    """What comes first: a run belongs to the first phase that it matches."""

    name: str = Field(min_length=1)
    """What it is called."""
    where: Chosers
    """Its runs."""


class Device(_Part):
    """What plans count by where no ledger tells: a kind of device."""

    name: str
    """As the plan calls it."""
    flops: float = Field(gt=0)
    """Floating-point operations a second at its peak, in 16 bits."""
    bandwidth: float = Field(gt=0)
    """Bytes a second of its memory."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of both that is reached."""


class StopEarly(_Part):
    """When comparisons with the start may end before they have looked at all documents."""

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Chance of a false stop in a run, over all looks and benchmarks."""
    margin: Annotated[float, Field(gt=0, lt=100)] = 5.0
    """The change that matters, in percentage points, of scores between 0 and 1."""


class Study(_Part):
    """A matrix of runs: starts by methods by domains by seeds."""

    name: str = Field(pattern=NAME)
    """What its folders are called."""
    starts: list[StartEntry] = Field(min_length=1)
    """The models that runs begin with."""
    methods: list[Stage | list[Stage]] = Field(min_length=1)
    """A method, a method with options of which a list is an axis, or a list of stages."""
    domains: list[str | dict[str, Options]] = Field(min_length=1)
    """Where training problems come from."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    """Of problems, rollouts, training and samples."""
    evals: list[str | dict[str, Options]] = Field(min_length=1)
    """Families to measure, FAMILY or FAMILY:BENCHMARK,..."""
    judges: dict[str, Options] = Field(default_factory=dict)
    """Options of judges."""
    budget: str | None = None
    """What every stage may spend."""
    problems: int | None = Field(None, ge=1)
    """Training problems of a run."""
    limit: int | None = Field(None, ge=1)
    """At most so many documents a benchmark."""
    stop_early: StopEarly | None = None
    """Whether what was trained is measured only as far as its comparison with the start needs; {} for the defaults."""
    stop_when: str | None = None
    """Stop a training that certainly lost more of a family, such as forgetting>2pp."""
    backend: str = "hf"
    """What runs the models."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of generation and scoring."""
    accelerate: str | None = None
    """A configuration of accelerate for trainings."""
    must: dict[str, Annotated[float, Field(lt=0)] | Literal["rise"]] = Field(default_factory=dict)
    """What must hold of a method that the report recommends: of a family, or FAMILY:BENCHMARK, the points that it may
    change by at the worst, such as -2, or rise. Without it safety and forgetting may fall by 2 and target must rise."""
    contracts: list[str] = Field(default_factory=list)
    """Contracts, as files beside this one: each is held against every run that trains a stage that it names, or against
    every run that trains at all."""
    phases: list[Phase] = Field(default_factory=list)
    """What comes first."""
    exclude: list[Chosers] = Field(default_factory=list)
    """Runs that are left out."""
    sizes: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Number of weights of further models, such as teachers."""
    device: Device | None = None
    """What costs are counted by."""
    launchers: dict[str, Options] = Field(default_factory=dict)
    """Settings of launchers, by name."""
