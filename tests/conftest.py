"""Fixtures that all test files share."""

from __future__ import annotations

import gc
import os

# Before torch is imported: threads make small models slower, not faster, and a fork cannot use its parent's.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
from pfh.hooks.checkpoint import Checkpoint
from pfh.progress import Silent

from tests.tiny import tiny_llama


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Keep what is there by now out of the collections that trainers and engines make: they took half of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random two-layer Llama with a ChatML tokenizer; never write into it."""
    return tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def embedded_checkpoint() -> Checkpoint:
    """Return the embedded SmolLM2, made once in the user's store (`PFH_STORE`)."""
    from pfh.registry.plugins import Plugins
    from pfh.steps.session import Session
    from pfh.steps.starts import embedded_start
    from pfh.store.store import Store, default_root

    return embedded_start(Session(plugins=Plugins(), store=Store(default_root()), progress=Silent()))
