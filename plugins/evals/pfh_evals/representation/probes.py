"""Linear probes: can a logistic regression on one layer's activations tell true statements from false ones?

One probe a layer (Alain & Bengio 2016, arXiv 1610.01644), on the activations at a statement's last token. A control
task, the same statements with labels drawn at random (Hewitt & Liang 2019, arXiv 1909.03368), says what a probe gets
without anything to find; the accuracy above it is the probe's selectivity.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pfh_evals.representation.documents import Statement, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST_SHARE = 3
"""Every third group of statements is kept for the test."""
CONTROLS = 5
"""Random labellings that the control task is the mean of."""
FOLDS = 4
MINIMUM = 8
"""So many statements of every label must be in the training split, and half of them in the test split."""
STRENGTH = 0.1
"""Inverse of the L2 penalty, of standardised activations: there are more of them than statements."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Labelled statements, those to train on and those to test on; no group is in both."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    labels: NDArray[np.int64]
    """Of every statement: index into `names`."""
    names: tuple[str, ...]
    groups: NDArray[np.int64]

    @property
    def too_few(self) -> str:
        """Why the statements do not suffice; empty where they do."""
        if len(self.names) < 2:
            return f"the statements have {len(self.names)} labels, and a probe tells at least two apart"
        for part, indices, least in (("train", self.train, MINIMUM), ("test", self.test, MINIMUM // 2)):
            counts = Counter(self.names[label] for label in self.labels[list(indices)])
            fewest = min(self.names, key=lambda name: counts[name])
            if counts[fewest] < least:
                return f"{counts[fewest]} statements to {part} on are {fewest!r}; at least {least} are needed"
        return ""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A fitted probe of one layer."""

    weights: NDArray[np.float64]
    """Shape (1 or labels, width)."""
    bias: NDArray[np.float64]

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return a label index for each row of `features`, shape (statements, width)."""
        scores = features.astype(np.float64) @ self.weights.T + self.bias
        found = (scores[:, 0] > 0) if len(self.weights) == 1 else scores.argmax(axis=1)
        return np.asarray(found, dtype=np.int64)


def split(statements: Sequence[Statement]) -> Split:
    """Divide `statements` by their group's hash, so that the same group is always on the same side."""
    order = sorted({statement.group for statement in statements}, key=lambda group: digest([group, "split"]))
    tested = set(order[::TEST_SHARE])
    names = tuple(sorted({statement.label for statement in statements}))
    places = {group: place for place, group in enumerate(order)}
    return Split(
        train=tuple(index for index, statement in enumerate(statements) if statement.group not in tested),
        test=tuple(index for index, statement in enumerate(statements) if statement.group in tested),
        labels=np.array([names.index(statement.label) for statement in statements], dtype=np.int64),
        names=names,
        groups=np.array([places[statement.group] for statement in statements], dtype=np.int64),
    )


def fit(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Probe:
    """Fit a logistic regression on standardised activations; the probe takes them as they are.

    Args:
        features: shape (statements, width).
        labels: index of each statement's label; at least two different ones.
    """
    from sklearn.linear_model import LogisticRegression

    rows = features.astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, np.inf)  # a constant coordinate says nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe that has not wholly converged is a probe all the same
        model: Any = LogisticRegression(C=STRENGTH, max_iter=300).fit((rows - mean) / spread, labels)
    weights = np.asarray(model.coef_, dtype=np.float64) / spread
    return Probe(weights=weights, bias=np.asarray(model.intercept_, dtype=np.float64) - weights @ mean)


def fit_layers(features: NDArray[np.float32], parts: Split) -> list[Probe]:
    """Fit one probe a layer on the training split; `features` has the shape (statements, layers, width)."""
    train = list(parts.train)
    return [fit(features[train, layer], parts.labels[train]) for layer in range(features.shape[1])]


def accuracies(probes: Sequence[Probe], features: NDArray[np.float32], parts: Split) -> NDArray[np.float64]:
    """Return each layer's accuracy on the test split."""
    test = list(parts.test)
    return np.array(
        [np.mean(probe.predict(features[test, layer]) == parts.labels[test]) for layer, probe in enumerate(probes)]
    )


def control_accuracies(features: NDArray[np.float32], parts: Split, seed: int) -> NDArray[np.float64]:
    """Return each layer's accuracy on the control task, the mean over `CONTROLS` labellings drawn with `seed`."""
    drawn = []
    for number in range(CONTROLS):
        generator = np.random.default_rng([seed, number])
        labels = parts.labels.copy()
        for indices in (list(parts.train), list(parts.test)):
            labels[indices] = generator.permutation(labels[indices])
        shuffled = Split(train=parts.train, test=parts.test, labels=labels, names=parts.names, groups=parts.groups)
        drawn.append(accuracies(fit_layers(features, shuffled), features, shuffled))
    return np.asarray(np.mean(drawn, axis=0))


def best_layer(features: NDArray[np.float32], parts: Split) -> int:
    """Return the layer whose probe does best within the training split: cross-validated, no group in two folds."""
    train = np.array(parts.train)
    fold = parts.groups[train] % FOLDS
    right = np.zeros(features.shape[1])
    for held in range(FOLDS):
        inside, outside = train[fold != held], train[fold == held]
        if len(outside) == 0 or len(set(parts.labels[inside])) < len(parts.names):
            continue
        for layer in range(features.shape[1]):
            probe = fit(features[inside, layer], parts.labels[inside])
            right[layer] += np.sum(probe.predict(features[outside, layer]) == parts.labels[outside])
    return int(right.argmax())
