"""The runs of a study: every start by every method, domain and seed, each one that `pfh run` could make."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pfh.commands.requests import validate
from pfh.commands.study.contracts import contracts_of
from pfh.commands.study.reading import chosen_values, listed
from pfh.commands.study.schema import Chosers, Options, StartEntry, Study
from pfh.commands.study.variants import Variant, check_count, named_entry, place_of, variants_of
from pfh.commands.study.yaml_lines import Document, Place
from pfh.errors import UserError, did_you_mean
from pfh.hooks.budget import Budget
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.stopping import StopWhen
from pfh.registry.plugins import Plugins
from pfh.starts.settings import default_problems, default_settings

if TYPE_CHECKING:
    from pydantic import BaseModel

REST = "rest"
"""The phase of runs that match none."""


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One run of a study."""

    name: str
    """Unlike any other's; the name of its folder."""
    start: StartEntry
    variant: Variant
    domain: str
    seed: int
    phase: str
    spec: RunSpec


def expand(study: Study, document: Document, plugins: Plugins) -> tuple[StudyRun, ...]:
    """Return the runs of a study, those of the first phase first, each checked as `pfh run` checks it.

    Raises:
        UserError: a plugin or option that there is not, a value that its plugin refuses, two equal runs, a phase or an
            exclusion that matches nothing; names file and line.
    """
    evals, eval_options = _evals(study, document, plugins)
    families = [choice.family for choice in evals]
    for name in study.must:
        if (family := name.partition(":")[0]) not in families:
            said = f"the study measures no {family!r}.{did_you_mean(family, families)} It measures {listed(families)}."
            raise document.error(("must", name), said)
    domains = [named_entry(entry) for entry in study.domains]
    for index, (name, _) in enumerate(domains):
        _check(document, ("domains", index), partial(plugins.catalogue.find, "domains", name))
    entries = [(entry, ("methods", index)) for index, entry in enumerate(study.methods)]
    variants = [variant for entry, place in entries for variant in variants_of(entry, place, document)]
    check_count(len(study.starts) * len(variants) * len(domains) * len(study.seeds), (), document)
    budget = None if study.budget is None else _check(document, ("budget",), partial(Budget.parse, study.budget))
    stop = None
    if study.stop_when is not None:
        stop = _check(document, ("stop_when",), partial(StopWhen.parse, study.stop_when))
    contracts = contracts_of(study, document, plugins, [each.stages for each in variants], families)
    runs: list[StudyRun] = []
    checker = _Checker(document, plugins)
    for start, variant, (place, (domain, given)), seed in itertools.product(
        study.starts, variants, enumerate(domains), study.seeds
    ):
        spec = RunSpec(
            methods=variant.stages,
            evals=evals,
            model=start.model,
            start=start.start,
            domain=domain,
            options={
                **{f"methods:{name}": dict(options) for name, options in variant.options.items() if options},
                **eval_options,
                **({f"domains:{domain}": dict(given)} if given else {}),
                **{f"judges:{name}": dict(options) for name, options in study.judges.items()},
            },
            seed=seed,
            problems=default_problems(start.model) if study.problems is None else study.problems,
            budget=budget,
            limit=study.limit,
            stop_when=stop,
            stop_early=study.stop_early.alpha if study.stop_early else None,
            margin=study.stop_early.margin / 100 if study.stop_early else None,
            backend=study.backend,
            dtype=study.dtype,
            revision=start.revision,
            allow_pickle=start.allow_pickle,
            accelerate=study.accelerate,
            contracts=contracts.files(variant.stages),
        )
        checker.check(spec, variant, ("domains", place))
        name = "--".join([start.name, variant.label, domain, f"seed-{seed}"])
        name = re.sub(r"[^\w.=+-]+", "-", name)
        run = StudyRun(name=name, start=start, variant=variant, domain=domain, seed=seed, phase=REST, spec=spec)
        if not any(matches(each, run) for each in study.exclude):
            runs.append(run)
    _check_where(study, document, runs)
    phased = [_in_phase(study, run) for run in runs]
    checker.check_different(phased)
    order = [phase.name for phase in study.phases] + [REST]
    return tuple(sorted(phased, key=lambda run: order.index(run.phase)))


