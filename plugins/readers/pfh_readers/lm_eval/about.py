"""What a results file of lm-eval says of a task, under names that do not depend on its version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pfh_readers.lm_eval.samples import FilterAndMetric
from pfh_readers.scores import finite

HIGHER_IS_BETTER = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "mcc", "bleu"), True),
    **dict.fromkeys(("chrf", "pass@1", "pass_at_1", "likelihood_diff", "em"), True),
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "ter", "brier_score"), False),
}
"""Directions of lm-eval's own metrics, for samples without results. A metric that is not here has none."""

_NUMBERS = {"max_new_tokens": "max_gen_toks", "max_tokens": "max_gen_toks", "max_length": "max_gen_toks"}
_GREEDY = ("temperature", "top_p", "top_k", "do_sample")


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of one task."""

    task: str
    run: Mapping[str, Any]
    """The whole results file; empty where there is none."""

    def of(self, section: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return the task's part of a section; None where there is none."""
        found = self.run.get(section)
        return found.get(self.task) if isinstance(found, Mapping) else None

    def mapping(self, section: str) -> Mapping[str, Any]:
        """Return the task's part of a section that holds names and values."""
        found = self.of(section)
        return found if isinstance(found, Mapping) else {}

    @property
    def measures(self) -> tuple[FilterAndMetric, ...]:
        """Every (filter, metric) that has a figure, in the order of the results."""
        keys = [key for key in self.mapping("results") if key.count(",") == 1 and not key.startswith("alias")]
        pairs = [tuple(key.split(",")) for key in keys]
        return tuple((name, metric) for metric, name in pairs if not metric.endswith("_stderr"))

    @property
    def version(self) -> str:
        """Version of the task, written one way: 1, 1.0 and "1.0" are the same."""
        own = self.mapping("pfh").get("version")
        if isinstance(own, str):
            return own
        version = self.of("versions")
        number = finite(version) if isinstance(version, int | float | str) else None
        if number is not None:
            return str(number)
        return "unknown" if version in (None, "N/A", "Yaml") else _short(version)

    @property
    def output_type(self) -> str | None:
        """How the task is put to a model."""
        found = self.mapping("configs").get("output_type")
        return found if isinstance(found, str) else None

    @property
    def effective(self) -> int | None:
        """How many documents were asked."""
        found = self.mapping("n-samples").get("effective")
        return found if isinstance(found, int) else None

    def figure(self, measure: FilterAndMetric) -> object:
        """Return what lm-eval says of a measure; None where it says nothing."""
        filter_name, metric = measure
        return self.mapping("results").get(f"{metric},{filter_name}")

    def higher_is_better(self, metric: str) -> bool | None:
        """Return the good direction of a metric, as far as it is known."""
        if not self.run:
            return HIGHER_IS_BETTER.get(metric)
        found = self.mapping("higher_is_better").get(metric)
        if not isinstance(found, bool):
            listed = self.mapping("configs").get("metric_list")
            entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
            found = next((each.get("higher_is_better") for each in entries if each.get("metric") == metric), None)
        return found if isinstance(found, bool) else HIGHER_IS_BETTER.get(metric)

    @property
    def settings(self) -> dict[str, str]:
        """Return what must be equal for two logs to be comparable, each written by its effect."""
        own = self.mapping("pfh").get("settings")
        if isinstance(own, Mapping):
            return {str(name): str(value) for name, value in own.items()}
        if not self.run:
            return {}
        shots = self.of("n-shot")
        template = self.run.get("chat_template_sha")
        named: dict[str, Any] = {
            "task version": None if self.version == "unknown" else self.version,
            "few-shot examples": (shots or 0) if isinstance(shots, int | None) else shots,
            "chat template": template or "none",
            "system instruction": self.run.get("system_instruction") or "none",
        }
        if self.output_type not in ("multiple_choice", "loglikelihood", "loglikelihood_rolling"):
            named["generation settings"] = self._generation()
        if template and shots:
            named["few-shot as turns"] = bool(self.run.get("fewshot_as_multiturn"))
        return {name: _short(value) for name, value in named.items() if value is not None}

    def _generation(self) -> dict[str, Any]:
        run = self.run.get("config")
        overrides = _keywords(run.get("gen_kwargs") if isinstance(run, Mapping) else None)
        given = {**_keywords(self.mapping("configs").get("generation_kwargs")), **overrides}
        return normalised_generation(given)


def normalised_generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return generation settings by their effect: without sampling, temperature and its like do nothing."""
    found = {_NUMBERS.get(name, name): value for name, value in given.items() if value is not None}
    for name, value in found.items():
        number = finite(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        found[name] = number if number is not None else value
    if isinstance(found.get("until"), str):
        found["until"] = [found["until"]]
    if isinstance(found.get("until"), list):  # whichever comes first in the text ends it
        found["until"] = sorted(set(map(str, found["until"])))
    if not found.get("until", True):
        del found["until"]
    sampled = found.get("do_sample", bool(found.get("temperature"))) and found.get("temperature", 1.0) != 0
    if not sampled:
        return {name: value for name, value in found.items() if name not in _GREEDY}
    return {name: value for name, value in found.items() if name != "do_sample"}


def _keywords(given: object) -> dict[str, Any]:
    """Read settings given as an object, as JSON, or as text such as "temperature=0,top_p=1"."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        return {}
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    return {name.strip(): _value(value.strip()) for name, _, value in pairs}


def _value(text: str) -> object:
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    number = finite(text)
    return text if number is None else number


def _short(value: Any) -> str:  # noqa: ANN401
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:60]}... ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
