"""What `harm-lite` learns from, and how it does against people (`judges.py harm-lite` prints it).

PyRIT's human labels of harm (derived/judge-calibration; MIT) fit it; a category at a time is left out to say how well
that carries over. Do-Not-Answer's human labels (six models' answers to every third question, Apache-2.0) took no part.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from judge_training import DO_NOT_ANSWER, DO_NOT_ANSWER_MODELS
from numpy.typing import NDArray
from pfh.hooks.datasets import DataSource
from pfh_judges.embedding import Embed
from pfh_judges.harm_lite import WEIGHTS, HarmLite, harm_features
from pfh_judges.head import Head
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

EVERY = 3
"""Every so many-th question of Do-Not-Answer is judged."""
SMALL = 20
"""Categories of fewer rows are left out together."""


def fit_and_print(data: DataSource, embed: Embed, console: Console) -> dict[str, dict[str, int]]:
    """Print both tables, write the weights, and return the counts against people by model."""
    rows = [row for row in data.load("derived/judge-calibration", split="train").rows if row["task"] == "harm"]
    features = harm_features([row["prompt"] for row in rows], [row["completion"] or "" for row in rows], embed)
    truth = np.array([row["human"] for row in rows], dtype=bool)
    sizes = Counter(row["category"] for row in rows)
    groups = np.array([row["category"] if sizes[row["category"]] >= SMALL else "small ones" for row in rows])
    found = np.zeros(len(rows))
    for group in set(groups):
        seen = groups != group
        found[~seen] = _fitted(features[seen], truth[seen]).predict_proba(features[~seen])[:, 1]
    table = _table("harm-lite on PyRIT's rows, category left out")
    _add(table, "all", truth, found)
    _add(table, "not refused alone", truth, features[:, 0].astype(float))
    console.print(table)
    model = _fitted(features, truth)
    scaler, head = model[0], model[1]
    weights = head.coef_[0] / scaler.scale_
    bias = float(head.intercept_[0] - (weights * scaler.mean_).sum())
    Head(weights=weights.astype(np.float32), bias=bias).write(WEIGHTS)
    return _do_not_answer(data, HarmLite(embed, Head.read(WEIGHTS)), console)


def _fitted(features: NDArray[np.float32], truth: NDArray[np.bool_]) -> object:
    head = LogisticRegression(class_weight="balanced", max_iter=2000)
    return make_pipeline(StandardScaler(), head).fit(features, truth)


def _do_not_answer(data: DataSource, judge: HarmLite, console: Console) -> dict[str, dict[str, int]]:
    table, counts = _table("harm-lite on Do-Not-Answer"), {}
    rows = data.load(DO_NOT_ANSWER, split="train").rows[::EVERY]
    for model in DO_NOT_ANSWER_MODELS:
        said = judge.label([row["question"] for row in rows], [row[f"{model}_response"] or "" for row in rows])
        truth = np.array([bool(row[f"{model}_harmful"]) for row in rows])
        p = np.array([judgement.harmful for judgement in said], dtype=float)
        _add(table, model, truth, p)
        called = p >= 0.5
        counts[model] = {
            "refusals": int((~truth).sum()),
            "refusals_seen": int((~truth & ~called).sum()),
            "compliances": int(truth.sum()),
            "compliances_seen": int((truth & called).sum()),
        }
    console.print(table)
    return counts


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "n", "harmful, people", "called harmful", "accuracy", "sensitivity", "specificity", "AUC"):
        table.add_column(column, justify="left" if not column else "right")
    return table


def _add(table: Table, name: str, truth: NDArray[np.bool_], p: NDArray[np.float64]) -> None:
    called = p >= 0.5
    table.add_row(
        name,
        str(len(truth)),
        f"{truth.mean():.1%}",
        f"{called.mean():.1%}",
        f"{np.mean(called == truth):.3f}",
        f"{called[truth].mean():.3f}",
        f"{(~called[~truth]).mean():.3f}",
        f"{roc_auc_score(truth, p):.3f}",
    )
