"""Trackers that a training can log to, through the Trainer's `report_to`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from pfh.errors import did_you_mean

NONE = "none"


TRACKERS: Mapping[str, tuple[str, ...]] = {
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "comet_ml": ("comet_ml",),
    "clearml": ("clearml",),
    "swanlab": ("swanlab",),
    "dvclive": ("dvclive",),
    "neptune": ("neptune",),
}
"""A tracker to the modules of which it needs one, named as they are installed."""


def check_tracker(name: str) -> str:
    """Return `name`, if it is a tracker that can be used here, or "none".

    Raises:
        ValueError: it is not.
    """
    if name == NONE:
        return name
    if name not in TRACKERS:
        raise ValueError(f"there is no such tracker.{did_you_mean(name, TRACKERS)} Trackers: {', '.join(TRACKERS)}.")
    if not any(find_spec(module) for module in TRACKERS[name]):
        raise ValueError(f"it is not installed: pip install {TRACKERS[name][0].replace('_', '-')}.")
    return name
