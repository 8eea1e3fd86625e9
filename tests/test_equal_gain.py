"""Methods compared at an equal gain: checkpoints along the way, what they cost, and which of them is taken."""

import pytest
from pfh.commands.equal_gain import at_equal_gain
from pfh.commands.measuring import measured
from pfh.commands.requests import validate
from pfh.commands.subjects import model_subject
from pfh.errors import StepFailedError, UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import EvalChoice, Match, RunSpec
from pfh.kit.training import TrainingOptions, train_resumably
from pfh.kit.training.along import Cost, kept_along
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.common_gain import at_common_gain
from pfh.results.records import AlongRecord, MatchRecord
from pfh.steps.evaluation import Question
from pfh.steps.session import Session
from pfh.steps.training import KeptAlong, TrainedStage
from pfh.store.store import Store

from tests.cli.pretence import results
from tests.letters import same, weights
from tests.plugin_dists import install
from tests.test_training import stage, trainer_for

RISING = '''
"""Of 20 documents a model solves as many as its name says behind @, the start two."""
from pfh import hookimpl
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample


@hookimpl
def evaluate(spec):
    solved = int(spec.engine.checkpoint.name.partition("@")[2] or 2)
    samples = tuple(
        Sample(id=str(i), benchmark="docs", prompt="p", completion="c", score=float(i < solved)) for i in range(20)
    )
    about = {"name": "docs", "version": "1", "metric": "accuracy", "higher_is_better": True}
    return Evaluation(family="rising", benchmarks=(Benchmark(**about, samples=samples),))
'''


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "rising-dist", {"rising_eval": RISING}, {"pfh.evals": {"rising": "rising_eval"}})
    monkeypatch.syspath_prepend(str(folder))
    return Plugins()


def test_a_kept_checkpoint_has_the_weights_and_the_cost_of_its_update(tiny_llama_path, tmp_path):
    options = TrainingOptions(
        batch_size=4, lora_rank=4, learning_rate=1e-2, schedule="constant", warmup=0.0, max_steps=3, epochs=2
    )
    short = options.model_copy(update={"max_steps": 2})
    build, _ = trainer_for(tiny_llama_path, options)
    whole = train_resumably(stage(tmp_path / "whole", options, keep_every=2), build, folder="trainer")
    build, _ = trainer_for(tiny_llama_path, short)
    part = train_resumably(stage(tmp_path / "part", short, keep_every=2), build, folder="trainer")
    (second, at_two), (last, at_end) = kept_along(tmp_path / "whole" / "along")
    ((there, _),) = kept_along(tmp_path / "part" / "along")
    assert (at_two.update, at_end.update) == (2, 3)
    assert at_two.tokens == part.phase.tokens < at_end.tokens == whole.phase.tokens
    assert 0 < at_two.flops == pytest.approx(part.phase.flops)
    assert same(weights(second), weights(there))
    assert not same(weights(second), weights(last))


@pytest.fixture
def gained(plugins, tiny_llama_path, tmp_path):
    """Return a function that matches a stage whose checkpoints solve 3, 5, 4 and 9 of 20 documents."""

    def find(text, solved=(3, 5, 4, 9)):
        session = Session(plugins=plugins, store=Store(tmp_path / "store"), progress=Silent())
        start = Checkpoint(name="start", path=tiny_llama_path, fingerprint="start")
        along = tuple(
            KeptAlong(
                checkpoint=Checkpoint(name=f"start@{each}", path=tiny_llama_path, fingerprint=f"start@{each}"),
                cost=Cost(update=10 * place, device_seconds=place, tokens=100 * place, flops=1e9 * place),
            )
            for place, each in enumerate(solved, 1)
        )
        stage = TrainedStage(checkpoint=start, phases=(), curves=(), notes=(), along=along)
        questions = (Question(family="rising"),)
        before = measured(model_subject("start", start, "start"), session, questions)
        try:
            return at_equal_gain(Match.parse(text), stage, session, questions, before)
        finally:
            session.release()

    return find


