"""The best checkpoint of a training in place of its last; the Trainer's argument metric_for_best_model says by what.

"eval_loss": the loss on held-back examples, which the Trainer measures before every checkpoint.
"reward": the mean reward of the last batches of rollouts before it.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


RECENT = 5
"""Batches of rollouts whose mean reward is a checkpoint's figure."""
KEPT = "kept_update"
BEST = {"eval_loss": "kept_validation_loss", "reward": "kept_reward"}
"""What a figure by which a checkpoint was the best is called in the ledger."""


def watch_for_best() -> TrainerCallback:
    """Return a callback that finds the best checkpoint by reward, and has the one at a budget's end measured too."""
    from transformers import TrainerCallback

    class Best(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        """Keeps the figure where the Trainer keeps its own, so that it never deletes that checkpoint."""

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if control.should_training_stop:
                control.should_save = True
                control.should_evaluate = args.metric_for_best_model == "eval_loss"

        def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            if args.metric_for_best_model != "reward" or not control.should_save:
                return
            rewards = [row["reward"] for row in state.log_history if "reward" in row][-RECENT:]
            if len(rewards) < RECENT and not control.should_training_stop:
                return
            figure = statistics.fmean(rewards)
            if state.best_metric is None or figure > state.best_metric:
                state.best_metric, state.best_global_step = figure, state.global_step

    return Best()


def load_best(trainer: Trainer) -> dict[str, float | int | str]:
    """Put the weights of the best checkpoint into `trainer`, trained to its end; return what tells about it."""
    state = trainer.state
    state.best_model_checkpoint = str(Path(trainer.args.output_dir) / f"checkpoint-{state.best_global_step}")
    if state.best_global_step < state.global_step:
        trainer._load_best_model()
    return {KEPT: state.best_global_step, BEST[trainer.args.metric_for_best_model]: state.best_metric}
