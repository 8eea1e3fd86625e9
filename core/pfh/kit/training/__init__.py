"""What methods that train with TRL share: loading, settings, resumption, and what the training cost."""

from __future__ import annotations

from pfh.kit.training.checkpoints import COMPLETE, last_complete_checkpoint
from pfh.kit.training.loop import train_resumably
from pfh.kit.training.models import free_memory, load_for_training, save_trained
from pfh.kit.training.options import (
    Optimizer,
    Schedule,
    TrainingOptions,
    lora_config,
    rate,
    trainer_arguments,
)
from pfh.kit.training.running import FinishedTraining
from pfh.kit.training.sharing import examples_per_process, is_first, processes
from pfh.kit.training.targets import ALL_LINEAR, check_targets
from pfh.kit.training.work import Work

__all__ = [
    "ALL_LINEAR",
    "COMPLETE",
    "FinishedTraining",
    "Optimizer",
    "Schedule",
    "TrainingOptions",
    "Work",
    "check_targets",
    "examples_per_process",
    "free_memory",
    "is_first",
    "last_complete_checkpoint",
    "load_for_training",
    "lora_config",
    "processes",
    "rate",
    "save_trained",
    "train_resumably",
    "trainer_arguments",
]
