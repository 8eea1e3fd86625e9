"""`pfh eval`: one model, measured; and what a comparison shares with it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh import __version__, steps
from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, UserError
from pfh.measurements import Measurement, measure_evaluation
from pfh.plugins import Plugins
from pfh.progress import Progress
from pfh.results import MeasuredFamily, MeasuredModel, RunResults
from pfh.run import EvalChoice, RunOutcome, write_outputs
from pfh.session import Session
from pfh.sides import Side, measured, open_side
from pfh.specs import DomainSpec
from pfh.store import Store, artifact_key

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.statistics import Comparison

LIBRARIES = ("torch", "transformers", "peft", "datasets", "lm-eval")


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """What to measure, and of which models."""

    models: tuple[str, ...]
    """What `pfh.sides.open_side` understands."""
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


def measure(
    spec: MeasureSpec, *, plugins: Plugins, store: Store, progress: Progress, output: Path | None = None
) -> RunOutcome:
    """Measure the one model of `spec`, taking from the store what is there; write results.json and report.html.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    options = fill_options(spec, plugins)
    session = Session(plugins=plugins, store=store, progress=progress, backend=spec.backend, dtype=spec.dtype)
    try:
        side = open_side(spec.models[0], session, revision=spec.revision, allow_pickle=spec.allow_pickle)
        choices = chosen_families(spec, [side])
        ground = open_ground(spec, session, options)
        side = measured(side, session, choices, options=options, ground=ground, limit=spec.limit, seed=spec.seed)
    finally:
        session.release()
    families = tuple(
        MeasuredFamily(
            family=name, benchmarks=measure_evaluation(stored.evaluation, seed=spec.seed), artifact=stored.key
        )
        for name, stored in side.families.items()
    )
    rows = [(family.family, row) for family in families for row in family.benchmarks]
    results = RunResults(
        title=f"{', '.join(side.families)} of {side.model.name}",
        headline=_headline(side, [row for _, row in rows]),
        start=side.label,
        seed=spec.seed,
        limit=spec.limit,
        provenance=provenance(spec, session, [side]),
        notes=side.notes,
        stages=(),
        measured=(MeasuredModel(model=side.model, families=families),),
    )
    folder = output or Path("pfh-results") / folder_name("eval", [side], spec)
    write_outputs(folder, results, {})
    return RunOutcome(results=results, folder=folder, exit_code=exit_code(spec, rows))


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
    if _wants_domain(filled):
        key = f"domains:{spec.domain}"
        filled[key] = plugins.options("domains", spec.domain, spec.options.get(key, {}))
    for key in spec.options:
        if key not in filled:
            raise UserError(f"Options were given for {key}, which is not used here; used are {', '.join(filled)}.")
    return filled


def chosen_families(spec: MeasureSpec, sides: Sequence[Side]) -> tuple[EvalChoice, ...]:
    """Return what to measure: what was asked for, else every family that all the stored sides hold.

    Raises:
        UserError: a model is among them, and no family was asked for; or a family that there is not.
    """
    models = [side.text for side in sides if side.checkpoint is not None]
    if not spec.evals and models:
        raise UserError(f"Name what to measure of {models[0]} with --eval, such as --eval safety.")
    shared = [name for name in sides[0].families if all(name in side.families for side in sides)]
    if not spec.evals and not shared:
        held = "; ".join(f"{side.text} holds {', '.join(side.families)}" for side in sides)
        raise UserError(f"They have no benchmark family in common: {held}.")
    return spec.evals or tuple(EvalChoice(family=name) for name in shared)


def open_ground(spec: MeasureSpec, session: Session, options: Mapping[str, BaseModel | None]) -> steps.Ground | None:
    """Open the domain, if a family asks for it."""
    if f"domains:{spec.domain}" not in options:
        return None
    domain_spec = DomainSpec(options=options[f"domains:{spec.domain}"], data=session.data)
    return steps.Ground(name=spec.domain, domain=session.plugins.open_domain(spec.domain, domain_spec), problems=())


def provenance(spec: MeasureSpec, session: Session, sides: Sequence[Side]) -> dict[str, str]:
    """Return the versions that the figures rest on; of the libraries only where a model was run."""
    installed = session.plugins.catalogue.names("evals")
    families = [name for name in sides[0].families if name in installed]
    used: list[tuple[Any, str]] = [("evals", name) for name in families]
    ran = any(side.checkpoint is not None for side in sides)
    used += [("backends", spec.backend)] if ran else []
    return {
        "pfh": __version__,
        **{f"{kind}:{name}": session.plugins.catalogue.find(kind, name).code_version for kind, name in used},
        **({name: version(name) for name in LIBRARIES} if ran else {}),
        "python": platform.python_version(),
        **({"device": session.environment()["device"], "dtype": spec.dtype} if ran else {}),
    }


def folder_name(command: str, sides: Sequence[Side], spec: MeasureSpec) -> str:
    """Return a folder name that tells what it holds, and the same for the same command."""
    names = [Path(side.model.name).name for side in sides]
    words = [command, *names[:3], artifact_key(command, {"spec": repr(spec)})[:8]]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words))


def exit_code(spec: MeasureSpec, rows: Iterable[tuple[str, Measurement | Comparison]]) -> int:
    """Return 2 if a benchmark could not be run that was asked for by name, 3 if one failed, else 0."""
    statuses = {(family, row.status) for family, row in rows}
    named = {choice.family for choice in spec.evals if choice.benchmarks}
    if any(family in named and status == "NOT_RUN" for family, status in statuses):
        return EXIT_USER
    return EXIT_STEP_FAILED if any(status == "ERROR" for _, status in statuses) else 0


def _wants_domain(options: Mapping[str, BaseModel | None]) -> bool:
    return any(chosen is not None and "domain" in type(chosen).model_fields for chosen in options.values())


def _headline(side: Side, rows: Sequence[Measurement]) -> str:
    measured_rows = sum(row.status == "MEASURED" for row in rows)
    return f"{side.model.name} was measured on {measured_rows} of {len(rows)} benchmarks."
