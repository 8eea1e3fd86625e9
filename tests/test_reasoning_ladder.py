"""The ladder, names and numbers, neighbours, chains read by another model: engines of known skill."""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from pfh.errors import UserError
from pfh.hooks.backends import Completion, EngineSpec, Score
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.evals import AnalysisSpec, PlanSpec, Reference
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.sources.models import resolve
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FAKE_CHECKPOINT, FakeEngine, NoData, evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import reasoning
from pfh_evals.reasoning import neighbours, own, puzzles, readers, variations
from pfh_evals.reasoning.chains import read_chain
from pfh_evals.reasoning.ladder import feasible_first
from pfh_evals.reasoning.ladder_table import homogeneity_p
from pfh_evals.reasoning.problems import conversation, problems
from pfh_evals.reasoning.puzzles import judged, written
from pfh_evals.reasoning.readers import CELLS, crossed_effects, crossed_table, gains, informative_table

from tests.tiny import tiny_llama

OPTIONS = reasoning.Options(generators="chain_sum")
BAG = puzzles.pack_of(["tent", "lamp", "rope"], {"tent": 5, "lamp": 2, "rope": 3}, {"tent": 4, "lamp": 3, "rope": 3}, 5)


class Says(FakeEngine):
    """Answers by a function of the last turn."""

    def __init__(self, answer, checkpoint=FAKE_CHECKPOINT):
        super().__init__(checkpoint=checkpoint)
        self.answer = answer

    def generate(self, requests, sampling):
        texts = [self.answer(request.messages[-1]["content"]) for request in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]


def put(engine, *names, limit=None, **fields):
    spec = replace(evaluation_spec([], options=OPTIONS, limit=limit), engine=engine, benchmarks=names, **fields)
    return reasoning.evaluate(spec)


def rows_of(evaluation):
    return {row.name: row for row in evaluation.benchmarks}


# The ladder


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"pack": ["lamp", "rope"]}', "optimal"),
        ('Sure: {"pack": ["rope", "lamp"]}', "optimal"),
        ('{"pack": ["tent"]}', "feasible"),
        ('{"pack": ["lamp", "tent"]}', "infeasible"),
        ('{"pack": ["boat"]}', "unknown parts"),
        ('{"pack": ["lamp", "lamp"]}', "unknown parts"),
        ('{"pack": []}', "unknown parts"),
        ('{"pack": "lamp"}', "malformed"),
        ('{"pack": [1]}', "malformed"),
        ('{"bag": ["lamp"]}', "malformed"),
        ('{"pack": ["lamp"]} or {"pack": ["tent"]}', "malformed"),
        ("the lamp and the rope", "malformed"),
        ("", "malformed"),
        ("[" * 5000, "malformed"),
        (BAG.text, "malformed"),  # the problem given back, with the example of its form
        (f"So: {BAG.text}", "malformed"),
        (f"{BAG.text.partition('Reply')[0]}{json.dumps({'pack': ['lamp', 'rope']})}", "optimal"),
    ],
)
def test_every_class_of_a_reply(reply, expected):
    assert judged(BAG, reply, refused=False).label == expected


def test_a_refusal_is_no_malformed_answer_and_an_answer_is_no_refusal():
    assert judged(BAG, "I cannot help with that.", refused=True).label == "refused"
    assert judged(BAG, '{"pack": ["tent"]}', refused=True).label == "feasible"


def test_other_kinds_are_read_as_they_compare():
    by_kind = {each.kind: each for each in puzzles.puzzles()}
    for kind in ("assign", "route"):
        puzzle = by_kind[kind]
        best = next(iter(puzzle.best))
        assert judged(puzzle, written(puzzle, best), refused=False).label == "optimal"
        wrong = next(answer for answer, (feasible, _) in puzzle.answers.items() if not feasible)
        assert judged(puzzle, written(puzzle, wrong), refused=False).label == "infeasible"
    people = json.loads(written(by_kind["assign"], next(iter(by_kind["assign"].best))))["assign"]
    backwards = json.dumps({"assign": dict(reversed(people.items()))})
    assert judged(by_kind["assign"], backwards, refused=False).label == "optimal"
    two = dict.fromkeys(people, next(iter(people.values())))
    assert judged(by_kind["assign"], json.dumps({"assign": two}), refused=False).label == "unknown parts"


