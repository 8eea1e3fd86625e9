"""Learning from a teacher's completions: what `sf-sft` and `cf-sft` share."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pfh.errors import StepFailedError, UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Rollout
from pfh.hooks.meanings import Learns, Names, Needs
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.supervised import Example, SupervisedOptions, train_on
from pfh.sources.models import UNKNOWN, family

Relation = Literal["same", "other"]
"""Whether the teacher is to be of the student's model family."""


class TeacherOptions(SupervisedOptions):
    """Options of the methods that imitate a teacher."""

    learns: ClassVar[Learns] = Learns.CONVERSATIONS
    needs: ClassVar[Needs] = Needs.VERIFIER
    relation: ClassVar[Relation] = "same"
    """Of whose family the teacher is to be; a dry run checks it too."""

    teacher: Annotated[str, Names.MODEL] = Field(
        "",
        validate_default=True,
        description="the model that writes the completions: a hub id, a path or openai:MODEL@URL; needed",
    )
    samples: int = Field(4, ge=1, description="rollouts of the teacher a problem")
    completions_per_prompt: int = Field(1, ge=1, description="most accepted completions of a prompt to train on")
    allow_family_mismatch: bool = Field(False, description="train even if the teacher's family is the wrong one")

    @field_validator("teacher")
    @classmethod
    def _named(cls, teacher: str) -> str:
        if not teacher:
            raise ValueError("name the teacher, as a hub id or a path (-o teacher=...).")
        return teacher


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The completions that the verifier accepts, and what became of the others."""

    examples: tuple[Example, ...]
    whose: str
    """Who wrote them, in the possessive."""
    rollouts: int
    accepted: int
    """Rollouts that the verifier accepts, repetitions included."""
    prompts: int
    solved: int
    """Prompts with an accepted rollout: the effective number of prompts."""

    @property
    def summary(self) -> str:
        """The counts in two sentences."""
        return (
            f"The verifier accepted {self.accepted} of {self.whose} {self.rollouts} rollouts "
            f"({self.accepted / max(self.rollouts, 1):.0%}). {self.solved} of {self.prompts} prompts have an accepted "
            f"one and gave {len(self.examples)} examples; the others were left out."
        )

    @property
    def figures(self) -> dict[str, float | int | str]:
        """The counts, for the ledger."""
        return {
            "prompts": self.prompts,
            "effective_prompts": self.solved,
            "acceptance_rate": self.accepted / max(self.rollouts, 1),
        }


def imitate(spec: TrainingSpec) -> TrainingResult:
    """Draw rollouts of `spec.teacher`, keep what the verifier accepts, and fine-tune on it.

    Raises:
        UserError: the teacher is of the wrong family.
        StepFailedError: the verifier accepts nothing.
    """
    options: TeacherOptions = spec.options
    teacher, families = check_teacher(spec)
    kept = accepted(spec.rollouts(samples=options.samples, checkpoint=teacher), options.completions_per_prompt)
    spec.progress.say(kept.summary)
    if not kept.examples:
        raise StepFailedError(
            f"There is nothing to train on: the verifier accepted none of the {kept.rollouts} rollouts of the teacher "
            f"{teacher.name}. Take a stronger teacher, easier problems, or more samples a problem than "
            f"{options.samples}; the rollouts are kept."
        )
    return train_on(spec, kept.examples, notes=(families, kept.summary), figures=kept.figures)


def check_teacher(spec: StageSpec) -> tuple[Checkpoint, str]:
    """Return the teacher, and a sentence on its family and the student's.

    Raises:
        UserError: there is no teacher, or it is of the wrong family.
    """
    if spec.teacher is None:
        raise UserError("No teacher was given: name one with -o teacher=, a hub id or a path.")
    families = family(spec.checkpoint), family(spec.teacher)
    return spec.teacher, check_families(spec.checkpoint.name, spec.teacher.name, families, spec.options)


def check_families(student: str, teacher: str, families: tuple[str, str], options: TeacherOptions) -> str:
    """Return a sentence on the families of student and teacher, which are the architectures of their configurations.

    Raises:
        UserError: the families are not in the method's relation, and that is not allowed.
    """
    own, others = families
    sentence = f"The student {student} is of the family {own}, the teacher {teacher} of {others}."
    if options.allow_family_mismatch:
        return sentence
    if others == UNKNOWN:
        raise UserError(
            f"The teacher {teacher} answers through an endpoint, which does not tell its family: set "
            "allow_family_mismatch=true if you know that it is the one wanted."
        )
    same = options.relation == "same"
    if (own == others) == same:
        return sentence
    wanted, method = ("the same family", "cf-sft") if same else ("another family", "sf-sft")
    raise UserError(
        f"{sentence} This method wants a teacher of {wanted}: use {method}, or set allow_family_mismatch=true."
    )


def accepted(rollouts: Sequence[Rollout], completions_per_prompt: int, *, own: bool = False) -> Accepted:
    """Keep of every prompt the first different completions that the verifier accepts; cut ones teach no end.

    What the model wrote its `own` single completions in are the tokens that it is taught.

    A conversation gives an example for each of the teacher's turns: only these are imitated, not what it was answered.
    """
    by_prompt: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        by_prompt[rollout.problem.id].append(rollout)
    examples: list[Example] = []
    count = solved = 0
    for drawn in by_prompt.values():
        right = [rollout for rollout in drawn if rollout.verdict.reward == 1 and not rollout.truncated]
        count += len(right)
        solved += bool(right)
        different: dict[tuple[str, ...], Rollout] = {}
        for rollout in right:
            different.setdefault((*(message["content"] for message in rollout.messages), rollout.completion), rollout)
        for rollout in list(different.values())[:completions_per_prompt]:
            examples += _turns(rollout, own=own)
    return Accepted(
        examples=tuple(examples),
        whose="the model's own" if own else "the teacher's",
        rollouts=len(rollouts),
        accepted=count,
        prompts=len(by_prompt),
        solved=solved,
    )


def _turns(rollout: Rollout, *, own: bool) -> list[Example]:
    """Return what the teacher wrote, each turn after all that was said before it."""
    if not rollout.messages:
        written = rollout.token_ids if own else ()
        return [Example(problem=rollout.problem, completion=rollout.completion, token_ids=written)]
    return [
        Example(
            problem=dataclasses.replace(
                rollout.problem, messages=(*rollout.problem.messages, *rollout.messages[:place])
            ),
            completion=message["content"],
        )
        for place, message in enumerate(rollout.messages)
        if message["role"] == "assistant"
    ]
