"""Models merged into one, written tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.tensors import aligned, copy_settings, write_tensors
from pfh.progress import Progress

if TYPE_CHECKING:
    import torch

Combine = Callable[[str, "list[torch.Tensor]"], "torch.Tensor"]
"""Makes one tensor of those of all models, given its name."""


def merge_models(
    models: Sequence[Checkpoint], combine: Combine, folder: Path, *, work: Path, progress: Progress
) -> Path:
    """Write what `combine` makes of the tensors of `models` into `folder`, with the settings of the last; return it.

    Each tensor is written in the widest of the models' precisions, so that one that is taken over stays as it is.

    Args:
        models: plain weights; the last one's tokenizer, template and configuration go along.
        combine: given tensors in the order of `models`.
        folder: replaced if it is there.
        work: for what has to be rewritten before it can be read.
        progress: gets the bar.

    Raises:
        UserError: the models are of different kinds.
    """
    import torch

    opened = aligned([models[-1], *models[:-1]], work)
    opened = [*opened[1:], opened[0]]
    last = opened[-1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_settings(models[-1].path, folder)
    dtypes = {name: reduce(torch.promote_types, (each.dtype(name) for each in opened)) for name in last}
    with progress.task("merging", total=len(dtypes)) as bar:

        def make(name: str) -> torch.Tensor:
            bar.advance()
            return combine(name, [each[name] for each in opened])

        write_tensors(folder, last, dtypes, make)
    shutil.rmtree(work, ignore_errors=True)
    return folder
