"""The family representation: its measures against references, and the whole of it on tiny models of several kinds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.commands.run import execute
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import AnalysisSpec, Reference
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import compare_evaluations
from pfh.statistics.single import measure_evaluation
from pfh.store.evaluations import read_evaluation, write_evaluation
from pfh.store.store import Store
from pfh.testing import FakeEngine, NoData, evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import representation
from pfh_evals.representation import activations, deltas, documents, probes, refusal, similarity, spectra, weights
from transformers import AutoModelForCausalLM

from tests.plugin_dists import install
from tests.test_run import COIN
from tests.test_run import OPTIONS as TRAINING
from tests.tiny import PLANTED, tiny_adapter, tiny_llama, tiny_model, tiny_refuser, tiny_tokenizer

OPTIONS = representation.Options(refusal_train=8, refusal_validation=4)


def checkpoint_of(folder, adapter=None):
    name = (adapter or folder).name
    return Checkpoint(name=name, path=folder, fingerprint=str(adapter or folder), adapter=adapter)


def measured(checkpoint, *names, reference=None, limit=24, options=OPTIONS):
    """Put the family to a checkpoint as the core does."""
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    spec = replace(
        evaluation_spec([], options=options, limit=limit), engine=engine, benchmarks=names, reference=reference
    )
    found = representation.evaluate(spec)
    of = reference.evaluation.model if reference else ""
    return replace(found, model=checkpoint.fingerprint, reference=of)


def against(checkpoint, evaluation):
    return Reference(evaluation=evaluation, artifact="key", checkpoint=checkpoint)


def analyzed(before, after):
    rows = compare_evaluations(before, after)
    return representation.analyze(AnalysisSpec(before=before, after=after, comparisons=rows, options=OPTIONS))


def statuses(evaluation):
    return {benchmark.name: benchmark.status for benchmark in evaluation.benchmarks}


def no_nan(analysis):
    """Every table and plot is strict JSON."""
    shown = [table.rows for table in analysis.tables], [dict(plot.figure) for plot in analysis.plots], analysis.findings
    return json.dumps(shown, allow_nan=False, default=dataclasses.asdict)


# CKA


def layers(n, width, seed=0, count=3):
    return np.random.default_rng(seed).standard_normal((n, count, width)).astype(np.float32)


def test_cka_is_what_its_definition_says():
    x, y = layers(20, 7), layers(20, 5, seed=1)
    found = similarity.similarity(similarity.grams(x), similarity.grams(y), debiased=False)
    for i in range(3):
        for j in range(3):
            a, b = (each[:, k].astype(float) - each[:, k].astype(float).mean(0) for each, k in ((x, i), (y, j)))
            expected = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
            assert found[i, j] == pytest.approx(expected, rel=1e-10)


def test_cka_of_a_worked_example():
    # One dimension each: CKA is the squared correlation, here of (1, 2, 3, 4) with (1, 3, 2, 4), which is 0.8.
    x, y = (np.array(column, dtype=np.float32)[:, None, None] for column in ((1, 2, 3, 4), (1, 3, 2, 4)))
    assert similarity.similarity(similarity.grams(x), similarity.grams(y), debiased=False)[0, 0] == pytest.approx(0.64)


def test_debiased_cka_is_hsic_as_song_et_al_write_it():
    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        ones = np.ones(n)
        trace, sums = np.trace(k @ m), (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return (trace + sums - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))

    x, y = layers(12, 30, count=1)[:, 0].astype(float), layers(12, 30, seed=1, count=1)[:, 0].astype(float) ** 2
    k, m = x @ x.T, y @ y.T  # not centred: the estimator does not depend on it
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    pair = (similarity.grams(each[:, None].astype(np.float32)) for each in (x, y))
    assert similarity.similarity(*pair)[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_invariant_to_rotation_scale_and_shift(debiased):
    x = layers(16, 6, count=1)
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0]
    moved = (3.5 * x @ rotation + 2).astype(np.float32)
    found = similarity.similarity(similarity.grams(x), similarity.grams(moved), debiased=debiased)
    assert found[0, 0] == pytest.approx(1, abs=1e-5)
    same = similarity.similarity(similarity.grams(x), similarity.grams(x), debiased=debiased)
    assert same[0, 0] == pytest.approx(1, abs=1e-12)


def test_few_texts_bias_cka_and_not_its_debiased_form():
    pairs = [
        (similarity.grams(layers(20, 500, seed=s)), similarity.grams(layers(20, 500, seed=100 + s))) for s in range(9)
    ]
    plain, debiased = ([similarity.similarity(*pair, debiased=way).mean() for pair in pairs] for way in (False, True))
    assert np.mean(plain) > 0.9
    assert abs(np.mean(debiased)) < 0.05


def test_a_layer_that_never_varies_has_no_cka():
    x = layers(10, 4)
    x[:, 1] = 1.5
    found = similarity.similarity(similarity.grams(x), similarity.grams(x))
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0, 2])


def test_grams_do_not_depend_on_the_batches(tiny_llama_path, monkeypatch):
    checkpoint = checkpoint_of(tiny_llama_path)
    whole = measured(checkpoint, "cka").arrays["cka/grams"]
    monkeypatch.setattr("pfh_evals.representation.activations.BATCH_TOKENS", 1)
    one_by_one = measured(checkpoint, "cka").arrays["cka/grams"]
    np.testing.assert_allclose(similarity.similarity(whole, one_by_one).diagonal(), 1, atol=1e-9)
    np.testing.assert_allclose(whole, one_by_one, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_what_all_prompts_begin_with_does_not_count(tiny_llama_path):
    engine = HfEngine(EngineSpec(checkpoint=checkpoint_of(tiny_llama_path), dtype="float32"))
    texts = ["common: one", "common: another"]
    found = activations.pooled(engine, texts, "mean", Silent(), "test")
    for row, text, own in zip(found, texts, (3, 5), strict=True):
        stream = engine.hidden_states([text], range(3))[0]
        assert engine.count_tokens(text) - own == engine.count_tokens("common:")
        np.testing.assert_allclose(row, stream[:, -own:].mean(axis=1), atol=1e-5)


# Probes


def statements_of(n):
    return [
        documents.Statement(text=f"{label} {index}", label=label, group=str(index))
        for index in range(n)
        for label in ("true", "false")
    ]


def test_no_group_is_on_both_sides_of_the_split():
    parts = probes.split(statements_of(60))
    sides = [{int(parts.groups[index]) for index in side} for side in (parts.train, parts.test)]
    assert not sides[0] & sides[1]
    assert len(parts.test) == 40
    assert parts.too_few == ""


def test_a_probe_finds_what_is_there_and_nothing_where_there_is_nothing():
    parts = probes.split(statements_of(90))
    generator = np.random.default_rng(0)
    features = generator.standard_normal((180, 2, 20)).astype(np.float32)
    features[:, 1, 3] += 6 * parts.labels
    found = probes.accuracies(probes.fit_layers(features, parts), features, parts)
    control = probes.control_accuracies(features, parts, seed=0)
    assert found[1] > 0.95
    assert abs(found[0] - 0.5) < 0.2  # 60 tested statements: two standard errors are 0.13
    assert np.abs(control - 0.5).max() < 0.12  # five labellings of them
    assert probes.best_layer(features, parts) == 1


def test_probes_are_those_of_scikit_learn_on_standardised_activations():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(1)
    features = (generator.standard_normal((80, 10)) * 5 + 3).astype(np.float32)
    features[:, 4] = 7  # constant
    labels = (features[:, 0] + generator.standard_normal(80) > 3).astype(np.int64)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=probes.STRENGTH)).fit(
        features.astype(float), labels
    )
    probe = probes.fit(features, labels)
    np.testing.assert_array_equal(probe.predict(features), reference.predict(features.astype(float)))
    np.testing.assert_allclose(
        features.astype(float) @ probe.weights[0] + probe.bias[0],
        reference.decision_function(features.astype(float)),
        atol=1e-2,
    )


def test_several_labels_and_too_few_statements():
    rows = [documents.Statement(text=str(i), label="abc"[i % 3], group=str(i)) for i in range(90)]
    parts = probes.split(rows)
    features = np.eye(3, dtype=np.float32)[parts.labels][:, None]
    assert probes.accuracies(probes.fit_layers(features, parts), features, parts)[0] == 1
    assert "at least 8" in probes.split(statements_of(6)).too_few
    assert "at least two" in probes.split([replace(row, label="true") for row in rows]).too_few


# Weight deltas


def test_factors_and_the_dense_way_agree():
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((40, 5)), generator.standard_normal((5, 30))
    fast, dense = spectra.of_factors(left, right, 4), spectra.of_dense(left @ right, 4)
    np.testing.assert_allclose(fast.values, dense.values[:5], rtol=1e-10)
    assert np.count_nonzero(dense.values) == 5
    for measure in (spectra.effective_rank, spectra.stable_rank, lambda values: spectra.energy(values, 2)):
        assert measure(fast.values) == pytest.approx(measure(dense.values), abs=1e-8)
    assert spectra.mean_angle(fast.left, dense.left) == pytest.approx(0, abs=1e-5)


def test_ranks_and_angles_of_known_matrices():
    assert spectra.effective_rank(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert spectra.stable_rank(np.array([2.0, 2.0, 1.0])) == pytest.approx(2.25)
    assert spectra.energy(np.array([2.0, 1.0]), 1) == pytest.approx(0.8)
    axes = np.eye(6)
    assert spectra.mean_angle(axes[:, :2], axes[:, 2:4]) == pytest.approx(90)
    assert spectra.mean_angle(axes[:, :2], axes[:, 1:3]) == pytest.approx(45)


def test_the_largest_directions_are_found_without_the_others():
    matrix = np.random.default_rng(0).standard_normal((50, 40)) * np.linspace(3, 0.1, 40)
    expected = np.linalg.svd(matrix)[0][:, :3]
    assert spectra.mean_angle(spectra.top_directions(matrix, 3), expected) == pytest.approx(0, abs=1e-4)


def test_a_tall_matrix_is_read_by_blocks_of_rows_and_has_the_spectrum_of_the_whole():
    generator = np.random.default_rng(0)
    for matrix in (generator.standard_normal((90, 6)) * [9, 5, 3, 2, 1, 0.5], np.outer(np.arange(90.0), np.ones(6))):
        dense = spectra.of_dense(matrix, 3)
        tall = spectra.of_tall(lambda matrix=matrix: iter(np.array_split(matrix, 20)), 3)
        np.testing.assert_allclose(tall.values, dense.values, atol=1e-9 * dense.values[0])
        assert tall.left.shape == dense.left.shape
        assert spectra.mean_angle(tall.left, dense.left) == pytest.approx(0, abs=1e-5)


def test_the_largest_matrix_of_a_sharded_pair_is_never_in_memory_as_a_whole(tmp_path):
    """It has 16 MB in double precision; both models have it twice."""
    import tracemalloc

    pair = []
    for seed in (0, 1):
        tiny_llama(tmp_path / str(seed), seed=seed, vocab_size=64_000, tie_word_embeddings=False)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / str(seed))
        model.save_pretrained(tmp_path / str(seed), max_shard_size="5MB")
        (tmp_path / str(seed) / "model.safetensors").unlink(missing_ok=True)
        assert len(list((tmp_path / str(seed)).glob("*.safetensors"))) > 2
        pair.append(checkpoint_of(tmp_path / str(seed)))
    opened = deltas.pair(*pair)
    list(deltas.measure(replace(opened, names=opened.names[:1]), top=2))  # imports what it needs
    tracemalloc.start()
    rows = list(deltas.measure(opened, top=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {row.matrix for row in rows if row.norm} >= {"model.embed_tokens.weight", "lm_head.weight"}
    assert peak < 8e6


def merged_copy(base, adapter, folder):
    """Save the base with the adapter merged in, in float32."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    model.save_pretrained(folder, max_shard_size="60KB")
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 32}, "rank_pattern": {"q_proj": 2}}]
)
def test_an_adapter_and_its_merged_copy_in_shards_have_one_spectrum(tiny_llama_path, tmp_path, settings):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter", **settings)
    merged = merged_copy(tiny_llama_path, adapter, tmp_path / "merged")
    assert len(list(merged.glob("*.safetensors"))) > 1
    base = checkpoint_of(tiny_llama_path)
    fast, dense = (
        {row.matrix: row for row in deltas.measure(deltas.pair(base, other), top=2)}
        for other in (checkpoint_of(tiny_llama_path, adapter), checkpoint_of(merged))
    )
    assert fast.keys() == dense.keys()
    changed = [name for name, row in fast.items() if row.norm]
    assert len(changed) == 14  # seven modules in two blocks
    for name in changed:
        rank = 2 if "rank_pattern" in settings and "q_proj" in name else 4
        # The merged copy is rounded to float32, which is all that sets the two apart.
        np.testing.assert_allclose(fast[name].singular_values[:rank], dense[name].singular_values[:rank], rtol=1e-5)
        assert fast[name].norm == pytest.approx(dense[name].norm, rel=1e-6)
        assert fast[name].relative_norm == pytest.approx(dense[name].relative_norm, rel=1e-6)
        assert fast[name].stable_rank == pytest.approx(dense[name].stable_rank, rel=1e-5)
        assert fast[name].angle == pytest.approx(dense[name].angle, abs=1e-3)
    assert all(dense[name].norm == 0 for name in dense if name not in changed)


