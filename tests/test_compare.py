"""`pfh eval` and `pfh compare` on models: reuse, one resident base, noise floor, several seeds, exit codes."""

import dataclasses
import json

import numpy as np
import pytest
from pfh.commands.compare import compare
from pfh.commands.evaluate import evaluate
from pfh.commands.requests import CompareSpec, MeasureSpec
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.launchers import EvalChoice
from pfh.hooks.samples import Sample
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.records import read_results
from pfh.statistics.noise_floor import with_noise_floor
from pfh.statistics.paired import compare_evaluations, compare_seeds
from pfh.store.store import Store
from pfh_cli.main import app
from typer.testing import CliRunner

from tests.plugin_dists import install
from tests.tiny import tiny_adapter, tiny_llama

BACKEND = '''
"""A backend without a model: what it answers is a hash of the weights, the request and, when it samples, the seed."""
import hashlib

from pfh import hookimpl
from pfh.hooks.backends import Completion
from pfh.testing import FakeEngine

LOADED, USED = [], []


class Engine(FakeEngine):
    def __init__(self, spec):
        super().__init__(checkpoint=spec.checkpoint)
        self.batch_tokens = spec.batch_tokens
        self.base = None

    def use(self, checkpoint):
        if checkpoint.path != self.base:
            LOADED.append(checkpoint.path.name)
        self.base, self.checkpoint = checkpoint.path, checkpoint
        USED.append(checkpoint.fingerprint)

    def generate(self, requests, sampling):
        return [self.answer(request, sampling) for request in requests]

    def answer(self, request, sampling):
        seed = sampling.seed if sampling.temperature else 0
        noise = self.batch_tokens if request.id in ("3", "4") else 0
        text = f"{self.checkpoint.fingerprint} {request.id} {seed} {noise}"
        letter = "ABCD"[hashlib.sha256(text.encode()).digest()[0] % 4]
        return Completion(text=letter, tokens=1, prompt_tokens=1, truncated=False)


@hookimpl
def open_engine(spec):
    return Engine(spec)
'''

QUIZ = '''
"""Multiple choice: is the answer an A? One benchmark cannot be had."""
from typing import Annotated

from pfh import hookimpl
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.meanings import Draws
from pfh.hooks.samples import Sample
from pydantic import BaseModel


class Options(BaseModel):
    temperature: Annotated[float, Draws.COMPLETIONS] = 0.0
    shots: int = 0


@hookimpl
def options():
    return Options


@hookimpl
def evaluate(spec):
    names = spec.benchmarks or ("letters", "far")
    return Evaluation(family="quiz", benchmarks=tuple(measure(name, spec) for name in names))


def measure(name, spec):
    about = {"name": name, "version": "1", "metric": "accuracy", "higher_is_better": True}
    if name == "far":
        return Benchmark(**about, status="NOT_RUN", reason="org/far is not in reach")
    count = spec.limit or 40
    chats = [({"role": "user", "content": f"Question {i}"},) for i in range(count)]
    requests = [GenerationRequest(id=str(i), messages=chat) for i, chat in enumerate(chats)]
    sampling = Sampling(max_new_tokens=1, temperature=spec.options.temperature, seed=spec.seed)
    completions = spec.engine.generate(requests, sampling)
    return Benchmark(**about, samples=tuple(
        Sample(id=str(i), benchmark=name, category="odd" if i % 2 else "even", prompt=f"Question {i}",
               completion=completion.text, extracted=completion.text, score=float(completion.text == "A"), choices=4)
        for i, completion in enumerate(completions)))
'''


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the paths of two models and of two adapters of the first."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_llama(folder / "base")
    tuned = tiny_llama(folder / "tuned", seed=1)
    adapters = [tiny_adapter(base, folder / f"adapter{seed}", seed=seed) for seed in (1, 2)]
    return {path.name: str(path) for path in (base, tuned, *adapters)}


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "hash-dist", {"hash_backend": BACKEND}, {"pfh.backends": {"hash": "hash_backend"}})
    install(folder, "quiz-dist", {"quiz_eval": QUIZ}, {"pfh.evals": {"quiz": "quiz_eval"}})
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def backend(plugins):
    import hash_backend

    hash_backend.LOADED.clear()
    hash_backend.USED.clear()
    return hash_backend


