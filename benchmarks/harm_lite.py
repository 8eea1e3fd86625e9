"""What the head of `harm-lite` learns from, and what it is held against.

It learns from PyRIT's human labels of whether a harmful objective was met (package pyrit 1.1.0, MIT; 395 answers, 14
kinds of harm), by four figures a completion and with both labels weighing the same. It is held against people on the
same rows, every kind of harm judged by a head that saw none of it. No choice was made by sight of these rows, but the
phrases of the rule judge, which makes the first figure, were worked out with sight of some of them.

How it carries over to answers of another making say three datasets that it never sees:

- natolambert/xstest-v2-copy (Röttger et al. 2024; CC-BY-4.0), four models' answers to the 200 unsafe prompts: full
  compliance is harmful, a full refusal harmless, as people said; partial refusals are left out.
- JailbreakBench/artifacts (Chao et al. 2024; MIT), every second behaviour: what its judge, a Llama-3-70B, calls
  jailbroken.
- LibrAI/do-not-answer (Wang et al. 2023; Apache-2.0): what people call harmful of six models' answers, and of their
  harmless ones those to every sixth question.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from judge_training import DO_NOT_ANSWER, DO_NOT_ANSWER_MODELS, JAILBREAKS, XSTEST, XSTEST_MODELS
from pfh.hooks.datasets import DataSource
from pfh.sources.wheels import fetch_folder
from pfh_judges.embedding import Embed
from pfh_judges.harm_lite import harm_features
from pfh_judges.head import Head
from rich.table import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

PYRIT, PYRIT_VERSION, OBJECTIVES = "pyrit", "1.1.0", "pyrit/datasets/scorer_evals/objective"
FILES = {
    "bias.csv": "be11ab70e918ddc1b88ef43496df2e1336ec63527f56094c2db42ab0fb490980",
    "chemical_biological.csv": "1f6d092b50dfc90cf95608372b70737a27ff786ee4c09f4549c63e374c1e4a38",
    "cyber.csv": "57fad141e2237b244737b72c3f46b33b5a3c509365d5e832d2612b34caa967cd",
    "exploits.csv": "315f4220f8533059b7d1ee86a492fb348e860e7f5e5fe17190c87b5736a2dc27",
    "harassment_bullying.csv": "ce8814ccc30ce1556bc191daaf597845fa2ab569561cb14076f09bb6d3dfdcce",
    "hate_speech.csv": "9572e1072e228ca50af0ed27faca07cb8b7ac03a6ba5ef905988b41f87ebdb24",
    "illegal_activity.csv": "27b2c07e5183c8068f09313137c3e5360954b746152bda45b6cac8ad69f753ee",
    "info_integrity.csv": "ae8537d73d7a627cdd2a6837c364d434d7e819188b157b935efdb09e65e7df2e",
    "misinformation.csv": "4a2e81aff9a0f2c6305d156b15e7ac344e77192f85c17d7ec59495ad701015be",
    "phishing.csv": "573f09da2265ec886b173d1cd0574943dd6cdfad2859b10daccd2d990f16e35d",
    "privacy.csv": "a115b3df4c812d95f358d8afa628243ff137a5051f2399ca89eb4bd866e20946",
    "self_harm.csv": "e8a36cdbd420650a0213798a869848f55c4c31cc6000f30bc78c4b37f96c0f8f",
    "sexual.csv": "b619f60677b3a941f34992914fdd06c26a49116bce9305bebab3fca7b0b06c8b",
    "violence.csv": "298d191a992d506439aa5150f58e8c1d1bd6b89f2bc501c66f4e5abf498debe2",
}
EVERY_JAILBREAK, EVERY_QUESTION = 2, 6
LEAST_OF_A_KIND = 20
"""Kinds of harm of fewer rows are one, "others"."""


@dataclass(frozen=True, kw_only=True)
class HarmExample:
    """One completion of a harmful request."""

    source: str
    """A kind of harm, or a dataset."""
    request: str
    completion: str
    harmful: bool


def elsewhere(data: DataSource) -> list[HarmExample]:
    """Return the answers of another making, whose source is their dataset."""
    return [*_xstest(data), *_jailbreaks(data), *_do_not_answer(data)]


def people(cache: Path) -> list[HarmExample]:
    """Return PyRIT's answers with people's labels, whose source is their kind of harm."""
    csv.field_size_limit(1 << 30)
    folder = fetch_folder(PYRIT, PYRIT_VERSION, OBJECTIVES, FILES, cache / f"{PYRIT}-{PYRIT_VERSION}-objective")
    found = []
    for name in FILES:
        lines = (folder / name).read_text(encoding="utf-8-sig").splitlines(keepends=True)
        rows = csv.DictReader(io.StringIO("".join(line for line in lines[1:]), newline=""))
        for row in rows:
            kind, harmful = name.removesuffix(".csv"), float(row["human_score"]) == 1
            found.append(
                HarmExample(
                    source=kind, request=row["objective"], completion=row["assistant_response"], harmful=harmful
                )
            )
    sizes = Counter(row.source for row in found)
    small = {kind for kind, size in sizes.items() if size < LEAST_OF_A_KIND}
    return [replace(row, source="others") if row.source in small else row for row in found]


def features_of(rows: Sequence[HarmExample], embed: Embed, cache: Path) -> NDArray[np.float32]:
    """Return the four figures of every row; kept in `cache` for the next time."""
    texts = [(row.request, row.completion) for row in rows]
    kept = cache / f"harm-{hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]}.npy"
    if not kept.is_file():
        np.save(kept, harm_features([first for first, _ in texts], [second for _, second in texts], embed))
    return np.asarray(np.load(kept))


def fitted(features: NDArray[np.float32], rows: Sequence[HarmExample]) -> Head:
    """Return a logistic head over the four figures, harmful and harmless rows weighing the same."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0), features.std(0)
    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    model.fit((features - mean) / spread, [row.harmful for row in rows])
    weights = model.coef_[0] / spread
    return Head(weights=weights.astype(np.float32), bias=float(model.intercept_[0] - (weights * mean).sum()))


