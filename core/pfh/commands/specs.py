"""Requests made of what a user says, on the command line and in Python alike; and what they would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.estimates import estimates
from pfh.commands.requests import CompareSpec, MeasureSpec, fill_options, validate
from pfh.commands.template_arguments import parse_arguments
from pfh.errors import UserError
from pfh.hooks.budget import Budget
from pfh.hooks.domains import Domain, DomainSpec, description_of
from pfh.hooks.evals import PlanSpec
from pfh.hooks.launchers import EvalChoice, Match, Request, RunSpec
from pfh.hooks.stopping import StopWhen
from pfh.hooks.tables import Cell, Quantity
from pfh.registry.assignments import assign_options
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.starts.settings import default_problems
from pfh.steps.checks import check_judged

if TYPE_CHECKING:
    from pydantic import BaseModel

OptionsGiven = Mapping[str, Any] | Sequence[str]
"""Options of plugins: "[NAME.]KEY" to the value, or "[NAME.]KEY=VALUE" each."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What run, evaluate and compare are all asked, in the words of the command line."""

    eval: str | Sequence[str] | None
    option: OptionsGiven | None
    tasks: str | Sequence[str] | None
    num_fewshot: int | None
    apply_chat_template: bool
    chat_template_kwargs: Mapping[str, Any] | Sequence[str] | None
    domain: str
    seed: int
    limit: int | None
    backend: str
    dtype: str
    revision: str | None
    allow_pickle: bool
    margin: float | None = None
    """In percentage points."""
    divergence_prompts: int = 16
    stop_early: bool = False
    alpha: float | None = None
    """Chance of a false stop; None is 0.05."""


def run_spec(
    asked: Asked,
    plugins: Plugins,
    *,
    method: str | Sequence[str] | None,
    model: str | Path | None,
    base: bool | None,
    problems: int | None,
    budget: str | Budget | None,
    accelerate: str | Path | None,
    contract: str | Path | Sequence[str | Path] | None = None,
    match: str | None = None,
    match_every: int = 10,
    stop_when: str | None = None,
    stop_every: int = 10,
    stop_documents: int = 64,
    rehearsal: bool = True,
) -> RunSpec:
    """Return what to run.

    Raises:
        UserError: a method or a family is missing or unknown, or an option is no chosen plugin's.
    """
    methods = _several(method)
    _require_choice(methods, _several(asked.eval), plugins)
    return RunSpec(
        **_request(asked, plugins, methods),
        methods=methods,
        model=None if model is None else str(model),
        start=None if base is None else "base" if base else "safe",
        problems=default_problems(None if model is None else str(model)) if problems is None else problems,
        budget=Budget.parse(budget) if isinstance(budget, str) else budget,
        accelerate=None if accelerate is None else str(accelerate),
        contracts=tuple(map(str, (contract,) if isinstance(contract, str | Path) else contract or ())),
        rehearsal=rehearsal,
        divergence_prompts=asked.divergence_prompts,
        match=None if match is None else Match.parse(match, match_every),
        stop_when=None if stop_when is None else StopWhen.parse(stop_when, stop_every, stop_documents),
    )


def measure_spec(asked: Asked, plugins: Plugins, model: str | Path) -> MeasureSpec:
    """Return what to measure of one model.

    Raises:
        UserError: a family is unknown, or an option is no chosen plugin's.
    """
    return MeasureSpec(**_request(asked, plugins), models=(str(model),))


def compare_spec(
    asked: Asked,
    plugins: Plugins,
    models: Sequence[str | Path],
    *,
    seeds: str | Sequence[int] | None,
    noise_floor: bool,
    allow_mismatch: bool | Sequence[str],
) -> CompareSpec:
    """Return what to compare.

    Raises:
        UserError: there are fewer than two models, a family is unknown, or an option is no chosen plugin's.
    """
    if len(models) < 2:
        raise UserError("Name two models or more: the one before, then those after.")
    return CompareSpec(
        **_request(asked, plugins),
        models=tuple(str(model) for model in models),
        seeds=_numbers(seeds) if isinstance(seeds, str) else tuple(seeds or ()),
        noise_floor=noise_floor,
        divergence_prompts=asked.divergence_prompts,
        allow_mismatch=allow_mismatch if isinstance(allow_mismatch, bool) else tuple(allow_mismatch),
    )


