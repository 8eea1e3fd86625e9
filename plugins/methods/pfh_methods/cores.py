"""Core parameters: the weights that a short training on a task moves most, compared, joined and kept as they are.

Wang, Liang & Peng 2025 (arXiv 2508.21741). A core is held as flat places, by the name of the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError
from pfh.kit.merging import slerp
from pfh.kit.tensors import Tensors

if TYPE_CHECKING:
    import torch
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Core = Mapping[str, "torch.Tensor"]
"""Name of a tensor to the flat places of its entries in the core, ascending."""
_OUTSIDE = ("embed", "lm_head", "wte", "wpe", "norm")
"""Parts of names that stand for embeddings, the output head and norms, whose weights move most whatever is taught."""


def core_of(start: Tensors, probed: Tensors, share: float, *, embeddings: bool = False) -> dict[str, torch.Tensor]:
    """Return the `share` of entries of all matrices together that the probe moved most.

    Args:
        start: before the probe.
        probed: after it.
        share: of the entries, in (0, 1].
        embeddings: count embeddings, the head and norms among them.
    """
    import torch

    names = [name for name in probed if _counts(name, probed.shape(name), embeddings=embeddings)]
    moved = {name: (probed[name].float() - start[name].float()).abs().reshape(-1) for name in names}
    sizes = [len(moved[name]) for name in names]
    kept = max(1, round(share * sum(sizes)))
    whole = torch.cat([moved[name] for name in names])
    places = torch.sort(torch.topk(whole, kept).indices).values
    found, begin = {}, 0
    for name, size in zip(names, sizes, strict=True):
        found[name] = places[(places >= begin) & (places < begin + size)] - begin
        begin += size
    return found


def _counts(name: str, shape: Sequence[int], *, embeddings: bool) -> bool:
    return len(shape) == 2 and (embeddings or not any(part in name for part in _OUTSIDE))


def overlap(one: Core, other: Core) -> float:
    """Return the Jaccard index of two cores: shared places over all places of both."""
    shared = sum(_common(places, other[name]) for name, places in one.items() if name in other)
    total = sum(map(len, one.values())) + sum(map(len, other.values())) - shared
    return shared / total if total else 0.0


def _common(one: torch.Tensor, other: torch.Tensor) -> int:
    import torch

    return int(torch.isin(one, other, assume_unique=True).sum())


def stages_of(cores: Mapping[str, Core], threshold: float, last: str = "") -> tuple[tuple[str, ...], ...]:
    """Return the tasks in groups whose cores overlap by at least `threshold`, directly or through others.

    The largest group comes first, of equal ones the first by name; that of the task `last` comes last, so that the
    cores of all others are kept while it is trained.
    """
    groups: list[set[str]] = []
    for name in sorted(cores):
        near = [group for group in groups if any(overlap(cores[name], cores[other]) >= threshold for other in group)]
        groups = [group for group in groups if group not in near] + [{name}.union(*near)]
    ordered = sorted((tuple(sorted(group)) for group in groups), key=lambda group: (last in group, -len(group), group))
    return tuple(ordered)


def joined(cores: Iterable[Core]) -> dict[str, torch.Tensor]:
    """Return the union of several cores."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for core in cores:
        for name, places in core.items():
            found[name] = torch.unique(torch.cat([found[name], places])) if name in found else places
    return found


@dataclass(frozen=True, kw_only=True)
class Fused:
    """One tensor made of those of all probes."""

    tensor: torch.Tensor
    line: bool
    """The models were so nearly parallel that the great circle is a line."""


def fused(name: str, start: torch.Tensor, probes: Sequence[torch.Tensor], cores: Sequence[Core]) -> Fused:
    """Return a tensor with each probe's own values in its core, and elsewhere the probes' spherical mean.

    Where cores overlap, the probe that moved the entry more has it. The mean is running: t_k = 1 / (k + 1).
    """
    import torch

    between, line = probes[0].float(), False
    for count, probe in enumerate(probes[1:], start=1):
        between, was_line = slerp(between, probe.float(), 1 / (count + 1))
        line = line or was_line
    flat = between.reshape(-1).clone()
    most = torch.full_like(flat, -1.0)
    for probe, core in zip(probes, cores, strict=True):
        places = core.get(name)
        if places is None or not len(places):
            continue
        own = probe.float().reshape(-1)[places]
        moved = (own - start.float().reshape(-1)[places]).abs()
        wins = moved > most[places]
        flat[places[wins]] = own[wins]
        most[places[wins]] = moved[wins]
    return Fused(tensor=flat.reshape(start.shape), line=line)


def freeze(trainer: Trainer, frozen: Core) -> TrainerCallback:
    """Return a callback that keeps the frozen entries of the trainer's model exactly as they are.

    Their gradients are set to zero before the optimiser's step, and their values put back after it: momentum and weight
    decay would move them all the same.
    """
    from transformers import TrainerCallback

    def parts() -> list[tuple[Any, torch.Tensor]]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        named = dict(model.named_parameters(remove_duplicate=False))  # a tied weight has two names
        kept = {name: places for name, places in frozen.items() if len(places)}
        if stray := sorted(kept.keys() - named.keys()):
            raise StepFailedError(
                f"cpi-ft cannot keep entries of {stray[0]}: the model's file has it, and the model that is trained has "
                "none of this name. Take a model of another architecture."
            )
        return [(named[name], places) for name, places in kept.items()]

    class Freeze(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.held = [
                (part, places.to(part.device), part.detach().reshape(-1)[places.to(part.device)].clone())
                for part, places in parts()
            ]

        def on_pre_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            for part, places, _values in self.held:
                if part.grad is not None:
                    part.grad.view(-1)[places] = 0

        def on_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            for part, places, values in self.held:
                part.data.view(-1)[places] = values

    return Freeze()
