"""What a command is asked for: checked, and filled with defaults, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.commands.own_judge_errors import own_errors
from pfh.errors import UserError
from pfh.hooks.launchers import Request, RunSpec
from pfh.hooks.meanings import Leaves, Names, Wants, declares, has_variable, names_of
from pfh.registry.plugins import Plugins
from pfh.sources.models import family_here
from pfh.starts.settings import default_settings, embedded_settings, is_embedded
from pfh.steps.ranks.configuration import check_not_launched, read_configuration

if TYPE_CHECKING:
    from pydantic import BaseModel


LARGEST_SEED = 2**32 - 1
"""What numpy's and the trainers' generators take."""
MOST_PROBLEMS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class MeasureSpec(Request):
    """What to measure, and of which models."""

    models: tuple[str, ...]
    """What `pfh.commands.subjects.open_subject` understands."""


@dataclass(frozen=True, kw_only=True)
class CompareSpec(MeasureSpec):
    """What to compare: the first of the models with each of the others."""

    seeds: tuple[int, ...] = ()
    """Measure every model under each of these seeds; empty is `seed` alone."""
    divergence_prompts: int = 16
    """Held-out prompts along whose completions the divergence from the start is measured; 0 for none."""
    noise_floor: bool = False
    """Measure the first model once more, and say how much it differs from itself."""
    allow_mismatch: bool | tuple[str, ...] = False
    """Compare the common samples of evaluations that were made differently; or the names of the differences that are
    allowed, such as "few-shot examples"."""


def validate(spec: RunSpec, plugins: Plugins) -> dict[str, BaseModel | None]:
    """Check every name and option of a run before anything heavy is loaded; return the options by plugin key.

    Raises:
        UserError: a name that no plugin has, an option that its plugin lacks, a value out of range.
    """
    if not spec.methods:
        raise UserError(f"Name a method with --method. Installed: {', '.join(plugins.catalogue.names('methods'))}.")
    if not spec.evals:
        raise UserError(
            f"Name a benchmark family with --eval. Installed: {', '.join(plugins.catalogue.names('evals'))}."
        )
    if not 1 <= spec.problems <= MOST_PROBLEMS:
        raise UserError(f"--problems must be from 1 to {MOST_PROBLEMS:,}, got {str(spec.problems)[:40]}.")
    _check_last(spec, plugins)
    _check_match(spec, plugins)
    _check_stop(spec)
    check_stops(spec)
    check_not_launched()
    ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
    families = [choice.family for choice in spec.evals]
    filled = _filled(spec, plugins, (spec.model,), methods=spec.methods, families=families)
    if ranks is not None:
        from pfh.kit.training import TrainingOptions, examples_per_process

        for name in spec.methods:
            chosen = filled[f"methods:{name}"]
            if isinstance(chosen, TrainingOptions):
                examples_per_process(chosen.batch_size * chosen.gradient_accumulation, ranks.processes, name)
    for name in spec.methods:
        _check_teacher(spec, filled[f"methods:{name}"])
    return filled


def _check_last(spec: RunSpec, plugins: Plugins) -> None:
    for name in spec.methods[:-1]:
        if has_variable(plugins.options_model("methods", name), Leaves.SOFT_THOUGHTS):
            raise UserError(
                f"{name} leaves soft thoughts over weights that stay as they are, which no later stage can train on: "
                "make it the last --method."
            )


def _check_teacher(spec: RunSpec, options: BaseModel | None) -> None:
    """Check a teacher's family against the start's, where both are here, so that a plan says it as the run would."""
    from pfh.kit.teachers import TeacherOptions, check_families

    if not isinstance(options, TeacherOptions):
        return
    embedded = str(embedded_settings()["shape"]["model_type"])
    own = embedded if is_embedded(spec.model) else family_here(str(spec.model), spec.revision)
    others = family_here(options.teacher)
    if own is not None and others is not None:
        check_families(spec.model or spec.start or "safe", options.teacher, (own, others), options)


def _check_match(spec: RunSpec, plugins: Plugins) -> None:
    if spec.match is None:
        return
    plugins.catalogue.find("evals", spec.match.family)
    asked = [choice.family for choice in spec.evals]
    if spec.match.family not in asked:
        raise UserError(
            f"--match {spec.match.family} compares at a gain on {spec.match.family}, which is not measured: add --eval "
            f"{spec.match.family}."
        )
    if len(spec.methods) > 1:
        raise UserError(
            "--match compares methods that train from the same start, each in a run of its own: name one --method."
        )


def check_stops(spec: Request) -> None:
    """Check that comparisons that stop early can keep their guarantee beside what else is asked.

    Raises:
        UserError: the chance is none, or something else needs every document.
    """
    if spec.stop_early is None:
        return
    if not 0 < spec.stop_early < 1:
        raise UserError(f"--alpha is the chance of a false stop, above 0 and below 1; got {spec.stop_early:g}.")
    whole = {
        "--seeds": isinstance(spec, CompareSpec) and len(spec.seeds) > 1,
        "--noise-floor": isinstance(spec, CompareSpec) and spec.noise_floor,
        "--contract": isinstance(spec, RunSpec) and bool(spec.contracts),
        "--match": isinstance(spec, RunSpec) and spec.match is not None,
    }
    asked = [name for name, given in whole.items() if given]
    if asked:
        raise UserError(
            f"--stop-early looks at a part of the documents, and {asked[0]} needs all: leave one of them out."
        )


def _check_stop(spec: RunSpec) -> None:
    stop = spec.stop_when
    if stop is None:
        return
    if stop.family not in [choice.family for choice in spec.evals]:
        raise UserError(f"--stop-when looks at {stop.family}, which is not measured: add --eval {stop.family}.")
    if spec.limit is not None and spec.limit <= stop.documents:
        raise UserError(
            f"--stop-when looks at {stop.documents} documents a benchmark, which are then not reported, and --limit "
            f"{spec.limit} leaves no others: raise --limit, or lower --stop-documents."
        )
    if spec.accelerate is not None:
        raise UserError("--stop-when is for a training in one process: leave --accelerate out.")


def fill_options(spec: MeasureSpec, plugins: Plugins) -> dict[str, BaseModel | None]:
    """Check every name and option before anything heavy is loaded; return the options by plugin key.

    A family that is not installed is left out: stored results and logs may hold it.

    Raises:
        UserError: an option that its plugin lacks, a value out of range.
    """
    installed = plugins.catalogue.names("evals")
    families = [choice.family for choice in spec.evals if choice.family in installed]
    check_stops(spec)
    return _filled(spec, plugins, spec.models, methods=(), families=families)


def _filled(
    spec: Request, plugins: Plugins, models: Sequence[str | None], *, methods: Sequence[str], families: Sequence[str]
) -> dict[str, BaseModel | None]:
    if spec.limit is not None and spec.limit < 1:
        raise UserError(f"--limit must be at least 1, got {spec.limit}.")
    for seed in (spec.seed, *(spec.seeds if isinstance(spec, CompareSpec) else ())):
        if not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"A seed is a number from 0 to {LARGEST_SEED}, got {str(seed)[:40]}.")
    plugins.load("backends", spec.backend)
    plugins.load_wrappers()
    filled: dict[str, BaseModel | None] = {}
    for name in dict.fromkeys(methods):
        key = f"methods:{name}"
        filled[key] = plugins.options("methods", name, {**default_settings(key, *models), **spec.options.get(key, {})})
    for name in dict.fromkeys(families):
        key = f"evals:{name}"
        filled[key] = plugins.options("evals", name, {**default_settings(key, *models), **spec.options.get(key, {})})
    for name in sorted({name for options in filled.values() for name in names_of(options, Names.JUDGE)}):
        plugins.catalogue.find("judges", name)
        key = f"judges:{name}"
        filled[key] = plugins.options("judges", name, spec.options.get(key, {}))
    for name in sorted({name for options in filled.values() for name in names_of(options, Names.ATTACK)}):
        plugins.catalogue.find("attacks", name)
        key = f"attacks:{name}"
        filled[key] = plugins.options("attacks", name, spec.options.get(key, {}))
    for options in filled.values():
        own_errors(options)
    if methods or any(declares(options, Wants.DOMAIN) for options in filled.values()):
        key = f"domains:{spec.domain}"
        chosen = {**default_settings(key, *models), **spec.options.get(key, {})}
        filled[key] = plugins.options("domains", spec.domain, chosen)
    for key in spec.options:
        if key.startswith("readers:"):
            filled[key] = plugins.options("readers", key.removeprefix("readers:"), spec.options[key])
        if key not in filled:
            raise UserError(f"Options were given for {key}, which is not used here; used are {', '.join(filled)}.")
    return filled
