"""What the last of several stages restored of what was lost before it, and what it only masked."""

from __future__ import annotations

import pytest
from pfh.commands.run import execute
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.restored import INSIDE, TITLE, add_restored
from pfh.store.evaluations import read_evaluation
from pfh.store.store import Store

from tests.plugin_dists import install
from tests.test_matrix import GOLD
from tests.test_recover import TOSS
from tests.test_stage_by_stage import benchmark, stages


def followed(quiz, inside=None, **changes):
    """Return the last stage's families of a run of two, scored at the start, after the first and after the second."""
    started = stages(2)
    names = ["fake", *(["representation"] if inside else [])]
    families = tuple(started[1].families[0].model_copy(update={"family": name}) for name in names)
    started = [each.model_copy(update={"families": families}) for each in started]
    pairs = {}
    for name, scores in zip(names, (quiz, inside or ()), strict=False):
        settings = {} if name == "fake" else {"metric": "score", "higher_is_better": None}
        start = benchmark(scores[0], **(settings | changes if name == "fake" else settings))
        for number, after in enumerate(scores[1:]):
            measured = benchmark(after, **(settings | changes if name == "fake" else settings))
            pairs[number, name] = [(start, measured)]
    return add_restored(started, pairs)[-1].families


START = [1] * 40 + [0] * 20
SFT = [0] * 20 + [1] * 20 + [0] * 20
BACK = [1] * 15 + [0] * 5 + [1] * 18 + [0] * 2 + [1] * 2 + [0] * 18


def test_what_was_lost_is_followed_sample_by_sample():
    (family,) = followed((START, SFT, BACK))
    (table,) = [each for each in family.tables if each.title == TITLE]
    (row,) = table.rows
    assert row[:3] == ("quiz", 20, 15)
    assert row[3].value == pytest.approx(0.75)
    assert (row[3].low, row[3].high) == (pytest.approx(0.531, abs=1e-3), pytest.approx(0.888, abs=1e-3))
    assert row[4].value == pytest.approx(2 / 20)
    assert row[5] == 2
    (told,) = family.findings
    assert "restored 15 of the 20 samples" in told
    assert "5 are still lost, 2 more were lost" in told


def test_a_metric_of_which_less_is_better_is_turned():
    turned = [[1 - score for score in scores] for scores in (START, SFT, BACK)]
    (family,) = followed(turned, higher_is_better=False)
    assert family.tables[-1].rows[0][1:3] == (20, 15)


def test_gains_that_are_the_same_everywhere_are_no_recovery():
    everywhere = [1] * 15 + [0] * 5 + [1] * 20 + [1] * 15 + [0] * 5
    (family,) = followed((START, SFT, everywhere))
    assert "not known to be more than it gains" in family.findings[0]


def test_what_came_back_in_the_answers_alone_is_masked():
    moved = [0.0] * 30, [1.0] * 30, [1.0 + 0.01 * (place % 3) for place in range(30)]
    answers, inside = followed((START, SFT, BACK), moved)
    assert "masks a change that is still there" in answers.findings[-1]
    assert inside.tables[-1].title == INSIDE
    assert inside.tables[-1].rows[0][-1] == "no"
    answers, inside = followed((START, SFT, BACK), (moved[0], moved[1], [0.1 + 0.01 * (n % 3) for n in range(30)]))
    assert "nearer to the start" in answers.findings[-1]
    assert inside.tables[-1].rows[0][-1] == "yes"


def test_one_stage_restores_nothing():
    assert add_restored(stages(1), {}) == tuple(stages(1))


@pytest.mark.parametrize("later", ["dpo", "refusal-tuning"])
def test_a_run_of_two_stages_says_what_its_later_one_restored(later, tiny_llama_path, tmp_path, monkeypatch):
    """The families are tosses of what the model writes, so that every stage loses some samples and gives some back."""
    site = install(tmp_path, "coin-dist", {"coin_domain": GOLD}, {"pfh.domains": {"coin": "coin_domain"}})
    install(site, "gains-dist", {"gains_eval": TOSS.replace("FAMILY", "gains")}, {"pfh.evals": {"gains": "gains_eval"}})
    monkeypatch.syspath_prepend(str(site))
    trained = {
        "max_steps": "2",
        "learning_rate": "3e-2",
        "batch_size": "4",
        "gradient_accumulation": "1",
        "warmup": "0",
    }
    results = execute(
        RunSpec(
            methods=("gt-sft", later),
            evals=(EvalChoice(family="gains"), EvalChoice(family="representation")),
            domain="coin",
            model=str(tiny_llama_path),
            options={"methods:gt-sft": trained, f"methods:{later}": trained},
            problems=8,
            limit=8,
            rehearsal=False,
            divergence_prompts=0,
        ),
        plugins=Plugins(),
        store=Store(tmp_path / "store"),
        progress=Silent(),
        output=tmp_path / "out",
    ).results
    first, last = results.stages
    families = {each.family: each for each in last.families}
    (row,) = next(table for table in families["gains"].tables if table.title == TITLE).rows
    start, before, after = (
        {sample.id: sample.score for sample in stored_scores(tmp_path / "store", artifact)}
        for artifact in (
            first.families[0].before_artifact,
            first.families[0].after_artifact,
            families["gains"].after_artifact,
        )
    )
    lost = [name for name in start if start[name] and not before[name]]
    assert lost
    assert row[1:3] == (len(lost), sum(after[name] > 0 for name in lost))
    assert any(table.title == INSIDE for table in families["representation"].tables)
    page = (tmp_path / "out" / "report.html").read_text()
    assert TITLE in page
    assert INSIDE in page


def stored_scores(store, key):
    return read_evaluation(store / "artifacts" / "evaluation" / key).benchmarks[0].samples
