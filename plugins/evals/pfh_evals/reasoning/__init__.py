"""Does the answer still follow from the reasoning? Chains that are given, and chains of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pfh import hookimpl
from pfh.errors import NotNumbersError, UserError, did_you_mean
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.meanings import Draws, Names, Wants
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Table
from pfh.kit.subset import spread
from pydantic import BaseModel, ConfigDict, Field

from pfh_evals.plans import Planned, Scores, plan_table
from pfh_evals.reasoning import given, ladder, neighbours, own, readers, variations
from pfh_evals.reasoning.analysis import analyze_reasoning
from pfh_evals.reasoning.problems import MOST, VERSION, Problem, problems

GIVEN = ("early", "follow", "disturb")
METRICS = {
    "early": "area_over_curve",
    "follow": "follows",
    "disturb": "unchanged",
    "own-accuracy": "accuracy",
    "chain-written": "chain_written",
    "own-early": "area_over_curve",
    "reasoning-format": "form",
    "ladder-form": "well_formed",
    "ladder-feasible": "feasible",
    "ladder-worth": "share_of_best",
    "ladder-ll": "feasible_likelier",
    "names": "share_right",
    "numbers": "share_right",
    "neighbours": "accuracy",
    "informative": "nats",
    "crossed": "area_over_curve",
}
"""What a sample's score is, by benchmark: all that the family has."""
UNASKED = ("ladder-ll", *variations.NAMES, neighbours.NAME, *readers.NAMES)
"""What is measured only where it is named."""
RIGHT = ("own-accuracy", *ladder.NAMES, ladder.LIKELIHOOD, *variations.NAMES, neighbours.NAME)
"""Where more is better."""
COMPARATIVE = ("reasoning-format", *readers.NAMES)
_PLAN_NOTE = (
    "Requests of given chains share their prefixes. Own chains are written once; own-early then scores a prefix a "
    "step, uncounted here."
)
_GROUPS = {
    "given": GIVEN,
    "own": own.NAMES,
    "ladder": ladder.NAMES,
    "variations": variations.NAMES,
    "readers": readers.NAMES,
}
_CHAINS = (*own.NAMES, *readers.NAMES)
"""What reads the model's own chains."""
VERSIONS = dict.fromkeys((*GIVEN, *ladder.NAMES), "2") | dict.fromkeys(_CHAINS, "3")
"""Of what is no longer read as it first was."""


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: ClassVar[Wants] = Wants.REFERENCE
    """Whether a model answers anything rightly is judged of the start alone."""

    max_new_tokens: int = Field(96, ge=1, description="length limit of a model's own chain")
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        0.0, ge=0, description="softmax temperature; 0 is greedy decoding"
    )
    sums: Literal["usual", "small"] = Field(
        "usual", description="sums of two or three steps, or of two steps with numbers below ten, for small models"
    )
    judge: Annotated[str, Names.JUDGE] = Field("rule", description="judge that says which replies refuse")
    generators: str = Field(
        "chain_sum,products,gcd",
        min_length=1,
        description="reasoning-gym's generators, with commas, that `neighbours` asks a step harder and easier",
    )


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Score all prefixes of the given chains, let the model write its own once, and score their prefixes.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or the judge cannot be opened.
    """
    chosen, items = _select(spec.benchmarks), _items(spec)
    judge = spec.judge(spec.options.judge) if set(chosen) & {*_CHAINS, *ladder.NAMES} else None
    written: list[own.Written] = []
    broken = ""
    steps: dict[str, tuple[Sample, ...]] = {}
    if judge is not None:
        try:
            written = own.write(items, judge, spec) if set(chosen) & set(_CHAINS) else []
            steps = ladder.measure(judge, spec) if set(chosen) & set(ladder.NAMES) else {}
        except NotNumbersError as error:
            broken = str(error)
    return Evaluation(
        family="reasoning", benchmarks=tuple(_measured(name, items, written, steps, broken, spec) for name in chosen)
    )


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many problems `evaluate` would put to a model, and at most how many requests are known beforehand.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    items = _items(spec)
    steps = sum(len(item.steps) + 1 for item in items)
    requests = {"early": steps * MOST, "follow": 3 * len(items) * MOST, "disturb": 6 * len(items) * MOST}
    rows: list[Planned] = []
    first = True
    for name in _select(spec.benchmarks):
        if (further := _planned_further(name, spec, {row.benchmark for row in rows})) is not None:
            rows.append(further)
            continue
        counted = requests.get(name, len(items) if first else 0)
        first = first and name in GIVEN
        rows.append(
            Planned(
                benchmark=name,
                documents=len(items) * {"follow": 2, "disturb": len(given.KINDS)}.get(name, 1),
                requests=counted,
                scores="of all together" if name in COMPARATIVE else "other" if "early" in name else "0 or 1",
                source="built in",
            )
        )
    return plan_table("reasoning", rows, _PLAN_NOTE)


def _planned_further(name: str, spec: PlanSpec, before: set[str]) -> Planned | None:
    """Return the plan of a benchmark whose problems are others than the sums."""
    scores: Scores = "0 or 1" if name in ("ladder-form", "ladder-feasible", neighbours.NAME) else "other"
    if name in ladder.NAMES:
        count = len(ladder.items(spec.limit))
        asked = 0 if before & set(ladder.NAMES) else count
    elif name == ladder.LIKELIHOOD:
        compared = ladder.compared(spec.limit)
        count, asked = len(compared), sum(len(each.answers) for each in compared)
    elif name in variations.NAMES:
        count = min(len(variations.templates()), spec.limit or variations.TEMPLATES)
        asked = count * variations.RENDERINGS
    elif name == neighbours.NAME:
        count = asked = len(neighbours.limited(spec))
    else:
        return None
    source = "reasoning-gym" if name in (neighbours.NAME, *variations.NAMES) else "built in"
    return Planned(benchmark=name, documents=count, requests=asked, scores=scores, source=source)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Show how the chains changed: whether there are any, their forms, and where the answer stands."""
    return analyze_reasoning(spec)


