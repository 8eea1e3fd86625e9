"""One attempt at a training: from its last complete checkpoint to its end, unless something runs out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from pfh.hooks.ledger import Phase
from pfh.kit.training.along import keep_along
from pfh.kit.training.best import load_best, watch_for_best
from pfh.kit.training.building import build_trainer, plan_schedule
from pfh.kit.training.checkpoints import discard_incomplete, last_complete_checkpoint
from pfh.kit.training.colocated import end_vllm
from pfh.kit.training.held_near import attach
from pfh.kit.training.looking import keep_look_before, look_along
from pfh.kit.training.passes import count_passes
from pfh.kit.training.running import FinishedTraining, RunningTraining
from pfh.kit.training.sharing import is_first
from pfh.kit.training.spending import samples_of
from pfh.kit.training.watching import AtItsEnd, watch

if TYPE_CHECKING:
    from transformers import Trainer


_NO_FIGURES = ("_per_second", "_runtime", "step_time", "num_tokens")
"""Logged timings, and a counter of TRL's that forgets what came before a kill."""


def attempt(training: RunningTraining, build: Callable[[int, int], Trainer]) -> FinishedTraining:
    """Train once, with batches of `training.spent.batch_size`."""
    from transformers.trainer import TRAINER_STATE_NAME
    from transformers.trainer_callback import TrainerState

    spent, progress, name = training.spent, training.progress, training.name
    spent.attempts += 1
    spent.start(training.output_dir)
    last = last_complete_checkpoint(training.output_dir)
    if is_first():
        discard_incomplete(training.output_dir)
    with ExitStack() as stack:
        trainer = build_trainer(build, spent.batch_size, training.share // spent.batch_size)
        on_failure = stack.enter_context(ExitStack())
        on_failure.callback(end_vllm, trainer)  # before another attempt starts an engine of its own
        if getattr(trainer, "ref_model", None) is not None:
            count_passes(trainer.accelerator.unwrap_model(trainer.ref_model))
        if training.near is not None:
            attach(trainer, training.near)
        spent.count(trainer)
        plan_schedule(trainer, lambda: training.allowance.share(spent, trainer.state.num_input_tokens_seen))
        if training.allowance.updates is not None:
            trainer.args.max_steps = training.allowance.updates
        state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)) if last else TrainerState()
        ended = last is not None and (
            training.is_over_budget(state.num_input_tokens_seen, state.global_step)
            or state.global_step >= state.max_steps
        )
        trainer.add_callback(watch(training, trainer.accelerator, stack, ended=ended))
        if training.keep_every:
            along = keep_along(trainer, spent, training.along, training.keep_every, training.before)
            trainer.add_callback(along)
        if training.look is not None:
            trainer.add_callback(look_along(trainer, training.look, training.look_every, training.looks, progress))
        if trainer.args.metric_for_best_model:
            trainer.add_callback(watch_for_best())
        if last is not None and not ended:
            progress.say(f"{name} goes on from update {state.global_step}")
        with suppress(AtItsEnd):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        on_failure.pop_all()
    kept = load_best(trainer) if trainer.state.best_global_step else {}
    if kept:
        progress.say(f"{name}: the checkpoint of update {kept['kept_update']} is kept, the best of all")
    if training.look is not None:
        kept = keep_look_before(trainer, training.looks, training.look_every, kept)
    spent.write()
    return FinishedTraining(
        trainer=trainer,
        curves=_curves(trainer.state.log_history),
        phase=Phase(
            name=name,
            seconds=round(spent.seconds, 3),
            tokens=spent.tokens,
            updates=spent.updates,
            devices=trainer.accelerator.num_processes,
            passed=round(spent.passed * trainer.accelerator.num_processes),
            flops=spent.flops * trainer.accelerator.num_processes,
            samples=samples_of(
                spent.epochs, len(trainer.train_dataset), training.share * trainer.accelerator.num_processes
            )
            + training.general * spent.updates,
            notes=({"attempts": spent.attempts, "batch_size": spent.batch_size} if spent.attempts > 1 else {})
            | ({"general_rows": training.general * spent.updates} if training.general else {})
            | kept,
        ),
    )


def _curves(log_history: list[dict[str, Any]]) -> tuple[dict[str, float], ...]:
    held_back = {row["step"]: {"validation_loss": row["eval_loss"]} for row in log_history if "eval_loss" in row}
    return tuple(
        {
            key: float(value)
            for key, value in (row | held_back.get(row["step"], {})).items()
            if not any(part in key for part in _NO_FIGURES)
        }
        for row in log_history
        if "loss" in row
    )
