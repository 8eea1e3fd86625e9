"""SELF: SDFT, on-policy self-distillation: the model with a demonstration in its prompt teaches the one without."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pfh import hookimpl
from pfh.errors import StepFailedError, UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.ledger import Phase
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.supervised import (
    Example,
    GroundTruthOptions,
    check_demonstration,
    demonstrated,
    ground_truth,
    left_out,
    require_ground_truth,
    require_room,
)
from pfh.kit.targets import told_forms
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import decode_tokens, first_stop
from pfh.kit.tokens.taught import encode_prompt
from pfh.kit.training import (
    Schedule,
    TrainingOptions,
    Work,
    load_for_training,
    lora_config,
    rate,
    save_trained,
    train_resumably,
)
from pydantic import BaseModel, Field, field_validator

from pfh_methods.on_domain import everywhere
from pfh_methods.tally import Tally

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from trl.experimental.sdft import SDFTTrainer

SHORT = 32
"""Where completions are cut below so many tokens, none is skipped by default: there would be little left."""
_NO_LOSS = "completions/without_loss"
_MISLEADING = (
    "completions/clipped_ratio",
    "completions/mean_terminated_length",
    "completions/min_terminated_length",
    "completions/max_terminated_length",
    "self_distillation/distillation_loss",
)
"""Figures of TRL's: four take a completion that a stop string ended for one that was cut off, one is there twice."""
_AVERAGE = "teacher.safetensors"


class Options(GroundTruthOptions, TrainingOptions):
    """Options of SDFT; the defaults are those of the authors' script main.py, but for the adapter."""

    learning_rate: float = rate(2e-5)
    gradient_accumulation: int = Field(8, ge=1, description="batches whose gradients make one update")
    schedule: Schedule = Field("cosine", description="course of the learning rate after the warm-up")
    divergence: Literal["forward", "reverse"] = Field(
        "forward",
        description="KL(teacher || student), with which the authors' results were made, or KL(student || teacher), "
        "the paper's equation",
    )
    ema_rate: float = Field(
        0.01, gt=0, le=1, description="share of the trained weights in the teacher's average, after every update"
    )
    skip_tokens: int | None = Field(
        None, ge=0, description=f"first tokens without loss; unset: 3, or 0 for completions of under {SHORT} tokens"
    )
    temperature: float = Field(1.0, gt=0, description="softmax temperature of completions and of both distributions")
    max_new_tokens: int | None = Field(None, ge=1, description="length limit of a completion; unset: the domain's")
    demonstration: str = Field(
        "{prompt}\n\nHere is an example of a good response:\n{reference}\n\nNow respond in your own way.",
        description="the last turn of the teacher's prompt, around {prompt} and {reference}",
    )

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(read=1, generated=1, along=True, at_once=2)

    @field_validator("demonstration")
    @classmethod
    def _has_both(cls, demonstration: str) -> str:
        return check_demonstration(demonstration)


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the domain has ground truth, and problems enough for an update.

    Raises:
        UserError: it is such a domain, or there are so few.
    """
    _require_prompts(spec.options, len(spec.problems))
    require_ground_truth(spec)


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none: it generates while it trains."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Distil the model's own demonstration-guided distribution into it, on completions that it writes without one.

    Raises:
        UserError: the domain has no ground truth, or fewer problems with it than an update takes.
        StepFailedError: no completion was long enough to teach anything.
    """
    options: Options = spec.options
    examples = ground_truth(spec)
    _require_prompts(options, len(examples))
    limit = options.max_new_tokens or spec.domain.sampling.max_new_tokens
    skip = options.skip_tokens if options.skip_tokens is not None else 3 * (limit >= SHORT)

    tally = Tally.read(spec.output_dir / "rollouts.json")

    def build(arguments: Mapping[str, Any]) -> SDFTTrainer:
        generation = {"max_completion_length": limit, "num_loss_tokens_to_skip": skip}
        stop = spec.domain.sampling.stop
        return sdft_trainer(spec.checkpoint, examples, options, stop, {**arguments, **generation}, tally)

    trained = train_resumably(spec, build)
    without = sum(row[_NO_LOSS] for row in trained.curves) / len(trained.curves)
    if without == 1:
        raise StepFailedError(
            f"sdft has learned nothing: no completion was longer than the {skip} tokens that carry no loss. "
            "Set skip_tokens=0, or choose a domain with longer answers."
        )
    notes = left_out(spec, examples)
    if without:
        notes += (f"{without:.0%} of the completions were no longer than the {skip} tokens that carry no loss.",)
    figures: dict[str, float | int | str] = {
        "prompts": len(spec.problems),
        "effective_prompts": len(examples),
        "share_without_loss": without,
    }
    figures |= told_forms((example.completion, example.problem) for example in examples)
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=_phases(trained.phase, tally, figures),
        curves=trained.curves,
        notes=notes,
    )


