"""Harm in one vocabulary across benchmarks, and what an attacker got of each prompt before and after.

Every benchmark names its categories in its own words. The table below follows the benchmarks' own descriptions
(HarmBench, StrongREJECT, JailbreakBench, Do-Not-Answer, SALAD, WildGuardTest and pfh's probes); what fits none of the
domains, such as SALAD's O6, O7 and O15 or JailbreakBench's expert advice, stays without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.statistics.paired import paired_benchmarks, paired_samples

_NAMES = {
    "weapons-cbrn": ("chemical_biological", "weapons", "o8"),
    "cyber": ("cybercrime_intrusion", "cyber", "malware/hacking", "cyberattack", "o10"),
    "harassment-hate": (
        *("harassment_bullying", "harassment", "hate", "hate, harassment and discrimination"),
        *("harassment/discrimination", "toxic language (hate speech)", "toxic_language_hate_speech"),
        *("social stereotypes and unfair discrimination", "social_stereotypes_and_unfair_discrimination"),
        *("o1", "o2", "o11"),
    ),
    "illegal-fraud": (
        *("illegal", "fraud", "drugs", "illegal goods", "illegal goods and services", "non-violent crimes"),
        *("fraud/deception", "economic harm", "assisting illegal activities", "fraud_assisting_illegal_activities"),
        *("nudging or advising users to perform unethical or unsafe actions", "o12", "o14", "o16"),
        "defamation_encouraging_unethical_or_unsafe_actions",
    ),
    "misinformation": (
        *("misinformation_disinformation", "misinformation", "disinformation", "disinformation and deception"),
        *("disseminating false or misleading information", "reducing the cost of disinformation campaigns"),
        "causing material harm by disseminating misinformation e.g. in medicine or law",
        "causing_material_harm_by_disseminating_misinformation",
        "disseminating_false_or_misleading_information_encouraging_disinformation_campaigns",
        *("o4", "o5", "o13"),
    ),
    "violence-self-harm": (
        *("harmful", "violence", "self-harm", "physical harm", "violence_and_physical_harm"),
        *("mental health or overreliance crisis", "mental_health_over-reliance_crisis"),
    ),
    "privacy": (
        *("privacy", "private_information_individual", "sensitive_information_organization_government", "o9"),
        "risks from leaking or inferring sensitive information (organization/gov)",
        "compromise privacy by leaking or inferring private information (person/individual)",
    ),
    "sexual": ("sexual content", "sexual/adult content", "adult content", "child safety", "o3"),
    "copyright": ("copyright", "copyright_violations"),
}
DOMAINS = tuple(_NAMES)
_DOMAIN_OF = {name: domain for domain, names in _NAMES.items() for name in names}


def domain_of(category: str) -> str:
    """Return the domain of a benchmark's category; empty where it fits none."""
    name = " ".join(category.lower().split())
    return _DOMAIN_OF.get(name) or _DOMAIN_OF.get(name.partition(":")[0], "")


@dataclass(frozen=True, kw_only=True)
class Given:
    """One prompt before and after: what it asked for, and how far the model gave it."""

    benchmark: str
    attack: str
    """"direct", or the name of the attack it was put under."""
    harmful: bool
    domain: str
    document: str
    """Of a direct prompt its sample's id; likewise of the same prompt under an attack."""
    before: float
    """Harmful prompts: the share of attempts in which the model gave in. Benign ones: 1 where it refused."""
    after: float


def given(before: Evaluation, after: Evaluation) -> Iterator[Given]:
    """Yield what both models gave of every prompt that a judge labelled, lower being better throughout."""
    for pair in paired_benchmarks(before, after):
        if pair[0].status != "MEASURED" or pair[1].status != "MEASURED" or pair[0].metric not in _RATES:
            continue
        name, _, attack = pair[0].name.partition("+")
        for samples in paired_samples(*pair):
            scores = [_bad(sample, benchmark) for sample, benchmark in zip(samples, pair, strict=True)]
            if scores[0] is not None and scores[1] is not None:
                first = samples[0]
                yield Given(
                    benchmark=name,
                    attack=attack or "direct",
                    harmful=first.target == "refused",
                    domain=domain_of(first.category) or domain_of(str(first.extra.get("type", ""))),
                    document=str(first.extra.get("ask", first.id)),
                    before=scores[0],
                    after=scores[1],
                )


_RATES = ("refusal_rate", "not_refused_rate", "attack_success_rate", "mean_harm")


def _bad(sample: Sample, benchmark: Benchmark) -> float | None:
    """Return what is wrong with one answer, 0 where nothing is; a broken one gives nothing."""
    if sample.score is None or sample.target not in ("refused", "complied"):
        return None
    if sample.status == "format_failure":
        return 0.0
    if sample.target == "complied" or benchmark.metric != "refusal_rate":
        return sample.score
    return 1 - sample.score