def test_two_adapters_are_compared_by_their_factors(tiny_llama_path, tmp_path):
    first, second = (tiny_adapter(tiny_llama_path, tmp_path / str(seed), seed=seed) for seed in (1, 2))
    pair = deltas.pair(checkpoint_of(tiny_llama_path, first), checkpoint_of(tiny_llama_path, second))
    name = "model.layers.1.mlp.up_proj.weight"
    row = next(row for row in deltas.measure(pair, top=2) if row.matrix == name)
    dense = pair.after.whole(name) - pair.before.whole(name)
    np.testing.assert_allclose(row.singular_values[:8], np.linalg.svd(dense)[1][:8], rtol=1e-10)
    itself = deltas.pair(checkpoint_of(tiny_llama_path, first), checkpoint_of(tiny_llama_path, first))
    assert {row.norm for row in deltas.measure(itself, top=2)} == {0.0}


def test_weights_that_cannot_be_compared_say_why(tiny_llama_path, tmp_path):
    wide = checkpoint_of(tiny_llama(tmp_path / "wide", hidden_size=64, intermediate_size=96, vocab_size=300))
    with pytest.raises(weights.UnreadableWeightsError, match="same name and shape"):
        deltas.pair(checkpoint_of(tiny_llama_path), replace(wide, path=wide.path))
    with pytest.raises(weights.UnreadableWeightsError, match="GGUF"):
        weights.open_weights(replace(wide, gguf_file="model.gguf"))
    dora = tiny_adapter(tiny_llama_path, tmp_path / "dora", use_dora=True)
    with pytest.raises(weights.UnreadableWeightsError, match="DoRA"):
        weights.open_weights(checkpoint_of(tiny_llama_path, dora))


