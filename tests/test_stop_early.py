"""Comparisons that stop early: what they decide, what they save, and that nothing takes them for whole ones."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec, check_stops
from pfh.errors import UserError
from pfh.hooks.evals import Part
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.launchers import EvalChoice
from pfh.hooks.samples import Sample
from pfh.kit.subset import spread
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.looks import FIRST_LOOK, decided, evidence_of, with_looks
from pfh.statistics.paired import compare_evaluations
from pfh.statistics.sequential import interval
from pfh.store.store import Store
from pfh_cli.main import app
from typer.testing import CliRunner

from tests.plugin_dists import install
from tests.tiny import tiny_llama

ENGINE = '''
"""A backend without a model: the second one fails every fourth document of what is called worse."""
import hashlib

from pfh import hookimpl
from pfh.hooks.backends import Completion, Score
from pfh.testing import FakeEngine

ASKED = []
STOP_AFTER = [0]


class Engine(FakeEngine):
    def __init__(self, spec):
        super().__init__(checkpoint=spec.checkpoint)

    def use(self, checkpoint):
        self.checkpoint = checkpoint

    def batches(self, requests):
        places = list(range(len(requests)))
        return [places[start : start + 10] for start in range(0, len(places), 10)]

    def right(self, request):
        name, _, place = request.id.partition("/")
        number = int(hashlib.sha256(request.id.encode()).hexdigest(), 16)
        ASKED.append((self.checkpoint.path.name, request.id))
        if STOP_AFTER[0] and len(ASKED) > STOP_AFTER[0]:
            raise KeyboardInterrupt
        return number % 2 == 0 and not (name == "worse" and self.checkpoint.path.name == "tuned" and number % 3)

    def generate(self, requests, sampling):
        return [Completion(text="A" if self.right(each) else "B", tokens=1, prompt_tokens=1, truncated=False)
                for each in requests]

    def loglikelihood(self, requests):
        return [Score(logprob=-float(self.right(each)), greedy=True, tokens=1) for each in requests]


@hookimpl
def open_engine(spec):
    return Engine(spec)
'''

EVAL = '''
"""Benchmarks of every kind: one gets worse, one stays, one is small, one has no scale, one heeds no part."""
from pfh import hookimpl
from pfh.hooks.backends import GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Table
from pfh.kit.subset import spread

SIZES = {"worse": 600, "same": 600, "small": 20, "nats": 300, "deaf": 120}


@hookimpl
def evaluate(spec):
    names = spec.benchmarks or tuple(SIZES)
    return Evaluation(family="kinds", benchmarks=tuple(measure(name, spec) for name in names))


@hookimpl
def plan(spec):
    names = spec.benchmarks or tuple(SIZES)
    rows = tuple((name, min(SIZES[name], spec.limit or SIZES[name])) for name in names)
    return Table(title="kinds", columns=("benchmark", "documents"), rows=rows)


def measure(name, spec):
    ids = [f"{name}/{place}" for place in range(SIZES[name])]
    kept = spread(dict.fromkeys(ids, ""), spec.limit, None if name == "deaf" else spec.part)
    chats = [({"role": "user", "content": each},) for each in kept]
    about = {"name": name, "version": "1", "metric": "accuracy", "higher_is_better": True}
    if name == "nats":
        scored = spec.engine.loglikelihood([ScoringRequest(id=each, context=each, continuation="A") for each in kept])
        scores = [3 * each.logprob for each in scored]
    else:
        asked = [GenerationRequest(id=each, messages=chat) for each, chat in zip(kept, chats)]
        scores = [float(each.text == "A") for each in spec.engine.generate(asked, Sampling(max_new_tokens=1))]
    return Benchmark(**about, samples=tuple(
        Sample(id=each, benchmark=name, category="odd" if int(each.partition("/")[2]) % 2 else "even", prompt=each,
               completion="", score=score) for each, score in zip(kept, scores)))
'''


KINDS = (EvalChoice(family="kinds"),)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [str(tiny_llama(folder / "base")), str(tiny_llama(folder / "tuned", seed=1))]


@pytest.fixture
def engine(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "looks-dist", {"looks_engine": ENGINE}, {"pfh.backends": {"looks": "looks_engine"}})
    install(folder, "kinds-dist", {"kinds_eval": EVAL}, {"pfh.evals": {"kinds": "kinds_eval"}})
    monkeypatch.syspath_prepend(str(folder))
    import looks_engine

    return looks_engine


@pytest.fixture
def compared(engine, models, tmp_path):
    def run(*texts, evals=KINDS, stop_early=0.05, **fields):
        engine.ASKED.clear()
        spec = CompareSpec(
            models=texts or tuple(models),
            evals=evals,
            backend="looks",
            stop_early=stop_early,
            **{"divergence_prompts": 0} | fields,
        )
        store = Store(tmp_path / "store")
        return compare(spec, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out")

    return run


def rows_of(outcome):
    return {row.benchmark: row for row in outcome.results.stages[0].families[0].comparisons}


def test_every_kind_of_benchmark_is_looked_at_as_far_as_it_needs(compared, engine):
    outcome = compared()
    rows = rows_of(outcome)
    assert {name: row.verdict for name, row in rows.items() if name in ("worse", "same", "small")} == {
        "worse": "worse",
        "same": "equivalent",
        "small": "undecided",
    }
    assert rows["worse"].documents <= 100
    assert rows["same"].documents < 600
    assert (rows["small"].documents, rows["nats"].documents, rows["deaf"].documents) == (20, 300, 120)
    assert rows["worse"].looked.out_of == rows["same"].looked.out_of == 600
    assert rows["nats"].looked is None
    assert rows["worse"].ci_method == "betting"
    assert rows["worse"].ci_low < rows["worse"].delta < rows["worse"].ci_high < 0
    assert rows["worse"].p_value == pytest.approx(min(1, 1 / rows["worse"].looked.e_change))
    assert {each.category for each in rows["worse"].categories} == {"even", "odd"}
    note = next(note for note in outcome.results.notes if "could stop" in note)
    assert f"kinds:worse worse after {rows['worse'].documents} of 600" in note
    assert "were not looked at" in note
    twice = [each for each, count in Counter(engine.ASKED).items() if count > 1]
    assert twice == []  # a later look asks nothing that an earlier one asked


def test_what_was_interrupted_goes_on_and_comes_to_the_same(compared, engine, tmp_path):
    engine.STOP_AFTER[0] = 700
    with pytest.raises(KeyboardInterrupt):
        compared()
    engine.STOP_AFTER[0] = 0
    done = set(engine.ASKED[:-11])  # all but the group that was interrupted
    resumed = compared()
    assert not done.intersection(engine.ASKED)
    assert compared().results == resumed.results
    assert engine.ASKED == []
    (tmp_path / "store").rename(tmp_path / "other")
    assert rows_of(compared()) == rows_of(resumed)


def test_a_stopped_evaluation_is_not_taken_for_a_whole_one(compared, engine):
    compared()
    whole = rows_of(compared(stop_early=None))
    assert whole["worse"].documents == 600
    assert whole["worse"].looked is None
    stricter = rows_of(compared(stop_early=1e-9))
    assert stricter["same"].looked.level == 1e-9
    assert stricter["same"].documents > rows_of(compared())["same"].documents


def test_what_is_stored_stands_and_only_the_other_model_is_looked_at(compared, engine, models, tmp_path):
    outcome = compared(stop_early=None)
    (tmp_path / "out").rename(tmp_path / "whole")
    family = outcome.results.stages[0].families[0]
    rows = rows_of(compared(f"{tmp_path / 'whole'}@start", models[1]))
    assert rows["worse"].verdict == "worse"
    assert rows["worse"].documents <= 100
    assert not any(model == "base" for model, _ in engine.ASKED)
    with pytest.raises(UserError, match="name at least one model"):
        compared(family.before_artifact, family.after_artifact, evals=())


def test_a_part_is_a_shuffle_that_grows_within_the_limit():
    ids = dict.fromkeys((str(place) for place in range(200)), "")
    limited = set(spread(ids, 120))
    parts = [set(spread(ids, 120, Part(seed=0, count=count))) for count in (10, 20, 40, 500)]
    assert [len(part) for part in parts] == [10, 20, 40, 120]
    assert parts[0] < parts[1] < parts[2] < parts[3] == limited
    assert parts[1] != set(spread(ids, 120, Part(seed=1, count=20)))
    every = [set(spread(ids, None, Part(seed=seed, count=50))) for seed in range(200)]
    shares = np.array([sum(key in part for part in every) / 200 for key in ids])
    assert shares.mean() == pytest.approx(0.25)
    assert shares.std() < 0.05  # each document is as likely as any other


def scored(name, scores):
    samples = tuple(
        Sample(id=str(place), benchmark=name, prompt="", completion="", score=float(score))
        for place, score in enumerate(scores)
    )
    return Benchmark(name=name, version="1", metric="accuracy", higher_is_better=True, samples=samples)


def pair(dice, documents, change, flips=0.2):
    """Return scores before and after of which `flips` change sides, the mean by `change`."""
    kind = dice.choice(3, documents, p=[1 - flips, (flips - change) / 2, (flips + change) / 2])
    before = np.where(kind == 1, 1, np.where(kind == 2, 0, dice.integers(0, 2, documents)))
    return before, np.where(kind == 0, before, 1 - before)


def test_without_a_difference_two_thousand_comparisons_stop_for_one_in_at_most_one_of_twenty():
    """Two benchmarks a comparison, looked at after 50, 150 and 400 documents, one e-BH over both at each look."""
    dice = np.random.default_rng(0)
    false = 0
    for _ in range(2000):
        data = dice.choice([-1.0, 0.0, 1.0], (2, 400), p=[0.1, 0.8, 0.1])
        told, changed = {}, {}
        for count in (FIRST_LOOK, 150, 400):
            for name, changes in enumerate(data):
                if not (name in changed and changed[name].ends):
                    told[name] = evidence_of(changes[:count], 0.05)
            changed = decided(told, 0.05)
        false += any(each.changed for each in changed.values())
    assert false <= 0.05 * 2000


def test_the_interval_covers_at_every_look_together():
    dice = np.random.default_rng(0)
    missed = 0
    for _ in range(100):
        before, after = pair(dice, 400, -0.08)
        changes = (after - before).astype(float)
        ends = [interval(changes[:count]) for count in (50, 150, 400)]
        missed += not all(low <= -0.08 <= high for low, high in ends)
    assert missed <= 0.05 * 100
    assert ends[-1][1] - ends[-1][0] < 0.2
    assert interval(np.zeros(0)) == (-1.0, 1.0)


def test_the_direction_is_that_of_the_good():
    dice = np.random.default_rng(0)
    before, after = pair(dice, 400, 0.15)
    made = [Evaluation(family="f", benchmarks=(scored("b", scores),)) for scores in (before, after)]
    assert with_looks(compare_evaluations(*made), *made, level=0.05, margin=None)[0].verdict == "better"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop_early": 1.5}, "--alpha is the chance of a false stop, above 0 and below 1; got 1.5"),
        ({"seeds": (0, 1)}, "--seeds needs all"),
        ({"noise_floor": True}, "--noise-floor needs all"),
    ],
)
def test_what_cannot_be_had_together_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        check_stops(CompareSpec(models=("a", "b"), **{"stop_early": 0.05} | fields))


def test_alpha_needs_early_stopping_and_a_dry_run_tells_of_it(engine, models):
    runner = CliRunner()
    asked = ["compare", *models, "--eval", "kinds", "--backend", "looks"]
    assert "it needs --stop-early" in str(runner.invoke(app, [*asked, "--alpha", "0.1"]).exception)
    planned = runner.invoke(app, [*asked, "--stop-early", "--alpha", "0.1", "--dry-run", "--json"])
    told = json.loads(planned.stdout)
    assert told["stop_early"] == 0.1
    assert "These are the most" in told["asks"]["kinds"]["note"]
