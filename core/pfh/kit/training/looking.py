"""A training that is looked at on its way, and stopped where a look says so: then the look before is what it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError
from pfh.hooks.ledger import Phase
from pfh.hooks.stopping import Look
from pfh.kit.training.best import BEST, KEPT
from pfh.kit.training.models import OWN_LOAD, save_trained
from pfh.progress import Progress

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_FILE = "looks.json"
STOPPED = "stopped_at_update"


def look_along(trainer: Trainer, look: Look, every: int, folder: Path, progress: Progress) -> TrainerCallback:
    """Return a callback that saves the weights after every so many updates, looks, and stops where that says so."""
    from transformers import TrainerCallback

    class Looking(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            seen = _seen(folder)
            if any(stops and int(update) < state.global_step for update, stops in seen.items()):
                control.should_training_stop = True  # it was killed when it had stopped, and went on from there
                return
            if state.global_step % every:
                return
            import torch

            folder.mkdir(parents=True, exist_ok=True)
            saved = save_trained(trainer, folder / f"{state.global_step:06d}")
            with torch.random.fork_rng():  # what is drawn to look must not change what is trained
                stops = look(saved, state.global_step)
            seen[str(state.global_step)] = stops
            (folder / _FILE).write_text(json.dumps(seen))
            for older in sorted(folder.glob("[0-9]*"))[:-2]:
                shutil.rmtree(older)
            if stops:
                progress.say(f"stopped at update {state.global_step}: it lost more than it may")
                control.should_training_stop = True

    return Looking()


def keep_look_before(
    trainer: Trainer, folder: Path, every: int, best: Mapping[str, Any]
) -> dict[str, float | int | str]:
    """Put the weights of the look before the one that stopped into `trainer`; return what tells of those that it has.

    Where the first look stopped it, none is before: the `best` checkpoint stays, if one was kept, or what was looked at
    is all that there is.

    Raises:
        StepFailedError: the weights are not those of this model.
    """
    seen = _seen(folder)
    stopped = min((int(update) for update, stops in seen.items() if stops), default=None)
    if stopped is None:
        return dict(best)
    kept = stopped - every
    if not (folder / f"{kept:06d}").is_dir():
        if best:
            return {STOPPED: stopped, **best}
        kept = stopped
    if kept < trainer.state.global_step:
        own = getattr(trainer, OWN_LOAD, partial(_load, trainer.accelerator.unwrap_model(trainer.model)))
        own(folder / f"{kept:06d}")
    return {STOPPED: stopped, KEPT: kept}


def told_of_stop(phases: Sequence[Phase]) -> list[str]:
    """Say where a training was stopped before its end, if it was."""
    found = next((phase.notes for phase in phases if STOPPED in phase.notes), None)
    if found is None:
        return []
    if found.keys() & set(BEST.values()):
        return [
            f"Warning: the first look, at update {found[STOPPED]}, found more lost than --stop-when allows; what the "
            f"training leaves is its best checkpoint, of update {found[KEPT]}, at which nobody looked. Look more often "
            "with --stop-every."
        ]
    if found[STOPPED] == found[KEPT]:
        return [
            f"Warning: the first look, at update {found[STOPPED]}, found more lost than --stop-when allows; that model "
            "is what there is. Look more often with --stop-every."
        ]
    return [
        f"The training was stopped at update {found[STOPPED]}, where more was certainly lost than --stop-when allows; "
        f"what it leaves is the model of the look before, of update {found[KEPT]}."
    ]


def _load(model: Any, folder: Path) -> None:  # noqa: ANN401 - peft's or transformers'
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    for file in sorted(folder.glob("*.safetensors")):
        weights = load_file(file)
        adapted = isinstance(model, PeftModel)
        loaded = set_peft_model_state_dict(model, weights) if adapted else model.load_state_dict(weights, strict=False)
        if loaded.unexpected_keys:
            raise StepFailedError(f"{file} does not fit the model that it was saved of: {loaded.unexpected_keys[0]}.")


def _seen(folder: Path) -> dict[str, bool]:
    path = folder / _FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}
