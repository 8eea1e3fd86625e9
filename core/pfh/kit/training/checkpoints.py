"""The trainer's checkpoints, of which a killed process may have left one half written."""

from __future__ import annotations

import shutil
from pathlib import Path

COMPLETE = "COMPLETE"
"""The file that a trainer checkpoint gets once every other file of it is written."""


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the latest trainer checkpoint in `output_dir` that was written to its end, or None."""
    found = {int(folder.name.rpartition("-")[2]): folder for folder in output_dir.glob("checkpoint-*[0-9]")}
    whole = [step for step in found if (found[step] / COMPLETE).exists()]
    return found[max(whole)] if whole else None


def discard_incomplete(output_dir: Path) -> None:
    """Remove the trainer checkpoints in `output_dir` that were not written to their end."""
    for folder in output_dir.glob("checkpoint-*"):
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
