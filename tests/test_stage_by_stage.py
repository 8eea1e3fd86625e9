"""What each stage of a run changed, and what a later one restored."""

from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Quantity
from pfh.results.records import FamilyRecord
from pfh.results.stage_by_stage import TITLE, add_stage_by_stage

from tests.cli.pretence import results


def benchmark(scores, name="quiz", **changes):
    samples = tuple(
        Sample(id=str(place), benchmark=name, prompt="p", completion="c", score=float(score))
        for place, score in enumerate(scores)
    )
    described = {"version": "1", "metric": "accuracy", "higher_is_better": True} | changes
    return Benchmark(name=name, samples=samples, **described)


def stages(count):
    record = FamilyRecord(family="fake", comparisons=(), before_artifact="a", after_artifact="b")
    one = results().stages[0].model_copy(update={"families": (record,)})
    return [one.model_copy(update={"method": f"m{number}"}) for number in range(count)]


def drift(*scores, **changes):
    """Return the table's rows for one benchmark scored `scores[0]` at the start and `scores[k]` after stage k."""
    start = benchmark(scores[0], **changes)
    pairs = {(number, "fake"): [(start, benchmark(after, **changes))] for number, after in enumerate(scores[1:])}
    last = add_stage_by_stage(stages(len(scores) - 1), pairs)[-1]
    return [row for table in last.families[0].tables if table.title == TITLE for row in table.rows]


def test_what_the_second_stage_restored_is_told_apart_from_what_it_lost():
    first, second = drift([1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0])
    half = Quantity(value=0.5, unit="share")
    assert first[:3] == ("quiz", "1. M0", half)
    assert first[-2:] == (3, 0)  # two were forgotten, one was learned
    assert second[1:3] == ("2. M1", half)
    assert second[-2:] == (1, 1)  # one more was forgotten, one of the forgotten came back


def test_a_stage_is_compared_with_the_one_before_it():
    rows = drift([1] * 10, [0] * 10, [1] * 10)
    assert [(row[3].value, row[3].unit) for row in rows] == [(-1, "points"), (1, "points")]
    assert [row[4].unit for row in rows] == ["p", "p"]


def test_scores_that_are_no_verdicts_have_no_counts():
    rows = drift([1.5, 2.5], [2.5, 2.5], [1.5, 2.5], metric="tokens", higher_is_better=None)
    assert [row[-2:] for row in rows] == [(None, None)] * 2


def test_one_stage_has_no_table():
    assert drift([1, 0], [0, 0]) == []


def test_what_could_not_be_measured_has_no_row():
    assert drift([], [], [], status="NOT_RUN", reason="no data") == []
