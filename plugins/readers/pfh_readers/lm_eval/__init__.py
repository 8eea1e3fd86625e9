"""lm-eval's sample logs: samples_TASK_DATE.jsonl and results_DATE.json, left by `--log_samples`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pfh import hookimpl

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec, WriteSpec

_RESULTS = re.compile(r"results_\d{4}-\d\d-\d\dT[\d.-]+\.json$")


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one model's folder, or one results file and the samples beside it."""
    from pfh_readers.lm_eval.reading import read_lm_eval

    if not any(file.name.startswith("samples_") or _RESULTS.search(file.name) for file in spec.files):
        return None
    return read_lm_eval(spec.path)


@hookimpl
def write_log(spec: WriteSpec) -> Path:
    """Write a folder named after the model."""
    from pfh_readers.lm_eval.writing import export_lm_eval

    return export_lm_eval(spec.folder, spec.model, spec.evaluations, spec.settings)
