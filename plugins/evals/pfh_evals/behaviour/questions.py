"""The multiple-choice questions that robustness is measured by: the family policy's own, or a dataset's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pfh.errors import DataUnavailableError
from pfh.hooks.samples import sample_id
from pfh.kit.subset import spread

from pfh_evals.behaviour.asks import built_in
from pfh_evals.policy.calibration import QUESTIONS

if TYPE_CHECKING:
    from pfh.hooks.datasets import DataSource

    from pfh_evals.behaviour.asks import Spec

_MOST = 500
"""Questions that are taken of a dataset, of each of its subjects its share."""
Named = Literal["arc-easy", "arc-challenge", "openbookqa", "mmlu", "hellaswag", "piqa"]
DATASETS: Mapping[Named, tuple[str, str, str]] = {
    "arc-easy": ("allenai/ai2_arc", "ARC-Easy", "test"),
    "arc-challenge": ("allenai/ai2_arc", "ARC-Challenge", "test"),
    "openbookqa": ("allenai/openbookqa", "main", "test"),
    "mmlu": ("cais/mmlu", "all", "test"),
    "hellaswag": ("Rowan/hellaswag", "default", "validation"),
    "piqa": ("ybisk/piqa", "plain_text", "validation"),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question with its options."""

    id: str
    text: str
    options: tuple[str, ...]
    answer: int
    category: str = ""
    paraphrases: tuple[str, ...] = ()


def questions(spec: Spec) -> tuple[list[Question], str]:
    """Return the questions that the options name, at most as many as the limit, and where they come from.

    Raises:
        DataUnavailableError: the dataset cannot be had.
    """
    found, source = _all(spec.options.questions, spec.data)
    by_id = {each.id: each for each in found}
    kept = spread({key: each.category for key, each in by_id.items()}, spec.limit)
    return [by_id[key] for key in kept], source


def built_in_questions() -> list[Question]:
    """Return the family policy's forty questions, with two paraphrases each."""
    others = built_in("paraphrases.json")
    rows = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    return [
        _question(row["question"], row["options"], row["answer"], row["category"], tuple(others[place]))
        for place, row in enumerate(rows)
    ]


def _all(name: Named | Literal[""], data: DataSource) -> tuple[list[Question], str]:
    if not name:
        return built_in_questions(), "built in"
    dataset = data.load(*DATASETS[name])
    read = {each.id: each for row in dataset.rows if (each := _of_row(row)) is not None}
    if not read:
        raise DataUnavailableError(f"{dataset.origin} holds no question with options: get it in the layout of the hub")
    return [read[key] for key in spread({key: each.category for key, each in read.items()}, _MOST)], dataset.origin


def _question(
    text: str, options: Sequence[str], answer: int, category: str, paraphrases: tuple[str, ...] = ()
) -> Question:
    key = sample_id("behaviour questions", "1", {"question": text, "options": list(options)})
    return Question(
        id=key, text=text, options=tuple(options), answer=answer, category=category, paraphrases=paraphrases
    )


def _of_row(row: Mapping[str, Any]) -> Question | None:
    """Read one row in the layout of any of `DATASETS`; None where it says no right option."""
    text: Any
    options: Any
    answer: Any
    if "sol1" in row:
        text, options, answer = row["goal"], [row["sol1"], row["sol2"]], row["label"]
    elif "endings" in row:
        text, options, answer = row["ctx"], row["endings"], row["label"]
    elif isinstance(row.get("choices"), dict):
        text, options = row.get("question") or row.get("question_stem"), row["choices"]["text"]
        labels = row["choices"]["label"]
        answer = labels.index(row["answerKey"]) if row.get("answerKey") in labels else -1
    else:
        text, options, answer = row.get("question"), row.get("choices") or [], row.get("answer")
    try:
        place = int(answer)
    except (TypeError, ValueError):
        return None
    if not isinstance(text, str) or not options or not 0 <= place < len(options):
        return None
    return _question(text.strip(), [str(each).strip() for each in options], place, str(row.get("subject", "")))
