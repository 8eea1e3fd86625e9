"""A vLLM engine beside a training in one process: ended when the training is, and what it left behind undone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that TRL sets for vLLM, and by which whoever comes later takes this process for one of several."""


def end_vllm(trainer: Any) -> None:  # noqa: ANN401 - a trainer of TRL's
    """Have the vLLM engine inside `trainer`, if there is one, give its memory back; the trainer generates no more."""
    generation = getattr(trainer, "vllm_generation", None)
    engine = getattr(generation, "llm", None)
    if generation is None or engine is None:
        return
    engine.llm_engine.engine_core.shutdown()
    generation.llm = None


@contextmanager
def undistributed() -> Iterator[None]:
    """Restore, in the end, what the environment said of the processes of a training."""
    before = {name: os.environ.get(name) for name in DISTRIBUTED}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
