"""Libraries that print less than they would."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def libraries_quiet(debug: bool) -> Iterator[None]:
    """Keep stdout for the results, and the libraries' own bars and warnings off the screen; set before their import."""
    quiet = {
        "DATASETS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    added = {} if debug else {name: value for name, value in quiet.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield
    finally:
        for name in added:
            os.environ.pop(name, None)
