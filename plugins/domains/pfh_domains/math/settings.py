"""The options of the domain, and the training sets that it knows."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pfh.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pfh_domains.math.extraction import AnswerFormat
from pfh_domains.sources import Source

HELD_OUT = ("gsm8k", "math500", "minerva")


TRAINING_SETS: dict[str, tuple[Source, ...]] = {
    "Math12K": (Source("axon-rl/MATH-12k"),),
    "DeepScaleR40K": (Source("agentica-org/DeepScaleR-Preview-Dataset"), Source("axon-rl/DeepScaleR-40K")),
    "GSM8K": (Source("axon-rl/GSM-8k"), Source("openai/gsm8k", "main", question="question")),
}
"""The sources of a set, the first that can be had counts. GEM's other sets are looked up in its registry."""


class Options(BaseModel):
    """Which problems, how they are put, and how answers are checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "DeepScaleR40K",
        description=f"GEM's set of problems: {', '.join(TRAINING_SETS)} or any other math:* of its registry",
    )
    answer_format: AnswerFormat = Field(
        "boxed", description='"boxed": free reasoning that ends in \\boxed{}; "line": one line that is the answer'
    )
    shots: int = Field(0, ge=0, le=4, description="worked examples, shown as earlier turns of the chat")
    max_prompt_chars: int = Field(1500, ge=1, description="training problems with a longer statement are left out")
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="length limit of a completion, of each turn with a tool; unset: 16 for a line, 2048 for boxed",
    )
    temperature: float = Field(1.0, ge=0, description="softmax temperature of the rollouts")
    tool: Literal["", "python"] = Field(
        "", description='"python": programs of the model are run in the sandbox, and it is sent what they print'
    )
    turns: int = Field(3, ge=1, description="with a tool, most programs in one conversation; then the answer is due")
    time_limit: float = Field(5.0, gt=0, description="CPU seconds for judging one answer; one that needs more earns 0")

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        plain = name.removeprefix("math:")
        if plain in TRAINING_SETS:
            return plain
        if name.startswith("eval:") or plain.lower() in HELD_OUT:
            raise ValueError(f"{name} is held out: it measures the target task, and cannot be trained on")
        registered = registered_sets()
        if plain not in registered:
            known = sorted({*TRAINING_SETS, *registered})
            raise ValueError(f"no dataset {name!r}.{did_you_mean(plain, known)} Known: {', '.join(known)}")
        return plain

    @model_validator(mode="after")
    def _room_for_programs(self) -> Options:
        if self.tool and self.answer_format == "line":
            raise ValueError("a program does not fit into the line of answer_format=line: set answer_format=boxed")
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the training rows can be had, the best first."""
        return TRAINING_SETS.get(self.dataset) or (registered_sets()[self.dataset],)


@cache
def registered_sets() -> dict[str, Source]:
    """Return the text sets of GEM's math environments by name, as its registry describes them."""
    from gem.envs.registration import ENV_REGISTRY

    found = {}
    for name, spec in ENV_REGISTRY.items():
        if name.startswith("math:") and str(spec.entry_point).endswith(":MathEnv"):
            settings = spec.kwargs
            found[name.removeprefix("math:")] = Source(
                settings["dataset_name"],
                split=settings.get("split", "train"),
                question=settings["question_key"],
                answer=settings["answer_key"],
            )
    return found