def test_answers_and_chance_are_those_of_a_count_by_hand():
    weight = {"tent": 5, "lamp": 2, "rope": 3}
    for size in (1, 2, 3):
        sets = list(itertools.combinations(weight, size))
        feasible = [each for each in sets if sum(weight[one] for one in each) <= 5]
        assert BAG.chance(size) == len(feasible) / len(sets)
    assert BAG.best == {("lamp", "rope")}
    for puzzle in puzzles.puzzles():
        assert puzzle.best
        assert 0 < sum(feasible for feasible, _ in puzzle.answers.values()) < len(puzzle.answers)
        told = re.findall(r"weighs (\d+)", puzzle.text)
        assert puzzle.kind != "pack" or len(puzzle.answers) == 2 ** len(told) - 1
    assert len({puzzle.id for puzzle in puzzles.puzzles()}) == sum(puzzles.COUNTS.values())


def solver(wanted):
    by_text = {each.text: each for each in puzzles.puzzles()}

    def answer(asked):
        puzzle = by_text[asked]
        ok = {answer for answer, (feasible, _) in puzzle.answers.items() if feasible}
        chosen = {"optimal": puzzle.best, "infeasible": set(puzzle.answers) - ok}.get(wanted, set())
        return written(puzzle, min(chosen)) if chosen else wanted

    return answer


def test_the_three_steps_are_scored_apart_and_what_became_well_formed_is_held_against_chance():
    prose, wrong, best = (put(Says(solver(each)), "ladder") for each in ("I like bags.", "infeasible", "optimal"))
    means = {name: row.samples[0].score for name, row in rows_of(wrong).items()}
    assert means == {"ladder-form": 1.0, "ladder-feasible": 0.0, "ladder-worth": None}
    assert {sample.score for row in rows_of(best).values() for sample in row.samples} == {1.0}
    assert {sample.score for sample in rows_of(prose)["ladder-form"].samples} == {0.0}
    rows = compare_evaluations(prose, wrong)
    analysis = reasoning.analyze(AnalysisSpec(before=prose, after=wrong, comparisons=rows, options=OPTIONS))
    count = sum(puzzles.COUNTS.values())
    assert analysis.findings[0].startswith(f"Of the {count} replies that became well-formed, 0 are feasible")
    assert "Stuart and Maxwell" in analysis.findings[1]
    table = next(table for table in analysis.tables if table.title.startswith("The ladder"))
    assert table.rows[1][1 + puzzles.CLASSES.index("infeasible")] == count
    (after,) = next(table for table in analysis.tables if table.title.startswith("Feasible")).rows
    assert after[2].value == 0
    assert after[4].value < 0  # worse than chance


def test_a_model_that_packs_one_thing_has_no_skill_beyond_chance():
    bags = [each for each in puzzles.puzzles() if each.kind == "pack"]
    draw = random.Random(0)
    rate = chance = 0.0
    for puzzle in bags * 40:
        one = draw.choice([answer for answer in puzzle.answers if len(answer) == 1])
        said = judged(puzzle, written(puzzle, one), refused=False)
        rate += said.label in ("feasible", "optimal")
        chance += said.chance
    assert rate / len(bags * 40) > 0.8  # looks like skill
    assert rate == pytest.approx(chance, rel=0.03)


def test_by_likelihood_only_answers_of_one_size_are_compared():
    short = {answer: -float(len(answer)) for answer in BAG.answers}
    assert feasible_first(BAG, short) == 0.5  # likes short answers, which are more often feasible: no skill
    skilled = {answer: float(feasible) for answer, (feasible, _) in BAG.answers.items()}
    assert feasible_first(BAG, skilled) == 1

    class Short(FakeEngine):
        def loglikelihood(self, requests):
            return [Score(logprob=-float(each.continuation.count('"')), greedy=False, tokens=1) for each in requests]

    (row,) = put(Short(), "ladder-ll", limit=8).benchmarks
    assert all(sample.score == 0.5 for sample in row.samples)


