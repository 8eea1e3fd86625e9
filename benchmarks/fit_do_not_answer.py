"""The judge of Do-Not-Answer against people, each model by heads that saw no answer of its (`PFH_DATA_MIRROR=... python
fit_do_not_answer.py`); `--write` fits the heads on all six models and writes them into the package.

Printed for each model: the share that people call harmful, the mean probability that the head gives (what
`do-not-answer-harmless` is one minus of), what is not refused by the rule judge, the area under the curve of both, and
how often the likeliest action is people's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from judge_training import DO_NOT_ANSWER, DO_NOT_ANSWER_MODELS
from numpy.typing import NDArray
from pfh.sources.datasets import HubData
from pfh_judges.do_not_answer import ACTIONS, FOLLOWS, WEIGHTS, Said, Weights, key_of, plain_features, row_of, words_of
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

INVERSE_PENALTY = 3.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    model: str
    question: str
    words: NDArray[np.int64]
    plain: tuple[float, float]
    harmful: bool
    action: int


def main() -> None:
    parser = argparse.ArgumentParser(description="The judge of Do-Not-Answer against people.")
    parser.add_argument("--write", action="store_true", help="write the heads into the package")
    arguments = parser.parse_args()
    answers = _answers()
    table = Table(title="Do-Not-Answer, model left out", title_justify="left")
    for column in ("", "n", "harmful, people", "harmful, head", "not refused", "AUC head", "AUC rule", "action"):
        table.add_column(column, justify="left" if not column else "right")
    for model in DO_NOT_ANSWER_MODELS:
        seen = [each for each in answers if each.model != model]
        tested = [each for each in answers if each.model == model]
        harm, action, said = _fit(seen)
        rows = _rows(tested, said)
        p = harm.predict_proba(rows)[:, 1]
        truth = np.array([each.harmful for each in tested])
        passed = np.array([not each.plain[0] for each in tested])
        table.add_row(
            model,
            str(len(tested)),
            f"{truth.mean():.1%}",
            f"{p.mean():.1%}",
            f"{passed.mean():.1%}",
            f"{roc_auc_score(truth, p):.3f}",
            f"{roc_auc_score(truth, passed):.3f}",
            f"{np.mean(action.predict(rows) == [each.action for each in tested]):.3f}",
        )
    Console(width=110).print(table)
    if arguments.write:
        harm, action, said = _fit(answers)
        full = np.full((len(ACTIONS), action.coef_.shape[1] + 1), -1e4, dtype=np.float32)
        full[action.classes_] = np.hstack([action.coef_, action.intercept_[:, None]])
        Weights(harm=np.append(harm.coef_[0], harm.intercept_).astype(np.float32), action=full, said=said).write()
        print(f"{WEIGHTS.name}: {len(answers)} answers, {WEIGHTS.stat().st_size} bytes")


def _answers() -> list[Answer]:
    found = []
    for row in HubData().load(DO_NOT_ANSWER, split="train").rows:
        for model in DO_NOT_ANSWER_MODELS:
            text = row[f"{model}_response"] or ""
            found.append(
                Answer(
                    model=model,
                    question=key_of(row["question"]),
                    words=words_of(text),
                    plain=plain_features(row["question"], text),
                    harmful=bool(row[f"{model}_harmful"]),
                    action=int(row[f"{model}_action"]),
                )
            )
    return found


def _said(answers: Sequence[Answer], without: str = "") -> dict[str, Said]:
    """Return what people said of each question's answers, those of one model left out."""
    held: dict[str, list[Answer]] = {}
    for each in answers:
        own = held.setdefault(each.question, [])
        if each.model != without:
            own.append(each)
    return {
        key: Said(
            answers=len(own),
            harmful=sum(each.harmful for each in own),
            follows=sum(each.action == FOLLOWS for each in own),
        )
        for key, own in held.items()
    }


def _fit(answers: Sequence[Answer]) -> tuple[LogisticRegression, LogisticRegression, dict[str, Said]]:
    """Fit both heads; what people said of a question is, for an answer to it, what they said of the other models'."""
    rows, kept = [], []
    for model in dict.fromkeys(each.model for each in answers):
        own = [each for each in answers if each.model == model]
        rows.append(_rows(own, _said(answers, without=model)))
        kept += own
    stacked = vstack(rows).tocsr()
    harm = LogisticRegression(C=INVERSE_PENALTY, max_iter=500).fit(stacked, [each.harmful for each in kept])
    action = LogisticRegression(C=INVERSE_PENALTY, max_iter=300).fit(stacked, [each.action for each in kept])
    return harm, action, _said(answers)


def _rows(answers: Sequence[Answer], said: dict[str, Said]) -> csr_matrix:
    return csr_matrix(np.stack([row_of(each.words, each.plain, said[each.question]) for each in answers]))


if __name__ == "__main__":
    main()
