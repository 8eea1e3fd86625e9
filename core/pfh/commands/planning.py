"""A run planned: the graph of its steps with the keys that they will have, before anything is made or loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands.measuring import draw_problems, open_domain
from pfh.commands.requests import validate
from pfh.commands.run_graph import Act, GraphOfRun
from pfh.commands.subjects import known_to_the_store
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import RunSpec
from pfh.kit.tokens.loading import arguments_of
from pfh.progress import Progress, Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.sources.loaded_once import LoadedOnce
from pfh.sources.models import resolve
from pfh.steps.domains import NO_DOMAIN, OpenDomain
from pfh.steps.fitting import fit_options
from pfh.steps.graph import Graph
from pfh.steps.session import Session
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run as a graph."""

    spec: RunSpec
    graph: Graph
    acts: Mapping[str, Act]
    """Id of a step to what makes its artifact."""
    comparison: str
    """Id of the last step, which is the run's results."""
    options: Mapping[str, BaseModel | None]
    session: Session
    """In which the run has its keys."""
    unknown: tuple[str, ...] = ()
    """What is not on this machine, so that the keys that rest on it are not those of the store."""


class Planner:
    """Plans runs; what they share is opened once."""

    def __init__(
        self, plugins: Plugins, store: Store, progress: Progress | None = None, *, download: bool = False
    ) -> None:
        """Plan with what is on this machine; to `download` what is not is an error of it that cannot be had."""
        self.plugins = plugins
        self.store = store
        self._progress = progress or Silent()
        self._download = download
        self._sessions: dict[str, Session] = {}
        self._again: dict[int, Session] = {}
        self._models: dict[tuple[Any, ...], Checkpoint] = {}
        self._fitted: dict[tuple[str, str, str], BaseModel | None] = {}
        self._data = LoadedOnce(HubData())
        self._opened_domains: dict[tuple[str, str], OpenDomain] = {}
        self._domains: dict[str, OpenDomain] = {}
        self._unknown: dict[str, None] = {}

    def plan(self, spec: RunSpec) -> RunPlan:
        """Return the graph of a run.

        Raises:
            UserError: the run cannot be carried out.
        """
        self._unknown = {}
        options = validate(spec, self.plugins)
        run = GraphOfRun(self, spec, options)
        comparison = run.plan()
        return RunPlan(
            spec=spec,
            graph=run.graph,
            acts=run.acts,
            comparison=comparison,
            options=options,
            session=run.session,
            unknown=tuple(self._unknown),
        )

    def session(self, spec: RunSpec, options: Mapping[str, BaseModel | None]) -> Session:
        """Return the session in which a run has its keys."""
        judges = {key: value.model_dump(mode="json") for key, value in options.items() if value and "judges:" in key}
        key = json.dumps([spec.backend, spec.dtype, judges], sort_keys=True)
        if key not in self._sessions:
            self._sessions[key] = Session(
                plugins=self.plugins,
                store=self.store,
                progress=self._progress,
                backend=spec.backend,
                dtype=spec.dtype,
                options=options,
            )
        return self._sessions[key]

    def in_other_batches(self, session: Session) -> Session:
        """Return the session in which `session`'s start is measured again."""
        return self._again.setdefault(id(session), session.in_other_batches())

    def model(self, text: str, *, revision: str | None = None, allow_pickle: bool = False) -> Checkpoint:
        """Return the model that `text` names if it is here, else one that stands for it."""
        asked_for = (text, revision, allow_pickle)
        if asked_for not in self._models:
            try:
                found = resolve(
                    text,
                    revision=revision,
                    allow_pickle=allow_pickle,
                    cache_dir=self.store.cache,
                    download=self._download,
                )
                self._models[asked_for] = known_to_the_store(found, self.store)
            except UserError:
                if self._download or Path(text).expanduser().exists() or text.startswith((".", "/", "~")):
                    raise
                name = f"{text}@{revision}" if revision else text
                self._models[asked_for] = Checkpoint(name=text, path=Path(), fingerprint=f"not-here-{name}")
        found = self._models[asked_for]
        if found.fingerprint.startswith("not-here-"):
            self._unknown[f"the model {text}"] = None
        return found

    def fitted(self, session: Session, start: Checkpoint, method: str, options: BaseModel | None) -> BaseModel | None:
        """Return a method's options as a run fits them to its start, where that is here."""
        if not start.path.is_absolute() or not start.path.exists():
            return options
        key = (start.fingerprint, method, "" if options is None else options.model_dump_json())
        if key not in self._fitted:
            self._fitted[key] = fit_options(session, start, method, options)
        return self._fitted[key]

    def missing(self, what: str) -> None:
        """Note that `what` is not on this machine."""
        self._unknown[what] = None

    def teacher(self, text: str, student: Checkpoint) -> Checkpoint:
        """Return the teacher that `text` names, under those arguments of the student's chat template that it has."""
        teacher, arguments = self.model(text), student.chat_template_kwargs
        if not arguments or teacher.endpoint is not None or teacher.fingerprint.startswith("not-here-"):
            return teacher
        known = arguments_of(teacher)
        return teacher.with_template_arguments({name: value for name, value in arguments.items() if name in known})

    def domain(self, spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> OpenDomain:
        """Return the run's domain with its problems; without them where its data is not here."""
        chosen = options[f"domains:{spec.domain}"]
        told = chosen.model_dump(mode="json") if chosen else {}
        key = json.dumps([spec.domain, told, spec.problems, spec.seed], sort_keys=True, default=str)
        if key not in self._domains:
            opened = NO_DOMAIN
            try:
                opened = self._opened(spec, session, options)
                self._domains[key] = draw_problems(opened, spec.problems, spec.seed, self._progress)
            except UserError:
                if self._download:
                    raise
                stand_in = f"{spec.domain}: {spec.problems} problems of seed {spec.seed}, not here"
                self._domains[key] = dataclasses.replace(opened, name=spec.domain, options=chosen, missing=stand_in)
        if self._domains[key].missing:
            self._unknown[f"the problems of the domain {spec.domain}"] = None
        return self._domains[key]

    def _opened(self, spec: RunSpec, session: Session, options: Mapping[str, BaseModel | None]) -> OpenDomain:
        """Return the domain of a run without problems: the same for every seed."""
        chosen = options[f"domains:{spec.domain}"]
        key = (spec.domain, "" if chosen is None else chosen.model_dump_json())
        if key not in self._opened_domains:
            self._opened_domains[key] = open_domain(spec, session, options, data=self._data)
        return self._opened_domains[key]
