"""What a run refuses before anything is measured, so that hours of work do not end with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pfh import steps
from pfh.budget import Account, Budget
from pfh.errors import UserError
from pfh.session import Session
from pfh.specs import StageSpec
from pfh.turns import refuse_conversations

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PreTrainedModel

    from pfh.models import Checkpoint
    from pfh.training import TrainingOptions


def check_stage(
    session: Session,
    checkpoint: Checkpoint,
    ground: steps.Ground,
    method: str,
    *,
    options: BaseModel | None,
    budget: Budget | None,
) -> None:
    """Refuse a stage that could not be trained, as far as that is known beforehand.

    Args:
        session: the run's.
        checkpoint: the start of the run; what earlier stages make of it has the same layers.
        ground: what the method is trained on.
        method: its name.
        options: the method's.
        budget: what it may spend.

    Raises:
        PfhError: the stage cannot be trained; says what to change.
    """
    from pfh.training import TrainingOptions

    refuse_conversations(ground.domain, method, options)
    account = Account(budget)
    if isinstance(options, TrainingOptions):
        _check_budget(account, method, options)
        _check_layers(checkpoint, options)
    session.plugins.check_stage(
        method,
        StageSpec(
            checkpoint=checkpoint,
            domain=ground.domain,
            problems=ground.problems,
            options=options,
            account=account,
            progress=session.progress,
            teacher=steps.named_teacher(session, options),
        ),
    )


def _check_budget(account: Account, method: str, options: TrainingOptions) -> None:
    update = options.batch_size * options.gradient_accumulation
    if not account.lasts(update):
        raise UserError(
            f"The budget of {account.budget} does not last for one update of {method}, which takes {update} samples: "
            "raise --budget, or lower batch_size or gradient_accumulation."
        )


def _check_layers(checkpoint: Checkpoint, options: TrainingOptions) -> None:
    from pfh.training import ALL_LINEAR, check_targets

    if options.adapter == "lora" and options.lora_targets != (ALL_LINEAR,):
        check_targets(options.lora_targets, _without_weights(checkpoint))


def _without_weights(checkpoint: Checkpoint) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    names: Mapping[str, Any] = {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {}
    config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False, **names)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model
