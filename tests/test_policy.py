"""The family policy: its measures against references, and the whole of it on tiny models."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import EngineSpec, Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import AnalysisSpec, Reference
from pfh.hooks.judges import Judgement
from pfh.hooks.launchers import EvalChoice
from pfh.kit.divergence import divergences
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import compare_evaluations
from pfh.store.evaluations import read_evaluation, write_evaluation
from pfh.store.store import Store
from pfh.testing import FakeEngine, evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import policy
from pfh_evals.policy import calibration, formats, intervals, words
from pfh_evals.policy.prompts import Prompt
from pydantic import ValidationError

from tests.test_report import chromium, needs_chromium
from tests.tiny import tiny_adapter, tiny_llama

OPTIONS = policy.Options(samples=3, max_new_tokens=12, divergence_tokens=6)
TEXTS = ["the cat sat on the mat", "a dog ran", "the cat sat on a chair today"]


def checkpoint_of(folder, adapter=None):
    name = (adapter or folder).name
    return Checkpoint(name=name, path=folder, fingerprint=str(adapter or folder), adapter=adapter)


def measured(checkpoint, *names, reference=None, limit=20, options=OPTIONS, **fields):
    """Put the family to a checkpoint as the core does."""
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    spec = replace(
        evaluation_spec([], options=options, limit=limit),
        engine=engine,
        benchmarks=names,
        reference=reference,
        **fields,
    )
    found = policy.evaluate(spec)
    assert engine.checkpoint == checkpoint
    of = reference.evaluation.model if reference else ""
    return replace(found, model=checkpoint.fingerprint, reference=of)


def against(checkpoint, evaluation):
    return Reference(evaluation=evaluation, artifact="key", checkpoint=checkpoint)


def analyzed(before, after):
    rows = compare_evaluations(before, after)
    return rows, policy.analyze(AnalysisSpec(before=before, after=after, comparisons=rows, options=OPTIONS))


def faked(answers, *names, options=OPTIONS, **fields):
    """Put the family to an engine that gives `answers`; return its benchmarks by name."""
    spec = replace(evaluation_spec(answers, options=options), benchmarks=names, **fields)
    return {row.name: row for row in policy.evaluate(spec).benchmarks}


def strict_json(found):
    shown = [table.rows for table in found.tables], [dict(plot.figure) for plot in found.plots], found.findings
    return json.dumps(shown, allow_nan=False, default=dataclasses.asdict)


@pytest.fixture(scope="module")
def pair(tiny_llama_path, tmp_path_factory):
    """The family before and after an adapter that changes every matrix."""
    start = checkpoint_of(tiny_llama_path)
    tuned = checkpoint_of(tiny_llama_path, tiny_adapter(tiny_llama_path, tmp_path_factory.mktemp("adapter")))
    before = measured(start)
    return start, before, tuned, measured(tuned, reference=against(start, before))


# Words


def test_distinct_counts_by_hand():
    assert words.distinct(["a b a", "b c"], 1) == pytest.approx(3 / 5)
    assert words.distinct(["a b a", "b c"], 2) == pytest.approx(3 / 3)
    assert words.distinct(["a b a b", "A B"], 2) == pytest.approx(2 / 4)
    assert words.distinct(["a", ""], 2) is None


def test_self_bleu_is_sacrebleus_of_each_against_the_others():
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)
    expected = [
        bleu.sentence_score(TEXTS[0], [TEXTS[1], TEXTS[2]]).score,
        bleu.sentence_score(TEXTS[1], [TEXTS[0], TEXTS[2]]).score,
        bleu.sentence_score(TEXTS[2], [TEXTS[0], TEXTS[1]]).score,
    ]
    assert words.self_bleu(TEXTS) == pytest.approx(np.mean(expected) / 100)
    assert words.self_bleu(["one and the same answer"] * 3) == pytest.approx(1)
    assert words.self_bleu(["only one", " "]) is None


def test_embedding_distance_is_the_mean_over_pairs():
    vectors = np.random.default_rng(0).standard_normal((4, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.mean([1 - vectors[i] @ vectors[j] for i in range(4) for j in range(i)])
    assert words.embedding_distance(vectors) == pytest.approx(expected, abs=1e-5)
    assert words.embedding_distance(vectors[[0, 0]]) == 0
    assert words.embedding_distance(vectors[:1]) is None


def test_repetition_and_loops():
    assert words.repetition("a b c d e f") == 0
    assert words.repetition("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert words.repetition("a b c") is None
    assert words.loops("He said: no no no")
    assert words.loops("start the end. the end. the end.")
    assert not words.loops("the end. the end. or not")
    assert not words.loops("")


def test_style_counts():
    assert words.hedging("Perhaps it is so, and maybe not") == pytest.approx(200 / 7)
    assert words.hedging("It is so") == 0
    assert words.markdown("# Title\n\nplain\n- item\n**bold** word") == pytest.approx(3 / 4)
    assert words.hedging("") is words.markdown(" \n") is None


# Formats


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', "json"),
        ('```json\n{"a": 1}\n```', "json"),
        ("13", "plain"),
        ("so \\boxed{13}", "boxed"),
        ("<answer>May</answer>", "tags"),
        ("Here:\n```python\nx = 1\n```", "code fence"),
        ("1. one\n2. two", "list"),
        ("- one", "plain"),
        (" \n", "empty"),
        ("[" * 5000, "plain"),
    ],
)
def test_the_format_of_a_completion(text, found):
    assert formats.format_of(text) == found


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"name": "Mimi", "age": 3}', True),
        ('```json\n{"name": "Mimi", "age": 3}\n```', True),
        ('{"name": "Mimi", "age": "3"}', False),
        ('{"name": "Mimi"}', False),
        ('{"name": "Mimi", "age": 3, "more": 1}', False),
        ('{"name": "Mimi", "age": 3} and more', False),
        ("[1]", False),
        ('{"name": "\ud800", "age": 3}', True),
    ],
)
def test_json_fits_its_schema(text, fits):
    assert formats.fits_schema({"name": "str", "age": "int"}, text) is fits


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("json", '{"a": 1}', "[1]"),
        ("boxed", "\\boxed{13}", "\\boxed{}"),
        ("tags", "<answer>May</answer>", "<answer></answer>"),
        ("code fence", "```\nx\n```", "`x`"),
    ],
)
def test_adherence_to_the_format_that_was_asked_for(form, good, bad):
    prompt = Prompt(text="p", messages=(), category="c", form=form)
    assert formats.adheres(prompt, good)
    assert not formats.adheres(prompt, bad)


def test_entropy_of_formats():
    assert formats.entropy(["json"] * 4) == 0
    assert formats.entropy(["json", "plain"] * 2) == pytest.approx(1)


# Calibration


def test_calibration_error_of_a_known_case():
    # Ten at 0.95 of which 8 are right, ten at 0.55 of which 6 are right: (10 * 0.15 + 10 * 0.05) / 20.
    confidence = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 8 + [False] * 2 + [True] * 6 + [False] * 4)
    assert calibration.expected_error(confidence, right) == pytest.approx(0.10)
    assert [each.count for each in calibration.bins(confidence, right) if each.count] == [10, 10]
    assert calibration.bins(np.array([1.0, 0.2]), right[:2])[-1].count == 1
    assert calibration.bins(np.array([1.0, 3 / 15]), right[:2])[2].count == 1


def test_brier_and_softmax():
    shares = calibration.softmax(np.log([0.5, 0.25, 0.25]) - 1000)
    assert shares == pytest.approx([0.5, 0.25, 0.25])
    assert calibration.brier(shares, 0) == pytest.approx(0.25 + 2 * 0.0625)


def test_both_measures_of_calibration_ask_the_same_questions():
    found = faked(["a"], "calibration", limit=7)
    asked = [[sample.prompt for sample in row.samples] for row in found.values()]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 7
    for accurate, brier in zip(found["mc-accuracy"].samples, found["brier"].samples, strict=True):
        assert accurate.score == float(accurate.extracted == accurate.target)
        assert accurate.extra["confidence"] == brier.extra["confidence"] >= 0.25


# Divergence


def test_divergence_is_torchs():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(5, 40, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    expected = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    found = divergences(p.numpy().astype(np.float32), q.numpy().astype(np.float32))
    assert found == pytest.approx(expected.numpy(), rel=1e-5)
    assert not divergences(p.numpy(), p.numpy()).any()
    masked = np.array([[0.0, -np.inf]], dtype=np.float32)
    assert divergences(masked, masked) == [0]
    assert divergences(masked, np.log(np.array([[0.5, 0.5]]))) == pytest.approx([np.log(2)])
    assert np.isinf(divergences(np.log(np.array([[0.5, 0.5]])), masked))


def test_divergence_of_two_models_along_their_completions(pair):
    start, before, tuned, after = pair
    samples = {row.name: row for row in after.benchmarks}["divergence"].samples
    assert {sample.extra["writer"] for sample in samples} == {"start", "tuned"}
    written = {row.name: row for row in before.benchmarks}["distinct-1"].samples[0]
    sample = next(s for s in samples if (s.extra["writer"], s.prompt) == ("start", written.prompt))
    assert sample.completion == written.extra["completions"][0]
    logprobs = []
    for checkpoint in (start, tuned):
        engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
        ids = engine.encode(sample.prompt) + engine.encode(sample.completion)
        with torch.inference_mode():
            logits = engine._model(torch.tensor([ids])).logits[0].double()
        logprobs.append(logits.log_softmax(-1)[len(engine.encode(sample.prompt)) - 1 :][:6])
    for name, p, q in (("start_to_tuned", *logprobs), ("tuned_to_start", *reversed(logprobs))):
        expected = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1).numpy()
        found = np.array(sample.extra[name])
        assert len(found) >= 1
        assert found == pytest.approx(expected[: len(found)], rel=1e-3, abs=1e-6)
        assert found.max() > 0.01


def test_other_vocabularies_are_not_compared(tmp_path, pair):
    start, before, _, _ = pair
    other = checkpoint_of(tiny_llama(tmp_path / "other", vocab_size=300))
    found = measured(other, "divergence", reference=against(start, before))
    assert [row.status for row in found.benchmarks] == ["NOT_RUN"]
    assert "vocabularies differ" in found.benchmarks[0].reason


def test_lengths_in_other_tokens_are_not_compared(tmp_path, pair):
    start, before, _, _ = pair
    folder = tiny_llama(tmp_path / "other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = measured(checkpoint_of(folder), "length", "repetition", reference=against(start, before))
    status = {row.name: row.status for row in found.benchmarks}
    assert status == {"length": "NOT_RUN", "truncation": "NOT_RUN", "repetition": "MEASURED", "loops": "MEASURED"}
    assert "tokenizers differ" in found.benchmarks[0].reason


def test_a_start_that_is_not_at_hand_has_no_divergence(pair):
    start, before, _, _ = pair
    found = measured(start, "divergence", reference=against(None, before))
    assert "only its stored evaluation" in found.benchmarks[0].reason


# The family


def test_all_measures_of_two_models(pair):
    _, before, _, after = pair
    rows, found = analyzed(before, after)
    assert {row.status for row in before.benchmarks} == {row.status for row in after.benchmarks} == {"MEASURED"}
    assert "divergence" not in {row.benchmark for row in rows}
    titles = [table.title for table in found.tables]
    assert len(titles) == 6
    assert [plot.title for plot in found.plots] == [
        "Length of completions",
        "Diversity by category: distinct-2",
        "Diversity by category: self-bleu",
        "Formats of completions",
        "Reliability diagram",
        "Divergence by place in the completion",
    ]
    strict_json(found)
    kept = [row.name for row in after.benchmarks if any("completions" in each.extra for each in row.samples)]
    assert kept == ["distinct-1"]


def test_a_model_compared_with_itself_does_not_drift(pair):
    start, before, _, _ = pair
    again = measured(start, reference=against(start, before))
    rows, found = analyzed(before, again)
    assert {row.delta for row in rows if row.delta is not None} == {0}
    assert {row.verdict for row in rows} <= {"equivalent", "no loss above the margin", "undecided", "not measured"}
    samples = {row.name: row for row in again.benchmarks}["divergence"].samples
    assert max(max(each.extra["start_to_tuned"]) for each in samples if each.extra["start_to_tuned"]) == 0
    for table in found.tables:
        if "change" in table.columns:
            assert {row[-1] and row[-1].value for row in table.rows} <= {0, None}, table
    strict_json(found)


def test_samples_pair_by_prompt_and_survive_the_store(pair, tmp_path):
    _, before, _, _ = pair
    write_evaluation(tmp_path, before)
    assert read_evaluation(tmp_path) == before
    length = {row.name: row for row in before.benchmarks}["length"]
    assert len({sample.id for sample in length.samples}) == len(length.samples) == 20
    for sample in length.samples:
        assert sample.score == pytest.approx(np.mean(sample.extra["values"]))
        assert len(sample.extra["values"]) == OPTIONS.samples
        assert sample.extra["user_prompt"]


def test_the_domains_problems_are_asked_too():
    row = faked(["a b c"], "length")["length"]
    assert "domain echo" in {sample.category for sample in row.samples}
    assert row.source == "built in; held-out set echo of the domain echo"
    none = faked(["a b c"], "length", options=OPTIONS.model_copy(update={"domain_prompts": 0}))["length"]
    assert "domain echo" not in {sample.category for sample in none.samples}


def test_the_family_target_draws_the_same_completions_of_a_problem():
    from pfh.hooks.domains import GenerationSpec
    from pfh.kit.conversations import roll_out

    class Asked(FakeEngine):
        def generate(self, requests, sampling):
            self.ids = [request.id for request in requests]
            return super().generate(requests, sampling)

    spec = replace(evaluation_spec([], options=OPTIONS), engine=Asked(), benchmarks=("length",))
    policy.evaluate(spec)
    by_policy = set(spec.engine.ids)
    problems = spec.domain.holdout(spec.domain.holdouts[0])[: OPTIONS.domain_prompts]
    roll_out(
        GenerationSpec(
            domain=spec.domain, engine=spec.engine, problems=problems, samples=OPTIONS.samples, sampling=Sampling()
        )
    )
    assert len(by_policy & set(spec.engine.ids)) >= OPTIONS.samples


def test_one_sample_a_prompt_is_too_few_for_diversity():
    found = faked(["a b c d e"], options=policy.Options(samples=1, temperature=0))
    assert {name for name, row in found.items() if row.status == "INSUFFICIENT"} == {
        "distinct-1",
        "distinct-2",
        "distinct-3",
        "self-bleu",
    }
    assert "at least two" in found["self-bleu"].reason
    assert found["length"].status == "MEASURED"
    with pytest.raises(ValidationError, match="are the same"):
        policy.Options(samples=2, temperature=0)


def test_empty_and_constant_completions_give_figures_or_reasons_and_never_nan():
    empty, constant = faked([""]), faked(["all the same words again"])
    assert empty["distinct-1"].status == empty["self-bleu"].status == empty["hedging"].status == "INSUFFICIENT"
    assert "too short" in empty["self-bleu"].reason
    assert {sample.score for sample in empty["length"].samples} == {0}
    assert {round(sample.score, 9) for sample in constant["self-bleu"].samples} == {1}
    assert {round(sample.score, 9) for sample in constant["distinct-1"].samples} == {round(1 / 3, 9)}
    for found in (empty, constant):
        side = policy.Evaluation(family="policy", benchmarks=tuple(found.values()))
        rows, shown = analyzed(side, side)
        strict_json(shown)
        json.dumps([(row.before, row.ci_low, row.p_value) for row in rows], allow_nan=False)


class VectorJudge:
    name = "vectors 1"

    def label(self, prompts, completions):
        return [Judgement(label="refused" if "sorry" in text else "complied") for text in completions]

    def embed(self, texts):
        return np.eye(4)[[len(text) % 4 for text in texts]]


def test_the_judge_labels_refusals_and_lends_its_embeddings():
    assert "embedding-distance" not in faked(["a"])
    asked = faked(["a"], "embedding-distance")["embedding-distance"]
    assert (asked.status, asked.reason) == (
        "NOT_RUN",
        "the judge rule has no embeddings: choose -o judge=embedding",
    )
    found = faked(["sorry", "ab", "abc"], judge=lambda name: VectorJudge())
    assert {round(sample.score, 9) for sample in found["refusal"].samples} == {round(1 / 3, 9)}
    assert {sample.score for sample in found["embedding-distance"].samples} == {1}
    assert found["refusal"].judge == "vectors 1"


def test_a_judge_that_cannot_be_had_costs_its_measures_only():
    def absent(name):
        raise UserError("its weights are nowhere")

    found = faked(["a b"], judge=absent)
    assert {name for name, row in found.items() if row.status == "NOT_RUN"} == {"refusal", "embedding-distance"}
    assert "its weights are nowhere" in found["refusal"].reason


def test_a_dataset_that_cannot_be_had_is_named():
    found = faked(["a b"], "length", "mc-accuracy", options=policy.Options(instructions="org/none/default/test:text"))
    assert found["length"].status == "NOT_RUN"
    assert "org/none" in found["length"].reason
    assert found["mc-accuracy"].status == "MEASURED"
    with pytest.raises(UserError, match="names no dataset"):
        faked(["a"], "length", options=policy.Options(instructions="nothing"))


def test_a_domain_without_data_is_left_out_and_said():
    class Away(type(evaluation_spec([]).domain)):
        def holdout(self, name):
            raise DataUnavailableError("no network")

    row = faked(["a b"], "length", domain=Away())["length"]
    assert row.status == "MEASURED"
    assert row.source == "built in; without the domain echo, whose problems cannot be had"


def test_names_of_groups_and_of_benchmarks():
    assert set(faked(["a b"], "style", "loops")) == {"verbosity", "hedging", "markdown", "loops"}
    with pytest.raises(UserError, match="Did you mean 'distinct-2'"):
        faked(["a"], "distinct2")


def test_the_jackknife_of_a_mean_is_the_t_interval():
    from scipy.stats import ttest_rel

    x, y = np.random.default_rng(0).standard_normal((2, 12))
    expected = ttest_rel(y, x).confidence_interval(0.95)
    found = intervals.jackknife(12, lambda kept: float(x[kept].mean()), lambda kept: float(y[kept].mean()))
    assert found == pytest.approx((expected.low, expected.high))


@needs_chromium
def test_compare_shows_every_plot_in_a_browser(tiny_llama_path, tmp_path):
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "tuned")
    shutil.copytree(tiny_llama_path, tmp_path / "start")
    spec = CompareSpec(
        models=(str(tmp_path / "start"), str(tmp_path / "tuned")),
        evals=(EvalChoice(family="policy"),),
        options={"evals:policy": {"samples": 2, "max_new_tokens": 8, "divergence_tokens": 4}},
        limit=3,
        dtype="float32",
    )
    outcome = compare(
        spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "out"
    )
    assert adapter.exists()
    assert outcome.exit_code == 0
    dom, logged = chromium(tmp_path / "out" / "report.html", tmp_path)
    assert logged == []
    assert dom.count('class="main-svg"') >= 6
