"""The callback that looks after a training while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import StepFailedError
from pfh.kit.training.checkpoints import COMPLETE
from pfh.kit.training.progress_line import progress_line
from pfh.kit.training.running import RunningTraining

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.data import DataLoader
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class AtItsEnd(Exception):  # noqa: N818 - no error: there is nothing left to train
    """The checkpoint that a training was to go on from is its last."""


def watch(training: RunningTraining, accelerator: Accelerator, stack: ExitStack, *, ended: bool) -> TrainerCallback:
    """Return the callback; its bar closes with `stack`.

    A training that has `ended` gets its weights loaded and is then left with `AtItsEnd`.
    """
    from transformers import TrainerCallback
    from trl.trainer.utils import RepeatSampler

    spent, progress, name = training.spent, training.progress, training.name

    class Watch(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        """Draws the bar, stops at a loss that is not finite, marks whole checkpoints, counts what was spent."""

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if ended:
                # The weights are loaded, and Trainer.train would make one update more before it looked.
                raise AtItsEnd
            self.bar = stack.enter_context(progress.task(name, total=state.max_steps, done=state.global_step))
            self.tokens, self.epoch = state.num_input_tokens_seen, state.epoch or 0.0

        def on_epoch_begin(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            train_dataloader: DataLoader,
            **_: object,
        ) -> None:
            batches = train_dataloader.batch_sampler
            sampler = getattr(getattr(batches, "batch_sampler", batches), "sampler", None)
            if isinstance(sampler, RepeatSampler):
                # TRL's own sampler: it would begin with the order of the first epoch in every resumed training.
                sampler.generator.manual_seed(args.seed + int(state.epoch or 0))

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.bar.advance()
            spent.updates += 1
            spent.tokens += int(state.num_input_tokens_seen - self.tokens)
            spent.epochs += state.epoch - self.epoch
            self.tokens, self.epoch = state.num_input_tokens_seen, state.epoch
            spent.write()
            if training.is_over_budget(state.num_input_tokens_seen, state.global_step):
                control.should_training_stop = True
                progress.say(f"{name} ends at update {state.global_step} of {state.max_steps}: its budget is spent")

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, float],
            **_: object,
        ) -> None:
            for figure in ("loss", "grad_norm"):
                if figure in logs and not math.isfinite(logs[figure]):
                    raise StepFailedError(
                        f"{name} broke off at update {state.global_step} of {state.max_steps}: the {figure} is "
                        f"{logs[figure]}. Lower learning_rate (it was {args.learning_rate:g}) or max_grad_norm."
                    )
            if "loss" in logs:
                self.bar.note(progress_line(state.log_history))

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            accelerator.wait_for_everyone()  # Each process writes a part of a checkpoint.
            if accelerator.is_main_process:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    return Watch()
