"""What the steps of a run share: plugins, store, data, judges, and one resident model at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pfh import __version__
from pfh.hooks.backends import BackendSpec, EngineSpec
from pfh.hooks.datasets import DataSource
from pfh.hooks.judges import JudgeSpec
from pfh.hooks.meanings import Names, values
from pfh.progress import Progress
from pfh.registry.code import Code, code_of
from pfh.registry.files import file_hashes
from pfh.registry.libraries import library_versions
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.sources.models import resolve
from pfh.store.store import Store

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.attacks import AttackResult, AttackSpec
    from pfh.hooks.backends import Completion, Engine
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.domains import Domain, Problem
    from pfh.hooks.judges import Judge
    from pfh.registry.catalogue import Kind


OTHER_BATCH_TOKENS = 2048
"""Token budget of a batch when a model is measured once more for its noise; a backend's own budget is larger."""


class Session:
    """One process's access to models, data and judges."""

    def __init__(
        self,
        *,
        plugins: Plugins,
        store: Store,
        progress: Progress,
        backend: str = "hf",
        dtype: str = "auto",
        batch_tokens: int = 0,
        data: DataSource | None = None,
        options: Mapping[str, BaseModel | None] = MappingProxyType({}),
    ) -> None:
        self.plugins = plugins
        self.store = store
        self.progress = progress
        self.backend = backend
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.data = data or HubData()
        self.options = options
        """Plugin key, such as "judges:rule", to the options that were given; those of judges are looked for here."""
        self.completions: dict[str, Completion] = {}
        """What the families measured so far let the models write, for those that ask the same."""
        self._engine: Engine | None = None
        self._resident = ""
        self._judges: dict[str, Judge] = {}
        self.versions: dict[str, tuple[str, str]] = {}
        """Versions of libraries, looked up once."""
        self.held_out: dict[tuple[int, int], tuple[Domain, tuple[Problem, ...]]] = {}
        """Held-out prompts, so many of a domain; the domain stands beside them, so that its id is no other's."""
        self._code: dict[tuple[str, ...], Code] = {}
        self._environments: dict[tuple[Any, ...], dict[str, str]] = {}

    def engine(self, checkpoint: Checkpoint) -> Engine:
        """Return the engine, answering with `checkpoint`; the model is loaded only now."""
        backend = self._backend_of(checkpoint)
        if self._resident != backend:
            self.release()
        if self._engine is None:
            spec = EngineSpec(
                checkpoint=checkpoint,
                dtype=self.dtype,
                batch_tokens=self.batch_tokens,
                open_engine=self.plugins.open_engine,
                progress=self.progress,
            )
            self._engine, self._resident = self.plugins.open_engine(backend, spec), backend
        self._engine.use(checkpoint)
        return self._engine

    def in_other_batches(self) -> Session:
        """Return a session of its own that puts the same to a model in smaller batches: what that changes is noise."""
        return Session(
            plugins=self.plugins,
            store=self.store,
            progress=self.progress,
            backend=self.backend,
            dtype=self.dtype,
            batch_tokens=OTHER_BATCH_TOKENS,
            data=self.data,
            options=self.options,
        )

    def code(self, *modules: str) -> Code:
        """Return the code that `modules` decide with, read once: what a step's key says of pfh's own."""
        if modules not in self._code:
            self._code[modules] = code_of(*modules)
        return self._code[modules]

    def release(self) -> None:
        """Free the resident model's memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def judge(self, name: str) -> Judge:
        """Open a judge, once."""
        if name not in self._judges:
            spec = JudgeSpec(
                data=self.data,
                cache_dir=self.store.cache,
                options=self._options_of("judges", name),
                open_engine=self.plugins.open_engine,
            )
            self._judges[name] = self.plugins.open_judge(name, spec)
        return self._judges[name]

    def attack(self, name: str, spec: AttackSpec) -> AttackResult:
        """Run an attack under the options that were given for it."""
        return self.plugins.attack(name, dataclasses.replace(spec, options=self._options_of("attacks", name)))

    def judge_inputs(self, name: str) -> dict[str, Any]:
        """Return what a step's key says of a judge."""
        return self.plugin_inputs("judges", name)

    def plugin_inputs(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return what a step's key says of a judge or an attack: code, options, files and weights they name."""
        options = self._options_of(kind, name)
        files = file_hashes(options)
        folders = [model for model in values(options, Names.MODEL) if Path(model).expanduser().exists()]
        weights = [resolve(model, cache_dir=self.store.cache).fingerprint for model in folders]
        return {
            "code": self.plugins.load(kind, name).code_version,
            "options": options.model_dump(mode="json") if options else {},
            **({"files": files} if files else {}),
            **({"weights": weights} if weights else {}),
        }

    def environment(
        self,
        checkpoint: Checkpoint | None = None,
        *,
        plugins: Sequence[tuple[Kind, str]] = (),
        libraries: Sequence[str] = (),
    ) -> dict[str, str]:
        """Return what beside a step's inputs decides its result: backend, dtype, device and versions.

        Args:
            checkpoint: what answers; without one, any model that has weights.
            plugins: those beside the backend whose code takes part; the libraries that they import count.
            libraries: modules that count beside them.
        """
        backend = self.backend if checkpoint is None else self._backend_of(checkpoint)
        asked = (backend, *plugins, *libraries)
        if asked not in self._environments:
            self._environments[asked] = self._environment(backend, plugins, libraries)
        return self._environments[asked]

    def _environment(
        self, backend: str, plugins: Sequence[tuple[Kind, str]], libraries: Sequence[str]
    ) -> dict[str, str]:
        import torch

        answering = self.plugins.answers_through(backend, BackendSpec(dtype=self.dtype))
        backends = [self.plugins.load("backends", name) for name in answering]
        used = [*backends, *(self.plugins.load(kind, name) for kind, name in plugins)]
        imported = {"torch", "transformers", *libraries}.union(*(plugin.code.libraries for plugin in used))
        return {
            "backend": " ".join(plugin.code_version for plugin in backends),
            "dtype": self.dtype,
            "pfh": __version__,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            **library_versions(imported, self.versions),
            **({"batch_tokens": str(self.batch_tokens)} if self.batch_tokens else {}),
        }

    def _options_of(self, kind: Kind, name: str) -> BaseModel | None:
        chosen = self.options.get(f"{kind}:{name}")
        return self.plugins.options(kind, name, {}) if chosen is None else chosen

    def _backend_of(self, checkpoint: Checkpoint) -> str:
        return self.backend if checkpoint.endpoint is None else checkpoint.endpoint.backend
