"""The family behaviour: every check by replies that pass and that fail, faults of published code, and fake engines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pfh.errors import UserError
from pfh.hooks.backends import Completion, Score
from pfh.hooks.datasets import Dataset
from pfh.hooks.evals import AnalysisSpec, PlanSpec, Reference
from pfh.hooks.evaluation import Evaluation
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, NoData, evaluation_spec
from pfh_evals import behaviour
from pfh_evals.behaviour import citation, constraints, forms, needle, robustness, scope
from pfh_evals.behaviour.asks import Generated
from pfh_evals.behaviour.questions import DATASETS, Named, questions
from pfh_evals.behaviour.replies import hollow
from pfh_evals.behaviour.select import everything
from pfh_evals.behaviour.surface import with_typos
from pfh_evals.behaviour.willingness import asks_back, marks_uncertainty
from pydantic import ValidationError

OPTIONS = behaviour.Options(needle_words="96")


def put(engine, *names, options=OPTIONS, **fields):
    """Put the family to an engine; return its benchmarks by name."""
    spec = replace(evaluation_spec([], options=options), engine=engine, benchmarks=names, **fields)
    return {row.name: row for row in behaviour.evaluate(spec).benchmarks}


def mean(row):
    scores = [sample.score for sample in row.samples if sample.score is not None]
    return sum(scores) / len(scores)


class Says(FakeEngine):
    """Answers a chat by a function of its messages."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.calls = answer, 0

    def generate(self, requests, sampling):
        self.calls += 1
        texts = [self.answer(request.messages) for request in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]


class Prefers(FakeEngine):
    """Likes some continuations best."""

    def __init__(self, likes):
        super().__init__()
        self.likes = likes

    def loglikelihood(self, requests):
        return [
            Score(logprob=-1.0 if self.likes(each.context, each.continuation) else -9.0, greedy=False, tokens=1)
            for each in requests
        ]


# Forms


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"answer": "the hen"}', "right"),
        (' {"answer": "Hen"}\n', "right"),
        ('{"answer": "banana"}', "schema, wrong value"),
        ('{"answer": 3}', "valid, not the schema"),
        ('{"answer": "hen", "note": "x"}', "valid, not the schema"),
        ('"hen"', "valid, not the schema"),
        ('Sure! {"answer": "hen"} Have a nice day.', "malformed"),
        ('{"answer": "hen"} {"answer": 3}', "malformed"),
        ('{"answer": "hen", "answer": "hen"}', "malformed"),
        ('{"answer": NaN}', "malformed"),
        ('```\n{"answer": "hen"}\n```', "malformed"),
        ("", "malformed"),
        ("[" * 9999, "malformed"),
    ],
)
def test_json_is_usable_only_if_it_is_all_there_is_and_right(reply, expected):
    assert forms.json_class(reply, forms.SHAPES[0][1], "the hen") == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("| Number | Answer |\n|---|---|\n| 1 | the shark |\n| 2 | Oak |", "right"),
        ("Number | Answer\n:--- | ---:\n1 | shark\n2 | oak", "right"),
        ("| Number | Answer |\n|---|---|\n| 2. | oak |\n| 1. | shark |", "right"),
        ("| Number | Answer |\n|---|---|\n| 1 | oak |\n| 2 | shark |", "schema, wrong value"),
        ("| Number | Answer |\n|---|---|\n| 7 | shark |\n| 9 | oak |", "schema, wrong value"),
        ("| Number | Reply |\n|---|---|\n| 1 | shark |\n| 2 | oak |", "valid, not the schema"),
        ("| Number | Answer |\n|---|---|\n| 1 | shark |", "valid, not the schema"),
        ("| Number | Answer |\n| 1 | shark |\n| 2 | oak |", "malformed"),
        ("Here:\n| Number | Answer |\n|---|---|\n| 1 | shark |\n| 2 | oak |", "malformed"),
        ("", "malformed"),
    ],
)
def test_a_table_is_usable_only_if_it_is_all_there_is_and_right(reply, expected):
    assert forms.table_class(reply, ("Number", "Answer"), ["the shark", "the oak"]) == expected


# Constraints