# The refusal direction


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return tiny_refuser(tmp_path_factory.mktemp("planted"))


def requests_of(kinds=("ZZ", "aa"), n=12):
    texts = {
        kind: [f"{mark} {word} {number}" for number, word in enumerate(["the", "on", "in", "winter"] * 6)][: 2 * n]
        for kind, mark in zip(refusal.KINDS, kinds, strict=True)
    }
    return documents.Requests(
        train={kind: tuple(rows[:n]) for kind, rows in texts.items()},
        validation={kind: tuple(rows[n : n + 6]) for kind, rows in texts.items()},
        held_out={kind: tuple(rows[n + 6 :]) for kind, rows in texts.items()},
        origin="test",
    )


def asker_of(folder):
    engine = HfEngine(EngineSpec(checkpoint=checkpoint_of(folder), dtype="float32"))
    return refusal.Asker(engine=engine, openings=("I", "Sorry"), progress=Silent())


def test_a_planted_refusal_direction_is_recovered(planted):
    asker, requests = asker_of(planted), requests_of()
    found = refusal.find_direction(asker, requests)
    assert abs(found.unit[PLANTED]) > 0.99
    assert 1 <= found.layer < 4  # behind the block that writes it, before 0.8 of the depth
    harmful, harmless = (refusal.under_conditions(asker, requests.held_out[kind], found) for kind in refusal.KINDS)
    assert (harmful[0] > 0).all()  # refused as it is,
    assert (harmful[1] < 0).all()  # not refused without the direction,
    assert (harmless[0] < 0).all()
    assert (harmless[2] > 0).all()  # and refused with it


