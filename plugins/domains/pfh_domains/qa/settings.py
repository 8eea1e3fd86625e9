"""The options of the domain, and the training sets that it knows."""

from __future__ import annotations

from typing import Self

from pfh.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pfh_domains.qa.extraction import AnswerFormat
from pfh_domains.sources import Source

TRAINING_SETS: dict[str, tuple[Source, ...]] = {
    "NaturalQuestions": (
        Source("axon-rl/NaturalQuestions"),
        Source("google-research-datasets/nq_open", "nq_open", question="question"),
        Source("google-research-datasets/nq_open", "efficientqa", "dev", question="question"),
    ),
    "HotpotQA": (
        Source("axon-rl/HotpotQA"),
        Source("hotpotqa/hotpot_qa", "distractor", question="question"),
        Source("hotpotqa/hotpot_qa", "fullwiki", question="question"),
    ),
}
"""The sources of a set, the first that can be had counts: GEM's copy, then the set's own repository."""
GENERATED = ("arc_1d", "arc_agi", "rearc")
"""GEM's rg: tasks in the manner of ARC (Chollet 2019), which are generated."""
HELD_OUT = ("triviaqa", "mmlu", "bbh")


class Options(BaseModel):
    """Which questions, and how they are put."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "HotpotQA",
        description=f"GEM's set of questions: {', '.join(TRAINING_SETS)}, or rg: and {', '.join(GENERATED)}",
    )
    answer_format: AnswerFormat = Field(
        "tagged", description='"tagged": free reasoning, then <answer>...</answer>; "line": one line that is the answer'
    )
    shots: int = Field(0, ge=0, le=4, description="worked examples, shown as earlier turns of the chat")
    max_prompt_chars: int = Field(1500, ge=1, description="training questions that are longer are left out")
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: 16 for a line (64 for arc_1d), 2048 for tagged"
    )
    temperature: float = Field(0.7, ge=0, description="softmax temperature of the rollouts")

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        plain = name.removeprefix("qa:").removeprefix("rg:")
        if name.startswith("eval:") or plain.lower() in HELD_OUT:
            raise ValueError(f"{name} is held out: it measures the target task, and cannot be trained on")
        known = (*TRAINING_SETS, *GENERATED)
        if plain not in known:
            raise ValueError(f"no dataset {name!r}.{did_you_mean(plain, known)} Known: {', '.join(known)}")
        return plain

    @model_validator(mode="after")
    def _grids_need_lines(self) -> Self:
        if self.dataset in ("arc_agi", "rearc") and self.answer_format == "line":
            raise ValueError(f"the answers of {self.dataset} are grids of several lines: set answer_format=tagged")
        return self