@pytest.mark.parametrize(
    ("check", "fields", "passes", "fails"),
    [
        ("max_words", {"most": 4}, "Ships rest here safely.", "Ships rest here safely at night."),
        ("min_words", {"least": 4}, "Ships rest here safely.", "ha ha ha ha ha ha"),
        ("contains", {"words": ["honey"]}, "I like honey most.", "I like honeydew most."),
        ("forbids", {"words": ["blue"]}, "The sea is wide.", "The sea is Blue."),
        ("lower_case", {}, "cold and white days", "Cold and white days"),
        ("upper_case", {}, "MIND THE STEP", "Mind THE STEP"),
        ("bullets", {"count": 2}, "- one thing\n- another", "Here:\n- one thing\n- another"),
        ("language", {"code": "de"}, "Der Bäcker backt jeden Morgen Brot.", "The baker bakes bread every day."),
        ("starts", {"text": "To be brief"}, "To be brief, it dries.", "It dries, to be brief."),
        ("ends", {"text": "Ride well"}, "They have two wheels. Ride well.", "Ride well. They have wheels."),
        ("sentences", {"count": 2}, "Boil 1.5 litres. Pour it.", "Boil water."),
        ("no_comma", {}, "A stove and a table", "A stove, a table"),
    ],
)
def test_a_verifier_tells_a_text_that_keeps_the_rule_from_one_that_breaks_it(check, fields, passes, fails):
    assert constraints.keeps(passes, check, fields)
    assert not constraints.keeps(fails, check, fields)
    assert not constraints.keeps("", check, fields)


def test_every_rule_of_the_family_has_a_verifier_and_an_unknown_one_is_an_error():
    for name in ("constraints.json", "retention.json"):
        for row in json.loads((behaviour.asks.DATA / name).read_text(encoding="utf-8")):
            assert row["check"] in constraints.VERIFIERS
            if "turns" in row:
                for said in row["turns"][1::2]:
                    assert constraints.keeps(said, row["check"], row["settings"]), said
    with pytest.raises(KeyError):
        constraints.keeps("some words here", "be_nice", {})


def test_the_language_of_a_text_is_the_same_every_time():
    text = "Bonjour la table"
    assert len({constraints.language(text, code="fr") for _ in range(8)}) == 1


# Willingness


@pytest.mark.parametrize(
    ("reply", "asks"),
    [
        ("Which city do you mean?", True),
        ("I need to know the date first. Could you tell me?", True),
        ("Please share the text that you want translated.", True),
        ("I assume that you mean Celsius: 104 degrees Fahrenheit.", True),
        ("Done! It is booked for eight. Shall I add a sauce?", False),
        ("Boil it for nine minutes. Do you like it soft?", False),
        ("Your table is booked for two at seven.", False),
        ("Sure! What text would you like me to take?", True),
        ("I need more information to help you.", True),
        ("You haven't given me any text.", True),
        ("Which date do you mean? I need it to look up the train.", True),
        ("What is the date of it? It was the third of May.", False),
        ("Here it is, sorted. Is there something else you would like in the text?", False),
        ("I can't help with that. How can I help you with the text?", False),
        ("Anything else you need from the city?", False),
        ("What a lovely day?", False),
        ("", False),
    ],
)
def test_asking_back_names_what_is_missing_and_is_no_offer(reply, asks):
    assert asks_back(reply, ["which", "city", "date", "text", "celsius"]) is asks


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("I don't know what you had for breakfast.", True),
        ("Nobody can know that yet.", True),
        ("Switzerland has no king.", True),
        ("There is no record of it.", True),
        ("You had eggs and toast.", False),
        ("Brazil will win it.", False),
        ("I can't see what is written there.", True),
        ("There is no country of that name.", True),
        ("The telephone was not invented until 1876.", True),
        ("I'm sorry, but I can't help with that.", False),
        ("I cannot provide you with that, as it could hurt someone.", False),
        ("No, gold is not a gas.", False),
        ("You should boil the pasta for nine minutes.", False),
        ("", False),
    ],
)
def test_uncertainty_is_marked_by_saying_so(reply, marks):
    assert marks_uncertainty(reply) is marks


# Needles, citations, scope


def item_of(items, category):
    return next(each for each in items if each.category == category)