def _require_prompts(options: Options, prompts: int) -> None:
    update = options.batch_size * options.gradient_accumulation
    if prompts < update:
        raise UserError(
            f"sdft takes {update} prompts an update and has {prompts}: give more --problems, or lower batch_size or "
            "gradient_accumulation."
        )


def _phases(training: Phase, tally: Tally, figures: Mapping[str, float | int | str]) -> tuple[Phase, Phase]:
    """Book the generation apart from the rest of the training."""
    rollouts = Phase(
        name="rollouts",
        seconds=round(min(tally.generation_seconds, training.seconds), 3),
        tokens=tally.tokens,
        devices=training.devices,
        samples=tally.samples,
    )
    rest = round(training.seconds - rollouts.seconds, 3)
    return rollouts, dataclasses.replace(training, seconds=rest, notes={**training.notes, **figures})


def sdft_trainer(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    options: Options,
    stop: Sequence[str],
    arguments: Mapping[str, Any],
    tally: Tally,
) -> SDFTTrainer:
    """Return TRL's trainer with the loss of Shenfeld et al. 2026 (arXiv 2601.19897).

    A completion y is drawn from the student pi_theta(.|x); the teacher pi_phi sees the demonstration c as well:

        loss = mean over the positions t of KL(pi_phi(.|x, c, y_<t) || pi_theta(.|x, y_<t)), over the whole vocabulary

    That is the forward divergence, with which the authors' results were made (their issue 5); the paper's equation has
    the reverse. Gradients flow through the student's distributions, not through the draw. The mean is over a
    completion's positions, then over completions. phi <- ema_rate * theta + (1 - ema_rate) * phi after every update.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    class OnDomain(SDFTTrainer):  # type: ignore[misc] # TRL is untyped here
        """Keeps its own teacher, ends completions where the domain does, and counts what they cost."""

        def _setup_teacher_model(self) -> None:
            self.teacher_model = _average_teacher(self.model, options.ema_rate)
            self.add_callback(self.teacher_model)

        def _get_teacher_context_for_self_distillation(self) -> AbstractContextManager[None]:
            return nullcontext()

        def _tokenize_prompts(self, prompts: list[Any]) -> list[list[int]]:
            # As they are measured, where TRL would render them with settings of its own.
            return [encode_prompt(tokenizer, prompt) for prompt in prompts]

        def _generate(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
            began = time.perf_counter()
            with self.accelerator.autocast():  # which wraps the model's forward, and not an adapter's generate
                prompts, drawn = super()._generate(prompt_ids)
            completions = [up_to_stop(tokenizer, completion, stops) for completion in drawn]
            counts = everywhere(self.accelerator, sum(map(len, completions)), len(completions))
            tally.generated(time.perf_counter() - began, *counts)
            return prompts, completions

        def _prepare_training_batch(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super()._prepare_training_batch(inputs)
            lengths = batch["raw_completion_lengths"]
            without = int((lengths <= self.num_loss_tokens_to_skip).sum())
            tokens = int(batch["prompt_mask"].sum() + lengths.sum())
            tokens, without, count = everywhere(self.accelerator, tokens, without, len(lengths))
            self.state.num_input_tokens_seen += tokens
            self._metrics["train"][_NO_LOSS].append(without / count)
            return batch

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for figure in _MISLEADING:
                self._metrics["train"].pop(figure, None)
            if self.accelerator.is_main_process:
                tally.write()
            super().log(logs, start_time)

    model, tokenizer = load_for_training(checkpoint, options)
    stops = (*stop, *templates.stops(tokenizer))
    if stops:
        # generate() looks for stop strings only where it is handed the tokenizer, which TRL does not do.
        model.generate = functools.partial(model.generate, tokenizer=tokenizer)
    require_room(tokenizer, (demonstrated(example, options.demonstration) for example in examples), options.max_length)
    config = SDFTConfig(
        **{**arguments, "include_num_input_tokens_seen": "no"},  # `OnDomain` counts: batches begin as text.
        distillation_mode="full_logits",
        distillation_alpha={"forward": 0.0, "reverse": 1.0}[options.divergence],
        distillation_is_clip=None,
        teacher_model_kind="ema",
        teacher_update_rate=options.ema_rate,
        teacher_sync_steps=1,
        generate_from_teacher=False,
        teacher_prompt_template=options.demonstration.replace("{reference}", "{privileged_context}"),
        num_generations=1,
        num_iterations=1,
        temperature=options.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        generation_kwargs={"stop_strings": list(stops)} if stops else None,
        max_prompt_length=options.max_length,
        disable_dropout=options.lora_dropout == 0,
        shuffle_dataset=True,
        use_vllm=False,
    )
    if is_deepspeed_zero3_enabled():
        raise UserError("sdft keeps an average of whole weights, which DeepSpeed's zero_stage 3 takes apart: choose 2.")
    rows = [
        {"prompt": list(example.problem.messages), "privileged_context": example.completion} for example in examples
    ]
    return OnDomain(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(options, model),
    )


def up_to_stop(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], stops: Sequence[str]) -> list[int]:
    """Return `tokens` up to the one that completes the first of `stops`; all of them where there is none."""
    if first_stop(decode_tokens(tokenizer, tokens), stops) is None:
        return list(tokens)
    kept = 1
    while first_stop(decode_tokens(tokenizer, tokens[:kept]), stops) is None:
        kept += 1
    return list(tokens[:kept])


def _average_teacher(model: torch.nn.Module, rate: float) -> TrainerCallback:
    """Return the teacher: `model` run with an exponential average of its trainable weights.

    TRL's own average starts a LoRA adapter from zero matrices, is lost when a training is resumed, and reloads all
    weights from a path that a GGUF or merged model lacks.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from torch.distributed.fsdp import FSDPModule
    from transformers import TrainerCallback

    class Average(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        """Called as a model; kept up to date, saved and restored as a callback.

        Where the weights are shared out over several processes (FSDP), each keeps the average of its own part.
        """

        def __init__(self) -> None:
            self.weights = self._copy()

        def __call__(self, **inputs: object) -> Any:  # noqa: ANN401 - whatever the model returns
            if not isinstance(model, FSDPModule):
                return torch.func.functional_call(model, self.weights, args=(), kwargs=inputs)
            # A function of other weights would pass by what puts the parts together: exchange the parts.
            student = self._copy()
            self._put(self.weights)
            try:
                return model(**inputs)
            finally:
                self._put(student)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
            for name, part in self._parts().items():
                self.weights[name].lerp_(part, rate)

        def on_save(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
            if args.should_save or isinstance(model, FSDPModule):
                save_file(self.weights, self._file(args, state))

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
            self.weights = self._copy()
            if state.global_step:
                self.weights = load_file(self._file(args, state), device=str(next(iter(self.weights.values())).device))

        def _parts(self) -> dict[str, torch.Tensor]:
            for module in model.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()  # After a pass some layers are still put together.
            return {name: own_part(weights) for name, weights in _trainable(model).items()}

        def _copy(self) -> dict[str, torch.Tensor]:
            return {name: part.clone() for name, part in self._parts().items()}

        def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
            for name, part in self._parts().items():
                part.copy_(weights[name])

        def _file(self, args: Any, state: Any) -> Path:  # noqa: ANN401
            name = f"teacher-{args.process_index}.safetensors" if isinstance(model, FSDPModule) else _AVERAGE
            return Path(args.output_dir) / f"checkpoint-{state.global_step}" / name

    return Average()


def own_part(weights: torch.Tensor) -> torch.Tensor:
    """Return the part of `weights` that this process holds, in place: all of them unless they are shared out."""
    mine = weights.detach()
    return mine.to_local() if hasattr(mine, "to_local") else mine


def _trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: part for name, part in model.named_parameters() if part.requires_grad}