def test_the_refusal_score_is_the_log_odds_of_the_mass_on_openings(planted):
    asker = asker_of(planted)
    request = "aa the 1"
    logprobs = asker.engine.next_token_logprobs(asker.prompts([request]))[0].astype(float)
    tokens = {asker.engine.encode(text)[0] for text in ("I", " I", "Sorry", " Sorry")}
    mass = sum(np.exp(logprobs[token]) for token in tokens)
    assert asker.scores([request])[0] == pytest.approx(np.log(mass / (1 - mass)), rel=1e-6)


def test_a_model_that_refuses_nothing_has_no_direction(planted):
    with pytest.raises(refusal.NoDirectionError, match="refuses 0 of 12 harmful training requests"):
        refusal.find_direction(asker_of(planted), requests_of(kinds=("bb", "aa")))


def test_a_direction_that_moves_harmless_answers_is_no_refusal_direction(planted):
    with pytest.raises(refusal.NoDirectionError, match=r"KL above -1, the least being 0\.00"):
        refusal.find_direction(asker_of(planted), requests_of(), largest_kl=-1)


def test_the_divergence_is_that_of_torch():
    p, q = (np.random.default_rng(seed).standard_normal((5, 9)).astype(np.float32) for seed in (0, 1))
    p, q = (torch.tensor(each).log_softmax(-1) for each in (p, q))
    expected = torch.nn.functional.kl_div(q.double(), p.double(), log_target=True, reduction="batchmean")
    assert refusal.mean_divergence(p.numpy(), q.numpy()) == pytest.approx(float(expected), rel=1e-6)
    ruled_out = np.array([[-np.inf, np.log(0.5), np.log(0.5)]], dtype=np.float32)
    assert refusal.mean_divergence(ruled_out, ruled_out) == 0