def test_a_needle_is_found_by_its_code_alone():
    items = needle.asks_of(needle.Length(96))
    for variant in ("single", "multi-key", "multi-value", "multi-query"):
        item = item_of(items, variant)
        right = " and ".join(item.case["right"])
        assert needle.read_needle(item, f"The code is {right}.").score == 1
        for reply in ("", item.case["right"][0][:3], item.case["right"][0][::-1] + "7", item.asked, "I do not know."):
            assert needle.read_needle(item, reply).score == 0, reply
    single = item_of(items, "single")
    code = single.case["right"][0]
    assert needle.read_needle(single, f"{code[0]},{code[1:]}").score == 1
    for reply in (f"{code[0]} {code[1:]}", f"1. {code}", f"{code}, {code}", f"**{code}**"):
        assert needle.read_needle(single, reply).score == 1, reply
    for reply in (code * 2, f"{code}0", f"0{code}", f"{code}.5", f"{code} (sentence 3)"):
        assert needle.read_needle(single, reply).score == 0, reply
    first, second = item_of(items, "multi-value").case["right"]
    for reply in (f"1. {first}\n2. {second}", f"{second},{first}", f"{first[0]},{first[1:]}, {second[0]},{second[1:]}"):
        assert needle.read_needle(item_of(items, "multi-value"), reply).score == 1, reply
    assert needle.read_needle(item_of(items, "multi-value"), first + second).score == 0
    many = item_of(items, "multi-key")
    assert needle.read_needle(many, " ".join(many.case["right"] + many.case["others"])).score == 0
    absent = item_of(items, "absent")
    assert needle.read_needle(absent, "It is not there.").score == 1
    assert needle.read_needle(absent, f"It is not {absent.case['others'][0]}.").score == 0
    assert needle.read_needle(absent, "Fine").score == 0


def test_prompts_that_do_not_fit_the_window_are_insufficient(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 128}')
    engine = FakeEngine(["x"])
    engine.checkpoint = replace(engine.checkpoint, path=tmp_path)
    rows = put(engine, "needle", "needle-ll", options=behaviour.Options(needle_words="20,400"))
    assert [row.status for row in rows.values()] == ["MEASURED", "MEASURED", "INSUFFICIENT", "INSUFFICIENT"]
    assert "the model sees 128" in rows["needle-400"].reason


def test_a_citation_is_right_if_it_names_exactly_the_sources_that_hold_it():
    items = citation._sets()
    two = item_of(items, "two sources")
    held = "".join(f"[{number}]" for number in two.case["held"])
    assert citation.read_source(two, f"In {two.case['answer']} {held}.").score == 1
    one, other = two.case["held"]
    told = f"In {two.case['answer']}"
    for reply in (
        *(f"{told}[{one}][{other}].", f"{told} [Source {one}], [^{other}]", f"{told}【{one}】[{other}]"),
        *(f"{told} [{one} & {other}]", f"{told}, as sources {one} and {other} say."),
    ):
        assert citation.read_source(two, reply).score == 1, reply
    assert not citation.read_source(two, f"{told}, as sources {one} and {other} say.").extra["form"]
    assert citation.cited("arr[1], `data[2]` and x[3]") == []
    every = "".join(f"[{number}]" for number in range(1, len(two.case["sources"]) + 1))
    for reply in (every, f"{held} [9]", f"[{two.case['held'][0]}]", "Paris (the capital of France)", "see x[0]", "[e]"):
        assert citation.read_source(two, reply).score == 0, reply
    none = item_of(items, "no source")
    assert citation.read_source(none, "No source says it.").score == 1
    for reply in ("It was opened in 1900.", "It was not long ago, in 1777.", "No source says it [1].", "Fine."):
        assert citation.read_source(none, reply).score == 0, reply


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("It was opened in 1900 [2].", False),
        ("See x[0] (the capital of France).", False),
        ("As [Source 2] says.", False),
        ("Paris [Journal of Nothing 2031]", True),
        ("Opened in 1900 [7].", True),
        ("See https://example.org/x.", True),
        ("See doi: 10.1000/182.", True),
        ("So it is (Smith et al., 2019).", True),
        ("Smith (2019) says so.", True),
        ("Source 9 says so.", True),
        ("The mill (1900) was opened.", False),
        ("Opened in 1900 [2, page 3] [sic] [Your name].", False),
    ],
)
def test_a_source_is_invented_if_no_source_has_it(reply, found):
    assert bool(citation.made_up(reply, ["The mill was opened in 1900.", "b"], "When?")) is found


