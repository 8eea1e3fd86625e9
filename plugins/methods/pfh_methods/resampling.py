"""Dynamic sampling: groups whose completions earned the same make room for other prompts (arXiv 2503.14476)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError

from pfh_methods.on_domain import everywhere

if TYPE_CHECKING:
    import torch

    from pfh_methods.on_domain import OnlineSetup

Batch = Mapping[str, Any]
_LEFT = ("prompt_ids", "prompt_mask")
"""What is padded on the left; what else has a column a token is padded on the right."""


def with_dynamic_sampling(trainer: type[Any], setup: OnlineSetup, most: int) -> type[Any]:
    """Return a subclass of a trainer that `on_domain` made, which draws other prompts in place of useless groups.

    A group is of no use where all its completions earned the same. At most `most` times in an update other prompts of
    the training set are put instead; what then still tells nothing apart stays. All processes draw as many.
    """

    class Dynamic(trainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            size, before = self.num_generations, self.state.num_input_tokens_seen
            if len(inputs) % size:
                raise UserError(
                    f"dynamic_sampling needs whole groups in every process: make batch_size x gradient_accumulation a "
                    f"multiple of generations ({size}) times the processes."
                )
            dice = random.Random(f"{self.args.seed}/{self.state.global_step}/{self.accelerator.process_index}")  # noqa: S311
            rows = list(inputs)
            batch: dict[str, Any] = super()._generate_and_score_completions(rows)
            useless = self._useless(len(rows))
            for _ in range(most):
                wanted = max(self._everywhere(len(useless)))
                if not wanted:
                    break
                fresh = self._other_rows(rows, wanted, dice)
                drawn: dict[str, Any] = super()._generate_and_score_completions(fresh)
                failed = set(self._useless(len(fresh)))
                good = [group for group in range(wanted) if group not in failed]
                placed = dict(zip(useless, good, strict=False))
                batch = exchanged(batch, drawn, placed, size, self._tokenizer.pad_token_id)
                for old, new in placed.items():
                    rows[old * size : (old + 1) * size] = fresh[new * size : (new + 1) * size]
                useless = useless[len(placed) :]
            own = batch["completion_mask"] * batch.get("tool_mask", 1)
            read, items = everywhere(self.accelerator, int(batch["prompt_mask"].sum() + own.sum()), int(own.sum()))
            batch["num_items_in_batch"] = batch["num_items_in_batch"].new_tensor(items)
            self.state.num_input_tokens_seen = before + read  # what was drawn in vain is not trained on
            self._metrics["train"]["groups_without_variance"].append(len(useless) * size / len(rows))
            return batch

        def _useless(self, count: int) -> list[int]:
            """Return the places of this process's groups in which all completions earned the same."""
            first = self.accelerator.process_index * count
            groups = self.rewards[first : first + count].view(-1, self.num_generations)
            same = groups.amax(dim=1) == groups.amin(dim=1)
            return [int(place) for place in same.nonzero().flatten()]

        def _everywhere(self, number: int) -> list[int]:
            import torch

            mine = torch.tensor([number], device=self.accelerator.device)
            return [int(each) for each in self.accelerator.gather(mine)]

        def _other_rows(
            self, rows: Sequence[Mapping[str, Any]], wanted: int, dice: random.Random
        ) -> list[dict[str, Any]]:
            """Return so many groups of prompts that are not among `rows`; any, where there are too few others."""
            taken = {row["problem"] for row in rows}
            data = setup.dataset
            others = [place for place, problem in enumerate(data["problem"]) if problem not in taken]
            pool = others if len(others) >= wanted else list(range(len(data)))
            places = dice.sample(pool, wanted) if len(pool) >= wanted else dice.choices(pool, k=wanted)
            return [data[place] for place in places for _ in range(self.num_generations)]

    return Dynamic


def exchanged(batch: Batch, drawn: Batch, placed: Mapping[int, int], size: int, pad_token: int) -> dict[str, Any]:
    """Return `batch` with some of its groups taken from `drawn`, both padded to the longer of the two.

    Args:
        batch: a trainer's batch.
        drawn: another.
        placed: a group of `batch`, by its place, to the group of `drawn` that takes the place.
        size: completions of a group.
        pad_token: what ids are padded with; all else is padded with 0.
    """
    import torch

    result: dict[str, Any] = dict(batch)
    for name, values in batch.items():
        if not torch.is_tensor(values) or values.dim() == 0:
            continue
        padding = pad_token if name.endswith("_ids") else 0
        old, new = _as_wide(values, drawn[name], left=name in _LEFT, padding=padding)
        old = old.clone()
        for target, source in placed.items():
            old[target * size : (target + 1) * size] = new[source * size : (source + 1) * size]
        result[name] = old
    return result


def _as_wide(one: torch.Tensor, other: torch.Tensor, *, left: bool, padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    from torch.nn.functional import pad

    if one.dim() < 2:
        return one, other
    width = max(one.size(1), other.size(1))

    def wide(values: torch.Tensor) -> torch.Tensor:
        missing = width - values.size(1)
        return pad(values, (missing, 0) if left else (0, missing), value=padding)

    return wide(one), wide(other)
