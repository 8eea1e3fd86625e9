"""A method's trainer, set up as every training needs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Trainer


def build_trainer(build: Callable[[int, int], Trainer], batch_size: int, gradient_accumulation: int) -> Trainer:
    """Return what `build` makes of the batch size and the accumulation, on one device and without libraries' bars."""
    from transformers.trainer_callback import PrinterCallback

    with _no_bars_of_libraries(), _one_device():
        trainer = build(batch_size, gradient_accumulation)
        trainer.args._n_gpu = trainer.args.n_gpu
    trainer.remove_callback(PrinterCallback)
    _teach_in_one_update(trainer)
    return trainer


@contextmanager
def _no_bars_of_libraries() -> Iterator[None]:
    import datasets

    shown, before = datasets.are_progress_bars_disabled(), os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


@contextmanager
def _one_device() -> Iterator[None]:
    """Have the Trainer use one of the GPUs that it sees.

    It would split every batch over all of them (DataParallel), which multiplies the examples of an update, and which
    TRL refuses. `pfh.steps.ranks` trains over several.
    """
    from transformers import TrainingArguments

    seen = TrainingArguments.n_gpu
    TrainingArguments.n_gpu = property(lambda arguments: min(seen.fget(arguments), 1))
    try:
        yield
    finally:
        TrainingArguments.n_gpu = seen


def plan_schedule(trainer: Trainer, share: Callable[[], float]) -> None:
    """Let the learning rate run its whole course while a budget is spent, of which `share` is gone.

    A budget of time, tokens or operations may end a training long before its last planned update.
    """
    from torch.optim.lr_scheduler import LambdaLR

    create = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - torch's
        scheduler = create(num_training_steps, *arguments, **named)
        if isinstance(scheduler, LambdaLR):

            def planned(course: Callable[[float], float]) -> Callable[[int], float]:
                return lambda update: course(max(update, min(share(), 1.0) * num_training_steps))

            scheduler.lr_lambdas = [planned(course) for course in scheduler.lr_lambdas]
        return scheduler

    trainer.create_scheduler = create_scheduler


def _teach_in_one_update(trainer: Trainer) -> None:
    """Leave the warm-up out of a training of one update, which would be all of it: with a learning rate of 0."""
    create = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - torch's
        if num_training_steps == 1:
            trainer.args.warmup_steps = 0
        return create(num_training_steps, *arguments, **named)

    trainer.create_scheduler = create_scheduler