def test_scope_counts_points_and_directness_the_words_before_the_answer():
    spec = PlanSpec(options=OPTIONS, data=NoData())
    benchmarks = {each.name: each for each in scope.SCOPE}
    item = benchmarks["scope"].load(spec)[0][2]
    assert scope.read_scope(item, "Spring, then summer and fall.").score == 0.75
    assert scope.read_scope(item, "Springs and winters.").score == 0
    item = benchmarks["directness"].load(spec)[0][0]
    assert scope.read_directness(item, "There are seven of them.").score == 2
    assert scope.read_directness(item, "I cannot say.").score is None


# Replies that say nothing


def test_an_echo_is_what_has_nothing_of_its_own():
    asked = "Which trains go from Turin to Genoa tomorrow, and which of them is the fastest?"
    assert hollow(asked, "") == hollow(asked, " \n…") == "empty"
    assert hollow(asked, asked.upper()) == hollow(asked, f"{asked} {asked}") == "echo"
    assert hollow(asked, "The first one, at nine, is the fastest: it takes under two hours.") == ""
    assert hollow("Is it hot?", "hot") == ""


@pytest.mark.parametrize("answer", [lambda chat: "", lambda chat: chat[-1]["content"], lambda chat: "\n".join(
    turn["content"] for turn in chat)], ids=["empty", "echo", "dump"])  # fmt: skip
def test_no_empty_echoed_or_dumped_reply_passes_anything(answer):
    engine = Says(answer)
    written = [name for name, (_, _, each) in everything(PlanSpec(options=OPTIONS, data=NoData())).items()
               if isinstance(each, Generated)]  # fmt: skip
    rows = put(engine, *written)
    assert engine.calls == 1  # one call for all of them
    for row in rows.values():
        good = 0.0 if row.higher_is_better is False else 1.0
        allowed = {0.0, None} if good else {None}
        if row.name == "scope":
            continue  # a share of points: judged below
        assert {sample.score for sample in row.samples} <= allowed, row.name
    assert {sample.status for sample in rows["scope"].samples} == {"format_failure"}


_FIRST = {}


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=80))
def test_no_reply_crashes_a_check(reply):
    spec = PlanSpec(options=OPTIONS, data=NoData())
    for _, _, each in everything(spec).values():
        if isinstance(each, Generated):
            read = each.read(_FIRST.setdefault(each.name, each.load(spec)[0][0]), reply)
            assert read.score is None or read.score >= 0


# Robustness


def test_typos_leave_names_numbers_negations_and_options_alone():
    text = "Which of the following cities is not in Norway, except Oslo, in 1905, and never cold?"
    found = {with_typos(text, str(seed), ["the cities"]) for seed in range(40)}
    assert len(found) > 8
    for each in found:
        for word in ("cities", "not", "Norway", "except", "Oslo", "1905", "never"):
            assert word in each.replace(",", "").replace("?", "").split(), each


def test_a_model_that_always_says_a_is_no_start_and_as_the_tuned_one_a_finding():
    always = Prefers(lambda context, option: option == " A")
    row = put(always, "options")["options"]
    assert (row.status, mean(row)) == ("INSUFFICIENT", 0.0)
    assert "answers A whatever is asked, in 100%" in row.reason
    assert robustness.position_bias(row.samples) == pytest.approx(0.75)
    assert {sample.extra["agreement"] for sample in row.samples} == {0.0}
    rows = {each.text: each.options[each.answer] for each in behaviour.questions.built_in_questions()}

    def knows(context, option):
        question = context.removeprefix("Question: ").split("\n")[0]
        return f"{option.strip()}. {rows[question]}" in context.split("\n")

    before = Evaluation(family="behaviour", benchmarks=(put(Prefers(knows), "options")["options"],), model="a")
    against = Reference(evaluation=before, artifact="key")
    after = Evaluation(
        family="behaviour", benchmarks=(put(always, "options", reference=against)["options"],), model="b"
    )
    (row,) = compare_evaluations(before, after)
    assert (row.before, row.after, row.verdict) == (1.0, 0.0, "worse")
    spec = AnalysisSpec(before=before, after=after, comparisons=(row,), options=OPTIONS)
    assert "A is chosen in 100% of all orders" in " ".join(behaviour.analyze(spec).findings)


