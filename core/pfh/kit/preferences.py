"""Learning from preferences: pairs of completions of one prompt, and the trainer that dpo and spin share."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, named_problems
from pfh.kit.supervised import require_room
from pfh.kit.tokens.taught import encode_completion, encode_prompt, end_of_turn, end_tokens
from pfh.kit.training import TrainingOptions, load_for_training, lora_config, processes

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import DPOTrainer


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two completions of one prompt, the one to be preferred to the other."""

    problem: Problem
    chosen: str
    rejected: str
    rejected_cut: bool = False
    """The length limit ended it: the model did not."""
    chosen_ids: Sequence[int] = ()
    """The tokens that the model itself wrote the chosen completion in, where it did."""
    rejected_ids: Sequence[int] = ()


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Check that no pair teaches nothing or the wrong thing.

    Raises:
        UserError: a chosen completion is empty, or the same as the rejected one.
    """
    for what, faulty in (
        ("an empty chosen completion", [pair for pair in pairs if not pair.chosen.strip()]),
        ("the same chosen and rejected completion", [pair for pair in pairs if pair.chosen == pair.rejected]),
    ):
        if faulty:
            raise UserError(
                f"{len(faulty)} of {len(pairs)} preference pairs have {what} "
                f"({named_problems([pair.problem for pair in faulty])}): correct them or leave them out."
            )


def preference_row(tokenizer: PreTrainedTokenizerBase, pair: Pair, end: Sequence[int]) -> dict[str, list[int]]:
    """Return the tokens of a pair; `end` is what an answer ends with that the model ended itself."""
    chat, rejected_end = pair.problem.messages, [] if pair.rejected_cut else end
    return {
        "prompt_ids": encode_prompt(tokenizer, chat),
        "chosen_ids": encode_completion(tokenizer, chat, pair.chosen, end, pair.chosen_ids),
        "rejected_ids": encode_completion(tokenizer, chat, pair.rejected, rejected_end, pair.rejected_ids),
    }


def preference_trainer(
    checkpoint: Checkpoint,
    pairs: Sequence[Pair],
    options: TrainingOptions,
    arguments: Mapping[str, Any],
    *,
    beta: float,
    losses: Mapping[str, float] = MappingProxyType({"sigmoid": 1.0}),
) -> DPOTrainer:
    """Return TRL's trainer with the loss of Rafailov et al. 2023 (arXiv 2305.18290, equation 7).

    With y chosen and y' rejected, and log-probabilities summed over a sequence:

        loss = -log sigmoid(beta * ((log pi(y|x) - log pi_0(y|x)) - (log pi(y'|x) - log pi_0(y'|x))))

    The reference pi_0 is `checkpoint`: under LoRA the same weights with the adapter off.

    Args:
        checkpoint: where training starts.
        pairs: what it learns from, at least one.
        options: the adapter, the longest sequence, the epochs.
        arguments: what `trainer_arguments` returned.
        beta: strength of the pull towards the reference.
        losses: TRL's names of the losses that are added up, and their weights; the one above is "sigmoid".

    Raises:
        UserError: a prompt leaves no room for a completion, or a pair teaches nothing.
    """
    from trl import DPOConfig, DPOTrainer

    check_pairs(pairs)
    model, tokenizer = load_for_training(checkpoint, options)
    require_room(tokenizer, (pair.problem.messages for pair in pairs), options.max_length)
    end = end_of_turn(tokenizer, end_tokens(model, tokenizer))
    rows = [preference_row(tokenizer, pair, end) for pair in pairs]

    class OnTokens(DPOTrainer):  # type: ignore[misc] # TRL is untyped here
        """Takes the rows as they are: TRL would render them anew, and end each with the template's end of turn."""

        def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
            return dataset

    config = DPOConfig(
        **arguments,
        beta=beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        f_divergence_type="reverse_kl",
        label_smoothing=0.0,
        use_weighting=False,
        sync_ref_model=False,
        disable_dropout=options.lora_dropout == 0,
        max_length=options.max_length,
        truncation_mode="keep_start",
        # Saves a second model when all weights train, and the repeats when an epoch follows.
        precompute_ref_log_probs=options.adapter == "full" or options.epochs > 1,
    )
    return OnTokens(
        model=model,
        args=config,
        train_dataset=_dataset(rows, Path(arguments["output_dir"]) / "rows"),
        processing_class=tokenizer,
        peft_config=lora_config(options, model),
    )


def _dataset(rows: list[dict[str, Any]], folder: Path) -> Dataset:
    """Return `rows`; of several processes the first puts them into `folder`.

    There TRL leaves the log-probabilities of the reference, which it computes in all processes, to be read by all.
    """
    from accelerate import PartialState
    from datasets import Dataset, load_from_disk

    if processes() == 1:
        return Dataset.from_list(rows)
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            Dataset.from_list(rows).save_to_disk(folder)
        return load_from_disk(folder)
