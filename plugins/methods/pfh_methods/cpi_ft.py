"""CPI-FT: tasks trained in stages, each of which keeps the parameters that the earlier tasks need as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.ledger import Phase
from pfh.hooks.meanings import Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.merge_models import merge_models
from pfh.kit.rows import read_rows
from pfh.kit.supervised import (
    Example,
    GroundTruthOptions,
    SupervisedOptions,
    ground_truth,
    left_out,
    require_ground_truth,
    sft_trainer,
)
from pfh.kit.tensors import aligned
from pfh.kit.training import FinishedTraining, processes, save_trained, train_resumably
from pydantic import Field, field_validator

from pfh_methods.cores import Core, core_of, freeze, fused, joined, overlap, stages_of

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from trl import SFTTrainer

DOMAIN = "the domain"


class Options(GroundTruthOptions, SupervisedOptions):
    """Options of CPI-FT; share and overlap are the paper's, rate and epochs pfh's."""

    adapter: Literal["lora", "full"] = Field("full", description="all weights; an adapter has no entries to keep")
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the examples of each stage")
    tasks: Annotated[str, Names.ROWS] = Field(
        "refusals", description="the other tasks, rows with answers, with commas: refusals, a dataset or a file each"
    )
    task_rows: int = Field(256, ge=1, description="most rows of each of them")
    probe_epochs: float = Field(1.0, gt=0, description="passes of the short training that finds a task's core")
    core_share: float = Field(0.01, gt=0, le=1, description="share of the entries of all matrices in a task's core")
    overlap: float = Field(0.1, ge=0, le=1, description="tasks whose cores overlap by so much are trained together")
    embeddings: bool = Field(False, description="let embeddings, the output head and norms be of a core too")

    @field_validator("adapter")
    @classmethod
    def _all_weights(cls, adapter: str) -> str:
        if adapter != "full":
            raise ValueError("cpi-ft keeps single entries of the weights, which an adapter has none of: leave it out")
        return adapter


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the domain has ground truth, and the other tasks answers.

    Raises:
        UserError: that is not so.
    """
    require_ground_truth(spec)
    _others(spec, 0)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Probe each task, find its core, join what overlaps, fuse the probes, and train the groups in turn.

    Raises:
        UserError: the domain has no ground truth, another task no answers, or several processes train.
    """
    if processes() > 1:
        raise UserError("cpi-ft keeps single entries of the weights in one process: leave --accelerate out.")
    options: Options = spec.options
    taught = ground_truth(spec)
    tasks = {DOMAIN: taught, **_others(spec, spec.seed)}
    trainings = 2 * len(tasks)
    probing = dataclasses.replace(spec, options=options.model_copy(update={"epochs": options.probe_epochs}))
    probes: dict[str, Checkpoint] = {}
    phases: list[Phase] = []
    for number, (name, examples) in enumerate(tasks.items()):
        done = _sft(probing, spec.checkpoint, examples, f"probe-{number}", f"probe of {name}", trainings - number, {})
        probes[name] = _saved(done, spec, f"probed-{number}")
        phases.append(done.phase)
    start, *tensors = aligned([spec.checkpoint, *probes.values()], spec.output_dir / "aligned")
    cores: dict[str, Core] = {
        name: core_of(start, probed, options.core_share, embeddings=options.embeddings)
        for name, probed in zip(probes, tensors, strict=True)
    }
    groups = stages_of(cores, options.overlap, last=DOMAIN)
    current, lines = _fused(spec, probes, cores)
    curves: list[Mapping[str, float]] = []
    frozen: Core = {}
    for number, group in enumerate(groups):
        mixed = [example for name in group for example in tasks[name]]
        label = f"stage {number + 1}"
        done = _sft(spec, current, mixed, f"stage-{number}", label, len(groups) - number, frozen)
        current = _saved(done, spec, "trained" if number == len(groups) - 1 else f"staged-{number}")
        frozen = joined([frozen, *(cores[name] for name in group)])
        begun = curves[-1]["step"] if curves else 0
        curves += [{**row, "step": row["step"] + begun} for row in done.curves]
        phases.append(done.phase)
    return TrainingResult(
        path=current.path,
        phases=tuple(phases),
        curves=tuple(curves),
        notes=(*left_out(spec, taught), *_told(groups, cores, lines, options)),
    )


def _others(spec: StageSpec, seed: int) -> dict[str, tuple[Example, ...]]:
    options: Options = spec.options
    found = {}
    for name in filter(None, map(str.strip, options.tasks.split(","))):
        rows = read_rows(name, spec.data, options.task_rows, seed).rows
        examples = tuple(Example(problem=row.problem, completion=row.answer) for row in rows if row.answer)
        if not examples:
            raise UserError(f"The task {name} of cpi-ft has rows without answers: name others with -o cpi-ft.tasks=.")
        found[name] = examples
    if not found:
        raise UserError("cpi-ft keeps what other tasks need, and none is named: give some with -o cpi-ft.tasks=.")
    return found


def _sft(
    spec: TrainingSpec,
    start: Checkpoint,
    examples: Sequence[Example],
    folder: str,
    name: str,
    rounds: int,
    frozen: Core,
) -> FinishedTraining:
    def build(arguments: Mapping[str, Any]) -> SFTTrainer:
        trainer = sft_trainer(start, examples, spec.options, arguments)
        if frozen:
            trainer.add_callback(freeze(trainer, frozen))
        return trainer

    return train_resumably(spec, build, folder=folder, name=name, rounds=rounds)


def _saved(done: FinishedTraining, spec: TrainingSpec, folder: str) -> Checkpoint:
    path = save_trained(done.trainer, spec.output_dir / folder)
    named = f"{spec.checkpoint.name}/{folder}"
    return dataclasses.replace(spec.checkpoint, path=path, gguf_file=None, fingerprint=named)


def _fused(spec: TrainingSpec, probes: Mapping[str, Checkpoint], cores: Mapping[str, Core]) -> tuple[Checkpoint, float]:
    """Return the model that has each probe's core, and elsewhere their mean; and the share that was a line."""
    lines: list[bool] = []

    def combine(name: str, tensors: list[torch.Tensor]) -> torch.Tensor:
        if not tensors[0].is_floating_point():
            return tensors[-1]
        one = fused(name, tensors[0], tensors[1:], list(cores.values()))
        lines.append(one.line)
        return one.tensor

    folder: Path = spec.output_dir / "fused"
    models = [spec.checkpoint, *probes.values()]
    path = merge_models(models, combine, folder, work=spec.output_dir / "aligned", progress=spec.progress)
    share = sum(lines) / max(len(lines), 1)
    return dataclasses.replace(spec.checkpoint, path=path, gguf_file=None, fingerprint="fused"), share


def _told(
    groups: Sequence[Sequence[str]], cores: Mapping[str, Core], lines: float, options: Options
) -> tuple[str, ...]:
    order = "; then ".join(" and ".join(group) for group in groups)
    names = list(cores)
    shared = ", ".join(
        f"{one} and {other} {overlap(cores[one], cores[other]):.3f}"
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    )
    return (
        f"A core is the {options.core_share:.2%} of all matrix entries that a probe moved most. Overlaps of cores "
        f"(Jaccard): {shared}. Trained were, in this order, {order}; each kept the cores of those before it exactly.",
        f"Outside the cores the probes were joined along great circles, in {lines:.0%} of the tensors along a line, as "
        "they were nearly parallel.",
    )