def test_of_a_dataset_every_subject_gives_its_share():
    rows = [{"question": f"{subject} {number}?", "subject": subject, "choices": ["a", "b"], "answer": 1}
            for subject in ("art", "law", "war") for number in range(400)]  # fmt: skip

    class Mmlu:
        def load(self, hub_id, config="default", split="test"):
            return Dataset(rows=tuple(rows), fingerprint="f", origin="memory")

    spec = PlanSpec(options=OPTIONS.model_copy(update={"questions": "mmlu"}), data=Mmlu())
    found, _ = questions(spec)
    assert len(found) == 500
    assert {Counter(each.category for each in found)[subject] // 2 for subject in ("art", "law", "war")} == {83}
    assert set(get_args(Named)) == set(DATASETS)
    with pytest.raises(ValidationError, match="'arc-easy', 'arc-challenge'"):
        behaviour.Options(questions="arc-esay")


def test_right_in_all_is_lost_with_one_wording():
    answers = {each.text: f" {each.options[each.answer]}" for each in behaviour.questions.built_in_questions()}

    def knows(context, option):
        return option in answers.values() and any(text in context for text, right in answers.items() if right == option)

    row = put(Prefers(knows), "wording")["wording"]
    assert mean(row) <= 0.25  # the paraphrases are unknown to it: of equal options it takes the first
    assert all(sum(sample.extra["right"]) >= 4 for sample in row.samples)
    assert mean(put(Prefers(knows), "surface")["surface"]) <= 0.25


# The whole family


def test_names_groups_and_the_default_set():
    assert len(put(FakeEngine(["x"]), "tools", limit=3)) == 5
    with pytest.raises(UserError, match="Did you mean 'tool-choice'"):
        put(FakeEngine(), "tool-choise")
    default = {name for name, (_, usual, _) in everything(PlanSpec(options=OPTIONS, data=NoData())).items() if usual}
    assert {"options", "json", "needle-96", "retention-control"} <= default
    assert not {"languages", "needle-ll-96"} & default


def test_the_plan_counts_shared_replies_once():
    table = behaviour.plan(PlanSpec(options=OPTIONS, data=NoData(), benchmarks=("tools",)))
    rows = {row[0]: row[1:3] for row in table.rows}
    assert rows["tool-choice"] == (24, 24)
    assert rows["tool-call"] == (24, 0)
    assert rows["tool-invented"] == (48, 0)


def test_the_grid_leaves_empty_what_was_not_measured():
    found = Evaluation(family="behaviour", benchmarks=tuple(put(FakeEngine(["x y z"]), "json", "options").values()))
    rows = compare_evaluations(found, found)
    spec = AnalysisSpec(before=found, after=found, comparisons=rows, options=OPTIONS)
    grid = behaviour.analyze(spec).tables[0]
    cells = {row[2]: row for row in grid.rows}
    assert cells["safety"][4:] == (None, None, None, None, "not measured")
    assert cells["behaviour/options"][4:8] == (None, None, None, None)
    assert cells["behaviour/json"][7] == 16
    assert cells["behaviour: underspecified, specified, uncertainty ..."][8] == "not measured"
    assert cells["policy: refusal"][8] == "not measured"
    assert not any("invariants" in name for name in cells)
    assert len({row[:3] for row in grid.rows}) == len(grid.rows)


def test_tools_of_a_template_that_has_none_are_not_run(tiny_llama_path):
    engine = FakeEngine()
    engine.checkpoint = replace(engine.checkpoint, path=tiny_llama_path)
    row = put(engine, "tool-call", options=OPTIONS.model_copy(update={"tools": "native"}))["tool-call"]
    assert row.status == "NOT_RUN"
    assert "behaviour.tools=prompt" in row.reason


def test_a_model_to_which_all_options_are_equal_answers_nothing():
    flat = Prefers(lambda context, continuation: True)
    rows = put(flat, "wording", "surface", "needle-ll", limit=8)
    assert all(sample.score == 0 for row in rows.values() for sample in row.samples)
    assert all(sample.extra["agreement"] == 0 for sample in rows["wording"].samples)