class _Checker:
    """Checks runs as `pfh run` would, what many have in common once."""

    def __init__(self, document: Document, plugins: Plugins) -> None:
        self._document = document
        self._plugins = plugins
        self._filled: dict[str, dict[str, BaseModel | None]] = {}

    def check(self, spec: RunSpec, variant: Variant, domain: Place) -> None:
        """Check one run.

        Raises:
            UserError: it could not be carried out; with the line of what is wrong.
        """
        if (key := _told(spec)) in self._filled:
            return
        for name, options in variant.options.items():
            place = variant.place
            defaults = default_settings(f"methods:{name}", spec.model)
            _check(self._document, place, partial(self._plugins.load, "methods", name))
            model = self._plugins.options_model("methods", name)
            for option in options:
                if model is not None and option not in model.model_fields:
                    raise self._document.error(
                        place_of(self._document, place, name, option),
                        f"methods:{name} has no option {option!r}.{did_you_mean(option, model.model_fields)} Options: "
                        f"{listed(model.model_fields)}.",
                    )
            try:
                self._plugins.options("methods", name, {**defaults, **options})
            except UserError as error:
                wrong = next((option for option in options if f".{option}" in str(error)), "")
                raise self._document.error(place_of(self._document, place, name, wrong), str(error)) from None
        self._filled[key] = _check(self._document, (), partial(validate, spec, self._plugins))

    def check_different(self, runs: Sequence[StudyRun]) -> None:
        """Refuse two runs that would be the same.

        Raises:
            UserError: two are; names both.
        """
        seen: dict[str, StudyRun] = {}
        named: dict[str, StudyRun] = {}
        for run in runs:
            if run.spec != named.setdefault(run.name, run).spec:
                raise self._document.error(
                    run.variant.place,
                    f"two different runs would be called {run.name}: write an option that tells them apart as a list, "
                    "such as {replay: [builtin]}, which names the run by it.",
                )
            filled = self._filled[_told(run.spec)]
            told = {key: options.model_dump(mode="json") if options else {} for key, options in filled.items()}
            spec, revision = run.spec, run.start.revision
            same = json.dumps([spec.model, revision, spec.start, spec.methods, run.domain, run.seed, told], default=str)
            if same in seen:
                raise self._document.error(
                    run.variant.place,
                    f"{run.name} and {seen[same].name} are the same run: leave out one of them, or change an option.",
                )
            seen[same] = run


def _told(spec: RunSpec) -> str:
    embedded = spec.model in (None, "safe", "base")
    return json.dumps([embedded, spec.methods, spec.domain, spec.options], sort_keys=True, default=str)


def _check(document: Document, place: Place, made: Any) -> Any:  # noqa: ANN401 - whatever is checked
    try:
        return made()
    except UserError as error:
        raise document.error(place, str(error)) from None


def _evals(study: Study, document: Document, plugins: Plugins) -> tuple[tuple[EvalChoice, ...], dict[str, Options]]:
    choices: list[EvalChoice] = []
    options: dict[str, Options] = {}
    for index, entry in enumerate(study.evals):
        name, given = named_entry(entry)
        choice = EvalChoice.parse(name)
        _check(document, ("evals", index), partial(plugins.catalogue.find, "evals", choice.family))
        if any(choice.family == other.family for other in choices):
            said = f"{choice.family} is measured twice: name its benchmarks in one entry."
            raise document.error(("evals", index), said)
        if given:
            _check(document, ("evals", index), partial(plugins.options, "evals", choice.family, given))
            options[f"evals:{choice.family}"] = given
        choices.append(choice)
    return tuple(choices), options


def _answers(run: StudyRun) -> dict[str, tuple[Any, ...]]:
    """Return by what a run can be chosen, and what it answers to."""
    return {
        "start": (run.start.name, run.start.start),
        "scale": (run.start.scale,),
        "method": (run.variant.method, run.variant.label),
        "domain": (run.domain,),
        "seed": (run.seed,),
    }


def matches(chosers: Chosers, run: StudyRun) -> bool:
    """Say whether a run is chosen."""
    answers = _answers(run)
    return all(any(value in answers[name] for value in values) for name, values in chosen_values(chosers).items())


def _check_where(study: Study, document: Document, runs: Sequence[StudyRun]) -> None:
    """Refuse a phase that no run of the study matches, and any value that none has."""
    known: dict[str, dict[Any, None]] = {
        "start": dict.fromkeys([s.name for s in study.starts] + [s.start for s in study.starts if s.start]),
        "scale": dict.fromkeys(s.scale for s in study.starts if s.scale),
        "method": {},
        "domain": dict.fromkeys(named_entry(entry)[0] for entry in study.domains),
        "seed": dict.fromkeys(study.seeds),
    }
    for index, entry in enumerate(study.methods):
        for variant in variants_of(entry, ("methods", index), document):
            known["method"] |= {variant.method: None, variant.label: None}
    chosen: list[tuple[Place, Chosers]] = [
        (("phases", index, "where"), phase.where) for index, phase in enumerate(study.phases)
    ]
    chosen += [(("exclude", index), chosers) for index, chosers in enumerate(study.exclude)]
    for place, chosers in chosen:
        for name, values in chosen_values(chosers).items():
            for value in values:
                if value not in known[name]:
                    written = name if getattr(chosers, name) is not None else f"{name}s"
                    raise document.error(
                        (*place, written),
                        f"the study has no {name} {value!r}.{did_you_mean(str(value), map(str, known[name]))} "
                        f"It has {listed(known[name])}.",
                    )
    for index, phase in enumerate(study.phases):
        if not any(_in_phase(study, run).phase == phase.name for run in runs):
            raise document.error(("phases", index), f"the phase {phase.name!r} matches no run that no earlier one has.")


def _in_phase(study: Study, run: StudyRun) -> StudyRun:
    found = next((phase.name for phase in study.phases if matches(phase.where, run)), REST)
    return dataclasses.replace(run, phase=found)
