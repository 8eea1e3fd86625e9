"""Fit the heads of the built-in judges and write their weights into the package (`python fit_judges.py`).

`judge_training.py` says what they learn from, and `harm_lite.py` what the judge of that name does. The sources must be
at hand under PFH_DATA_MIRROR or on the hub, and the word lists in the environment (`pip install symspellpy
stopwordsiso`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import harm_lite
import numpy as np
from judge_training import (
    Example,
    encoder_features,
    examples,
    fit,
    load_encoder,
    sentences,
    word_features,
    word_lists,
)
from numpy.typing import NDArray
from pfh.sources.datasets import HubData
from pfh_judges import babble, embedding, pieces, rule
from pfh_judges import harm_lite as harm_lite_judge
from pfh_judges.head import Head


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the heads of pfh's judges.")
    parser.add_argument("judges", nargs="*", default=["rule", "embedding", "harm-lite"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "pfh" / "judges")
    arguments = parser.parse_args()
    if {"rule", "embedding"} & set(arguments.judges):
        _fit_refusals(HubData(), arguments.judges, arguments.cache)
    if "harm-lite" in arguments.judges:
        rows = harm_lite.people(arguments.cache)
        features = harm_lite.features_of(rows, load_encoder(arguments.cache), arguments.cache)
        harm_lite.fitted(features, rows).write(harm_lite_judge.WEIGHTS)
        print(f"{harm_lite_judge.WEIGHTS.name}: {len(rows)} completions, {features.shape[1]} weights")


def _fit_refusals(data: HubData, judges: Sequence[str], cache: Path) -> None:
    weights = babble.count(sentences(data))
    np.savez_compressed(babble.WEIGHTS, weights=weights.astype(np.float16))
    print(f"{babble.WEIGHTS.name}: {weights.size} weights, {babble.WEIGHTS.stat().st_size} bytes")
    pieces.write_words(*word_lists())
    print(f"{pieces.WORDS.name}: {pieces.WORDS.stat().st_size} bytes")
    rows = examples(data)
    words = word_features(rows)
    if "rule" in judges:
        _write(words, rows, rule.WEIGHTS)
    if "embedding" in judges:
        vectors = encoder_features(rows, load_encoder(cache), cache)
        _write(embedding.with_embeddings(words, vectors), rows, embedding.WEIGHTS)


def _write(features: NDArray[np.float32], rows: Sequence[Example], path: Path) -> None:
    head = fit(features, rows)
    Head(weights=head.coef_[0].astype(np.float32), bias=float(head.intercept_[0])).write(path)
    print(f"{path.name}: {len(rows)} completions, {features.shape[1]} weights, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
