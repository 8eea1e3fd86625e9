"""Transformers on this machine's GPU or CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pfh import hookimpl

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine, EngineSpec


@hookimpl
def open_engine(spec: EngineSpec) -> Engine:
    """Make `spec.checkpoint` resident."""
    from pfh_backends.hf.engine import HfEngine

    return HfEngine(spec)