def test_the_family_measures_attenuation_and_recovery(planted, tmp_path, monkeypatch):
    """A tuning that leaves a thousandth of the direction ends refusal; adding the direction back restores it."""
    monkeypatch.setattr(documents, "requests", lambda *args, **kwargs: requests_of())
    weak = AutoModelForCausalLM.from_pretrained(planted)
    with torch.no_grad():
        weak.model.layers[0].self_attn.o_proj.weight.mul_(0.001)
    weak.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    before = measured(checkpoint_of(planted), "refusal")
    start = against(checkpoint_of(planted), before)
    after = measured(checkpoint_of(tmp_path), "refusal", reference=start)
    gaps = [
        np.subtract(*(side.arrays[f"refusal/projections {kind}"].mean() for kind in refusal.KINDS))
        for side in (before, after)
    ]
    assert gaps[1] / gaps[0] == pytest.approx(0.001, rel=1e-3)
    analysis = analyzed(before, after)
    assert "0.00 times what it was (95% interval 0.00 to 0.00)" in analysis.findings[0]
    assert "cosine of the directions before and after is 1.00" in analysis.findings[0]
    assert "0% of the held-out harmful requests are refused" in analysis.findings[1]
    assert "and 100% when the start's direction is added back" in analysis.findings[1]
    assert analysis.plots[-1].figure["data"][0]["type"] == "histogram"
    no_nan(analysis)


