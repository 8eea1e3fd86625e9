"""What the fuzzing tests share: a fork that reads, and results that pfh has kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pfh.commands.compare import compare
from pfh.commands.evaluate import evaluate
from pfh.commands.requests import CompareSpec, MeasureSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

from tests.fuzz.files import ABOUT, RESULTS, ROWS, SAMPLES, lines_of, write
from tests.fuzzing import check, fuzz, json_bytes
from tests.test_readers import line


@pytest.fixture
def fuzzed(tmp_path: Path) -> Callable[..., None]:
    """Return a function that fuzzes a reader; it first reads what is valid, so that all is imported and works."""

    def run(read: Callable[[Any], object], valid: Any, strategy: st.SearchStrategy[Any]) -> None:
        read(valid)
        check(fuzz(strategy, read))

    return run


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store and the results of a comparison in `out`, and of a measurement in `one`."""
    place = tmp_path_factory.mktemp("kept")
    log = write(place / "log", {SAMPLES: lines_of(ROWS), RESULTS: json_bytes(ABOUT)})
    worse = write(place / "worse", {SAMPLES: lines_of([line(i, 0.0) for i in range(3)])})
    settings: dict[str, Any] = {"plugins": Plugins(), "store": Store(place / "store"), "progress": Silent()}
    compare(CompareSpec(models=(str(log), str(worse))), output=place / "out", **settings)
    evaluate(MeasureSpec(models=(str(log),)), output=place / "one", **settings)
    return place