def left_out(features: NDArray[np.float32], rows: Sequence[HarmExample]) -> NDArray[np.float64]:
    """Return the probability of harm of every row by a head that saw no row of its source."""
    sources = np.array([row.source for row in rows])
    found = np.empty(len(rows))
    for source in set(sources):
        seen = sources != source
        head = fitted(features[seen], [row for row, kept in zip(rows, seen, strict=True) if kept])
        found[~seen] = head.probability(features[~seen])
    return found


def agreement(title: str, rows: Sequence[HarmExample], judged: Mapping[str, NDArray[np.float64]]) -> Table:
    """Return how several ways to judge agree with the labels of `rows`, over all of them."""
    from sklearn.metrics import roc_auc_score

    table = Table(title=title, title_justify="left")
    for column in ("", "n", "harmful", "called harmful", "accuracy", "sensitivity", "specificity", "AUC"):
        table.add_column(column, justify="left" if not column else "right")
    truth = np.array([row.harmful for row in rows])
    for name, probability in judged.items():
        called = probability >= 0.5
        table.add_row(
            name,
            str(len(truth)),
            f"{truth.mean():.1%}",
            f"{called.mean():.1%}",
            f"{np.mean(called == truth):.3f}",
            f"{called[truth].mean():.3f}",
            f"{(~called[~truth]).mean():.3f}",
            f"{roc_auc_score(truth, probability):.3f}",
        )
    return table


def counts(rows: Sequence[HarmExample], probability: NDArray[np.float64]) -> dict[str, dict[str, int]]:
    """Return by kind of harm how many harmless ("refusals") and harmful answers there are, and how many were seen."""
    found: dict[str, dict[str, int]] = {}
    for row, p in zip(rows, probability, strict=True):
        own = found.setdefault(row.source, {"refusals": 0, "refusals_seen": 0, "compliances": 0, "compliances_seen": 0})
        name = "compliances" if row.harmful else "refusals"
        own[name] += 1
        own[f"{name}_seen"] += (p >= 0.5) == row.harmful
    return {kind: {key: int(value) for key, value in own.items()} for kind, own in sorted(found.items())}


def _xstest(data: DataSource) -> Iterator[HarmExample]:
    said = {"1_full_compliance": True, "2_full_refusal": False}
    for model in XSTEST_MODELS:
        for row in data.load(XSTEST, split=model).rows:
            if row["type"].startswith("contrast") and row["final_label"] in said:
                yield HarmExample(
                    source="xstest",
                    request=row["prompt"],
                    completion=row["completion"] or "",
                    harmful=said[row["final_label"]],
                )


def _jailbreaks(data: DataSource) -> Iterator[HarmExample]:
    for method, model in JAILBREAKS:
        for row in data.load("JailbreakBench/artifacts", method, model).rows[::EVERY_JAILBREAK]:
            if row["response"] is not None:
                yield HarmExample(
                    source="jailbreakbench",
                    request=row["goal"],
                    completion=row["response"],
                    harmful=bool(row["jailbroken"]),
                )


def _do_not_answer(data: DataSource) -> Iterator[HarmExample]:
    for place, row in enumerate(data.load(DO_NOT_ANSWER, split="train").rows):
        for model in DO_NOT_ANSWER_MODELS:
            harmful = bool(row[f"{model}_harmful"])
            if harmful or place % EVERY_QUESTION == 0:
                yield HarmExample(
                    source="do-not-answer",
                    request=row["question"],
                    completion=row[f"{model}_response"] or "",
                    harmful=harmful,
                )
