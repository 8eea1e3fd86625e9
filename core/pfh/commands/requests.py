"""What a command is asked for: checked, and filled with defaults, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.meanings import Wants, declares
from pfh.registry.plugins import Plugins
from pfh.starts.settings import default_settings
from pfh.steps.ranks.configuration import check_not_launched, read_configuration

if TYPE_CHECKING:
    from pydantic import BaseModel


def validate(spec: RunSpec, plugins: Plugins) -> dict[str, BaseModel | None]:
    """Check every name and option of `spec` before anything heavy is loaded; return the options by plugin key.

    Raises:
        UserError: a name that no plugin has, an option that its plugin lacks, a value out of range.
    """
    if not spec.methods:
        raise UserError(f"Name a method with --method. Installed: {', '.join(plugins.catalogue.names('methods'))}.")
    if not spec.evals:
        raise UserError(
            f"Name a benchmark family with --eval. Installed: {', '.join(plugins.catalogue.names('evals'))}."
        )
    for number, name in ((spec.problems, "--problems"), (1 if spec.limit is None else spec.limit, "--limit")):
        if number < 1:
            raise UserError(f"{name} must be at least 1, got {number}.")
    check_not_launched()
    ranks = None if spec.accelerate is None else read_configuration(Path(spec.accelerate))
    plugins.load("backends", spec.backend)
    plugins.load_wrappers()
    keys = [f"methods:{name}" for name in spec.methods]
    keys += [f"domains:{spec.domain}", *(f"evals:{choice.family}" for choice in spec.evals)]
    filled = {}
    for key in dict.fromkeys(keys):
        kind, _, name = key.partition(":")
        chosen = {**default_settings(key, spec.model), **spec.options.get(key, {})}
        filled[key] = plugins.options(kind, name, chosen)  # type: ignore[arg-type]
    for key in spec.options:
        if key not in filled:
            raise UserError(f"Options were given for {key}, which this run does not use; it uses {', '.join(filled)}.")
    if ranks is not None:
        from pfh.kit.training import TrainingOptions, examples_per_process

        for name in spec.methods:
            options = filled[f"methods:{name}"]
            if isinstance(options, TrainingOptions):
                examples_per_process(options.batch_size * options.gradient_accumulation, ranks.processes, name)
    return filled


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """What to measure, and of which models."""

    models: tuple[str, ...]
    """What `pfh.commands.subjects.open_subject` understands."""
    evals: tuple[EvalChoice, ...] = ()
    """Empty: every family that stored results or logs hold."""
    domain: str = "reasoning"
    """For the families that put a domain's problems to the model."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Plugin key such as "evals:safety" to its options."""
    seed: int = 0
    limit: int | None = None
    """At most this many documents a benchmark."""
    backend: str = "hf"
    dtype: str = "auto"
    revision: str | None = None
    """Of the hub ids among the models."""
    allow_pickle: bool = False


def fill_options(spec: MeasureSpec, plugins: Plugins) -> dict[str, BaseModel | None]:
    """Check every name and option before anything heavy is loaded; return the options by plugin key.

    Raises:
        UserError: a name that no plugin has, an option that its plugin lacks, a value out of range.
    """
    if spec.limit is not None and spec.limit < 1:
        raise UserError(f"--limit must be at least 1, got {spec.limit}.")
    plugins.load("backends", spec.backend)
    plugins.load_wrappers()
    filled = {}
    for choice in spec.evals:
        if choice.family in plugins.catalogue.names("evals"):
            key = f"evals:{choice.family}"
            filled[key] = plugins.options("evals", choice.family, spec.options.get(key, {}))
    if wants_domain(filled):
        key = f"domains:{spec.domain}"
        chosen = {**default_settings(key, *spec.models), **spec.options.get(key, {})}
        filled[key] = plugins.options("domains", spec.domain, chosen)
    for key in spec.options:
        if key.startswith("readers:"):
            filled[key] = plugins.options("readers", key.removeprefix("readers:"), spec.options[key])
        if key not in filled:
            raise UserError(f"Options were given for {key}, which is not used here; used are {', '.join(filled)}.")
    return filled


def reader_options(options: Mapping[str, BaseModel | None]) -> dict[str, BaseModel | None]:
    """Return the options of readers, by the name of the reader."""
    return {key.removeprefix("readers:"): value for key, value in options.items() if key.startswith("readers:")}


def wants_domain(options: Mapping[str, BaseModel | None]) -> bool:
    """Say whether a chosen family asks for a domain."""
    return any(declares(chosen, Wants.DOMAIN) for chosen in options.values())


@dataclass(frozen=True, kw_only=True)
class CompareSpec(MeasureSpec):
    """What to compare: the first of the models with each of the others."""

    seeds: tuple[int, ...] = ()
    """Measure every model under each of these seeds; empty is `seed` alone."""
    noise_floor: bool = False
    """Measure the first model once more, and say how much it differs from itself."""
    allow_mismatch: bool = False
    """Compare the common samples of evaluations that were made differently."""