QUIZZED = (EvalChoice(family="quiz"),)
SAMPLED = {"evals:quiz": {"temperature": "1"}}


@pytest.fixture
def compared(plugins, tmp_path):
    """Return a function that compares models on the quiz and returns the outcome."""

    def run(*texts, evals=QUIZZED, **fields):
        spec = CompareSpec(models=texts, evals=evals, backend="hash", **{"divergence_prompts": 0} | fields)
        store = Store(tmp_path / "store")
        return compare(spec, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out")

    return run


def row_of(outcome, stage=0):
    return outcome.results.stages[stage].families[0].comparisons[0]


def test_two_models_are_compared_sample_by_sample(compared, models, tmp_path):
    outcome = compared(models["base"], models["tuned"])
    row, missing = outcome.results.stages[0].families[0].comparisons
    assert row.n == 40
    assert row.n10 > 0 < row.n01
    assert row.delta == pytest.approx((row.n01 - row.n10) / 40)
    assert row.forgetting == row.n10 / 40
    chance = (1 - row.before) * (1 - row.after) / 3
    assert row.forgetting_corrected == pytest.approx(max(row.forgetting - chance, 0))
    assert row.forgetting_ceiling == pytest.approx(max((4 * row.before - 1) / 3, 0))
    assert {category.category for category in row.categories} == {"even", "odd"}
    assert sum(category.forgetting * category.n for category in row.categories) == pytest.approx(row.n10)
    assert (missing.status, missing.reason, missing.before) == ("NOT_RUN", "org/far is not in reach", None)
    assert read_results(tmp_path / "out" / "results.json") == outcome.results
    assert "beyond guessing" in (tmp_path / "out" / "report.html").read_text()
    assert outcome.exit_code == 0


def test_what_is_stored_is_not_measured_again(compared, models, backend):
    compared(models["base"], models["tuned"])
    measured = len(backend.USED)
    compared(models["tuned"], models["base"], models["tuned"])
    assert len(backend.USED) == measured + 3  # only what could not run ("far") is tried again


def test_a_base_and_its_adapters_load_the_base_once(compared, models, backend):
    outcome = compared(models["adapter1"], models["tuned"], models["base"], models["adapter2"])
    assert sorted(backend.LOADED) == ["base", "tuned"]
    assert [stage.after.path for stage in outcome.results.stages] == [
        models[name] for name in ("tuned", "base", "adapter2")
    ]
    assert outcome.results.headline.count("Going from") == 3


def test_stored_results_stand_for_their_model(compared, models, tmp_path, backend):
    first = compared(models["base"], models["tuned"])
    (tmp_path / "out").rename(tmp_path / "first")
    used = len(backend.USED)
    folder, key = str(tmp_path / "first"), first.results.stages[0].families[0].after_artifact
    for before, after in ((f"{folder}@start", folder), (f"{folder}/results.json@start", key)):
        assert row_of(compared(before, after, evals=())) == row_of(first)
    assert len(backend.USED) == used


def test_options_that_differ_are_refused(compared, models, tmp_path):
    compared(models["base"], models["tuned"], options={"evals:quiz": {"shots": "5"}})
    (tmp_path / "out").rename(tmp_path / "five")
    with pytest.raises(UserError, match=r"option shots 5 before, 0 after \(letters\).*--allow-mismatch"):
        compared(str(tmp_path / "five"), models["base"])
    outcome = compared(str(tmp_path / "five"), models["base"], allow_mismatch=True)
    assert any("letters 40 (of 40 before and 40 after)" in note for note in outcome.results.notes)


def test_another_limit_compares_what_both_have_and_says_so(compared, models, tmp_path):
    compared(models["base"], models["tuned"], limit=10)
    (tmp_path / "out").rename(tmp_path / "ten")
    outcome = compared(str(tmp_path / "ten"), models["base"])
    assert row_of(outcome).n == 10
    assert any("letters 10 (of 10 before and 40 after)" in note for note in outcome.results.notes)


def test_the_noise_floor_is_the_share_that_flips_in_other_batches(compared, models):
    row = row_of(compared(models["base"], models["tuned"], noise_floor=True))
    assert 0 <= row.noise_floor <= 2 / 40
    assert row.noise_excess == pytest.approx((row.n10 + row.n01) / 40 - row.noise_floor)
    assert row.within_noise == (row.noise_p > 0.05)
    itself = row_of(compared(models["base"], models["base"], noise_floor=True))
    assert (itself.delta, itself.within_noise, itself.verdict) == (0.0, True, "undecided")


def test_the_noise_floor_of_a_family_that_samples_is_measured_with_another_seed(compared, models):
    row = row_of(compared(models["base"], models["tuned"], noise_floor=True, options=SAMPLED))
    assert row.noise_floor > 2 / 40


def test_several_seeds_are_pooled_and_what_holds_in_each_is_counted(compared, models):
    outcome = compared(models["base"], models["tuned"], seeds=(0, 1, 2), options=SAMPLED, noise_floor=True)
    row = row_of(outcome)
    assert (row.seeds, row.n, row.ci_method) == (3, 120, "clustered Tango")
    assert row.n10_every_seed < row.n10
    assert row.ci_low < row.delta < row.ci_high
    assert row.noise_floor > 0
    assert any("the seeds 0, 1, 2" in note for note in outcome.results.notes)


def test_seeds_that_change_nothing_are_noticed(compared, models):
    outcome = compared(models["base"], models["tuned"], seeds=(0, 1))
    assert row_of(outcome).n10 == 2 * row_of(outcome).n10_every_seed
    assert any("changed nothing in quiz" in note for note in outcome.results.notes)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"noise_floor": True}, "--noise-floor measures the first model"),
        ({"seeds": (0, 1)}, "--seeds measures every model"),
        ({"evals": (EvalChoice(family="safety"),)}, "holds no evaluation of 'safety'"),
        ({"evals": (EvalChoice(family="quiz", benchmarks=("leters",)),)}, "Did you mean 'letters'"),
    ],
)
def test_what_stored_results_cannot_do_is_refused(compared, models, tmp_path, fields, said):
    compared(models["base"], models["tuned"])
    (tmp_path / "out").rename(tmp_path / "stored")
    with pytest.raises(UserError, match=said):
        compared(str(tmp_path / "stored"), models["base"], **fields)


