"""What the steps of a run share: plugins, store, data, judges, and one resident model at a time."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from pfh import __version__
from pfh.hooks.backends import EngineSpec
from pfh.hooks.datasets import DataSource
from pfh.hooks.judges import JudgeSpec
from pfh.progress import Progress
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.store.store import Store

if TYPE_CHECKING:
    from pfh.hooks.backends import Completion, Engine
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.judges import Judge


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
    ) -> None:
        self.plugins = plugins
        self.store = store
        self.progress = progress
        self.backend = backend
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.data = data or HubData()
        self.completions: dict[str, Completion] = {}
        """What the families measured so far let the models write, for those that ask the same."""
        self._engine: Engine | None = None
        self._resident = ""
        self._judges: dict[str, Judge] = {}

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

    def release(self) -> None:
        """Free the resident model's memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def judge(self, name: str) -> Judge:
        """Open a judge, once."""
        if name not in self._judges:
            spec = JudgeSpec(
                data=self.data, cache_dir=self.store.cache, options=self.plugins.options("judges", name, {})
            )
            self._judges[name] = self.plugins.open_judge(name, spec)
        return self._judges[name]

    def environment(self, checkpoint: Checkpoint | None = None) -> dict[str, str]:
        """Return what beside a step's inputs decides what a model answers: backend, dtype, libraries, device."""
        import torch

        backend = self.backend if checkpoint is None else self._backend_of(checkpoint)
        backends = self.plugins.answers_through(backend)
        return {
            "backend": " ".join(self.plugins.load("backends", name).code_version for name in backends),
            "dtype": self.dtype,
            "pfh": __version__,
            "torch": version("torch"),
            "transformers": version("transformers"),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            **({name: _installed_version(name) for name in ("vllm", "openai") if name in backends}),
            **({"batch_tokens": str(self.batch_tokens)} if self.batch_tokens else {}),
        }

    def _backend_of(self, checkpoint: Checkpoint) -> str:
        return self.backend if checkpoint.endpoint is None else checkpoint.endpoint.backend


def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
