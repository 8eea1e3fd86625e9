"""The options of the domain, and the training sets that it knows."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pfh.errors import did_you_mean
from pfh.text import redacted
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
URL_VARIABLE = "SEARCH_URL"
"""Environment variable with the URL of a search endpoint, as in GEM."""
SearchProtocol = Literal["gem", "search-r1"]


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
    tool: Literal["", "search"] = Field(
        "", description='"search": queries of the model are searched for, and it is sent the passages that match'
    )
    turns: int = Field(3, ge=1, description="with a tool, most searches in one conversation; then the answer is due")
    corpus: str = Field("", description="what is searched: a file of JSON lines or Parquet with a passage a row")
    corpus_columns: tuple[str, str, str] = Field(
        ("id", "title", "text"), description="the columns of its rows that hold a passage's id, title and text"
    )
    search_url: str = Field(
        "",
        description=f"an endpoint that is asked in place of a corpus; unset: the environment variable {URL_VARIABLE}, "
        "where a URL with a login or a key belongs",
    )
    search_protocol: SearchProtocol = Field(
        "gem", description='how the endpoint is spoken to: as GEM\'s SearchTool does, or as "search-r1" does'
    )
    results: int = Field(3, ge=1, le=50, description="most passages that answer a query")
    passage_chars: int = Field(1000, ge=1, description="characters of a passage that are shown")

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

    @field_validator("search_url")
    @classmethod
    def _shows_no_secret(cls, url: str) -> str:
        if not url:
            return url
        if redacted(url) != url:
            raise ValueError(f"it holds a login or a key, which results would keep: set {URL_VARIABLE} to it")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError("it is no URL that begins with http:// or https://")
        return url

    @model_validator(mode="after")
    def _searches_something(self) -> Self:
        asked = [name for name in ("corpus", "search_url") if getattr(self, name)]
        if asked and not self.tool:
            raise ValueError(f"{asked[0]} is what the search tool searches: set tool=search")
        if len(asked) == 2:
            raise ValueError("corpus and search_url are both set: choose one to be searched")
        if self.tool and self.answer_format == "line":
            raise ValueError("a search does not fit into the line of answer_format=line: set answer_format=tagged")
        if self.tool and self.dataset in GENERATED:
            raise ValueError(f"nothing that could be found answers {self.dataset}: leave out tool")
        return self

    @model_validator(mode="after")
    def _grids_need_lines(self) -> Self:
        if self.dataset in ("arc_agi", "rearc") and self.answer_format == "line":
            raise ValueError(f"the answers of {self.dataset} are grids of several lines: set answer_format=tagged")
        return self