def test_what_stored_results_lack_is_said_before_anything_is_measured(compared, models, tmp_path, backend):
    compared(models["base"], models["tuned"])
    (tmp_path / "out").rename(tmp_path / "stored")
    (tmp_path / "stored" / "model").mkdir()
    used = len(backend.USED)
    with pytest.raises(UserError, match=f"holds no evaluation.*name {tmp_path}/stored/model") as refused:
        compared(models["adapter1"], str(tmp_path / "stored"), evals=(*QUIZZED, EvalChoice(family="policy")))
    assert "It holds quiz." in str(refused.value)
    assert len(backend.USED) == used


def test_samples_that_the_store_lost_are_named(compared, models, tmp_path):
    outcome = compared(models["base"], models["tuned"])
    (tmp_path / "out").rename(tmp_path / "stored")
    key = outcome.results.stages[0].families[0].after_artifact
    (tmp_path / "store" / "artifacts" / "evaluation" / key).rename(tmp_path / "lost")
    with pytest.raises(UserError, match=f"no longer holds the samples of quiz.*{key}"):
        compared(str(tmp_path / "stored"), models["base"])


def test_eval_measures_one_model(plugins, models, tmp_path, backend):
    spec = MeasureSpec(models=(models["base"],), evals=QUIZZED, backend="hash")
    outcome = evaluate(spec, plugins=Plugins(), store=Store(tmp_path / "s"), progress=Silent(), output=tmp_path / "m")
    letters, far = outcome.results.measured[0].families[0].benchmarks
    assert (letters.n, letters.binary, letters.ci_method) == (40, True, "Wilson")
    assert letters.ci_low < letters.score < letters.ci_high
    assert sum(category.n for category in letters.categories) == 40
    assert (far.status, far.score) == ("NOT_RUN", None)
    assert "org/far is not in reach" in (tmp_path / "m" / "report.html").read_text()
    assert read_results(tmp_path / "m" / "results.json") == outcome.results


