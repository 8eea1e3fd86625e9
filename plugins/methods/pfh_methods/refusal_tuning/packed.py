"""The refusal tuning on few cores: what all examples begin with, and the layers below the adapter, are computed once.

The loss and the schedule are the method's. Examples of an update stand behind one copy of the chat template's system
turn, hidden from each other; what the layers below the adapter make of every token is computed before the first update,
as no update changes it. This is for models whose layers are fed nothing but the hidden states of the ones below, such
as Llama.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

ROWS_AT_ONCE = 16
"""Examples whose lower layers are computed together."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One example in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Several examples behind their common beginning, as one sequence."""

    tokens: torch.Tensor
    positions: torch.Tensor
    """Shape (1, tokens): where each token would stand in its example alone."""
    mask: torch.Tensor
    """Shape (1, 1, tokens, tokens), added to the attention's scores: an example sees the beginning and itself."""
    before: torch.Tensor
    """Places whose next token belongs to an answer."""
    answers: torch.Tensor
    """Those tokens."""


def shared_length(rows: Sequence[Row]) -> int:
    """Return how many tokens all prompts begin with, at least one of each left over."""
    shortest = min(len(row.prompt) for row in rows) - 1
    same = takewhile(lambda place: len({row.prompt[place] for row in rows}) == 1, range(shortest))
    return sum(1 for _ in same)


def pack(rows: Sequence[Row], shared: int) -> Pack:
    """Put `rows`, which begin with the same `shared` tokens, one behind the other."""
    import torch

    tokens = list(rows[0].prompt[:shared])
    positions, owner = list(range(shared)), [0] * shared
    before: list[int] = []
    answers: list[int] = []
    for number, row in enumerate(rows, start=1):
        own = (*row.prompt[shared:], *row.answer)
        first = len(tokens) + len(row.prompt) - shared - 1
        before += range(first, first + len(row.answer))
        answers += row.answer
        positions += range(shared, shared + len(own))
        owner += [number] * len(own)
        tokens += own
    owners, places = torch.tensor(owner), torch.arange(len(tokens))
    seen = ((owners[:, None] == owners) | (owners == 0)) & (places[:, None] >= places)
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return Pack(
        tokens=torch.tensor([tokens]),
        positions=torch.tensor([positions]),
        mask=mask[None, None],
        before=torch.tensor(before),
        answers=torch.tensor(answers),
    )


def lower_states(model: PreTrainedModel, rows: Sequence[Row], shared: int, layers: int) -> list[torch.Tensor]:
    """Return what the first `layers` layers make of each row, shape (tokens, width); of the shared beginning first."""
    import torch

    body = model.model
    every, norm, count = body.layers, body.norm, model.config.num_hidden_layers
    body.layers, body.norm, model.config.num_hidden_layers = every[:layers], torch.nn.Identity(), layers
    states: list[torch.Tensor] = []
    try:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            packed = pack(some, shared)
            with torch.no_grad():
                hidden = body(
                    input_ids=packed.tokens,
                    attention_mask=packed.mask,
                    position_ids=packed.positions,
                    use_cache=False,
                ).last_hidden_state[0]
            lengths = [len(row.prompt) + len(row.answer) - shared for row in some]
            beginning, *own = hidden.split([shared, *lengths])
            states += [beginning, *own] if not states else own
    finally:
        body.layers, body.norm, model.config.num_hidden_layers = every, norm, count
    return states


def without_lower(model: PreTrainedModel, layers: int) -> None:
    """Take the first `layers` layers out of `model`, which is then fed what `lower_states` returned."""
    model.model.layers = model.model.layers[layers:]
    model.config.num_hidden_layers -= layers
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = place


def loss_of(model: PeftModel, rows: Sequence[Row], states: Sequence[torch.Tensor], shared: int) -> torch.Tensor:
    """Return the mean negative log-likelihood of the answers' tokens.

    Args:
        model: without its lower layers.
        rows: the examples of the update.
        states: of the shared beginning, and of each row.
        shared: tokens of the beginning.
    """
    import torch

    packed, inner = pack(rows, shared), model.get_base_model()
    hidden = inner.model(
        inputs_embeds=torch.cat(list(states))[None],
        attention_mask=packed.mask,
        position_ids=packed.positions,
        use_cache=False,
    ).last_hidden_state[0]
    return torch.nn.functional.cross_entropy(inner.lm_head(hidden[packed.before]), packed.answers)


def tune(
    model: PreTrainedModel,
    rows: Sequence[Row],
    adapter: LoraConfig,
    *,
    learning_rate: float,
    epochs: float,
    batch_size: int,
    warmup: float,
    max_grad_norm: float,
    seed: int,
    told: Callable[[int, int, float], None],
) -> tuple[dict[str, torch.Tensor], int]:
    """Train an adapter on the upper layers of `model`, which is of no use afterwards.

    Args:
        model: in float32.
        rows: what to imitate.
        adapter: the layers it transforms reach up to the top.
        learning_rate: at its peak, after a share of `warmup` of the updates; it then falls to 0 in a line.
        epochs: passes over the rows.
        batch_size: rows an update.
        warmup: see `learning_rate`.
        max_grad_norm: gradients are clipped to this norm.
        seed: of the order and the adapter's first values.
        told: called after every update with its number, how many there are, and the loss.

    Returns:
        The adapter's weights as peft saves them, and the number of updates.
    """
    import torch
    from peft import get_peft_model, get_peft_model_state_dict
    from transformers import get_linear_schedule_with_warmup

    cut, shared = min(adapter.layers_to_transform), shared_length(rows)
    beginning, *states = lower_states(model, rows, shared, cut)
    without_lower(model, cut)
    adapter.layers_to_transform = [layer - cut for layer in adapter.layers_to_transform]
    torch.manual_seed(seed)
    adapted = get_peft_model(model, adapter)
    adapter.layers_to_transform = [layer + cut for layer in adapter.layers_to_transform]
    batches = _batches(len(rows), batch_size, epochs, seed)
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, round(warmup * len(batches)), len(batches))
    for number, batch in enumerate(batches, start=1):
        loss = loss_of(adapted, [rows[i] for i in batch], [beginning, *(states[i] for i in batch)], shared)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        told(number, len(batches), float(loss.detach()))
    state: dict[str, Any] = get_peft_model_state_dict(adapted)
    return {_raised(name, cut): value for name, value in state.items()}, len(batches)


def _batches(rows: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Return the rows of every update, each epoch in an order of its own."""
    dice = random.Random(seed)  # noqa: S311 - a reproducible order, not a secret
    batches: list[list[int]] = []
    while len(batches) < epochs * rows / batch_size:
        order = list(range(rows))
        dice.shuffle(order)
        batches += [order[start : start + batch_size] for start in range(0, rows, batch_size)]
    return batches[: round(epochs * -(-rows // batch_size))]


def _raised(name: str, layers: int) -> str:
    """Return a weight's name with its layer counted from the bottom of the whole model."""
    head, _, tail = name.partition(".layers.")
    place, _, rest = tail.partition(".")
    return f"{head}.layers.{int(place) + layers}.{rest}"