def test_the_first_checkpoint_that_gained_enough_is_compared(gained):
    trained, record = gained("rising=+15")
    assert trained.checkpoint.name == "start@5"
    assert [point.gain for point in record.along] == pytest.approx([5, 15])  # later ones are not measured
    assert record.matched == 20
    assert "update 20 of 40, the first that gained +15 points on rising (+15.0)" in trained.notes[-1]
    assert "2 device seconds, 200 tokens" in trained.notes[-1]


def test_a_gain_that_is_never_reached_is_a_warning_and_the_end_is_compared(gained):
    trained, record = gained("rising=40")
    assert (trained.checkpoint.name, record.matched, len(record.along)) == ("start", None, 4)
    assert trained.notes[-1].startswith("Warning: no checkpoint gained +40 points on rising; the best, of update 40")


def test_without_a_gain_all_checkpoints_are_measured(gained):
    trained, record = gained("rising")
    assert [round(point.gain) for point in record.along] == [5, 15, 10, 35]
    assert (trained.checkpoint.name, record.matched) == ("start", None)
    with pytest.raises(StepFailedError, match="kept no checkpoints along the way"):
        gained("rising", solved=())


def run_along(*gains, matched=None):
    points = tuple(
        AlongRecord(update=10 * place, device_seconds=place, tokens=place, flops=place, gain=gain, path="")
        for place, gain in enumerate(gains, 1)
    )
    match = MatchRecord(family="target", wanted=None, along=points, matched=matched)
    stage = results().stages[-1].model_copy(update={"method": "dpo", "match": match})
    return results().model_copy(update={"stages": (stage,)})


def test_runs_are_put_side_by_side_at_the_most_that_all_gained():
    runs = [("a", run_along(2.0, 9.0, 4.0)), ("b", run_along(1.0, 3.0, 5.0)), ("c", run_along(6.0, matched=10))]
    gain, found = at_common_gain(runs, "target")
    assert gain == 5.0
    assert [(each.point.update, each.updates, each.compared) for each in found] == [
        (20, 30, False),
        (30, 30, True),
        (10, 10, True),
    ]
    assert at_common_gain(runs, "target", 1.5)[1][1].point.update == 20


def test_what_has_no_common_gain_is_refused():
    with pytest.raises(UserError, match=r"b gained nothing on target \(-1.0 points\)"):
        at_common_gain([("a", run_along(2.0)), ("b", run_along(-1.0))], "target")
    with pytest.raises(UserError, match=r"a did not gain \+5 points on target; all reached \+2.0"):
        at_common_gain([("a", run_along(2.0)), ("b", run_along(7.0))], "target", 5)
    with pytest.raises(
        UserError, match="b has no checkpoints along the way that were measured on target: run it again"
    ):
        at_common_gain([("a", run_along(2.0)), ("b", results())], "target")


@pytest.mark.parametrize("text", ["target=", "target=five", "target=-5", "target=0"])
def test_what_is_no_gain_is_refused(text):
    with pytest.raises(UserError, match="write a family and a gain in points, such as target=\\+5"):
        Match.parse(text)


def test_the_gain_is_a_number_of_points():
    assert [Match.parse(text).gain for text in ("target", "target=+5", "target=2.5 points", "target=3pp")] == [
        None,
        5,
        2.5,
        3,
    ]


def test_a_match_needs_its_family_and_one_method():
    spec = {"evals": (EvalChoice(family="target"),), "domain": "reasoning"}
    with pytest.raises(UserError, match=r"No eval named 'targets'\. Did you mean 'target'"):
        validate(RunSpec(methods=("dpo",), match=Match(family="targets"), **spec), Plugins())
    with pytest.raises(UserError, match=r"which is not measured: add --eval safety\."):
        validate(RunSpec(methods=("dpo",), match=Match(family="safety"), **spec), Plugins())
    with pytest.raises(UserError, match="name one --method"):
        validate(RunSpec(methods=("dpo", "grpo"), match=Match(family="target"), **spec), Plugins())