# ---- the command line ----


@pytest.fixture
def pfh(plugins, tmp_path):
    """Return a function that runs a command in this process."""

    def run(command, *arguments):
        places = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out")]
        return CliRunner().invoke(app, [command, *arguments, *places])

    return run


def test_compare_prints_json_with_every_figure(pfh, models):
    done = pfh("compare", models["base"], models["tuned"], "--eval", "quiz", "--backend", "hash", "--json", "-q")
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)["stages"][0]["families"][0]["comparisons"][0]
    assert {
        *("benchmark", "metric", "status", "n", "before", "after", "delta", "ci_low", "ci_high", "n10", "n01"),
        *("forgetting", "backward_transfer", "forgetting_corrected", "backward_transfer_corrected"),
        *("p_value", "p_adjusted", "format_failures_before", "format_failures_after"),
    } <= row.keys()


def test_compare_prints_a_table_and_eval_too(pfh, models):
    done = pfh("compare", models["base"], models["tuned"], "--eval", "quiz", "--backend", "hash", "--noise-floor")
    assert all(word in done.stdout for word in ("letters", "forgot", "gained", "noise", "NOT_RUN far: org/far"))
    done = pfh("eval", models["base"], "--eval", "quiz", "--backend", "hash", "-o", "shots=3")
    assert done.exit_code == 0, done.stderr
    assert "letters" in done.stdout
    assert "95% interval" in done.stdout


def test_a_benchmark_asked_for_by_name_that_cannot_be_had_is_exit_2(pfh, models):
    done = pfh("compare", models["base"], models["tuned"], "--eval", "quiz:far", "--backend", "hash", "-q")
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base", "{tuned}", "--seeds", "0,x"], "--seeds"),
        (["{base}", "{tuned}"], "--eval"),
        (["{base}"], "two models"),
        (["{base}", "{tuned}", "--eval", "quizz"], "Did you mean 'quiz'"),
        (["{base}", "{tuned}", "--eval", "quiz", "-o", "shot=1"], "no option 'shot'"),
    ],
)
def test_wrong_input_is_one_clear_line(pfh, models, arguments, said):
    done = pfh("compare", *(argument.format(**models) for argument in arguments), "-q")
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_export_writes_stored_results_and_reads_back_the_same(pfh, models, tmp_path):
    assert pfh("compare", models["base"], models["tuned"], "--eval", "quiz", "--backend", "hash", "-q").exit_code == 0
    first = read_results(tmp_path / "out" / "results.json").stages[0].families[0].comparisons
    (tmp_path / "out").rename(tmp_path / "kept")
    folders = []
    for text in (f"{tmp_path / 'kept'}@start", str(tmp_path / "kept")):
        done = pfh("export", text)
        assert done.exit_code == 0, done.stderr
        folders.append(done.stdout.strip())
    again = pfh("compare", *(f"lm-eval:{folder}" for folder in folders), "--json", "-q")
    assert again.exit_code == 0, again.stderr
    read = json.loads(again.stdout)["stages"][0]["families"][0]
    assert read["family"] == "quiz"
    by_name = {row["benchmark"]: row for row in read["comparisons"]}
    for row in first:
        assert by_name[row.benchmark] == json.loads(json.dumps(dataclasses.asdict(row)))


