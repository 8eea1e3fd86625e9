"""lm-eval's sample logs, of every version: samples_TASK_DATE.jsonl and results_DATE.json, left by `--log_samples`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pfh import hookimpl
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec, WriteSpec


class Options(BaseModel):
    """How a log is read."""

    model_config = ConfigDict(extra="forbid")

    cluster: str = Field(
        default="",
        description="field that documents which belong together have in common, such as a passage",
    )


@hookimpl
def options() -> type[Options]:
    """Name the options."""
    return Options


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one model's folder, one results file and the samples beside it, or one samples file."""
    from pfh_readers.lm_eval.reading import read_lm_eval

    chosen = spec.options if isinstance(spec.options, Options) else Options()
    return read_lm_eval(spec.path, spec.files, chosen.cluster)


@hookimpl
def write_log(spec: WriteSpec) -> Path:
    """Write a folder named after the model."""
    from pfh_readers.lm_eval.writing import export_lm_eval

    return export_lm_eval(spec.folder, spec.model, spec.evaluations, spec.settings)