def test_the_test_of_the_whole_table_has_its_size_and_is_mcnemars_for_two_classes():
    from scipy.stats import chi2

    pairs = [("malformed", "feasible")] * 12 + [("feasible", "malformed")] * 3 + [("optimal", "optimal")] * 9
    assert homogeneity_p(pairs) == pytest.approx(chi2.sf((12 - 3) ** 2 / 15, 1))
    assert homogeneity_p([("optimal", "optimal")] * 9) is None
    draw = np.random.default_rng(0)
    names = puzzles.CLASSES[1:5]
    called = 0
    for _ in range(500):
        flat = draw.choice(4, (60, 2), p=[0.4, 0.3, 0.2, 0.1])
        called += (homogeneity_p([(names[x], names[y]) for x, y in flat]) or 1) < 0.05
    assert called / 500 <= 0.07


# Names and numbers


def test_other_names_keep_every_number_and_other_numbers_keep_the_template():
    found = variations.templates()
    assert len(found) == variations.TEMPLATES
    for template in found:
        numbers = {tuple(re.findall(r"\d+", each.question)) for each in template.named}
        assert len(numbers) == 1
        assert len({each.answer for each in template.named}) == 1
        assert len({each.question for each in template.named}) == variations.RENDERINGS
        assert len({each.question for each in template.numbered}) == variations.RENDERINGS


def test_a_model_that_knows_a_name_by_heart_is_found():
    known = {each.named[0].question: each.named[0].answer for each in variations.templates()}
    every = {one.question: one.answer for each in variations.templates() for one in (*each.named, *each.numbered)}

    def by_heart(asked):
        return f"The answer is {known.get(asked.partition(chr(10))[0], 1)}."

    def solves(asked):
        return f"Some steps. The answer is {every[asked.removesuffix(variations._TAIL)]}."

    heart, skill = (put(Says(each), "names", "numbers", limit=10) for each in (by_heart, solves))
    assert {sample.score for row in skill.benchmarks for sample in row.samples} == {1.0}
    assert max(sample.score for sample in rows_of(heart)["names"].samples) <= 0.5
    assert all(sample.extra["agreement"] == 1 for sample in rows_of(skill)["names"].samples)
    rows = compare_evaluations(skill, heart)
    tables = reasoning.analyze(AnalysisSpec(before=skill, after=heart, comparisons=rows, options=OPTIONS)).tables
    table = next(each for each in tables if each.title == "The same problem otherwise")
    assert table.rows[0][:2] == ("other names, same numbers", "before")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("First 3. The answer is 1,204.", 1204),
        ("The answer is: -7", -7),
        ("So 3 + 4 = 7.", 7),
        ("None.", None),
        ("<think>The answer is 3</think>The answer is 4", 4),
    ],
)
def test_the_answer_of_a_reply(reply, answer):
    assert variations.answer_in(reply) == answer


# Neighbours


def test_the_sets_differ_in_one_attribute_by_one_step():
    found = neighbours.items(["chain_sum"])
    groups = {each.group for each in found if each.generator == "chain_sum"}
    assert groups == {"in", "num_terms+1", "num_terms-1", "num_digits+1", "num_digits-1"}
    assert len({each.question for each in found}) == len(found)  # no set shares a problem with another
    spread = neighbours.items(["gcd"])
    assert {each.group for each in spread} >= {"value+1", "value-1"}
    assert len({each.question for each in spread}) == len(spread)
    with pytest.raises(UserError, match="Did you mean 'chain_sum'"):
        neighbours.items(["chain_sums"])


def test_the_old_best_answer_is_infeasible_next_door_and_found_as_stale():
    near = [each for each in neighbours.items([]) if each.group == "limit-1"]
    for item in near:
        old = next(iter(item.puzzle.old_best))
        assert judged(item.puzzle, written(item.puzzle, old), refused=False).label == "infeasible"
        assert neighbours._right(item, written(item.puzzle, old)) == (False, True)
        assert neighbours._right(item, written(item.puzzle, next(iter(item.puzzle.best)))) == (True, False)


def test_what_was_gained_at_the_training_settings_alone_shows_as_a_difference():
    every = {each.question: each for each in neighbours.items(["chain_sum"])}

    def trained(asked):
        item = every[asked.removesuffix("\nReply with the answer alone.")]
        return f"= {item.answer}" if item.group == "in" and not item.puzzle else "?"

    before, after = put(Says(lambda asked: "?"), "neighbours"), put(Says(trained), "neighbours")
    rows = compare_evaluations(before, after)
    tables = reasoning.analyze(AnalysisSpec(before=before, after=after, comparisons=rows, options=OPTIONS)).tables
    table = next(each for each in tables if each.title == "Next to what was trained on")
    (chain, pack) = table.rows
    assert (chain[0], chain[3].value, chain[4].value) == ("chain_sum", 1.0, 0.0)
    assert (chain[5].value, chain[5].low, chain[5].high) == (1.0, 1.0, 1.0)
    assert pack[5].value == 0


