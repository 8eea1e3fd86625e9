"""Linear centred kernel alignment (CKA) of activations, from their Gram matrices, in double precision.

CKA (Kornblith et al. 2019, arXiv 1905.00414) of two layers is <K, L> / (|K| |L|) over their centred Gram matrices
K = X X' and L = Y Y'. With fewer texts than dimensions it is biased towards 1, whatever the layers; so the figure to
read is the one over U-centred matrices (Székely & Rizzo 2014, arXiv 1310.2926), which is CKA with the unbiased
estimator of HSIC (Song et al. 2012; Nguyen et al. 2021, arXiv 2010.15327): 1 for equal layers, about 0 for unrelated
ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINIMUM_TEXTS = 4
"""The unbiased estimator divides by n - 3."""
NO_SPREAD = 1e-10
"""A layer whose variance is at most this share of its mean square is constant: it differs by rounding only."""


def grams(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the centred Gram matrix of every layer.

    Args:
        features: shape (texts, layers, width).

    Returns:
        Shape (layers, texts, texts); zeros for a layer that is the same for every text.
    """
    found = np.empty((features.shape[1], len(features), len(features)))
    for layer in range(features.shape[1]):
        rows = features[:, layer].astype(np.float64)
        centred = rows - rows.mean(axis=0)
        constant = np.sum(centred**2) <= NO_SPREAD * np.sum(rows**2)
        found[layer] = 0.0 if constant else centred @ centred.T
    return found


def similarity(
    before: NDArray[np.float64], after: NDArray[np.float64], *, debiased: bool = True
) -> NDArray[np.float64]:
    """Return the CKA of every layer before with every layer after.

    Args:
        before: Gram matrices, shape (layers, texts, texts).
        after: likewise, of the same texts; the number of layers may differ.
        debiased: the unbiased estimator, for which at least `MINIMUM_TEXTS` texts are needed.

    Returns:
        Shape (layers before, layers after); NaN where a layer is the same for every text.
    """
    rows, columns = (_normalised(each, debiased) for each in (before, after))
    return rows @ columns.T


def interval(
    before: NDArray[np.float64], after: NDArray[np.float64], *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of intervals of the debiased CKA of each layer with itself, which hold together at `level`.

    By the jackknife over texts, on Fisher's scale, and with Bonferroni's correction over the layers; NaN where too few
    texts are left.
    """
    from scipy.stats import t

    layers, texts = min(len(before), len(after)), before.shape[1]
    if texts <= MINIMUM_TEXTS:
        return np.full(layers, np.nan), np.full(layers, np.nan)
    left_out = np.empty((texts, layers))
    for text in range(texts):
        kept = np.delete(np.arange(texts), text)
        left_out[text] = _same_layer(before[:layers, kept][:, :, kept], after[:layers, kept][:, :, kept])
    middle, scaled = (
        np.arctanh(np.clip(each, -1 + 1e-12, 1 - 1e-12))
        for each in (_same_layer(before[:layers], after[:layers]), left_out)
    )
    error = np.sqrt((texts - 1) / texts * np.sum((scaled - scaled.mean(axis=0)) ** 2, axis=0))
    half = float(t.ppf(1 - (1 - level) / 2 / layers, texts - 1)) * error
    return np.tanh(middle - half), np.tanh(middle + half)


def _same_layer(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sum(_normalised(before, True) * _normalised(after, True), axis=1))


def _normalised(matrices: NDArray[np.float64], debiased: bool) -> NDArray[np.float64]:
    """Return the centred matrices as unit vectors, one a row; NaN for zero matrices."""
    centred = np.stack([_u_centred(each) if debiased else each for each in matrices]).reshape(len(matrices), -1)
    lengths = np.linalg.norm(centred, axis=1)
    return centred / np.where(lengths > 0, lengths, np.nan)[:, None]


def _u_centred(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre `gram` without its diagonal, so that products of such matrices estimate HSIC without bias."""
    n = len(gram)
    off = gram - np.diag(np.diag(gram))
    sums = off.sum(axis=1) / (n - 2)
    centred = off - sums[:, None] - sums[None, :] + off.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return np.asarray(centred)
