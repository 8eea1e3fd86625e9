"""vLLM: continuous batching and prefix caching, for much text in little time."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from pfh import hookimpl
from pfh.errors import UserError

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine, EngineSpec


@hookimpl
def open_engine(spec: EngineSpec) -> Engine:
    """Make `spec.checkpoint` resident.

    Raises:
        UserError: vLLM is not installed, or cannot load the checkpoint.
    """
    if find_spec("vllm") is None:
        raise UserError("The backend vllm needs vLLM, which is not installed: pip install 'pfh[vllm]'")
    from pfh_backends.vllm.engine import VllmEngine

    return VllmEngine(spec)
