"""The benchmarks of the family: what they ask, what a score means, and where their prompts come from.

Every figure rests on one label, refused or not refused, so each metric is named for what that label can show:

- `refusal_rate` of harmful prompts (probes, XSTest unsafe, Do-Not-Answer) is better high, of benign prompts better low.
- HarmBench lets a classifier decide whether the harmful behaviour is really there (Mazeika et al. 2024, arXiv
  2402.04249). That is an `attack_success_rate`, and takes a judge of harm. Under a judge of refusals the figure is a
  `not_refused_rate`: vague and worthless answers count, so it is an upper bound, and compares only with itself.
- Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387) reports a rate of harmless answers, which also counts answers that
  rebut or warn without refusing. A refusal judge cannot see those, so the metric is called `refusal_rate`, which it is:
  a lower bound on the harmless rate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pfh.errors import DataUnavailableError, UserError, did_you_mean
from pfh.hooks.datasets import Dataset, DataSource

PROBES = Path(__file__).with_name("probes.json")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One prompt."""

    prompt: str
    """What the user says, context included."""
    category: str
    extra: Mapping[str, str] = field(default_factory=dict)
    """More that the benchmark says of it."""


Loaded = tuple[tuple[Document, ...], str]
"""Documents, and where they come from."""


def _nothing(data: DataSource) -> Loaded:
    return (), ""


@dataclass(frozen=True, kw_only=True)
class SafetyBenchmark:
    """One benchmark of the family."""

    name: str
    group: str
    """A name that stands for several benchmarks."""
    metric: Literal["refusal_rate", "not_refused_rate"]
    harmful: bool
    """The prompts should be refused; otherwise they should be answered."""
    load: Callable[[DataSource], Loaded] = _nothing
    version: str = "1"
    by_default: bool = True
    insufficient: str = ""
    """Why the benchmark cannot be scored with any judge there is."""

    @property
    def higher_is_better(self) -> bool:
        """Say whether a high figure is the safe or helpful one."""
        return self.harmful and self.metric == "refusal_rate"


def _probes(*kinds: str) -> Callable[[DataSource], Loaded]:
    def load(data: DataSource) -> Loaded:
        rows = [row for row in json.loads(PROBES.read_text(encoding="utf-8")) if row["kind"] in kinds]
        return tuple(
            Document(
                prompt=row["prompt"],
                category=row["category"] if row["kind"] == "harmful" else row["kind"],
                extra={"probe": row["id"]},
            )
            for row in rows
        ), "built in"

    return load


def _xstest(label: str) -> Callable[[DataSource], Loaded]:
    def load(data: DataSource) -> Loaded:
        dataset = _rows(data, "walledai/XSTest", "default", "test", ("prompt", "type", "label"))
        return tuple(
            Document(prompt=row["prompt"], category=row["type"]) for row in dataset.rows if row["label"] == label
        ), dataset.origin

    return load


def _harmbench_standard(data: DataSource) -> Loaded:
    dataset = _rows(data, "walledai/HarmBench", "standard", "train", ("prompt", "category"))
    return tuple(
        Document(prompt=row["prompt"], category=row["category"], extra={"functional_category": "standard"})
        for row in dataset.rows
    ), dataset.origin


def _harmbench_contextual(data: DataSource) -> Loaded:
    dataset = _rows(data, "walledai/HarmBench", "contextual", "train", ("prompt", "context", "category"))
    return tuple(
        Document(
            prompt=f"{row['context']}\n\n---\n\n{row['prompt']}",  # as HarmBench's direct requests put it
            category=row["category"],
            extra={"functional_category": "contextual", "behavior": row["prompt"], "context": row["context"]},
        )
        for row in dataset.rows
    ), dataset.origin


def _do_not_answer(data: DataSource) -> Loaded:
    dataset = _rows(data, "LibrAI/do-not-answer", "default", "train", ("question", "risk_area"))
    return tuple(Document(prompt=row["question"], category=row["risk_area"]) for row in dataset.rows), dataset.origin


def _rows(data: DataSource, hub_id: str, config: str, split: str, fields: tuple[str, ...]) -> Dataset:
    dataset = data.load(hub_id, config, split)
    for number, row in enumerate(dataset.rows, start=1):
        missing = [name for name in fields if not isinstance(row.get(name), str)]
        if missing:
            raise DataUnavailableError(
                f"row {number} of {dataset.origin} has no text in {', '.join(missing)}; its fields are "
                f"{', '.join(sorted(row))}. Get the dataset in the layout of the hub."
            )
    return dataset


BENCHMARKS = (
    SafetyBenchmark(
        name="probes-harmful", group="probes", metric="refusal_rate", harmful=True, load=_probes("harmful")
    ),
    SafetyBenchmark(
        name="probes-benign", group="probes", metric="refusal_rate", harmful=False, load=_probes("benign", "look-alike")
    ),
    SafetyBenchmark(name="xstest-unsafe", group="xstest", metric="refusal_rate", harmful=True, load=_xstest("unsafe")),
    SafetyBenchmark(name="xstest-safe", group="xstest", metric="refusal_rate", harmful=False, load=_xstest("safe")),
    SafetyBenchmark(
        name="harmbench-standard",
        group="harmbench",
        version="2",
        metric="not_refused_rate",
        harmful=True,
        load=_harmbench_standard,
    ),
    SafetyBenchmark(
        name="harmbench-contextual",
        group="harmbench",
        version="2",
        metric="not_refused_rate",
        harmful=True,
        load=_harmbench_contextual,
        by_default=False,  # long contexts make it slow without an accelerator
    ),
    SafetyBenchmark(
        name="harmbench-copyright",
        group="harmbench",
        metric="not_refused_rate",
        harmful=True,
        by_default=False,
        insufficient="whether a completion reproduces a protected text takes a judge that compares it with that text; "
        "there is none, and a refusal judge cannot stand in for it",
    ),
    SafetyBenchmark(
        name="do-not-answer", group="do-not-answer", metric="refusal_rate", harmful=True, load=_do_not_answer
    ),
)
PAIRS = (("probes", "probes-harmful", "probes-benign"), ("XSTest", "xstest-unsafe", "xstest-safe"))
"""Benchmarks of one making, whose harmful and benign prompts look alike."""
BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}


def select(names: Sequence[str], also: Sequence[str] = ()) -> tuple[SafetyBenchmark, ...]:
    """Return the benchmarks that `names` (of benchmarks or groups) stand for; the default set where there are none.

    Args:
        names: what was asked for.
        also: other names of the family, for whoever misspelt one.

    Raises:
        UserError: there is no such benchmark or group.
    """
    if not names:
        return tuple(benchmark for benchmark in BENCHMARKS if benchmark.by_default)
    known = list(dict.fromkeys(name for benchmark in BENCHMARKS for name in (benchmark.group, benchmark.name)))
    for name in names:
        if name not in known:
            raise UserError(
                f"the family safety has no benchmark {name!r}.{did_you_mean(name, [*known, *also])} It has "
                f"{', '.join(known)}."
            )
    return tuple(benchmark for benchmark in BENCHMARKS if benchmark.name in names or benchmark.group in names)
