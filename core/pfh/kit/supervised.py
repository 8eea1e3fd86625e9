"""Supervised fine-tuning: what the methods share that imitate completions, whoever wrote them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import FORMS, Domain, Problem, named_problems, why_unverified
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.targets import asks_to_reason, form_of, told_forms
from pfh.kit.tokens.taught import encode_completion, encode_prompt, end_of_turn, end_tokens
from pfh.kit.training import Schedule, load_for_training, lora_config, rate, save_trained, train_resumably
from pfh.kit.validation import ValidatedOptions, hold_back, validation_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer


class SupervisedOptions(ValidatedOptions):
    """Options of every method that fine-tunes on completions."""

    learning_rate: float = rate(2e-5)
    gradient_accumulation: int = Field(32, ge=1, description="batches whose gradients make one update")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    schedule: Schedule = Field("cosine", description="course of the learning rate after the warm-up")
    epochs: float = Field(3.0, gt=0, description="passes over the examples")
    packing: bool = Field(False, description="fill sequences of max_length tokens with several examples each")


class GroundTruthOptions(BaseModel):
    """Options of every method that learns from ground truth."""

    bare_answers: bool = Field(
        False,
        description="where the prompts ask for reasoning: learn from answers that come without any, which teaches not "
        "to reason",
    )


@dataclass(frozen=True, kw_only=True)
class Example:
    """A problem and the completion to imitate."""

    problem: Problem
    completion: str
    token_ids: Sequence[int] = ()
    """Those that the model itself wrote the completion in, where it did."""


def check_demonstration(template: str) -> str:
    """Return `template`, the text of a turn around {prompt} and {reference}, if it has both and no other braces.

    Raises:
        ValueError: it does not.
    """
    try:
        shown = template.format(prompt="<prompt>", reference="<reference>")
    except (KeyError, IndexError, ValueError):
        shown = ""
    if "<prompt>" not in shown or "<reference>" not in shown:
        raise ValueError("it must hold {prompt} and {reference}, and no other braces but doubled ones.")
    return template


def demonstrated(example: Example, template: str) -> tuple[Message, ...]:
    """Return the example's prompt with its last turn in a `template` that `check_demonstration` accepts."""
    *earlier, last = example.problem.messages
    turn = template.format(prompt=last["content"], reference=example.completion)
    return (*earlier, {"role": "user", "content": turn})


def ground_truth(spec: TrainingSpec) -> tuple[Example, ...]:
    """Return the run's problems with their verified ground truth; problems without one are left out.

    Where the prompts ask for reasoning, a bare answer is none, unless the options insist.

    Raises:
        UserError: no problem has any.
    """
    examples = []
    with spec.progress.task("verifying the ground truth", total=len(spec.problems)) as bar:
        for problem in spec.problems:
            text = _taught(spec, problem)
            if text is not None:
                examples.append(Example(problem=problem, completion=text))
            bar.advance()
    if not examples:
        raise _no_ground_truth(spec)
    return tuple(examples)


def require_ground_truth(spec: StageSpec) -> None:
    """Look for one problem with a verified ground truth.

    Raises:
        UserError: no problem has any.
    """
    if not any(_taught(spec, problem) is not None for problem in spec.problems):
        raise _no_ground_truth(spec)


def _taught(spec: StageSpec, problem: Problem) -> str | None:
    text = verified_reference(spec.domain, problem)
    options: GroundTruthOptions = spec.options
    if text is None or options.bare_answers or not asks_to_reason(spec.domain):
        return text
    return text if form_of(text, problem) != "answer" else None


def _no_ground_truth(spec: StageSpec) -> UserError:
    if any(verified_reference(spec.domain, problem) is not None for problem in spec.problems):
        return UserError(
            f"The prompts of the domain {spec.domain.name} ask for reasoning, and the ground truth of its "
            f"{len(spec.problems)} problems is a bare answer, which would teach the model not to reason. Choose a "
            "dataset with worked solutions, let the prompts ask for the answer alone (answer_format=line), or insist "
            "with bare_answers=true."
        )
    return UserError(
        f"The domain {spec.domain.name} has no ground truth to learn from: none of {len(spec.problems)} problems comes "
        "with a solution or an answer that the domain's own verifier accepts as a completion. Choose another domain, "
        "or a method that learns from rollouts, such as dpo or grpo."
    )


def verified_reference(domain: Domain, problem: Problem) -> str | None:
    """Return the first that the verifier accepts of the worked solution and the answer in one of `FORMS`, or None.

    Where nothing judges, the solution or the answer is taken as it is.
    """
    if why_unverified(domain):
        return problem.solution or problem.answer or None
    texts = [problem.solution or ""]
    if problem.answer:
        texts += [before + problem.answer + after for before, after in FORMS]
    return next((text for text in texts if text and domain.verify(problem, text).reward == 1), None)


