"""What the steps of a run share: plugins, store, data, judges, and one resident model at a time."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from pfh import __version__
from pfh.data import DataSource, HubData
from pfh.plugins import Plugins
from pfh.progress import Progress
from pfh.specs import EngineSpec, JudgeSpec
from pfh.store import Store

if TYPE_CHECKING:
    from pfh.engine import Engine
    from pfh.judging import Judge
    from pfh.models import Checkpoint


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
        self._engine: Engine | None = None
        self._judges: dict[str, Judge] = {}

    def engine(self, checkpoint: Checkpoint) -> Engine:
        """Return the engine, answering with `checkpoint`; the model is loaded only now."""
        if self._engine is None:
            spec = EngineSpec(checkpoint=checkpoint, dtype=self.dtype, batch_tokens=self.batch_tokens)
            self._engine = self.plugins.open_engine(self.backend, spec)
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
            self._judges[name] = self.plugins.open_judge(name, JudgeSpec(data=self.data, cache_dir=self.store.cache))
        return self._judges[name]

    def environment(self) -> dict[str, str]:
        """Return what beside a step's inputs decides what a model answers: backend, dtype, libraries, device."""
        import torch

        return {
            "backend": self.plugins.load("backends", self.backend).code_version,
            "dtype": self.dtype,
            "pfh": __version__,
            "torch": version("torch"),
            "transformers": version("transformers"),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            **({"batch_tokens": str(self.batch_tokens)} if self.batch_tokens else {}),
        }
