"""Variance components: those of statsmodels where nothing is known; what documents add is no seed's."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from pfh.statistics.components import components, known_covariance


def study(dice, methods=6, domains=3, seeds=3, of=(0.1, 0.05, 0.03)):
    """Return changes of runs with known deviations of method, domain and seed, and their levels."""
    method = np.repeat(np.arange(methods), domains * seeds)
    domain = np.tile(np.repeat(np.arange(domains), seeds), methods)
    values = dice.normal(0, of[0], methods)[method] + dice.normal(0, of[1], domains)[domain]
    values = values + dice.normal(0, of[2], len(method))
    levels = {"method": list(map(str, method)), "domain": list(map(str, domain))}
    return values, {**levels, "seed": list(map(str, range(len(method))))}


def test_they_are_those_of_a_mixed_model_of_statsmodels():
    from statsmodels.formula.api import mixedlm

    values, levels = study(np.random.default_rng(0))
    found = {each.source: each for each in components(values, np.zeros((54, 54)), levels)}
    table = pd.DataFrame({**levels, "y": values, "one": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mixedlm("y ~ 1", table, groups="one", vc_formula={"d": "0 + C(domain)", "m": "0 + C(method)"}).fit()
    assert [found[name].variance for name in ("domain", "method")] == pytest.approx(list(model.vcomp), rel=0.02)
    assert found["seed"].variance == pytest.approx(model.scale, rel=0.02)
    assert all(each.low < each.variance < each.high for each in found.values())
    assert found["seed"].low ** 0.5 < 0.03 < found["seed"].high ** 0.5


def test_what_documents_add_is_not_taken_for_the_seeds():
    dice = np.random.default_rng(1)
    values, levels = study(dice, of=(0.1, 0.0, 0.0))
    noise = dice.normal(0, 0.5, (54, 60)) + dice.normal(0, 0.5, (1, 60))
    known = known_covariance([noise], levels["method"])
    assert np.diag(known) == pytest.approx(noise.var(axis=1, ddof=1) / 60)
    assert known[0, 20] == pytest.approx(0.25 / 60, rel=0.5)
    found = {each.source: each for each in components(values + noise.mean(axis=1), known, levels)}
    assert found["seed"].variance ** 0.5 < 0.04  # the documents alone make 0.065
    assert found["seed"].low == 0
    assert found["method"].variance ** 0.5 == pytest.approx(np.std(values), rel=0.4)
