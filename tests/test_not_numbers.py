"""A model whose outputs overflow or are broken: benchmarks are ERROR with the reason, in every family, and never 0."""

from __future__ import annotations

from pathlib import Path

import pytest
from pfh.errors import NotNumbersError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling, Score, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import EvaluationSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.journal import JournaledEngine
from pfh.testing import EchoDomain, FakeEngine, NoData
from pfh_backends.hf.engine import HfEngine

from tests.tiny import tiny_llama

FAMILIES = {"forgetting": ("builtin-arithmetic",), "safety": (), "policy": ("length", "brier"), "target": ()}


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that is fine in float32 and overflows in float16."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny_llama(tmp_path_factory.mktemp("overflowing"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1e5)
    model.save_pretrained(folder)
    return folder


def engine(folder: Path, dtype: str) -> HfEngine:
    return HfEngine(EngineSpec(checkpoint=Checkpoint(name="m", path=folder, fingerprint="m"), dtype=dtype))


def test_scores_completions_and_distributions_are_numbers_or_an_error(overflowing: Path) -> None:
    asked = [ScoringRequest(id="0", context="The sky is", continuation=" blue")]
    chat = [GenerationRequest(id="0", prompt="The sky is")]
    assert engine(overflowing, "float32").loglikelihood(asked)[0].logprob < 0
    half = engine(overflowing, "float16")
    for ask in (
        lambda: half.loglikelihood(asked),
        lambda: half.next_token_logprobs(["The sky"]),
        lambda: half.distributions(chat, [" blue"]),
        lambda: half.generate(chat, Sampling(max_new_tokens=2, temperature=0.0)),
    ):
        with pytest.raises(NotNumbersError, match=r"float16.*--dtype bfloat16"):
            ask()


def test_a_backend_that_returns_nan_is_not_believed_and_nothing_is_journaled(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def loglikelihood(self, requests: object) -> list[Score]:
            return [Score(logprob=float("nan"), greedy=True, tokens=1) for _ in requests]  # type: ignore[attr-defined]

    journal = tmp_path / "journal.jsonl"
    with pytest.raises(NotNumbersError):
        JournaledEngine(Broken(["x"]), journal, Silent(), "x").loglikelihood(
            [ScoringRequest(id="0", context="a", continuation="b")]
        )
    assert not journal.exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_error_and_scores_nothing(overflowing: Path, family: str) -> None:
    plugins = Plugins()
    spec = EvaluationSpec(
        engine=engine(overflowing, "float16"),
        options=plugins.options("evals", family, {}),
        data=NoData(),
        judge=lambda name: plugins.open_judge(name, _judge_spec()),
        domain=EchoDomain(),
        benchmarks=FAMILIES[family],
        limit=2,
    )
    rows = [row for row in plugins.evaluate(family, spec).benchmarks if row.status not in ("NOT_RUN", "INSUFFICIENT")]
    assert rows
    assert {row.status for row in rows} == {"ERROR"}
    assert all("not numbers" in row.reason and not row.samples for row in rows)


def _judge_spec() -> object:
    from pfh.hooks.judges import JudgeSpec

    return JudgeSpec(data=NoData(), cache_dir=Path())
