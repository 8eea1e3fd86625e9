"""The options of the domain: where the rows are, which columns hold what, and who judges completions."""

from __future__ import annotations

import re
from typing import Literal, Self

from pfh.errors import did_you_mean
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FormName = Literal["messages", "sharegpt", "preference", "instruction", "completion", "answer"]
AnswerFormat = Literal["own", "line", "boxed", "tagged"]

VERIFIERS = ("none", "exact", "number", "math", "choice", "regex", "json")
"""Beside these, `package.module:function` names one of the user's own."""
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_FITTING = {"boxed": ("number", "math"), "tagged": ("exact", "choice", "regex")}
"""Answer format to the verifiers that read it."""


class Options(BaseModel):
    """Which rows, how they are read, how they are divided, and how completions are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "", description="a .jsonl, .json, .csv, .tsv or .parquet file, or a dataset of the hub (org/name); needed"
    )
    config: str = Field("default", description="configuration of a dataset of the hub")
    split: str = Field("train", description="split of a dataset of the hub")
    form: FormName | None = Field(
        None, description="what a row is; unset: what its columns say, which is shown before anything is measured"
    )
    messages: str = Field("", description="column of a whole conversation; unset: found by its usual names, as all are")
    prompt: str = Field("", description="column of the prompt, the question or the instruction")
    input: str = Field("", description="column of what an instruction is applied to")
    completion: str = Field("", description="column of the completion to imitate")
    answer: str = Field("", description="column of the answer that the verifier compares with, a text or a list")
    chosen: str = Field("", description="column of the completion, or the conversation, that is preferred")
    rejected: str = Field("", description="column of the other one")
    choices: str = Field("", description="column of the options of a multiple choice, a list of texts")
    system: str = Field("", description="column of a system turn")
    turns: Literal["every", "last"] = Field(
        "every", description="of a conversation: an example for each turn of the assistant, or for the last one alone"
    )
    verifier: str = Field(
        "",
        description=f"who judges: {', '.join(VERIFIERS)} or package.module:function; unset: number, choice "
        "or exact where a column of short answers says so, else none",
    )
    pattern: str = Field("", description="of verifier=regex: the expression, where no column holds one for each row")
    json_schema: str = Field("", description="of verifier=json: a file, where no column holds a schema for each row")
    answer_format: AnswerFormat = Field(
        "own",
        description='"own": the prompts say how to answer, and a box, <answer>, #### or the only line counts; "line", '
        '"boxed", "tagged": they are told so as in qa and math',
    )
    held_out: float = Field(
        0.2, ge=0, lt=1, description="share of the rows for measuring; the hash of a prompt decides"
    )
    on_broken: Literal["stop", "skip"] = Field(
        "stop", description="rows that cannot be used: stop and name them, or leave them out, named and counted"
    )
    max_chars: int = Field(100_000, ge=1, description="a row whose texts are longer counts as broken")
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: 16 for a line, else 2048"
    )
    temperature: float = Field(1.0, ge=0, description="softmax temperature of the rollouts")
    time_limit: float = Field(
        5.0, gt=0, description="CPU seconds for judging one completion; if it takes more it earns 0"
    )

    @field_validator("verifier")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in VERIFIERS and not _CALLABLE.fullmatch(name):
            raise ValueError(
                f"there is no verifier {name!r}.{did_you_mean(name, VERIFIERS)} It is one of {', '.join(VERIFIERS)} "
                "or package.module:function"
            )
        return name

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        fitting = _FITTING.get(self.answer_format, ())
        if fitting and self.verifier not in fitting:
            raise ValueError(f"answer_format={self.answer_format} needs verifier={' or '.join(fitting)}")
        if self.answer_format == "line" and self.verifier == "json":
            raise ValueError(
                "answer_format=line is a line of text, and verifier=json reads JSON: leave one of them out"
            )
        for name, verifier in (("pattern", "regex"), ("json_schema", "json")):
            if getattr(self, name) and self.verifier != verifier:
                raise ValueError(f"{name} needs verifier={verifier}")
        return self

    @property
    def judged_alone(self) -> bool:
        """Whether the verifier needs nothing of a row but its prompt."""
        return ":" in self.verifier or bool(self.pattern or self.json_schema)
