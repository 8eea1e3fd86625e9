"""SELF: SDFT by rewriting: supervised fine-tuning on ground truth that the model put into its own words before."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pfh import hookimpl
from pfh.hooks.domains import Problem, Rollout, why_unverified
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.supervised import (
    Example,
    GroundTruthOptions,
    SupervisedOptions,
    check_demonstration,
    demonstrated,
    ground_truth,
    left_out,
    require_ground_truth,
    train_on,
)
from pfh.kit.training import Work
from pydantic import BaseModel, Field, field_validator

Outcome = Literal["own words", "leaks", "wrong", "cut"]
"""What became of a rewrite; ground truth replaces all but the first."""


class Options(GroundTruthOptions, SupervisedOptions):
    """Options of SDFT by rewriting; the defaults are the paper's for GSM8K."""

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one update")
    epochs: float = Field(5.0, gt=0, description="passes over the examples")
    batch_size: int = Field(8, ge=1, description="examples a device holds at once; halved when memory runs out")
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "v_proj"),
        min_length=1,
        description="layers with an adapter by name, such as q_proj,v_proj, or all-linear",
    )
    request: str = Field(
        "{prompt}\n\nThis is a reference answer:\n{reference}\n\n"
        "Go by the reference answer, and give your own response to the above in the same form.",
        description="the last turn that asks for a rewrite, around {prompt} and {reference}",
    )
    leaks: tuple[str, ...] = Field(
        ("reference answer", "own response"), description="phrases of the request that must not be in a rewrite"
    )

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(generated=1)

    @field_validator("request")
    @classmethod
    def _has_both(cls, request: str) -> str:
        return check_demonstration(request)


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """The examples to train on, and what became of the rewrites."""

    examples: tuple[Example, ...]
    outcomes: tuple[Outcome, ...]
    """One an example."""
    judged: bool = True

    @property
    def wrong(self) -> str:
        """What is wrong with a rewrite that is whole and gives nothing away."""
        return "did not pass the verifier" if self.judged else "were empty (nothing judged the others)"

    @property
    def summary(self) -> str:
        """The outcomes in a sentence."""
        count = Counter(self.outcomes)
        return (
            f"{count['own words']} of {len(self.outcomes)} ground truths were put into the model's own words; of the "
            f"other rewrites {count['wrong']} {self.wrong}, {count['leaks']} gave the request away and "
            f"{count['cut']} were cut off, and the ground truth was kept."
        )


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check that the domain has ground truth.

    Raises:
        UserError: no problem has a solution or an answer that the verifier accepts.
    """
    require_ground_truth(spec)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Ask the model to rewrite the ground truth, and fine-tune on the rewrites (Yang et al. 2024, arXiv 2402.13669).

    Raises:
        UserError: the domain has no ground truth.
    """
    options: Options = spec.options
    examples = ground_truth(spec)
    judged = not why_unverified(spec.domain)
    asked = [ask(example, options.request) for example in examples]
    rewrites = spec.rollouts(samples=1, problems=asked, judged=judged)
    rewritten = choose(examples, rewrites, options.leaks, judged=judged)
    spec.progress.say(rewritten.summary)
    figures = {
        "prompts": len(spec.problems),
        "effective_prompts": len(examples),
        "share_in_own_words": rewritten.outcomes.count("own words") / len(examples),
    }
    return train_on(spec, rewritten.examples, notes=(*left_out(spec, examples), rewritten.summary), figures=figures)


def ask(example: Example, request: str) -> Problem:
    """Return the problem with its last turn replaced by the request to rewrite the ground truth."""
    messages = demonstrated(example, request)
    told_apart = hashlib.sha256(messages[-1]["content"].encode()).hexdigest()[:12]
    return dataclasses.replace(example.problem, id=f"{example.problem.id}/rewrite-{told_apart}", messages=messages)


def choose(
    examples: Sequence[Example], rewrites: Sequence[Rollout], leaks: Sequence[str], *, judged: bool = True
) -> Rewritten:
    """Take each rewrite in place of the ground truth if it is whole, right, and does not give the request away.

    Where nothing judges, every text is right, as with the paper's datasets of open requests.
    """
    outcomes = tuple(_outcome(rewrite, leaks, judged) for rewrite in rewrites)
    return Rewritten(
        examples=tuple(
            dataclasses.replace(example, completion=rewrite.completion, token_ids=rewrite.token_ids)
            if outcome == "own words"
            else example
            for example, rewrite, outcome in zip(examples, rewrites, outcomes, strict=True)
        ),
        outcomes=outcomes,
        judged=judged,
    )


def _outcome(rewrite: Rollout, leaks: Sequence[str], judged: bool) -> Outcome:
    if rewrite.truncated:
        return "cut"
    if any(phrase.lower() in rewrite.completion.lower() for phrase in leaks):
        return "leaks"
    right = rewrite.verdict.reward == 1 if judged else bool(rewrite.completion.strip())
    return "own words" if right else "wrong"
