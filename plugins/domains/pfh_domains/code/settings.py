"""The options of the domain, and the training sets that it knows."""

from __future__ import annotations

from dataclasses import dataclass

from pfh.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pfh_domains.code.holdouts import HOLDOUTS


@dataclass(frozen=True)
class TrainingSet:
    """Where the problems of one environment come from."""

    environment: str
    hub_id: str
    config: str = "default"
    splits: tuple[str, ...] = ("train", "test")
    """The first that can be had is taken."""
    max_new_tokens: int = 2048
    """Length limit of a completion, unless the options say otherwise."""


TRAINING_SETS = {
    "CodeContest": TrainingSet("code:CodeContest", "axon-rl/CodeContest"),
    "Taco8k": TrainingSet("code:Taco8k", "axon-rl/TACO-8k"),
    "PrimeIntellect15k": TrainingSet("code:PrimeIntellect15k", "axon-rl/PrimeIntellect-15k"),
    "MBPP-train": TrainingSet("mbpp-train", "google-research-datasets/mbpp", "full", ("train",), 1024),
}


class Options(BaseModel):
    """Which problems, and how programs are run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "MBPP-train",
        description="MBPP-train, which has reference solutions and which small models can do, or GEM's; known: "
        + ", ".join(TRAINING_SETS),
    )
    max_tests: int = Field(12, ge=1, description="tests a contest problem, those with the longest inputs, as in GEM")
    min_tests: int = Field(2, ge=1, description="problems with fewer tests are left out")
    varied_outputs: bool = Field(
        True, description="leave out problems whose tests all want one output, which a program can print unread"
    )
    max_prompt_chars: int = Field(4000, ge=1, description="problems with a longer statement are left out")
    time_limit: float = Field(10.0, gt=0, description="CPU seconds of one run, or of all tests that call functions")
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: 1024 for MBPP-train, 2048 for contests"
    )
    temperature: float = Field(0.8, ge=0, description="softmax temperature of the rollouts")

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        plain = name.removeprefix("code:")
        if plain.lower() in HOLDOUTS:
            raise ValueError(f"{plain} is held out: it measures the target task, and cannot be trained on")
        if plain not in TRAINING_SETS:
            known = ", ".join(TRAINING_SETS)
            raise ValueError(f"no dataset {name!r}.{did_you_mean(plain, TRAINING_SETS)} Known: {known}")
        return plain
