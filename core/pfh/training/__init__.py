"""What methods that train with TRL share: loading, settings, resumption, and what the training cost."""

from pfh.training.attempt import Trained
from pfh.training.checkpoints import COMPLETE, last_complete_checkpoint
from pfh.training.loop import train_resumably
from pfh.training.models import free_memory, load_for_training, save_trained
from pfh.training.options import ALL_LINEAR, TrainingOptions, check_targets, lora_config, trainer_arguments
from pfh.training.sharing import is_first, processes, share_out

__all__ = [
    "ALL_LINEAR",
    "COMPLETE",
    "Trained",
    "TrainingOptions",
    "check_targets",
    "free_memory",
    "is_first",
    "last_complete_checkpoint",
    "load_for_training",
    "lora_config",
    "processes",
    "save_trained",
    "share_out",
    "train_resumably",
    "trainer_arguments",
]