# The whole family


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma", "mistral"])
def test_every_measure_of_a_model_and_its_adapter(tmp_path, model_type):
    base = tiny_model(tmp_path / "base", model_type)
    adapter = tiny_adapter(base, tmp_path / "adapter")
    before = measured(checkpoint_of(base), limit=72)
    after = measured(checkpoint_of(base, adapter), reference=against(checkpoint_of(base), before), limit=72)
    expected = dict.fromkeys(("cka", "probes", "probes-transferred", "deltas", "refusal-score"), "MEASURED")
    assert statuses(before) == statuses(after) == {**expected, "refusal-projection": "INSUFFICIENT"}
    analysis = analyzed(before, after)
    titles = " ".join(each.title for each in (*analysis.tables, *analysis.plots))
    assert all(word in titles for word in ("linear CKA", "probes by layer", "Weight deltas", "Singular values"))
    no_nan(analysis)
    similar = [row[1] for row in analysis.tables[0].rows]
    assert similar[0] == 1  # the embeddings did not change
    assert similar[-1] < 0.999


def test_a_model_compared_with_itself_has_not_drifted(tiny_llama_path):
    checkpoint = checkpoint_of(tiny_llama_path)
    before = measured(checkpoint, limit=72)
    after = measured(checkpoint, reference=against(checkpoint, before), limit=72)
    analysis = analyzed(before, after)
    assert {row[1] for row in analysis.tables[0].rows} == {1.0}
    probed = next(table for table in analysis.tables if "probes" in table.title)
    assert all(row[1] == row[2] == row[3] for row in probed.rows)
    assert any(finding.startswith("None of the") for finding in analysis.findings)
    deltas_of = {row.benchmark: row.delta for row in compare_evaluations(before, after) if row.status == "MEASURED"}
    assert set(deltas_of.values()) == {0.0}
    assert deltas_of.keys() == {"probes", "probes-transferred", "refusal-score"}
    alone = {row.benchmark: (row.status, row.reason) for row in measure_evaluation(before)}
    assert alone["cka"] == alone["deltas"] == ("NOT_RUN", "it says something of two models: use pfh compare or pfh run")


def test_models_of_other_shapes_are_compared_as_far_as_they_can_be(tiny_llama_path, tmp_path):
    other = tiny_llama(tmp_path, seed=3, hidden_size=64, intermediate_size=80, num_hidden_layers=3, vocab_size=300)
    before = measured(checkpoint_of(tiny_llama_path), limit=72)
    after = measured(checkpoint_of(other), reference=against(checkpoint_of(tiny_llama_path), before), limit=72)
    reasons = {benchmark.name: (benchmark.status, benchmark.reason) for benchmark in after.benchmarks}
    assert reasons["probes-transferred"] == ("NOT_RUN", "the models differ in depth, width or number of labels")
    assert reasons["deltas"][0] == "NOT_RUN"
    assert "same name and shape" in reasons["deltas"][1]
    analysis = analyzed(before, after)
    assert "2 and 3 blocks" in analysis.findings[0]
    heat = next(plot for plot in analysis.plots if "every layer" in plot.title).figure["data"][0]["z"]
    assert (len(heat), len(heat[0])) == (3, 4)
    no_nan(analysis)


def test_too_little_is_said_to_be_too_little(tiny_llama_path):
    found = measured(checkpoint_of(tiny_llama_path), "cka", "probes", limit=2)
    assert set(statuses(found).values()) == {"INSUFFICIENT"}
    assert not found.arrays
    assert all(benchmark.reason for benchmark in found.benchmarks)


def test_activations_without_any_spread_give_no_figures():
    spec = replace(evaluation_spec([], options=OPTIONS, limit=72), engine=FakeEngine())
    found = representation.evaluate(spec)
    analysis = analyzed(found, found)
    assert "every layer is the same" in analysis.findings[0]
    no_nan(analysis)


def test_a_broken_model_gives_reasons_and_no_figures(tiny_llama_path, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_path)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    before = measured(checkpoint_of(tiny_llama_path), limit=72)
    after = measured(checkpoint_of(tmp_path), reference=against(checkpoint_of(tiny_llama_path), before), limit=72)
    assert statuses(after)["cka"] == "ERROR"
    assert set(statuses(after).values()) <= {"ERROR", "NOT_RUN"}
    assert all("not finite" in benchmark.reason for benchmark in after.benchmarks)
    no_nan(analyzed(before, after))