def _items(spec: EvaluationSpec | PlanSpec) -> list[Problem]:
    by_id = {item.id: item for item in problems(small=spec.options.sums == "small")[1]}
    return [by_id[key] for key in spread({key: item.category for key, item in by_id.items()}, spec.limit)]


def _select(names: Sequence[str]) -> list[str]:
    every = list(METRICS)
    for name in names:
        if name not in METRICS and name not in _GROUPS:
            raise UserError(
                f"the family reasoning has no benchmark {name!r}.{did_you_mean(name, [*_GROUPS, *every])} It has "
                f"{', '.join(every)}."
            )
    wanted = {each for name in names for each in _GROUPS.get(name, (name,))}
    return [name for name in every if name in wanted or (not names and name not in UNASKED)]


def _measured(
    name: str,
    items: Sequence[Problem],
    written: Sequence[own.Written],
    steps: Mapping[str, tuple[Sample, ...]],
    broken: str,
    spec: EvaluationSpec,
) -> Benchmark:
    drawn = (
        "" if name in (*GIVEN, ladder.LIKELIHOOD) else f"-{spec.options.max_new_tokens}-t{spec.options.temperature:g}"
    )
    drawn = f"-small{drawn}" if spec.options.sums == "small" and name in (*GIVEN, *_CHAINS) else drawn
    row = Benchmark(
        name=name,
        version=f"{VERSIONS.get(name, VERSION)}{drawn}",
        metric=METRICS[name],
        higher_is_better=True if name in RIGHT else None,
        source="reasoning-gym" if name in (neighbours.NAME, *variations.NAMES) else "built in",
        comparative=name in COMPARATIVE,
    )
    if name in (*_CHAINS, *ladder.NAMES) and broken:
        return replace(row, status="ERROR", reason=broken)
    if name == "own-early" and spec.reference is None and (floor := own.floor(written)):
        return replace(row, status="INSUFFICIENT", reason=floor)
    try:
        if name in GIVEN:
            return replace(row, samples=given.measure(name, items, spec))
        if name in ladder.NAMES:
            return replace(row, samples=steps[name])
        if name == ladder.LIKELIHOOD:
            return replace(row, samples=ladder.measure_likelihood(spec))
        if name in variations.NAMES:
            return replace(row, samples=variations.measure(name, spec))
        if name == neighbours.NAME:
            return replace(row, samples=neighbours.measure(spec))
        if name in readers.NAMES:
            return replace(row, samples=readers.measure(name, written, spec))
        return replace(row, samples=own.measure(name, written, spec))
    except NotNumbersError as error:
        return replace(row, status="ERROR", reason=str(error))
    except UserError as error:
        return replace(row, status="NOT_RUN", reason=str(error))
