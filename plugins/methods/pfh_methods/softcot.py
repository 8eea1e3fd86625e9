"""SoftCoT: a small model's hidden states, projected into the prompt of a model whose weights stay as they are."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem
from pfh.hooks.ledger import Phase, read_ledger, write_ledger
from pfh.hooks.meanings import Learns, Leaves, Names
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.soft_thoughts import MOST, Assistant, SoftThoughts, ThoughtTokens, load_projection, save_soft_thoughts, see
from pfh.kit.supervised import (
    Example,
    GroundTruthOptions,
    SupervisedOptions,
    ground_truth,
    left_out,
    lost_ends,
    require_ground_truth,
    require_room,
    supervised_row,
    verified_reference,
)
from pfh.kit.targets import form_of
from pfh.kit.tokens.loading import pick_device, pick_dtype
from pfh.kit.tokens.taught import end_of_turn, end_tokens
from pfh.kit.training import Schedule, load_for_training, save_trained, train_resumably
from pfh.kit.training.passes import weights_of
from pfh.kit.training.sharing import processes
from pfh.kit.validation import hold_back, validation_arguments
from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    import torch
    from trl import SFTTrainer

_READ, _SPENT = "assistant.safetensors", "assistant.json"
NOT_FOR_IT = ("replay", "kl_start", "l2_sp", "packing", "liger_kernel")


class Options(GroundTruthOptions, SupervisedOptions):
    """Options of SoftCoT."""

    learns: ClassVar[Learns] = Learns.CONVERSATIONS
    leaves: ClassVar[Leaves] = Leaves.SOFT_THOUGHTS

    assistant: Annotated[str, Names.MODEL] = Field(
        "", validate_default=True, description="the small model that gives the thoughts: a hub id or a path; needed"
    )
    thoughts: int = Field(32, ge=1, le=MOST, description="vectors in a prompt while the projection is trained")
    answering_thoughts: int = Field(
        4,
        ge=0,
        le=MOST,
        description="vectors in a prompt when the model answers; 0: none, and it answers as its start does",
    )
    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate of the projection")
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one update")
    schedule: Schedule = Field("linear", description="course of the learning rate after the warm-up")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    epochs: float = Field(10.0, gt=0, description="passes over the examples")

    @model_validator(mode="after")
    def _fits(self) -> Options:
        if not self.assistant:
            raise ValueError("name the assistant, as a hub id or a path (-o assistant=...)")
        if self.adapter == "full":
            raise ValueError("softcot trains a projection and leaves all weights as they are: leave adapter=full out")
        if self.base_precision == "4bit":
            raise ValueError("softcot trains no adapter, without which transformers trains nothing over 4 bits")
        if given := [name for name in NOT_FOR_IT if getattr(self, name)]:
            raise ValueError(f"softcot changes no weight of the model, and takes no {', '.join(given)}")
        return self


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that there are worked solutions, and an assistant whose hidden states can be read.

    Raises:
        UserError: that is not so.
    """
    _assistant(spec)
    require_ground_truth(spec)
    if not spec.options.bare_answers and not any(_has_rationale(spec, problem) for problem in spec.problems):
        raise _no_rationale(spec)


def _has_rationale(spec: StageSpec, problem: Problem) -> bool:
    text = verified_reference(spec.domain, problem)
    return text is not None and form_of(text, problem) != "answer"


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name none."""
    return ()


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train the projection on worked solutions, through the frozen model.

    Raises:
        UserError: there are no worked solutions, or several processes train.
    """
    if processes() > 1:
        raise UserError("softcot trains its projection in one process: leave --accelerate out.")
    options: Options = spec.options
    verified = ground_truth(spec)
    examples = [each for each in verified if options.bare_answers or form_of(each.completion, each.problem) != "answer"]
    if not examples:
        raise _no_rationale(spec)
    assistant = _assistant(spec)
    states, reading = _read(spec, assistant, examples)
    taught, held_back = hold_back(examples, options, spec.seed)
    cut: list[Any] = []

    def build(arguments: Mapping[str, Any]) -> SFTTrainer:
        cut.clear()
        return softcot_trainer(spec, (examples, taught, held_back), states, arguments, assistant, cut)

    trained = train_resumably(spec, build)
    figures = {"examples": len(taught), "prompts": len(spec.problems), "thoughts": options.thoughts}
    phase = dataclasses.replace(trained.phase, notes={**trained.phase.notes, **figures})
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=(reading, phase),
        curves=trained.curves,
        notes=(
            *left_out(spec, examples),
            *lost_ends("examples", cut),
            f"No weight of the model was changed: {options.answering_thoughts} soft thoughts of {assistant.name} stand "
            "in every prompt, whatever it asks. Without them (answering_thoughts=0) it is its start.",
        ),
    )


def _assistant(spec: StageSpec) -> Checkpoint:
    found = spec.teacher
    assert found is not None  # the option is needed
    if found.endpoint is not None or found.adapter is not None or found.gguf_file:
        raise UserError(
            f"The assistant {found.name} must be plain weights in safetensors, whose hidden states can be read: merge "
            "its adapter, or name another."
        )
    return Checkpoint(name=found.name, path=found.path, fingerprint=found.fingerprint)


