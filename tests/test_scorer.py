"""The scorer that shares prefixes: against the plain way, against lm-eval, and when it must not be taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pfh.errors import StepFailedError
from pfh.hooks.backends import EngineSpec, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh_backends.hf import blocks, packing, scoring, sharing
from pfh_backends.hf.engine import HfEngine
from pfh_backends.hf.trie import build, group_by_prefix
from transformers import AutoModelForCausalLM

from tests.tiny import tiny_adapter, tiny_config, tiny_llama, tiny_model

HEADERS = (
    "Q: Which moves faster, light or sound?\nA: light\n\nQ: Which melts first, ice or iron?\nA: ice\n\n",
    "Q: Which moves faster, light or sound?\nA: light\n\nQ: Which is older, the hill or the path?\nA: the hill\n\n",
    "Say which word is the odd one out.\n\n",
    "",
)
QUESTIONS = ("Q: Which is wet, the sea or the sand?\nA:", "Q: Why?\nA:", "Q: Which is wet, the sea or a stone?\nA:")
OPTIONS = (" the sea", " the sand", " the", " neither of the two, as far as I can say", " the sea")
ODD_PAIRS = (
    ("", "Once upon a time"),
    ("", "<|im_start|>user"),
    ("<|im_start|>user\nHi<|im_end|>\n", "Hello there"),
    ("The weather  ", " is nice"),
    ("What is 1 + 1? ", "2"),
    ("a ki", "ng and the queen"),  # the context's last letter becomes a part of the token "in"
    ("long " * 200, "and the end of it all"),
    ("much longer " * 60, "than " * 20),
    ("a", "b"),
)


def battery() -> list[ScoringRequest]:
    pairs = [(header + question, option) for header in HEADERS for question in QUESTIONS for option in OPTIONS]
    return [
        ScoringRequest(id=str(index), context=context, continuation=continuation)
        for index, (context, continuation) in enumerate((*pairs, *ODD_PAIRS))
    ]


def open_engine(folder: Path, batch_tokens: int = 0, dtype: str = "float32") -> HfEngine:
    checkpoint = Checkpoint(name=folder.name, path=folder, fingerprint=str(folder))
    return HfEngine(EngineSpec(checkpoint=checkpoint, dtype=dtype, batch_tokens=batch_tokens))


@pytest.fixture(scope="module")
def engine(tiny_llama_path):
    return open_engine(tiny_llama_path)


def score_alone(engine: HfEngine, requests: list[ScoringRequest]) -> list:
    """Score the plain way, a row at a time: no padding, no cache, no mask."""
    return [scoring.score(engine._model, [row])[0] for row in engine._encode_pairs(requests)]


def assert_alike(scores, expected, tolerance: float) -> None:
    assert [score.logprob for score in scores] == pytest.approx([score.logprob for score in expected], abs=tolerance)
    assert [(score.greedy, score.tokens) for score in scores] == [(score.greedy, score.tokens) for score in expected]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_trie_has_a_node_a_prefix_and_knows_what_is_below(rows):
    tails = [len(row) // 2 for row in rows]
    trie = build(rows, tails)
    prefixes = sorted({tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)})
    assert len(trie.tokens) == len(prefixes)
    for node, prefix in enumerate(prefixes):  # depth-first order is the order of the prefixes
        assert (trie.tokens[node], trie.depths[node]) == (prefix[-1], len(prefix) - 1)
        below = [place for place, other in enumerate(prefixes) if other[: len(prefix)] == prefix]
        assert below == list(range(node, trie.ends[node]))
    for row, tail, path in zip(rows, tails, trie.paths, strict=True):
        expected = [prefixes.index(tuple(row[: len(row) - tail + step + 1])) for step in range(tail)]
        assert path.tolist() == expected


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gemma", {}),
        ("gemma2", {"sliding_window": 512}),
        ("gemma3_text", {"sliding_window": 512}),
        ("mistral", {"sliding_window": None}),
        ("smollm3", {}),
        ("phi3", {}),
        ("gpt2", {"n_embd": 32, "n_head": 4, "n_layer": 2}),
        ("gpt_neox", {"num_key_value_heads": None}),
    ],
)
def test_sharing_prefixes_changes_no_score(tmp_path, model_type, changes):
    engine = open_engine(tiny_model(tmp_path / model_type, model_type, **changes))
    requests = battery()
    scores = engine.loglikelihood(requests)
    assert engine._scorer.refusal is None
    assert_alike(scores, score_alone(engine, requests), 1e-4)


@pytest.mark.parametrize("size", [7, 64, 100000])
def test_scores_do_not_depend_on_the_packs(engine, size):
    requests = battery()
    rows = engine._encode_pairs(requests)
    assert_alike(packing.PackedScorer(engine._model, size).score(rows), score_alone(engine, requests), 1e-4)


@pytest.mark.parametrize("block", [2, 5, 64])
def test_scores_do_not_depend_on_the_blocks_of_attention(engine, block, monkeypatch):
    requests = battery()
    rows = engine._encode_pairs(requests)
    scorer = packing.PackedScorer(engine._model, 400, block=block)
    keys = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def count(query, key, value, **settings):
        keys.append((query.shape[2], key.shape[2]))
        return attention(query, key, value, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    scores = scorer.score(rows)
    assert max(queries for queries, _ in keys) <= 1.5 * block
    assert min(seen for _, seen in keys) < 400
    assert_alike(scores, score_alone(engine, requests), 1e-4)
    assert engine._model.config._attn_implementation == "sdpa"


def test_the_model_is_put_back_where_a_pack_fails(engine, monkeypatch):
    rows = engine._encode_pairs(battery())
    scorer = packing.PackedScorer(engine._model, 400)

    def fail(**inputs):
        assert engine._model.config._attn_implementation == blocks.IMPLEMENTATION
        raise RuntimeError("broken")

    monkeypatch.setattr(engine._model, "forward", fail)
    with pytest.raises(RuntimeError, match="broken"):
        scorer.score(rows)
    assert engine._model.config._attn_implementation == "sdpa"


def test_models_with_an_attention_of_their_own_keep_it(tmp_path):
    model = open_engine(tiny_model(tmp_path / "model", "llama"))._model
    assert blocks.supported(model)
    model.set_attn_implementation("eager")
    assert not blocks.supported(model)


def test_scores_equal_those_of_lm_eval(engine, tiny_llama_path):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    requests = battery()
    reference = HFLM(pretrained=str(tiny_llama_path), device="cpu", dtype="float32", batch_size=8)
    pairs = [(request.context, request.continuation) for request in requests]
    instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    expected = reference.loglikelihood(instances, disable_tqdm=True)
    scores = engine.loglikelihood(requests)
    # Sums of float32 of up to some hundred nats: 1e-5 each, or seven digits.
    assert [score.logprob for score in scores] == pytest.approx([value for value, _ in expected], abs=1e-5, rel=1e-6)
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]


def test_a_merge_across_the_boundary_belongs_to_the_context(engine):
    merged, plain = engine._encode_pairs(
        [
            ScoringRequest(id="0", context="ki", continuation="ng"),
            ScoringRequest(id="1", context="ka", continuation="ng"),
        ]
    )
    assert [len(merged.targets), len(plain.targets)] == [1, 2]


def test_every_prefix_is_forwarded_once(engine, monkeypatch):
    requests = [request for request in battery() if len(request.context) < 300]
    engine.loglikelihood(requests[:1])
    fed = []
    forward = engine._model.forward
    monkeypatch.setattr(
        engine._model, "forward", lambda **inputs: fed.append(inputs["input_ids"].numel()) or forward(**inputs)
    )
    monkeypatch.setattr(engine._scorer._packed, "size", 50)
    engine.loglikelihood(requests)
    rows = [row.inputs for row in engine._encode_pairs(requests)]
    assert sum(fed) == len({row[:length] for row in rows for length in range(1, len(row) + 1)})
    assert max(fed) == 50


def test_a_position_is_projected_once_however_many_options_follow(engine, monkeypatch):
    requests = [ScoringRequest(id=end, context="Which one is it?", continuation=end) for end in (" a", " b", " c")]
    engine.loglikelihood(requests)
    projected = []
    handle = engine._model.lm_head.register_forward_hook(lambda module, args, output: projected.append(output.shape[1]))
    monkeypatch.setattr(packing, "CPU_SCORED_LOGITS", 2 * engine._model.config.vocab_size)
    try:
        engine.loglikelihood(requests)
        # " a" is one token; the others are a space and a letter, and the space is predicted where " a" is.
        assert sum(projected) == 2
        engine.loglikelihood(battery())
    finally:
        handle.remove()
    assert max(projected) == 2


def test_options_are_left_apart_where_nothing_is_scored(engine):
    requests = [
        ScoringRequest(id="0", context="Hi", continuation=""),
        ScoringRequest(id="1", context="Hi", continuation=" the end"),
    ]
    empty, scored = engine.loglikelihood(requests)
    assert (empty.logprob, empty.greedy, empty.tokens) == (0.0, True, 0)
    assert_alike([scored], score_alone(engine, requests[1:]), 1e-5)
    assert engine.loglikelihood([]) == []


def test_an_adapter_changes_the_scores(tmp_path, tiny_llama_path):
    engine = open_engine(tiny_llama_path)
    base, requests = engine.checkpoint, battery()
    before = engine.loglikelihood(requests)
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    engine.use(base.with_adapter(adapter, name="tuned", fingerprint="tuned"))
    tuned = engine.loglikelihood(requests)
    assert_alike(tuned, score_alone(engine, requests), 1e-4)
    assert all(one.logprob != other.logprob for one, other in zip(before, tuned, strict=True))
    engine.use(base)
    assert engine.loglikelihood(requests) == before


def test_groups_keep_prefixes_together_and_stay_as_they_are(tiny_llama_path):
    engine = open_engine(tiny_llama_path, batch_tokens=600)
    requests = battery()
    groups = engine.batches(requests)
    assert sorted(index for group in groups for index in group) == list(range(len(requests)))
    assert len(groups) > 2
    for group in groups:
        assert engine.batches([requests[index] for index in group]) == [list(range(len(group)))]
    home = {index: number for number, group in enumerate(groups) for index in group}
    for question in range(len(HEADERS) * len(QUESTIONS)):
        first = question * len(OPTIONS)
        assert len({home[first + option] for option in range(len(OPTIONS))}) == 1
    asked = [requests[index].id for group in groups for index in group]
    backwards = requests[::-1]
    again = [[backwards[index].id for index in group] for group in engine.batches(backwards)]
    assert sorted(map(sorted, again)) == sorted(sorted(requests[index].id for index in group) for group in groups)
    assert len(asked) == len(set(asked))
    together = {request.id: score for request, score in zip(requests, engine.loglikelihood(requests), strict=True)}
    for group in groups:
        part = [requests[index] for index in group]
        assert_alike(engine.loglikelihood(part), [together[request.id] for request in part], 1e-4)


def test_a_group_ends_where_little_is_shared():
    headers = (tuple(range(100, 140)), tuple(range(200, 240)))
    rows = [(*header, number, *range(9)) for header in headers for number in range(90)]
    assert group_by_prefix(rows, 1000) == [list(range(90)), list(range(90, 180))]
    # The smallest budget does not lead to groups in which hardly anything but the header is computed.
    groups = group_by_prefix(rows, 10)
    distinct = sum(len(group) * 10 for group in groups)
    assert len(groups) > 2
    assert sum(40 for _ in groups) < distinct / 8
    assert group_by_prefix([], 10) == []


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 40}, "more than 40 tokens"),
        ("gemma3_text", {"sliding_window": 40}, "more than 40 tokens"),
        ("mistral", {"sliding_window": 4}, "looks at 4 tokens at once"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "more than keys and values"),
        ("bloom", {}, "does not take positions"),
    ],
)
def test_what_cannot_be_shared_is_scored_the_plain_way_and_said_once(tmp_path, caplog, model_type, changes, reason):
    engine = open_engine(tiny_model(tmp_path / model_type, model_type, **changes))
    requests = battery()
    scores = engine.loglikelihood(requests)
    engine.loglikelihood(requests[:3])
    assert_alike(scores, score_alone(engine, requests), 1e-4)
    said = [record.getMessage() for record in caplog.records if record.name == sharing.__name__]
    assert len(said) == 1
    assert reason in said[0]
    groups = engine.batches(requests)
    assert sorted(index for group in groups for index in group) == list(range(len(requests)))


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope", "linear"])
def test_frequencies_that_change_with_the_length_limit_what_is_shared(rope_type):
    rotary = {"rope_type": rope_type, "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4} if rope_type == "longrope" else {}
    model = AutoModelForCausalLM.from_config(tiny_config(rope_parameters=rotary | factors))
    assert sharing.longest_shareable(model) == (float("inf") if rope_type == "linear" else 64)


def test_attention_that_ignores_the_mask_is_found_out(tmp_path, caplog):
    from transformers import AttentionInterface, AttentionMaskInterface

    def causal_only(module, query, key, value, attention_mask, scaling=None, **kwargs):
        groups = query.shape[1] // key.shape[1]
        keys, values = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        rows, columns = query.shape[2], key.shape[2]
        seen = torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)
        output = torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=scaling)
        return output.transpose(1, 2).contiguous(), None

    AttentionInterface.register("causal_only", causal_only)
    AttentionMaskInterface.register("causal_only", lambda *args, **kwargs: None)
    engine = open_engine(tiny_llama(tmp_path / "llama"))
    engine._model.set_attn_implementation("causal_only")
    requests = battery()
    assert engine._scorer.refusal is not None
    assert "differ by" in engine._scorer.refusal
    scores = [engine.loglikelihood([request])[0] for request in requests]
    assert_alike(scores, score_alone(engine, requests), 1e-4)
    assert "without sharing prefixes" in caplog.text


def test_a_model_that_fails_on_such_a_mask_is_scored_the_plain_way(tmp_path, monkeypatch):
    engine = open_engine(tiny_llama(tmp_path / "llama"))
    forward = engine._model.forward

    def two_dimensional(**inputs):
        if inputs["attention_mask"].ndim != 2:
            raise ValueError("not enough values to unpack")
        return forward(**inputs)

    monkeypatch.setattr(engine._model, "forward", two_dimensional)
    requests = battery()
    assert_alike(engine.loglikelihood(requests), score_alone(engine, requests), 1e-4)
    assert engine._scorer.refusal == "it cannot be run that way (ValueError)"


def test_packs_shrink_where_memory_runs_out(tiny_llama_path, monkeypatch):
    engine = open_engine(tiny_llama_path)
    requests = battery()
    expected = engine.loglikelihood(requests)
    forward = engine._model.forward
    fed = []

    def small_memory(most):
        def run(**inputs):
            fed.append(inputs["input_ids"].numel())
            if fed[-1] > most:
                raise torch.OutOfMemoryError("no more memory")
            return forward(**inputs)

        return run

    monkeypatch.setattr(engine._model, "forward", small_memory(60))
    assert_alike(engine.loglikelihood(requests), expected, 1e-4)
    tried = [size for size in fed if size > 60]
    assert tried == [1024, 512, 256, 128, 64]
    fed.clear()
    engine.loglikelihood(requests)
    assert max(fed) <= 60  # what did not fit is not tried again

    monkeypatch.setattr(engine._model, "forward", small_memory(0))
    with pytest.raises(StepFailedError, match="Not even 16 tokens at once fit into memory"):
        engine.loglikelihood(requests)


def test_bfloat16_is_shared_too(tiny_llama_path):
    engine = open_engine(tiny_llama_path, dtype="bfloat16")
    scores = engine.loglikelihood(battery())
    assert engine._scorer.refusal is None
    exact = score_alone(open_engine(tiny_llama_path), battery())
    relative = [
        abs(one.logprob - other.logprob) / max(1, other.tokens) for one, other in zip(scores, exact, strict=True)
    ]
    assert np.mean(relative) < 0.1


@pytest.mark.real_model
def test_the_embedded_model_predicts_the_same_either_way(embedded_checkpoint):
    engine = HfEngine(EngineSpec(checkpoint=embedded_checkpoint, dtype="float32"))
    requests = [request for request in battery() if len(request.context) < 300]
    scores = engine.loglikelihood(requests)
    assert engine._scorer.refusal is None
    assert_alike(scores, score_alone(engine, requests), 1e-3)
