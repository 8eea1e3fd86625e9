"""The benchmarks of the family: what they ask, what a score means, and where their prompts come from.

Every figure rests on one label, refused or not refused, so each metric is named for what that label can show:

- `refusal_rate` of harmful prompts (probes, XSTest unsafe, Do-Not-Answer) is better high, of benign prompts better low.
- HarmBench lets a classifier decide whether the harmful behaviour is really there (Mazeika et al. 2024, arXiv
  2402.04249). That is an `attack_success_rate`, and takes a judge of harm. Under a judge of refusals the figure is a
  `not_refused_rate`: vague and worthless answers count, so it is an upper bound, and compares only with itself.
- Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387) reports a rate of harmless answers, which also counts answers that
  rebut or warn without refusing. A refusal judge cannot see those, so the metric is called `refusal_rate`, which it is:
  a lower bound on the harmless rate. The paper's own figure is `do-not-answer-harmless` (`own_answers`).
- StrongREJECT (Souly et al. 2024, arXiv 2402.10260) grades answers: under a judge of harm its figure is `mean_harm`.
- WildGuardTest (Han et al. 2024, arXiv 2406.18495), SALAD (Li et al. 2024, arXiv 2402.05044) and JailbreakBench (Chao
  et al. 2024, arXiv 2404.01318) count harm as HarmBench does, by judges of their own: `wildguard`, `md-judge`,
  `jailbreakbench`. "salad-lite" is what people labelled of SALAD's base questions, and not SALAD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pfh.errors import UserError, did_you_mean
from pfh.hooks.datasets import DataSource

from pfh_evals.safety.documents import (
    Loaded,
    do_not_answer,
    harmbench_contextual,
    harmbench_standard,
    jailbreakbench,
    probes,
    salad,
    salad_attack,
    strongreject,
    wildguardtest,
    xstest,
)

Metric = Literal["refusal_rate", "not_refused_rate"]


@dataclass(frozen=True, kw_only=True)
class SafetyBenchmark:
    """One benchmark of the family."""

    name: str
    group: str
    """A name that stands for several benchmarks."""
    metric: Metric
    harmful: bool
    """The prompts should be refused; otherwise they should be answered."""
    load: Callable[[DataSource], Loaded]
    version: str = "1"
    by_default: bool = True
    graded: bool = False
    """A judge of harm says how much of it there is, and not only whether."""

    @property
    def higher_is_better(self) -> bool:
        """Say whether a high figure is the safe or helpful one."""
        return self.harmful and self.metric == "refusal_rate"


def _more(name: str, group: str, load: Callable[[DataSource], Loaded], *, harmful: bool = True) -> SafetyBenchmark:
    """Return a benchmark that is measured where it is asked for."""
    metric: Metric = "not_refused_rate" if harmful else "refusal_rate"
    return SafetyBenchmark(name=name, group=group, metric=metric, harmful=harmful, load=load, by_default=False)


BENCHMARKS = (
    SafetyBenchmark(name="probes-harmful", group="probes", metric="refusal_rate", harmful=True, load=probes("harmful")),
    SafetyBenchmark(
        name="probes-benign", group="probes", metric="refusal_rate", harmful=False, load=probes("benign", "look-alike")
    ),
    SafetyBenchmark(name="xstest-unsafe", group="xstest", metric="refusal_rate", harmful=True, load=xstest("unsafe")),
    SafetyBenchmark(name="xstest-safe", group="xstest", metric="refusal_rate", harmful=False, load=xstest("safe")),
    SafetyBenchmark(
        name="harmbench-standard",
        group="harmbench",
        version="2",
        metric="not_refused_rate",
        harmful=True,
        load=harmbench_standard,
    ),
    SafetyBenchmark(
        name="harmbench-contextual",
        group="harmbench",
        version="2",
        metric="not_refused_rate",
        harmful=True,
        load=harmbench_contextual,
        by_default=False,  # long contexts make it slow without an accelerator
    ),
    SafetyBenchmark(
        name="do-not-answer", group="do-not-answer", metric="refusal_rate", harmful=True, load=do_not_answer
    ),
    SafetyBenchmark(
        name="strongreject",
        group="strongreject",
        metric="not_refused_rate",
        harmful=True,
        load=strongreject,
        by_default=False,
        graded=True,
    ),
    _more("jailbreakbench-harmful", "jailbreakbench", jailbreakbench("harmful")),
    _more("jailbreakbench-benign", "jailbreakbench", jailbreakbench("benign"), harmful=False),
    _more("wildguardtest-vanilla", "wildguardtest", wildguardtest("vanilla")),
    _more("wildguardtest-adversarial", "wildguardtest", wildguardtest("adversarial")),
    _more("wildguardtest-benign", "wildguardtest", wildguardtest("benign"), harmful=False),
    _more("salad", "salad", salad()),
    _more("salad-attack", "salad", salad_attack),
    _more("salad-lite", "salad-lite", salad(lite=True)),
)
PAIRS = (
    ("probes", "probes-harmful", "probes-benign"),
    ("XSTest", "xstest-unsafe", "xstest-safe"),
    ("JailbreakBench", "jailbreakbench-harmful", "jailbreakbench-benign"),
)
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
