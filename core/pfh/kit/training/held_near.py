"""A trainer held near to where its run began: terms of the loss beside the method's own, and a pull of the weights."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pfh.hooks.methods import TrainingSpec
from pfh.kit.tokens.taught import end_of_turn, end_tokens
from pfh.kit.training.general import GeneralAnswers, compared_answers, encoded, replayed_answers
from pfh.kit.training.mitigations import MitigationOptions
from pfh.kit.training.passes import BESIDE, count_passes
from pfh.kit.training.pull import pull_back
from pfh.kit.weights import load_weights

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from pfh.kit.training.options import TrainingOptions

Rows = Sequence[tuple[list[int], int]]
"""Tokens, and how many of them are the prompt's."""
NOTES = "held_near.json"
"""Of a stage's output folder: what was said of it, for the report."""


@dataclass(frozen=True, kw_only=True)
class Near:
    """What holds a stage's model near to where its run began."""

    spec: TrainingSpec
    replay: GeneralAnswers | None
    compare: GeneralAnswers | None
    examples: int
    """The method's own in an update."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report must know, in whole sentences."""
        return tuple(_sentences(self))


@dataclass
class _Term:
    """One term: so many rows an update, and the sum of a figure over their answers' tokens."""

    name: str
    rows: Rows
    count: int
    weight: float
    measure: Callable[[Any, Sequence[tuple[list[int], int]]], torch.Tensor]
    logged: list[float] = field(default_factory=list)


def hold_near(spec: TrainingSpec, examples: int) -> Near | None:
    """Return what a stage's options ask for, with the rows drawn; None where they ask for nothing.

    Args:
        spec: the stage.
        examples: the method's own in an update.

    Raises:
        UserError: rows cannot be had, or have no answers.
        DataUnavailableError: likewise.
    """
    options: MitigationOptions = spec.options
    if not (options.replay or options.kl_start or options.l2_sp):
        return None
    return Near(spec=spec, replay=replayed_answers(spec), compare=compared_answers(spec), examples=examples)


def attach(trainer: Trainer, near: Near) -> None:
    """Let `trainer` compute the terms after each of its own batches, count their tokens, and log them."""
    options: TrainingOptions = near.spec.options
    model, tokenizer = trainer.model, trainer.processing_class
    end = end_of_turn(tokenizer, end_tokens(model, tokenizer))
    terms = []
    if near.replay is not None:
        share = options.replay_share
        rows = encoded(tokenizer, near.replay.answers, end, options.max_length)
        count, weight = options.replayed(near.examples), share / (1 - share)
        terms.append(_Term("replay_loss", rows, count, weight, lambda model, part: _surprise(model, part)))
    if near.compare is not None:
        rows = encoded(tokenizer, near.compare.answers, end, options.max_length)
        start, forward = _start_of(trainer, near.spec), options.kl_direction == "forward"
        terms.append(
            _Term(
                "kl_to_start",
                rows,
                options.compared(near.examples),
                options.kl_start,
                lambda model, part: _divergence(model, start, part, forward=forward),
            )
        )
    if options.l2_sp:
        trainer.add_callback(pull_back(trainer, near.spec, options.l2_sp))
    if terms:
        _compute_beside(trainer, terms, near.spec.seed)