def _no_rationale(spec: StageSpec) -> UserError:
    return UserError(
        f"softcot learns from worked solutions, and none of the {len(spec.problems)} problems of the domain "
        f"{spec.domain.name} has one that the verifier accepts as a completion. Choose a dataset with solutions, let "
        "the prompts ask for reasoning (answer_format=boxed), or insist on bare answers with bare_answers=true."
    )


def _read(spec: TrainingSpec, assistant: Checkpoint, examples: Sequence[Example]) -> tuple[torch.Tensor, Phase]:
    """Return the assistant's states of every example, shape (examples x thoughts, width), and what they cost.

    Both models are frozen, so once is enough; a resumed training finds them.
    """
    import torch
    from safetensors.torch import load_file, save_file

    kept, spent = spec.output_dir / _READ, spec.output_dir / _SPENT
    if spent.exists():
        (phase,) = read_ledger(spent)
        spec.account.add(phase)
        return load_file(kept)["states"], phase
    options: Options = spec.options
    began, device = time.monotonic(), pick_device()
    model = Assistant(assistant, pick_dtype("auto", device), device)
    rows = []
    with spec.progress.task(f"thoughts of {assistant.name}", total=len(examples)) as bar:
        for example in examples:
            rows.append(model.states(str(example.problem.messages[-1]["content"]), options.thoughts).cpu())
            bar.advance()
    states = torch.cat(rows)
    phase = Phase(
        name="assistant",
        seconds=round(time.monotonic() - began, 3),
        samples=len(examples),
        passed=model.tokens,
        flops=2.0 * model.tokens * weights_of(model.model),
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_file({"states": states}, kept)
    write_ledger(spent, [phase])
    spec.account.add(phase)
    return states, phase


def softcot_trainer(
    spec: TrainingSpec,
    parts: tuple[Sequence[Example], Sequence[Example], Sequence[Example]],
    states: torch.Tensor,
    arguments: Mapping[str, Any],
    assistant: Checkpoint,
    cut: list[Any],
) -> SFTTrainer:
    """Return TRL's trainer of the mean negative log-likelihood of the solutions, in which only the projection learns.

    Args:
        spec: the stage.
        parts: all examples in the order of `states`, those that are trained on, and those held back.
        states: of the assistant.
        arguments: of the trainer.
        assistant: for what is saved.
        cut: gets the problems whose solutions lose their end.
    """
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    options: Options = spec.options
    whole, taught, held_back = parts
    model, tokenizer = load_for_training(spec.checkpoint, options)
    model.requires_grad_(False)
    room = options.max_length - options.thoughts
    require_room(tokenizer, (example.problem.messages for example in whole), room)
    width = model.config.get_text_config().hidden_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        projection = torch.nn.Linear(states.shape[1], width)
    model.add_module("soft_thoughts", projection)
    size = model.get_input_embeddings().weight.shape[0]

    def vectors(places: torch.Tensor) -> torch.Tensor:
        chosen = states[places.cpu()].to(places.device)
        found: torch.Tensor = projection(chosen)
        return found

    see(model, vectors)
    marks = ThoughtTokens(size, options.thoughts, tokenizer)
    end = end_of_turn(tokenizer, end_tokens(model, tokenizer))
    numbers = {id(example): number for number, example in enumerate(whole)}

    def row(example: Example) -> dict[str, list[int]]:
        told = supervised_row(tokenizer, example, end)
        answered = sum(told["completion_mask"])
        if len(told["input_ids"]) > room:
            cut.append(example.problem)
        placed = marks.numbered(told["input_ids"], numbers[id(example)], answered)
        return {
            "input_ids": list(placed),
            "completion_mask": [0] * (len(placed) - answered) + [1] * answered,
        }

    class ProjectionTrainer(SFTTrainer):  # type: ignore[misc] # transformers is untyped here
        """Saves and loads the projection alone."""

        def save_own(self, folder: Path) -> None:
            told = SoftThoughts(assistant=assistant, count=options.answering_thoughts)
            save_soft_thoughts(projection, spec.checkpoint, told, folder)

        def load_own(self, folder: Path) -> None:
            projection.load_state_dict(load_projection(folder).state_dict())

        def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
            self.save_own(Path(output_dir or self.args.output_dir))

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: object = None) -> None:
            self.load_own(Path(resume_from_checkpoint))

        def _load_best_model(self) -> None:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    config = SFTConfig(
        **arguments,
        **validation_arguments(options, arguments),
        loss_type="nll",
        completion_only_loss=True,
        max_length=options.max_length,
        truncation_mode="keep_start",
        shuffle_dataset=False,
    )
    return ProjectionTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([row(example) for example in taught]),
        eval_dataset=Dataset.from_list([row(example) for example in held_back]) if held_back else None,
        processing_class=tokenizer,
    )