def test_the_interval_of_the_difference_covers():
    draw = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        inside = draw.choice([-1.0, 0.0, 1.0], 40, p=[0.1, 0.6, 0.3])
        near = [draw.choice([-1.0, 0.0, 1.0], 40, p=[0.2, 0.6, 0.2]) for _ in range(3)]
        _, low, high = neighbours.difference_in_differences(inside, near)
        covered += low <= 0.2 <= high
    assert covered / 200 > 0.9


# Readers


def test_gains_stop_where_the_answer_is_said():
    levels = {"0": -9.0, "1": -7.0, "2": -1.0, "shuffled": -2.0}
    found = gains(["Then 3 + 4 = 7.", "Then 7 + 1 = 8."], 8, levels)
    assert (found["gain"], found["whole"], found["order"], found["said_at"]) == (2.0, 8.0, 1.0, 2)
    assert found["by_step"] == [2.0, 6.0]
    assert sum(found["by_step"]) == found["whole"]


OTHER = Checkpoint(name="other", path=FAKE_CHECKPOINT.path, fingerprint="other")


class Reads(FakeEngine):
    """Writes a chain of two steps; which number it takes from a prefix depends on which model answers."""

    def __init__(self, takes, checkpoint=FAKE_CHECKPOINT):
        super().__init__(checkpoint=checkpoint)
        self.takes = takes

    def generate(self, requests, sampling):
        texts = [_chain(request.messages[-1]["content"]) for request in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]

    def loglikelihood(self, requests):
        found = []
        for each in requests:
            wanted = self.takes[self.checkpoint.name](each.context.rpartition("user: ")[2])
            said = int(re.findall(r"\d+", each.continuation)[0])
            found.append(Score(logprob=-1.0 - abs(said - wanted), greedy=False, tokens=1))
        return found


def _chain(asked):
    told = asked.partition("\n")[0]
    first, *rest = [int(number) for number in re.findall(r"\d+", told)]
    signs = [1 if "more" in part else -1 for part in told.split(" Then ")[1:]]
    lines, value = [], first
    for number, sign in zip(rest, signs, strict=True):
        lines.append(f"Then there are {value} {'+' if sign > 0 else '-'} {number} = {value + sign * number} things.")
        value += sign * number
    return "\n".join(lines) + f"\nThe answer is {value}."


def last(text):
    return int(re.findall(r"\d+", text)[-1])


def first(text):
    return int(re.findall(r"\d+", text)[0])


def crossed(takes):
    start = put(Reads(takes), "crossed", "informative", limit=12)
    reference = Reference(evaluation=start, artifact="a", checkpoint=FAKE_CHECKPOINT)
    engine = Reads(takes, checkpoint=OTHER)
    after = put(engine, "crossed", "informative", limit=12, reference=reference)
    assert engine.checkpoint == OTHER  # it answers as itself again
    return {row.name: list(zip(rows_of(start)[row.name].samples, row.samples, strict=True)) for row in after.benchmarks}


def test_a_model_crossed_with_itself_has_no_effect():
    pairs = crossed({"fake": last, "other": last})["crossed"]
    table = crossed_table(pairs)
    assert [row[1].value for row in table.rows[4:]] == [0.0, 0.0, 0.0]


def test_a_worse_reader_is_told_from_a_worse_chain():
    """Both wrote the same chains; the one before reads them, the one after reads the question alone."""
    pairs = crossed({"fake": last, "other": first})["crossed"]
    cells = {cell: np.array([y.extra[cell] for _, y in pairs]) for cell in CELLS}
    effects = crossed_effects(cells)
    assert cells[CELLS[0]].mean() == pytest.approx(1)
    assert effects["the reader"].mean() == pytest.approx(-1)
    assert effects["the chain"].mean() == effects["both together"].mean() == 0


def test_the_start_reads_both_models_chains():
    pairs = crossed({"fake": last, "other": first})["informative"]
    assert all(x.extra["gain"] == y.extra["gain"] for x, y in pairs)  # the same chains, one reader
    table = informative_table(pairs)
    assert {row[0] for row in table.rows} == {"right both times"}
    assert [row[4].value for row in table.rows] == [0.0] * 5


