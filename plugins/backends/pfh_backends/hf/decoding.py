"""The decode loop: finished rows are dropped, the rest decoded on one cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pfh.errors import NotNumbersError

from pfh_backends.hf.prefill import prefill

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Choose = Callable[["torch.Tensor", "torch.Tensor", int], "torch.Tensor"]
"""(float32 logits (rows, vocabulary), rows (rows,), step) -> next tokens (rows,)."""
Ended = Callable[[Sequence[int]], bool]
"""Says whether a completion ends with its last token."""


def decode(
    model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], limits: Sequence[int], choose: Choose, ended: Ended
) -> list[list[int]]:
    """Return the tokens that `model` writes after each of `prompts`, at most `limits` of them, the ending one included.

    Raises:
        NotNumbersError: the model's outputs are not numbers.
    """
    import torch

    rows = torch.arange(len(prompts), device=model.device)
    written: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        filled = prefill(model, prompts)
        cache, mask, logits = filled.cache, filled.mask, filled.logits
        _check_finite(logits)
        for step in range(max(limits)):
            tokens = choose(logits, rows, step)
            running = []
            for place, (row, token) in enumerate(zip(rows.tolist(), tokens.tolist(), strict=True)):
                written[row].append(token)
                if len(written[row]) < limits[row] and not ended(written[row]):
                    running.append(place)
            if not running:
                break
            if len(running) < len(rows):
                kept = torch.tensor(running, device=model.device)
                cache.batch_select_indices(kept)
                rows, tokens, mask = rows[kept], tokens[kept], mask[kept]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            output = model(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=mask.sum(-1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[:, -1].float()
    return written


def decode_with_generate(
    model: PreTrainedModel, prompt: tuple[int, ...], limit: int, choose: Choose, ended: Ended
) -> list[int]:
    """Return what `decode` would for one prompt, through `model.generate`: for models that keep no plain cache."""
    import torch
    from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

    row = torch.zeros(1, dtype=torch.long, device=model.device)

    class ChosenOnly(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            _check_finite(scores)
            token = choose(scores.float(), row, input_ids.shape[1] - len(prompt))
            return torch.full_like(scores, -torch.inf).scatter(-1, token[:, None], 0.0)

    class HasEnded(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
            return torch.tensor([ended(input_ids[0, len(prompt) :].tolist())], device=model.device)

    ids = torch.tensor([prompt], device=model.device)
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=GenerationConfig(max_new_tokens=limit, do_sample=False, pad_token_id=0, eos_token_id=None),
        logits_processor=[ChosenOnly()],
        stopping_criteria=[HasEnded()],
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def keeps_plain_cache(model: PreTrainedModel) -> bool:
    """Say whether `model` keeps keys and values alone, so that rows can be padded, repeated and dropped.

    One token is run to see what it really fills: recurrent, convolutional and hybrid models keep other states.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not {"past_key_values", "position_ids", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys():
        return False
    cache = DynamicCache(config=model.config)
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return False
    with torch.inference_mode():
        ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return bool(cache.layers) and all(layer.is_initialized for layer in cache.layers)


def _check_finite(logits: torch.Tensor) -> None:
    if logits.isnan().any():
        raise NotNumbersError
