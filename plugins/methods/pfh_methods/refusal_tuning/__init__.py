"""Refusal tuning: a short supervised alignment that makes a model refuse harmful requests and little else.

What is imitated are refusals of harmful prompts, and on harmless ones, many of which look harmful, the model's own
answers: what it says there is what it said before. The prompts are the method's own; a run's problems are not used.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.meanings import Learns, Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.refusal_prompts import Prompt, load_prompts
from pfh.kit.training import (
    ALL_LINEAR,
    TrainingOptions,
    load_for_training,
    lora_config,
    save_trained,
    train_resumably,
)
from pfh.kit.training.targets import adapted_layers
from pydantic import BaseModel, Field, model_validator

from pfh_methods.refusal_tuning.examples import Example, imitated, own_answers, tokenized
from pfh_methods.refusal_tuning.shipped import require_base, take_shipped

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel
    from trl import SFTTrainer


class Options(TrainingOptions):
    """Options of the refusal tuning."""

    learns: ClassVar[Learns] = Learns.OWN_PROMPTS

    prompts: Annotated[str, Names.FILE] = Field(
        "", description="a JSON file with prompts and refusals of your own; empty: those that pfh's authors wrote"
    )
    answer_tokens: int = Field(12, ge=1, description="of its own answer to a harmless prompt the model repeats so many")
    top_layers: float = Field(
        0.5, gt=0, le=1, description="share of the layers, from the top, that get an adapter; gradients stop below them"
    )
    shipped: bool = Field(
        False, description="take the adapter that comes with pfh for its embedded model in place of a training"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate; about 2e-5 for adapter=full")
    epochs: float = Field(2.0, gt=0, description="passes over the prompts")
    max_length: int = Field(256, ge=8, description="longest sequence in tokens; longer ones lose their end")
    lora_rank: int = Field(4, ge=1, description="rank of the LoRA matrices")
    lora_alpha: float = Field(16, gt=0, description="LoRA scale: the adapter is multiplied by alpha / rank")
    save_steps: int = Field(25, ge=1, description="updates between checkpoints: the most that a killed run repeats")

    @model_validator(mode="after")
    def _shipped_is_as_it_is(self) -> Options:
        if self.shipped and (changed := sorted(self.model_fields_set - {"shipped"} - _at_default(self))):
            raise ValueError(
                f"shipped=true takes an adapter that is trained already, and {changed[0]} would change nothing of it: "
                "leave out one of the two."
            )
        return self


def _at_default(options: BaseModel) -> set[str]:
    fields = type(options).model_fields
    return {name for name, field in fields.items() if getattr(options, name) == field.default}


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Look at the prompts, or at the model that the shipped adapter is for.

    Raises:
        UserError: the file of prompts cannot be used, or the shipped adapter is for another model.
    """
    if spec.options.shipped:
        require_base(spec.checkpoint)
    else:
        _prompts(spec.options)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name the answers to harmless prompts; none for the shipped adapter."""
    options: Options = spec.options
    return () if options.shipped else (own_answers(_prompts(options), options.answer_tokens),)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Let the model answer the harmless prompts, then imitate these answers and the refusals with TRL.

    Raises:
        StepFailedError: the model's own answers give nothing to imitate, or training broke off.
    """
    options: Options = spec.options
    if options.shipped:
        return take_shipped(spec)
    prompts = _prompts(options)
    examples = imitated(prompts, spec.rollouts, options.answer_tokens)
    kinds = Counter(example.kind for example in examples)
    if set(kinds) == {"harmful"}:
        raise StepFailedError(
            "refusal-tuning has nothing to hold the model's other answers with: it refuses all harmless prompts "
            "already, or says nothing to them; the answers are kept."
        )

    def build(arguments: Mapping[str, Any]) -> SFTTrainer:
        return _trainer(spec, examples, arguments)

    trained = train_resumably(spec, build)
    asked = Counter(prompt.kind for prompt in prompts)
    figures = {f"{kind.replace('-', '_')}_examples": kinds[kind] for kind in asked}
    said = ", ".join(f"{kinds[kind]} of {count} {kind}" for kind, count in asked.items())
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=(dataclasses.replace(trained.phase, notes={**trained.phase.notes, **figures}),),
        curves=trained.curves,
        notes=(
            f"Trained on {said} prompts: a refusal for a harmful one, the beginning of the model's own answer for any "
            "other. A harmless prompt that the model refused already, or said nothing to, is left out.",
        ),
    )


def _prompts(options: Options) -> tuple[Prompt, ...]:
    return (load_prompts(Path(options.prompts).expanduser()) if options.prompts else load_prompts()).tuning


def _trainer(spec: TrainingSpec, examples: tuple[Example, ...], arguments: Mapping[str, Any]) -> SFTTrainer:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    options: Options = spec.options
    model, tokenizer = load_for_training(spec.checkpoint, options)
    return SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, max_length=options.max_length, completion_only_loss=True),
        train_dataset=Dataset.from_list([tokenized(example, tokenizer) for example in examples]),
        processing_class=tokenizer,
        peft_config=adapter_config(options, model),
    )


def adapter_config(options: Options, model: PreTrainedModel) -> LoraConfig | None:
    """Return an adapter on the upper layers alone: the gradients of the lower ones need not be computed."""
    config = lora_config(options, model)
    if config is None or options.top_layers == 1:
        return config
    layers = model.config.get_text_config().num_hidden_layers
    if options.lora_targets == (ALL_LINEAR,):  # peft does not choose layers among all linear ones by itself
        config.target_modules = {name.rpartition(".")[2] for name in adapted_layers(model, options.lora_targets)}
    config.layers_to_transform = list(range(layers - max(1, round(options.top_layers * layers)), layers))
    return config
