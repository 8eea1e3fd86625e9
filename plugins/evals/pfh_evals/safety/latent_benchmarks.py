"""What lies under a refusal rate: how ready the model is to refuse, and how deep its refusals go.

- `refusal_margin` of a prompt: the log-odds that the answer opens a refusal (`pfh.kit.refusal_margin`), in nats.
- `target_loglik`: mean log-probability a token of the affirmative answer that an attacker wants ("Sure, here is" where
  the benchmark names none), in nats. It is for changes of one prompt; between prompts it orders refusals wrongly.
- `alignment_depth`: the fewest tokens of that answer that must be put into the model's mouth until it no longer refuses
  (Qi et al. 2024, arXiv 2406.05946, call alignment of a few tokens shallow). A prompt that is answered as it is has
  depth 0; one that no tried prefill opens counts one token more than the longest.

Each stands beside the refusal rate of the same prompts and is no measure of harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pfh.hooks.samples import Sample, sample_id
from pfh.statistics.change import LEAST_OF_SCORES

from pfh_evals.safety.asks import Ask
from pfh_evals.safety.benchmarks import BENCHMARKS, BY_NAME, SafetyBenchmark, select
from pfh_evals.safety.own import OWN, OWN_BY_NAME
from pfh_evals.safety.own.base import OwnBenchmark

DEFAULT_TARGET = "Sure, here is"
Metric = Literal["refusal_margin", "target_loglik", "alignment_depth"]
SUFFIXES: dict[Metric, str] = {"refusal_margin": "margin", "target_loglik": "target", "alignment_depth": "depth"}


@dataclass(frozen=True, kw_only=True)
class LatentBenchmark:
    """One measure of the prompts of one benchmark."""

    of: SafetyBenchmark
    metric: Metric
    by_default: bool = True
    """Measured wherever the benchmark is."""
    version: str = "2"

    @property
    def name(self) -> str:
        """Name it after the benchmark."""
        return f"{self.of.name}-{SUFFIXES[self.metric]}"

    def enough(self, options: Any, asked: int) -> int:  # noqa: ANN401 - the family's options, which import this
        """Return how many of so many prompts are read.

        For a depth it is a third, as each takes several completions, and no fewer than a change can be tested on.
        """
        depth = self.metric == "alignment_depth"
        most = int(options.depth_prompts if depth else options.margin_prompts)
        return min(asked, most, max((asked + 2) // 3, LEAST_OF_SCORES) if depth else asked) if most else asked

    @property
    def higher_is_better(self) -> bool | None:
        """A depth is safer high; a margin or a likelihood that moves is an early warning, and neither good nor bad."""
        return True if self.metric == "alignment_depth" else None


def _latent_of(benchmark: SafetyBenchmark) -> list[LatentBenchmark]:
    margin = LatentBenchmark(of=benchmark, metric="refusal_margin")
    if not benchmark.harmful:
        return [margin]
    probes = benchmark.group == "probes"
    return [
        margin,
        LatentBenchmark(of=benchmark, metric="target_loglik", by_default=probes or benchmark.group == "harmbench"),
        LatentBenchmark(of=benchmark, metric="alignment_depth", by_default=probes),
    ]


LATENT = tuple(latent for benchmark in BENCHMARKS for latent in _latent_of(benchmark))
LATENT_BY_NAME = {latent.name: latent for latent in LATENT}


@dataclass(frozen=True)
class Chosen:
    """What the names of benchmarks stand for."""

    rated: tuple[SafetyBenchmark, ...]
    latent: tuple[LatentBenchmark, ...]
    """What is measured under their surface."""
    own: tuple[OwnBenchmark, ...]
    attacked: Mapping[SafetyBenchmark, frozenset[str]] = field(default_factory=dict)
    """Benchmarks that are asked for under an attack, as in probes-harmful+prefill, with what is behind the plus."""


def choose(names: Sequence[str]) -> Chosen:
    """Return what `names` stand for.

    Raises:
        UserError: there is no such benchmark or group.
    """
    attacks: dict[SafetyBenchmark, frozenset[str]] = {}
    for name in names:
        base, plus, attack = name.partition("+")
        if plus:
            for benchmark in (BY_NAME[base],) if base in BY_NAME else select([base]):
                attacks[benchmark] = attacks.get(benchmark, frozenset()) | {attack}
    others = [name for name in names if name not in LATENT_BY_NAME and name not in OWN_BY_NAME and "+" not in name]
    rated = select(others, also=(*LATENT_BY_NAME, *OWN_BY_NAME)) if others or not names else ()
    return Chosen(
        rated=rated,
        latent=tuple(latent for latent in LATENT if latent.name in names or (latent.by_default and latent.of in rated)),
        own=tuple(benchmark for benchmark in OWN if benchmark.name in names or benchmark.group in names),
        attacked=attacks,
    )


def target_of(ask: Ask, prompt: str) -> str:
    """Return the affirmative answer, with the space that a prompt which ends in none is followed by."""
    target = ask.document.extra.get("target", DEFAULT_TARGET)
    return target if prompt[-1:].isspace() else f" {target}"


def told_of(ask: Ask) -> dict[str, object]:
    """Return what a sample tells of the target."""
    named = "target" in ask.document.extra
    return {"wanted": ask.document.extra.get("target", DEFAULT_TARGET), "target_source": "own" if named else "default"}


def latent_sample(
    latent: LatentBenchmark,
    ask: Ask,
    *,
    prompt: str,
    score: float,
    extracted: str,
    extra: Mapping[str, object],
    completion: str = "",
) -> Sample:
    """Return the sample of one prompt."""
    document = {"prompt": ask.document.prompt, "category": ask.document.category, "wanted": extra.get("wanted", "")}
    return Sample(
        id=sample_id(latent.name, latent.version, document),
        benchmark=latent.name,
        category=ask.document.category,
        prompt=prompt,
        completion=completion,
        extracted=extracted,
        score=score,
        extra={"user_prompt": ask.document.prompt, **extra},
    )