def test_a_model_is_not_exported(pfh, models):
    assert "measure it with pfh eval" in str(pfh("export", models["base"]).exception)


# ---- statistics of seeds and noise ----


def evaluation(scores, ids=None, **fields):
    about = {"name": "b", "version": "1", "metric": "accuracy", "higher_is_better": True} | fields
    samples = tuple(
        Sample(id=str(i), benchmark="b", prompt="", completion="", score=score, choices=4)
        for i, score in zip(ids or range(len(scores)), scores, strict=True)
    )
    return Evaluation(family="f", benchmarks=(Benchmark(**about, samples=samples),))


def test_seeds_by_hand():
    before = [evaluation([1.0, 1.0, 0.0, 0.0]), evaluation([1.0, 0.0, 0.0, 0.0])]
    after = [evaluation([0.0, 1.0, 1.0, 0.0]), evaluation([0.0, 1.0, 1.0, 0.0])]
    row = compare_seeds(list(zip(before, after, strict=True)))[0]
    assert (row.n, row.seeds, row.n10, row.n01) == (8, 2, 2, 3)
    assert (row.n10_every_seed, row.n01_every_seed) == (1, 1)
    assert (row.before, row.after, row.delta) == (3 / 8, 4 / 8, 1 / 8)
    assert row.forgetting == 2 / 8
    assert row.forgetting_corrected == pytest.approx(2 / 8 - (5 / 8) * (4 / 8) / 3)


def test_seeds_are_compared_on_the_documents_that_all_have():
    pairs = [(evaluation([1.0] * 4, ids), evaluation([0.0] * 4, ids)) for ids in ([0, 1, 2, 3], [2, 3, 4, 5])]
    assert (compare_seeds(pairs)[0].n, compare_seeds(pairs)[0].n10_every_seed) == (4, 2)
    apart = [(evaluation([1.0] * 2, ids), evaluation([0.0] * 2, ids)) for ids in ([0, 1], [2, 3])]
    assert compare_seeds(apart)[0].status == "INSUFFICIENT"
    absent = evaluation([], status="NOT_RUN", reason="no data")
    assert compare_seeds([pairs[0], (absent, absent)])[0].status == "NOT_RUN"


def test_the_noise_floor_is_tested_and_silences_nothing():
    before, after = evaluation([1.0] * 90 + [0.0] * 10), evaluation([0.0] * 20 + [1.0] * 70 + [0.0] * 10)
    rows = compare_evaluations(before, after)
    assert rows[0].verdict == "worse"
    same = with_noise_floor(rows, before, after, before)[0]
    assert (same.noise_floor, same.noise_excess, same.within_noise, same.verdict) == (0.0, 0.2, False, "worse")
    assert same.noise_excess_low < 0.2 < same.noise_excess_high
    noisy = with_noise_floor(rows, before, after, evaluation([0.0] * 12 + [1.0] * 65 + [0.0] * 13 + [1.0] * 10))[0]
    assert (noisy.noise_floor, noisy.within_noise) == (0.35, True)
    assert noisy.verdict == "worse", "20 samples that all went one way are no noise, however many flip by themselves"


def test_the_test_of_the_noise_floor_holds_its_size():
    """A model that is only measured again flips as many samples as it flips by itself."""
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        level = generator.uniform(0.05, 0.95, 150)
        before, after, again = (evaluation([float(hit) for hit in generator.random(150) < level]) for _ in range(3))
        row = with_noise_floor(compare_evaluations(before, after), before, after, again)[0]
        found += not row.within_noise
    assert found / 200 <= 0.05
