"""Before a run: what every family would ask, and the smallest change that so many documents could show."""

from __future__ import annotations

import pytest
from pfh.commands.requests import MeasureSpec
from pfh.commands.specs import Asked, compare_spec, plan
from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice
from pfh.registry.plugins import Plugins
from pfh.statistics.power import detectable_mean, documents_to_decide


def asks(family: str, **changes: object) -> dict[str, object]:
    fields = {"evals": (EvalChoice.parse(family),), "models": ("safe",), **changes}
    found: dict[str, object] = plan(MeasureSpec(**fields), Plugins())["asks"]  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("family", "benchmark", "documents", "smallest"),
    [
        ("safety:probes", "probes-harmful", 40, "18.5 points"),
        ("policy:length", "length", 40, "0.44 sd"),
        ("policy:divergence", "divergence", 40, ""),
        ("representation:probes", "probes", 64, "13.3 points"),
        ("target", "test", 200, "7.6 points"),
    ],
)
def test_every_family_says_the_smallest_change_that_it_could_show(
    family: str, benchmark: str, documents: int, smallest: str
) -> None:
    (found,) = asks(family).values()
    assert isinstance(found, dict)
    row = next(row for row in found["rows"] if row["benchmark"] == benchmark)
    assert (row["documents"], row["smallest change"]) == (documents, smallest)
    assert f"{detectable_mean(40**-0.5):.2f}" == "0.44"
    assert f"no change of 5 points either way takes {documents_to_decide(0.15, 0.05):,} documents" in found["note"]


def test_the_margin_is_said_in_points_and_checked() -> None:
    (found,) = asks("safety:probes", margin=0.02).values()
    assert isinstance(found, dict)
    assert "no change of 2 points either way" in found["note"]
    fields = {
        "option": None,
        "tasks": None,
        "num_fewshot": None,
        "apply_chat_template": False,
        "chat_template_kwargs": None,
        "domain": "reasoning",
    }
    fields |= {"eval": "safety", "seed": 0, "limit": None, "backend": "hf", "dtype": "auto", "revision": None}
    more = {"seeds": None, "noise_floor": False, "allow_mismatch": False}
    asked = Asked(**fields, allow_pickle=False, margin=2)  # type: ignore[arg-type]
    assert compare_spec(asked, Plugins(), ["safe", "base"], **more).margin == 0.02  # type: ignore[arg-type]
    wrong = Asked(**fields, allow_pickle=False, margin=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--margin is in percentage points"):
        compare_spec(wrong, Plugins(), ["safe", "base"], **more)  # type: ignore[arg-type]