def _compute_beside(trainer: Trainer, terms: Sequence[_Term], seed: int) -> None:
    step, log = trainer.training_step, trainer.log
    batches: dict[int, int] = defaultdict(int)

    def training_step(model: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - transformers'
        loss = step(model, *arguments, **named)
        update, parts = trainer.state.global_step, trainer.current_gradient_accumulation_steps
        place = batches[update]
        batches[update] += 1
        for term in terms:
            rows = rows_of(term.rows, term.count, update, f"{seed}/{term.name}")
            total = sum(len(ids) - prompt for ids, prompt in rows)
            for row in rows[place * len(rows) // parts : (place + 1) * len(rows) // parts]:
                with trainer.compute_loss_context_manager():
                    value = term.measure(model, [row]) / total
                trainer.accelerator.backward(term.weight * value)
                term.logged.append(float(value.detach()))
                trainer.state.num_input_tokens_seen += len(row[0])
        return loss

    def logged(logs: dict[str, float], *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - transformers'
        if "loss" in logs:
            for term in terms:
                logs[term.name] = sum(term.logged)
                term.logged.clear()
        log(logs, *arguments, **named)

    trainer.training_step, trainer.log = training_step, logged


def rows_of(rows: Rows, count: int, update: int, seed: str) -> list[tuple[list[int], int]]:
    """Return the rows of an update: all in turn, in another order each round, whatever was resumed."""
    found = []
    for place in range(update * count, (update + 1) * count):
        order = list(range(len(rows)))
        random.Random(f"{seed}/{place // len(rows)}").shuffle(order)  # noqa: S311 - a reproducible choice
        found.append(rows[order[place % len(rows)]])
    return found


def _answers(model: Any, ids: torch.Tensor, prompt: int) -> torch.Tensor:  # noqa: ANN401 - peft's or transformers'
    """Return the logits, in float32, at the places whose next token is the answer's."""
    logits: torch.Tensor = model(input_ids=ids, attention_mask=ids.new_ones(ids.shape)).logits
    return logits[0, prompt - 1 : -1].float()


def _surprise(model: Any, rows: Rows) -> torch.Tensor:  # noqa: ANN401 - peft's or transformers'
    """Return the summed negative log-likelihood of the rows' answers."""
    import torch

    device = next(model.parameters()).device
    sums = []
    for ids, prompt in rows:
        tokens = torch.tensor([ids], device=device)
        sums.append(
            torch.nn.functional.cross_entropy(_answers(model, tokens, prompt), tokens[0, prompt:], reduction="sum")
        )
    return torch.stack(sums).sum()


def _divergence(model: Any, start: Callable[[Any], Any], rows: Rows, *, forward: bool) -> torch.Tensor:  # noqa: ANN401
    """Return the divergence summed over the rows' answers: KL(model || start), or of the start if `forward`."""
    import torch

    device = next(model.parameters()).device
    sums = []
    for ids, prompt in rows:
        tokens = torch.tensor([ids], device=device)
        with torch.no_grad(), start(model) as other:
            before = torch.log_softmax(_answers(other, tokens, prompt), dim=-1)
        after = torch.log_softmax(_answers(model, tokens, prompt), dim=-1)
        one, two = (before, after) if forward else (after, before)
        sums.append((one.exp() * (one - two)).sum())
    return torch.stack(sums).sum()


def _start_of(trainer: Trainer, spec: TrainingSpec) -> Callable[[Any], Any]:
    """Return what opens the model that the run began with: the same with its adapter off, or a second one."""
    import torch
    from peft import PeftModel

    if isinstance(trainer.model, PeftModel) and spec.beginning.fingerprint == spec.checkpoint.fingerprint:
        return lambda model: _without_adapter(trainer.accelerator.unwrap_model(model))
    second = load_weights(spec.beginning, torch.float32).to(trainer.accelerator.device).eval().requires_grad_(False)
    count_passes(second)
    setattr(trainer, BESIDE, (*getattr(trainer, BESIDE, ()), second))
    return lambda model: nullcontext(second)


def _without_adapter(model: Any) -> Any:  # noqa: ANN401 - peft's
    from contextlib import contextmanager

    @contextmanager
    def off() -> Iterator[Any]:
        with model.disable_adapter():
            yield model

    return off()


def _sentences(near: Near) -> Iterator[str]:
    options: TrainingOptions = near.spec.options
    if near.replay is not None:
        count = options.replayed(near.examples)
        yield (
            f"Every update rehearsed {count} general row{'s' * (count > 1)} beside {near.examples} of the method's own "
            f"examples ({near.replay.told}); they count in the ledger and in a budget of any unit but updates."
        )
    if near.compare is not None:
        yield (
            f"The divergence from the start of the run ({options.kl_direction}, weight {options.kl_start:g}) was added "
            f"to the loss along general answers ({near.compare.told}); its passes count in the ledger."
        )
    if options.l2_sp:
        far = near.spec.beginning.fingerprint != near.spec.checkpoint.fingerprint and options.adapter == "lora"
        to = "where this stage began" if far else "the start of the run"
        yield f"After every update each trained weight went {options.l2_sp:g} times the learning rate back to {to}."