def left_out(spec: TrainingSpec, examples: Sequence[Example]) -> tuple[str, ...]:
    """Say how many of the run's problems `ground_truth` left out, if any."""
    if len(examples) == len(spec.problems):
        return ()
    return (
        f"{len(examples)} of {len(spec.problems)} problems have a verified ground truth in the form that the prompts "
        "ask for; the others were left out.",
    )


def train_on(
    spec: TrainingSpec, examples: Sequence[Example], *, notes: Sequence[str], figures: Mapping[str, float | int | str]
) -> TrainingResult:
    """Fine-tune on `examples`, of which there is at least one.

    Args:
        spec: its options are `SupervisedOptions`.
        examples: what to imitate.
        notes: sentences on where the examples come from, for the report.
        figures: the same in numbers, for the ledger.
    """
    options: SupervisedOptions = spec.options
    taught, held_back = hold_back(examples, options, spec.seed)

    def build(arguments: Mapping[str, Any]) -> SFTTrainer:
        return sft_trainer(spec.checkpoint, taught, options, arguments, held_back)

    trained = train_resumably(spec, build)
    tokenizer = trained.trainer.processing_class
    end = end_of_turn(tokenizer, end_tokens(trained.trainer.model, tokenizer))
    cut = [
        example.problem
        for example in examples
        if len(supervised_row(tokenizer, example, end)["input_ids"]) > options.max_length
    ]
    pairs = [(example.completion, example.problem) for example in examples]
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=(
            dataclasses.replace(
                trained.phase, notes={**trained.phase.notes, "examples": len(taught), **told_forms(pairs), **figures}
            ),
        ),
        curves=trained.curves,
        notes=(*notes, *lost_ends("examples", cut)),
    )


def lost_ends(what: str, cut: Sequence[Problem]) -> tuple[str, ...]:
    """Say which problems gave something that was longer than max_length, if any did."""
    if not cut:
        return ()
    return (f"{len(cut)} {what} were longer than max_length and lost their end ({named_problems(cut)}).",)


def sft_trainer(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    options: SupervisedOptions,
    arguments: Mapping[str, Any],
    held_back: Sequence[Example] = (),
) -> SFTTrainer:
    """Return TRL's trainer with the mean negative log-likelihood of the completions' tokens as its loss.

    Prompts carry no loss, and are those that the model is measured with. The end of the turn, at which generation
    stops, belongs to the completion.

    Raises:
        UserError: a prompt alone fills `max_length`.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load_for_training(checkpoint, options)
    require_room(tokenizer, (example.problem.messages for example in (*examples, *held_back)), options.max_length)
    end = end_of_turn(tokenizer, end_tokens(model, tokenizer))

    def rows_of(chosen: Sequence[Example]) -> Dataset:
        return Dataset.from_list([supervised_row(tokenizer, example, end) for example in chosen])

    if options.packing:  # Nothing is padded, and TRL leaves the mask out by which the padding would be told.
        arguments = {**arguments, "include_num_input_tokens_seen": "all"}
    config = SFTConfig(
        **arguments,
        **validation_arguments(options, arguments),
        loss_type="nll",
        completion_only_loss=True,
        max_length=options.max_length,
        truncation_mode="keep_start",
        packing=options.packing,
        packing_strategy="bfd",
        shuffle_dataset=False,
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=rows_of(examples),
        eval_dataset=rows_of(held_back) if held_back else None,
        processing_class=tokenizer,
        peft_config=lora_config(options, model),
    )


def supervised_row(tokenizer: PreTrainedTokenizerBase, example: Example, end: Sequence[int]) -> dict[str, list[int]]:
    """Return the tokens of an example, and which of them carry loss: the completion's and the `end` of the turn."""
    chat = example.problem.messages
    prompt = encode_prompt(tokenizer, chat)
    completion = encode_completion(tokenizer, chat, example.completion, end, example.token_ids)
    return {
        "input_ids": [*prompt, *completion],
        "completion_mask": [0] * len(prompt) + [1] * len(completion),
    }


def require_room(tokenizer: PreTrainedTokenizerBase, prompts: Iterable[Sequence[Message]], max_length: int) -> None:
    """Check that every prompt leaves a token for a completion: TRL leaves out or cuts others without a word.

    Raises:
        UserError: there are such prompts.
    """
    full = sum(len(encode_prompt(tokenizer, prompt)) >= max_length for prompt in prompts)
    if full:
        raise UserError(
            f"The prompts of {full} examples fill all of max_length={max_length}, so that nothing of their completions "
            "is left: raise max_length."
        )
