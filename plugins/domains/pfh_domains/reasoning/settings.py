"""The options of the domain."""

from __future__ import annotations

import json
from typing import Any, Literal

from pfh.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pfh_domains.reasoning.tasks import DEFAULT_TASKS, TASKS, WITHOUT_REFERENCE, all_tasks


class Options(BaseModel):
    """Which problems, how hard, and how they are put."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = Field(
        DEFAULT_TASKS,
        min_length=1,
        description="GEM's rg:* tasks, mixed evenly; any of reasoning-gym, of which these suit small models: "
        + ", ".join(TASKS),
    )
    level: int | None = Field(
        None,
        ge=0,
        description="difficulty of every task as a level of its curriculum, 0 the easiest; unset: the generator's own",
    )
    small: bool = Field(False, description="where level is unset: pfh's difficulty for models of about 100M parameters")
    difficulty: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description='a task\'s generator settings, as JSON: {"gcd": {"max_value": 99}}'
    )
    shots: int = Field(0, ge=0, le=16, description="worked examples, shown as earlier turns of the chat")
    answer_format: Literal["line", "boxed"] = Field(
        "boxed", description='"boxed": free reasoning that ends in \\boxed{}; "line": one line that is the answer'
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: 12 for a line, 2048 for boxed"
    )
    temperature: float = Field(1.0, ge=0, description="softmax temperature of the rollouts")
    time_limit: float = Field(
        5.0, gt=0, description="CPU seconds for scoring one answer of a task that computes with it; more earns 0"
    )

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(task.removeprefix("rg:") for task in tasks))
        for name in names:
            if name in WITHOUT_REFERENCE:
                raise ValueError(f"{name} comes without right answers, so nothing can be verified or trained on")
            if name not in TASKS and name not in all_tasks():
                known = ", ".join(all_tasks())
                raise ValueError(f"no task {name!r}.{did_you_mean(name, all_tasks())} Known: {known}")
        return names

    @field_validator("difficulty", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
