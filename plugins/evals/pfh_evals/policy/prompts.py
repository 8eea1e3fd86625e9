"""What the family asks: its own instructions or any dataset's, and held-out problems of the run's domain."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Message
from pfh.hooks.samples import sample_id
from pfh.kit.subset import spread

if TYPE_CHECKING:
    from pfh.hooks.domains import Domain
    from pfh.hooks.evals import EvaluationSpec, PlanSpec

BUILT_IN = Path(__file__).with_name("instructions.json")
_SOURCE = re.compile(r"(?P<id>[^/:\s]+/[^/:\s]+)(/(?P<config>[^/:\s]+)/(?P<split>[^/:\s]+))?:(?P<field>[^:\s]+)")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt, to be answered several times."""

    text: str
    messages: tuple[Message, ...]
    category: str
    form: str = ""
    """The answer format that it asks for: "json", "boxed", "tags" or "code fence"; empty where it asks for none."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of a JSON object that it asks for: key to "str", "int", "bool" or "list[str]"."""

    problem: str = ""
    """Id of the domain's problem that it is; empty for any other prompt."""

    @property
    def id(self) -> str:
        """A hash of the prompt's content, the same for every measure and model."""
        return sample_id("policy", "1", {"messages": self.messages, "category": self.category})


def gather(spec: EvaluationSpec | PlanSpec) -> tuple[tuple[Prompt, ...], str]:
    """Return the prompts, and where they come from.

    Raises:
        UserError: the source of the instructions is malformed, or there is no such domain.
        DataUnavailableError: the instructions cannot be had. A domain's problems that cannot be had are left out, and
            the origin says so.
    """
    asked, origin = _instructions(spec)
    problems, domain_origin = _problems(spec)
    by_id = {prompt.id: prompt for prompt in (*asked, *problems)}
    kept = spread({key: prompt.category for key, prompt in by_id.items()}, spec.limit)
    return tuple(by_id[key] for key in kept), "; ".join(filter(None, (origin, domain_origin)))


def _instructions(spec: EvaluationSpec | PlanSpec) -> tuple[list[Prompt], str]:
    source = spec.options.instructions
    if not source:
        return [_prompt(row["prompt"], **_rest(row)) for row in json.loads(BUILT_IN.read_text())], "built in"
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise UserError(f"{source!r} names no dataset: write organisation/name/config/split:FIELD.")
    dataset = spec.data.load(found["id"], found["config"] or "default", found["split"] or "train")
    name = found["field"]
    for number, row in enumerate(dataset.rows, start=1):
        if row.get(name) is None:
            raise DataUnavailableError(
                f"row {number} of {dataset.origin} has no {name}; its fields are {', '.join(sorted(row))}"
            )
    prompts = {str(row[name]): None for row in dataset.rows}
    by_id = {prompt.id: prompt for prompt in (_prompt(text, category=found["id"]) for text in prompts)}
    kept = spread(dict.fromkeys(by_id, ""), spec.options.dataset_prompts)
    return [by_id[key] for key in kept], dataset.origin


def _problems(spec: EvaluationSpec | PlanSpec) -> tuple[list[Prompt], str]:
    domain: Domain | None = spec.domain
    count = spec.options.domain_prompts
    if domain is None or not domain.holdouts or not count:
        return [], ""
    try:
        problems = domain.holdout(domain.holdouts[0])
    except DataUnavailableError as error:
        spec.progress.say(f"policy leaves out the problems of the domain {domain.name}: {error}")
        return [], f"without the domain {domain.name}, whose problems cannot be had"
    category = f"domain {domain.name}"
    kept = [problems[place * len(problems) // count] for place in range(count)] if count < len(problems) else problems
    prompts = [
        Prompt(text=each.messages[-1]["content"], messages=each.messages, category=category, problem=each.id)
        for each in kept
    ]
    return prompts, f"held-out set {domain.holdouts[0]} of the domain {domain.name}"


def _prompt(text: str, **fields: Any) -> Prompt:  # noqa: ANN401 - fields of Prompt
    return Prompt(text=text, messages=({"role": "user", "content": text},), **fields)


def _rest(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "prompt"}