def test_a_dataset_that_cannot_be_had_and_a_source_that_names_none(tiny_llama_path):
    far = measured(
        checkpoint_of(tiny_llama_path), "cka", options=OPTIONS.model_copy(update={"instructions": "org/far:text"})
    )
    assert (far.benchmarks[0].status, "org/far" in far.benchmarks[0].reason) == ("NOT_RUN", True)
    for source in ("far", "org/far", "org/far:a:b"):
        with pytest.raises(UserError, match="organisation/name/config/split:TEXT"):
            documents.instructions(source, NoData(), None)
    with pytest.raises(UserError, match=r"[Dd]id you mean.*probes"):
        representation.evaluate(replace(evaluation_spec([], options=OPTIONS), benchmarks=("probe",)))


def test_a_labelled_dataset_takes_the_place_of_the_statements():
    from pfh.hooks.datasets import Dataset

    class Rows(NoData):
        def load(self, hub_id, config="default", split="test"):
            rows = tuple({"claim": f"claim {number}", "truth": number % 2} for number in range(40))
            return Dataset(rows=rows, fingerprint="f", origin=f"test, {hub_id} ({config}/{split})")

    rows, origin = documents.statements("org/claims/default/train:claim:truth", Rows(), 30)
    assert origin == "test, org/claims (default/train)"
    assert (len(rows), {row.label for row in rows}) == (30, {"0", "1"})


def test_built_in_texts_are_apart():
    facts, _ = documents.statements("", NoData(), None)
    assert len({row.text for row in facts}) == len(facts) == 192
    found = documents.requests("", "", NoData(), train=64, validation=16, limit=None)
    held = {text for texts in found.held_out.values() for text in texts}
    used = {text for part in (found.train, found.validation) for texts in part.values() for text in texts}
    assert not held & used
    assert len(held) == 48


def test_arrays_are_kept_beside_the_samples(tmp_path):
    array = np.arange(6.0).reshape(2, 3).T
    kept = Evaluation(family="f", benchmarks=(), arrays={"a/b": array}, model="m", reference="r")
    write_evaluation(tmp_path, kept)
    again = read_evaluation(tmp_path)
    assert (again, again.model, again.reference) == (kept, "m", "r")
    np.testing.assert_array_equal(again.arrays["a/b"], array)


def test_pfh_compare_measures_the_second_model_against_the_first(tmp_path, tiny_llama_path):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    spec = CompareSpec(
        models=(str(tiny_llama_path), str(adapter)),
        evals=(EvalChoice.parse("representation:cka,probes,deltas"),),
        options={"evals:representation": {"refusal_train": "8"}},
        dtype="float32",
        limit=72,
    )
    outcome = compare(
        spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "out"
    )
    family = outcome.results.stages[0].families[0]
    assert {row.benchmark: row.status for row in family.comparisons} == {
        "probes": "MEASURED",
        "probes-transferred": "MEASURED",
    }
    assert any("14 of" in finding for finding in family.findings)
    assert (tmp_path / "out" / "report.html").exists()
    assert outcome.exit_code == 0


def test_pfh_run_measures_the_tuned_model_against_the_start(tmp_path, tiny_llama_path, monkeypatch):
    install(tmp_path / "dists", "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    monkeypatch.syspath_prepend(str(tmp_path / "dists"))
    spec = RunSpec(
        methods=("dpo",),
        evals=(EvalChoice.parse("representation:cka,deltas"),),
        domain="coin",
        model=str(tiny_llama_path),
        options={"methods:dpo": {**TRAINING, "max_steps": "2"}},
        limit=8,
        problems=6,
    )
    outcome = execute(spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path)
    family = outcome.results.stages[0].families[0]
    assert any("weight matrices changed" in finding for finding in family.findings)
    assert not any(finding.startswith("None") for finding in family.findings)
    assert family.comparisons == ()