DETECTABLE = (
    "The smallest change is what a test at 0.05 finds in four runs of five, of scores 0 or 1 if 15 in 100 documents "
    "change sides, of others in standard deviations of a document's change; adjusting for many benchmarks takes more, "
    "the family as a whole less. To tell that there is no change of {margin:g} points either way takes {n:,} documents."
)


def _with_detectable(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a benchmark with the smallest change that so many documents show, if it tells how many."""
    from pfh.statistics.change import LEAST_OF_SCORES
    from pfh.statistics.power import detectable_mean, detectable_share

    if "documents" not in row:
        return row
    count = row["documents"] if isinstance(row["documents"], int) else 0
    if row.get("scores") == "of all together":
        smallest = ""
    elif row.get("scores") == "other":
        smallest = f"{detectable_mean(1 / count**0.5):.2g} sd" if count >= LEAST_OF_SCORES else ""
    else:
        share = detectable_share(count) if count else None
        smallest = "" if share is None else f"{100 * share:.1f} points"
    return row | {"smallest change": smallest}


def _detectable_note(margin: float | None) -> str:
    from pfh.statistics.power import FLIPS, documents_to_decide
    from pfh.statistics.verdicts import MARGIN

    within = MARGIN if margin is None else margin
    return DETECTABLE.format(margin=100 * within, n=documents_to_decide(FLIPS, within))


def _opened_domain(spec: Request, filled: Mapping[str, BaseModel | None], plugins: Plugins) -> Domain | None:
    """Open the domain, if methods or a family of `spec` ask for its problems; check that the methods can learn from it.

    Raises:
        UserError: it cannot be opened, or a method needs a verifier and there is none.
    """
    key = f"domains:{spec.domain}"
    if key not in filled:
        return None
    domain = plugins.open_domain(spec.domain, DomainSpec(options=filled[key], data=HubData()))
    for method in spec.methods if isinstance(spec, RunSpec) else ():
        check_judged(domain, method, filled[f"methods:{method}"], plugins)
    return domain


def plan(spec: Request, plugins: Plugins, devices: str | None = None, **settings: str) -> dict[str, Any]:
    """Return as JSON what `spec` would do, with every option, and what its families would put to a model.

    Raises:
        UserError: `spec` could not be carried out.
    """
    if isinstance(spec, RunSpec):
        filled = validate(spec, plugins)
    else:
        assert isinstance(spec, MeasureSpec)
        filled = fill_options(spec, plugins)
    asks: dict[str, Any] = {}
    domain = _opened_domain(spec, filled, plugins)
    for choice in spec.evals:
        if f"evals:{choice.family}" not in filled:  # held by a log or by stored results alone
            continue
        asked = PlanSpec(
            options=filled[f"evals:{choice.family}"],
            data=HubData(),
            benchmarks=choice.benchmarks,
            domain=domain,
            limit=spec.limit,
            seed=spec.seed,
        )
        table = plugins.plan(choice.family, asked)
        if table is not None:
            rows = [_with_detectable(dict(zip(table.columns, map(_as_json, row), strict=True))) for row in table.rows]
            note = f"{table.note} {_detectable_note(spec.margin)}".strip()
            note += (
                "" if spec.stop_early is None else " These are the most: comparisons end as soon as they are decided."
            )
            asks[choice.family] = {"title": table.title, "rows": rows, "note": note}
    options = {key: model.model_dump(mode="json") if model else {} for key, model in filled.items()}
    takes = {"takes": _takes(spec, plugins, filled, devices)} if isinstance(spec, RunSpec) else {}
    described = " ".join(description_of(domain)) if domain else ""
    read = {"read": described} if described else {}
    return asdict(spec) | read | takes | {"options": options, "asks": asks} | settings


def _takes(
    spec: RunSpec, plugins: Plugins, filled: Mapping[str, BaseModel | None], devices: str | None
) -> dict[str, str]:
    if devices is None:
        return estimates(spec, filled)
    from pfh.kit.training.devices import Devices

    opened = plugins.open_domain(spec.domain, DomainSpec(options=filled[f"domains:{spec.domain}"], data=HubData()))
    return estimates(spec, filled, Devices.parse(devices), opened.sampling.max_new_tokens)


def _as_json(cell: Cell) -> Any:  # noqa: ANN401 - what JSON has
    return asdict(cell) if isinstance(cell, Quantity) else cell


def _request(asked: Asked, plugins: Plugins, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of `Request`."""
    evals = tuple(EvalChoice.parse(text) for text in _several(asked.eval))
    return {
        "evals": evals,
        "options": _assigned(asked, evals, methods, plugins),
        "domain": asked.domain,
        "seed": asked.seed,
        "limit": asked.limit,
        "backend": asked.backend,
        "dtype": asked.dtype,
        "revision": asked.revision,
        "allow_pickle": asked.allow_pickle,
        "margin": _margin(asked.margin),
        "chat_template_kwargs": parse_arguments(asked.chat_template_kwargs),
        "stop_early": _alpha(asked),
    }


def _alpha(asked: Asked) -> float | None:
    if asked.alpha is not None and not asked.stop_early:
        raise UserError("--alpha is the chance of a false stop: it needs --stop-early.")
    return (0.05 if asked.alpha is None else asked.alpha) if asked.stop_early else None


def _margin(points: float | None) -> float | None:
    if points is not None and not 0 < points < 100:
        raise UserError(f"--margin is in percentage points, above 0 and below 100; got {points:g}.")
    return None if points is None else points / 100


def _assigned(
    asked: Asked, evals: Sequence[EvalChoice], methods: Sequence[str], plugins: Plugins
) -> dict[str, dict[str, Any]]:
    """Share the options out to the methods, the families, the domain, and the readers of logs that they name."""
    readers = plugins.catalogue.names("readers")
    families = [choice.family for choice in evals if choice.family not in readers]
    given = asked.option or ()
    pairs: list[str | tuple[str, Any]] = list(given.items()) if isinstance(given, Mapping) else list(given)
    pairs += _task_options(asked, families, plugins)
    chosen = [plugins.catalogue.find("methods", name) for name in methods]
    chosen += [plugins.catalogue.find("evals", name) for name in families]
    if pairs or methods:
        chosen.append(plugins.catalogue.find("domains", asked.domain))
    targets = [each[0] if isinstance(each, tuple) else each.partition("=")[0] for each in pairs]
    owners = {target.strip().rpartition(".")[0].removeprefix("readers:") for target in targets}
    chosen += [plugins.catalogue.find("readers", name) for name in readers if name in owners]
    return assign_options(pairs, chosen, plugins)


def _task_options(asked: Asked, families: Sequence[str], plugins: Plugins) -> list[str]:
    """Return what users of lm-eval know as flags, as `-o` would say it, for each family that has the option."""
    given = {
        "tasks": ",".join(_several(asked.tasks)) or None,
        "num_fewshot": None if asked.num_fewshot is None else str(asked.num_fewshot),
        "apply_chat_template": "true" if asked.apply_chat_template else None,
    }
    written: list[str] = []
    for option, value in given.items():
        if value is None:
            continue
        owners = [name for name in families if _has(name, option, plugins)]
        if not owners:
            able = [name for name in plugins.catalogue.names("evals") if _has(name, option, plugins)]
            raise UserError(
                f"--{option.replace('_', '-')} needs a family that puts tasks to the model: add "
                f"{' or '.join(f'--eval {name}' for name in able) or 'a plugin that has one'}."
            )
        written += [f"evals:{name}.{option}={value}" for name in owners]
    return written


def _has(family: str, option: str, plugins: Plugins) -> bool:
    model = plugins.options_model("evals", family)
    return model is not None and option in model.model_fields


def _require_choice(methods: Sequence[str], evals: Sequence[str], plugins: Plugins) -> None:
    if methods and evals:
        return
    names = {kind: plugins.catalogue.names(kind) for kind in ("methods", "evals")}
    missing = [] if methods else [f"a method with --method (installed: {', '.join(names['methods']) or 'none'})"]
    missing += [] if evals else [f"what to measure with --eval (installed: {', '.join(names['evals']) or 'none'})"]
    raise UserError(f"Name {' and '.join(missing)}, such as: pfh run --method dpo --eval safety")


def _several(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds got {text!r}; write whole numbers with commas, such as --seeds 0,1,2.")
    return tuple(int(word) for word in words)