def test_where_nobody_wrote_a_chain_it_is_said_that_there_is_nothing_to_read():
    start = put(Says(lambda asked: "8"), "readers", limit=4)
    reference = Reference(evaluation=start, artifact="a", checkpoint=FAKE_CHECKPOINT)
    after = put(Says(lambda asked: "8", checkpoint=OTHER), "readers", limit=4, reference=reference)
    analysis = reasoning.analyze(AnalysisSpec(before=start, after=after, comparisons=(), options=OPTIONS))
    assert [each.partition(":")[0] for each in analysis.findings] == ["informative", "crossed"]


def test_a_model_to_which_all_is_equal_answers_nothing():
    class Flat(FakeEngine):
        def loglikelihood(self, requests):
            return [Score(logprob=-1.0, greedy=False, tokens=1) for _ in requests]

    rows = rows_of(put(Flat(), "early", "follow", limit=6))
    assert not any(sample.extra["right"] for sample in rows["early"].samples)
    assert {sample.score for sample in rows["follow"].samples} == {None}


def test_without_the_start_at_hand_nothing_is_read():
    start = put(Reads({"fake": last}), "crossed", limit=4)
    reference = Reference(evaluation=start, artifact="a")
    engine = Reads({"fake": last, "other": last}, checkpoint=OTHER)
    (row,) = put(engine, "crossed", limit=4, reference=reference).benchmarks
    assert row.status == "NOT_RUN"
    assert "stored evaluation" in row.reason


def test_what_costs_more_is_asked_only_by_name_and_the_plan_counts_it():
    plan = reasoning.plan(PlanSpec(options=OPTIONS, data=NoData()))
    asked = [row[0] for row in plan.rows]
    assert {"ladder-form", "ladder-feasible", "ladder-worth"} < set(asked)
    assert not set(reasoning.UNASKED) & set(asked)
    by_name = reasoning.plan(PlanSpec(options=OPTIONS, data=NoData(), benchmarks=reasoning.UNASKED, limit=20))
    counts = {row[0]: row[1:3] for row in by_name.rows}
    assert counts["names"] == (20, 80)
    assert counts["neighbours"][0] == 20
    assert counts["ladder-ll"][1] > 100


def test_two_real_models_read_the_same_chains_as_each_does_alone(tmp_path):
    folders = [tiny_llama(tmp_path / name, seed=seed, max_position_embeddings=2048) for seed, name in enumerate("ab")]
    checkpoints = [resolve(str(folder), cache_dir=tmp_path) for folder in folders]
    engine = HfEngine(EngineSpec(checkpoint=checkpoints[1], dtype="float32"))
    items = problems()[1][:3]
    texts = ["\n".join([*(step.text for step in item.steps), f"The answer is {item.answer}."]) for item in items]
    chains = [read_chain(text) for text in texts]
    done = Completion(text="x", tokens=1, prompt_tokens=1, truncated=False)
    wrote = [
        own.Written(item=item, completion=done, chain=chain, refused=False, prompt=engine.render(conversation(item)))
        for item, chain in zip(items, chains, strict=True)
    ]
    spec = replace(evaluation_spec([], options=OPTIONS), engine=engine)
    start = replace(spec, engine=HfEngine(EngineSpec(checkpoint=checkpoints[0], dtype="float32")))
    rows = [reasoning_row(name, readers.measure(name, wrote, start)) for name in readers.NAMES]
    reference = Reference(
        evaluation=Evaluation(family="reasoning", benchmarks=tuple(rows)), artifact="a", checkpoint=checkpoints[0]
    )
    after = replace(spec, reference=reference)
    read = readers.measure("informative", wrote, after)
    assert engine.checkpoint == checkpoints[1]
    for sample, first_time in zip(read, rows[0].samples, strict=True):  # the reader is the start, both times
        assert sample.extra["gain"] == pytest.approx(first_time.extra["gain"], abs=1e-4)
    alone = {each.id: each.score for each in own.measure("own-early", wrote, spec)}
    for sample in readers.measure("crossed", wrote, after):
        assert sample.extra["after reads after"] == sample.extra["after reads before"] == alone[sample.id]


def reasoning_row(name, samples):
    return Benchmark(name=name, version="1", metric="nats", higher_is_better=None, comparative=True, samples=samples)
