"""RFT: supervised fine-tuning on the model's own rollouts that the verifier accepts."""

from __future__ import annotations

from typing import ClassVar

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.meanings import Learns, Needs
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.supervised import SupervisedOptions, train_on
from pfh.kit.teachers import accepted
from pydantic import BaseModel, Field


class Options(SupervisedOptions):
    """Options of RFT."""

    learns: ClassVar[Learns] = Learns.CONVERSATIONS
    needs: ClassVar[Needs] = Needs.VERIFIER

    samples: int = Field(8, ge=1, description="rollouts of the model a problem")
    completions_per_prompt: int = Field(4, ge=1, description="most different accepted completions of a prompt")


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name the model's own rollouts."""
    return (Draw(samples=spec.options.samples),)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Fine-tune on the accepted rollouts.

    Raises:
        StepFailedError: the verifier accepts none.
    """
    options: Options = spec.options
    kept = accepted(spec.rollouts(samples=options.samples), options.completions_per_prompt, own=True)
    spec.progress.say(kept.summary)
    if not kept.examples:
        raise StepFailedError(
            f"There is nothing to train on: the verifier accepted none of the model's {kept.rollouts} rollouts. Take "
            f"easier problems, or more samples a problem than {options.samples}; the rollouts are kept."
        )
    return train_on(spec, kept.examples, notes=(kept.summary,), figures=kept.figures)
