"""Invariants of a user's: every check by texts that pass and fail, files at fault by their line, judged by prompt."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.backends import Completion
from pfh.hooks.evals import AnalysisSpec, PlanSpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.judges import Judgement
from pfh.registry.plugins import Plugins
from pfh.results.contracts import Contract
from pfh.results.gate import judge_stages
from pfh.results.records import FamilyRecord, ModelRecord, StageRecord
from pfh.statistics.holds import failing, mean_limits, provable_margin, provable_share
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, NoData, evaluation_spec
from pfh_evals import behaviour
from pfh_evals.behaviour.invariants.checks import CHECKS, holds
from pfh_evals.behaviour.invariants.extracts import extracted
from pfh_evals.behaviour.invariants.faults import _FAULTS, fault_of
from pfh_evals.behaviour.invariants.opened import open_invariants

TOOLS = [
    {
        "name": "refund",
        "description": "Give money back.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
            "required": ["order"],
            "additionalProperties": False,
        },
    }
]
CONTEXT = {"asked": "Refund order A-7, please.", "sources": ["The mill opened in 1901."], "tools": TOOLS}
CALL = '{"name": "refund", "arguments": {"order": "A-7"}}'
SCHEMA = {"type": "object", "required": ["amount"]}


@pytest.mark.parametrize(
    ("name", "setting", "passes", "fails"),
    [
        ("equals", "yes", " yes\n", "yes, sure"),
        ("one_of", ["yes", "no"], "Yes.", "maybe"),
        ("contains", ["mill", "1901"], "The mill of 1901.", "The mill."),
        ("starts", "Dear", "Dear Ada, hello.", "Hello, Dear Ada"),
        ("ends", "Bye", "So long. Bye", "Bye then"),
        ("regex", "(?i)refund", "A Refund.", "money back"),
        ("json", True, '{"a": 1}', 'Sure: {"a": 1}'),
        ("json_schema", SCHEMA, '{"amount": 1}', '{"sum": 1}'),
        ("json_schema", SCHEMA, '{"amount": 1}', "amount"),
        ("json_path", {"/items/0/price": 3}, '{"items": [{"price": 3}]}', '{"items": []}'),
        ("json_path", {"/paid": True}, '{"paid": true}', '{"paid": 1}'),
        ("number", {"near": 1234.5, "within": 0.5}, "It is $1,234.", "It is 1,200."),
        ("number", {"near": 3}, "2 + 1 = 3", "three"),
        ("max_words", 3, "one two three", "one two three four"),
        ("min_words", 3, "one two three", "ha ha ha"),
        ("language", "de", "Das Haus steht am Fluss und ist sehr alt.", "The house by the river is very old."),
        ("must_call", {"tool": "refund", "arguments": {"order": "A-7"}}, CALL, CALL.replace("A-7", "B-1")),
        ("must_call", "refund", "refund(order='A-7')", "I refund it."),
        ("must_not_call", True, "What is the order?", CALL),
        ("must_not_call", "refund", '{"name": "other", "arguments": {}}', CALL),
        ("must_not_call", True, "No need.", '{"name": "refund", "arguments": {'),
        ("any_call_valid", True, CALL, '{"name": "refund", "arguments": {"amount": 1}}'),
        ("any_call_valid", True, CALL, "no call"),
        ("marks_uncertainty", True, "Nobody can know that.", "It is 42."),
        ("asks_back", ["city"], "Which city do you mean?", "It is sunny there."),
        ("cites_only", "sources", "It opened in 1901 [1].", "It opened in 1901 [2]."),
        ("keeps", {"rule": "bullets", "count": 2}, "- one thing\n- another thing", "- one thing"),
        ("format", "json", "[1]", "none"),
        ("format", "table", "|a|\n|---|\n|1|", "a: 1"),
        ("format", "bullets", "- a\n- b", "a\nb"),
        ("format", "one line", "all here", "here\nand there"),
        ("format", "plain", "Just words.", "# Title\n**bold**"),
        ("any_of", [{"contains": "yes"}, {"contains": "aye"}], "aye", "no"),
        ("not", {"contains": "sorry"}, "Of course.", "sorry, no"),
    ],
)
def test_every_check_has_a_text_that_passes_and_one_that_fails(name, setting, passes, fails):
    assert fault_of({name: setting}, ["refund"]) == ""
    assert holds(name, setting, passes, CONTEXT)
    assert not holds(name, setting, fails, CONTEXT)


@pytest.mark.parametrize(
    ("name", "setting", "passes", "fails"),
    [
        ("refuses", True, "refused", "complied"),
        ("refuses", True, "partial", "broken"),
        ("complies", True, "complied", "broken"),
        ("judge", "harmless", "harmless", "unparsed"),
    ],
)
def test_checks_of_the_judge_rest_on_its_label(name, setting, passes, fails):
    assert holds(name, setting, "x", CONTEXT | {"label": passes})
    assert not holds(name, setting, "x", CONTEXT | {"label": fails})


class Meaning:
    """A judge whose embedding is the share of words about rain, and the rest."""

    name = "meaning"

    def label(self, prompts, completions):
        return [Judgement(label="complied")] * len(completions)

    def errors(self):
        return []

    def embed(self, texts):
        shares = [
            sum(word in ("rain", "wet", "umbrella") for word in text.split()) / len(text.split()) for text in texts
        ]
        return np.array([[share, 1 - share] for share in shares]) / np.hypot(shares, 1 - np.array(shares))[:, None]


def test_a_reply_is_like_a_text_by_the_embeddings_of_a_judge_that_has_them(tmp_path):
    text = (
        "  - id: a\n    prompts: [{ask: 'Weather in {vars.x}?', vars: {x: Rome}}, {ask: 'Weather in {vars.x}?', "
        "vars: {x: Oslo}}]\n    checks: [{any_of: [{similar: {to: [rain wet, umbrella], at_least: 0.9}}, "
        "{contains: never}]}]\n"
    )
    file = written(tmp_path, text)

    def answer(asked):
        return "wet umbrella rain today" if "Rome" in asked else "sunny and dry all day"

    found = put(file, answer, judge=lambda name: Meaning())
    assert sorted(each.score for each in found.benchmarks[0].samples) == [0.0, 1.0]
    assert found.benchmarks[0].judge == "meaning"
    (row,) = put(file, answer).benchmarks
    assert (row.status, row.samples) == ("NOT_RUN", ())
    assert "has no embeddings, which similar needs: choose -o behaviour.judge=embedding" in row.reason


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("rain", "it takes {to: TEXT"),
        ({"to": "rain"}, "it takes {to: TEXT"),
        ({"to": "rain", "at_least": 70}, "between 0 and 1, not 70"),
        ({"to": [], "at_least": 0.7}, "a text or a list of texts"),
        ({"to": True, "at_least": 0.7}, "put it in quotes"),
    ],
)
def test_what_is_written_of_similar_is_checked(setting, said):
    assert said in fault_of({"similar": setting}, [])


def test_every_check_is_held_against_a_fault_of_its_setting():
    assert set(_FAULTS) | {"any_of", "not"} == set(CHECKS) | {"unchanged"}
    for name in _FAULTS:
        assert fault_of({name: {"type": 3}}, ["refund"]), name
        assert fault_of({name: None}, ["refund"]), name


HEAD = "version: 1\ndefaults: {hold: {at_least: 0.9}}\ninvariants:\n"


def written(folder, text, head=HEAD):
    (folder / "tools.json").write_text(json.dumps(TOOLS))
    file = folder / "own.yaml"
    file.write_text(head + text)
    return str(file)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("  - {id: a, prompts: [], checks: [{json: true}]}", 4, "no prompt"),
        ("  - {id: a, prompts: [Hi], checks: []}", 4, "no check"),
        ("  - {id: a, prompts: [Hi], checks: [{contains: no}]}", 4, "put it in quotes"),
        ("  - {id: a, prompts: [Hi], checks: [{contain: x}]}", 4, "Did you mean 'contains'?"),
        ("  - id: a\n    prompts: [Hi]\n    checkz: [{json: true}]", 6, "Did you mean 'checks'?"),
        ("  - id: a\n    prompts: [Hi]\n    checks:\n      - {regex: '('}", 7, "no regular expression"),
        ("  - id: a\n    prompts: [Hi]\n    checks:\n      - {json_schema: {type: thing}}", 7, "no JSON schema"),
        ("  - id: a\n    prompts: [Hi]\n    checks: [{regex: x}]", 4, "under `passes` and one under `fails`"),
        ("  - id: a\n    prompts: [Hi]\n    checks: [{regex: x}]\n    passes: [y]\n    fails: [z]", 7, "should pass"),
        ("  - id: a\n    prompts: [Hi]\n    checks: [{regex: x}]\n    passes: [x]\n    fails: [xx]", 8, "should fail"),
        ("  - {id: a, prompts: ['{vars.x}'], checks: [{json: true}]}", 4, "{vars.x} has no value"),
        ("  - {id: a, prompts: [Hi], checks: [{must_call: refund}]}", 4, "needs tools"),
        ("  - {id: a, prompts: [Hi], checks: [{cites_only: sources}]}", 4, "needs `sources`"),
        ("  - {id: a, prompts: [Hi], checks: [{json: true}], repeats: 3}", 4, "temperature above 0"),
        ("  - {id: a, prompts: [Hi], checks: [{json: true}], vary: {wording: [Please]}}", 4, "has no {ask}"),
        ("  - {id: a, kind: invariance, prompts: [Hi], vary: {typos: 1}}", 4, "extract"),
        ("  - {id: a, kind: direction, prompts: [Hi], extract: {words: true}}", 4, "against"),
        (
            "  - {id: a, prompts: [Hi], checks: [{json: true}]}\n  - {id: a, prompts: [Ho], checks: [{json: true}]}",
            3,
            "two",
        ),
    ],
)
def test_a_file_at_fault_is_told_by_its_line(tmp_path, text, line, said):
    with pytest.raises(UserError) as raised:
        behaviour.Options(file=written(tmp_path, text))
    assert f"own.yaml, line {line}:" in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_rate_there_is_no_invariant(tmp_path):
    file = written(tmp_path, "  - {id: a, prompts: [Hi], checks: [{json: true}]}", head="version: 1\ninvariants:\n")
    with pytest.raises(UserError, match="no hold"):
        open_invariants(file)


@pytest.mark.parametrize("content", ["", "[1, 2", "- a\n- b", "version: 2\ninvariants: []", "\x00", "&a [*a]"])
def test_what_is_no_file_of_invariants_is_one_line(tmp_path, content):
    file = tmp_path / "own.yaml"
    file.write_text(content)
    with pytest.raises(UserError) as raised:
        open_invariants(str(file))
    assert "\n" not in str(raised.value)


def test_a_pattern_that_never_ends_is_found_on_the_texts_of_the_file(tmp_path):
    evil = "  - {id: a, prompts: [Hi], checks: [{regex: '^(a+)+$'}], passes: [aaa], fails: [" + "a" * 40 + "!]}"
    with pytest.raises(UserError, match="did not end"):
        open_invariants(written(tmp_path, evil))


class Says(FakeEngine):
    """Answers a chat by a function of its last turn."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def generate(self, requests, sampling):
        texts = [self.answer(request.messages[-1]["content"]) for request in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]


def put(file, answer, **fields):
    options = behaviour.Options(file=file)
    spec = replace(evaluation_spec([], options=options), engine=Says(answer), benchmarks=("invariants",), **fields)
    return behaviour.evaluate(spec)


def analysed(before, after, file):
    rows = compare_evaluations(before, after)
    spec = AnalysisSpec(before=before, after=after, comparisons=rows, options=behaviour.Options(file=file))
    return rows, behaviour.analyze(spec)


MANY = (
    "  - id: polite\n    prompts: [{}]\n    checks: [{{contains: please}}]\n    hold: {}\n    why: Customers read it.\n"
)


def many(folder, count, hold):
    return written(folder, MANY.format(", ".join(f"Ask {number} politely now" for number in range(count)), hold))


def number_in(text):
    return int(text.split()[1])


def test_a_pattern_that_never_ends_on_a_reply_is_an_error_and_no_pass(tmp_path):
    text = "  - {id: a, prompts: [Hi there, Ho there], checks: [{regex: '^(a+)+$'}], passes: [aaa], fails: [b]}"
    samples = (
        put(written(tmp_path, text), lambda asked: "a" * 40 + "!" if "Hi" in asked else "aaa").benchmarks[0].samples
    )
    assert [(each.status, each.score) for each in samples] == [("error", None), ("ok", 1.0)]


@pytest.mark.parametrize("reply", ["", "   ", "Ask 1 politely now"])
def test_a_reply_that_is_empty_or_an_echo_holds_nothing(tmp_path, reply):
    file = written(
        tmp_path, "  - {id: a, prompts: [Ask 1 politely now], checks: [{max_words: 9}, {not: {contains: sorry}}]}"
    )
    assert [each.score for each in put(file, lambda asked: reply).benchmarks[0].samples] == [0.0]


def test_variants_stay_inside_the_score_of_their_prompt(tmp_path):
    text = (
        "  - id: a\n    prompts: [{ask: 'What is {vars.x}?', vars: {x: 4711}}]\n    checks: [{contains: '{vars.x}'}]\n"
        "    vary: {typos: 1, wording: ['{ask}', 'Please: {ask}']}\n"
    )
    found = put(written(tmp_path, text), lambda asked: "It is 4711." if "Please" in asked else "No idea.")
    (sample,) = found.benchmarks[0].samples
    assert sample.extra["held"].count(True) == 1
    assert sample.score == 1 / len(sample.extra["held"])
    assert sample.extra["user_prompt"] == "What is 4711?"


def test_an_invariance_wants_one_answer_and_a_direction_more_of_it(tmp_path):
    text = (
        "  - {id: same, kind: invariance, prompts: [How many legs has it], extract: {number: true},"
        " vary: {wording: ['Tell me: {ask}']}}\n"
        "  - {id: more, kind: direction, prompts: [{ask: Tell at length of bees, against: Tell of bees}],"
        " extract: {words: true}}\n"
    )
    file = written(tmp_path, text)
    steady = put(file, lambda asked: "It has 4 legs." if "legs" in asked else "Bees hum. " * (1 + ("length" in asked)))
    assert [row.samples[0].score for row in steady.benchmarks] == [1.0, 1.0]
    fickle = put(file, lambda asked: ("4" if "Tell" in asked else "3") if "legs" in asked else "Bees hum.")
    assert [row.samples[0].score for row in fickle.benchmarks] == [0.5, 0.0]


def test_what_is_offered_as_tools_is_in_the_prompt(tmp_path):
    text = "  - {id: a, prompts: ['Refund A-7'], checks: [{must_call: {tool: refund, arguments: {order: A-7}}}]}"
    file = written(tmp_path, text, head="version: 1\ntools: tools.json\ndefaults: {hold: {each: 0.5}}\ninvariants:\n")
    found = put(file, lambda asked: CALL if '"refund"' in asked else "?")
    assert found.benchmarks[0].samples[0].score == 1


def test_a_loss_is_broken_and_says_why_and_few_prompts_are_undecided(tmp_path):
    file = many(tmp_path, 60, "{at_least: 0.95, not_worse_by: 0.05}")
    good = put(file, lambda asked: "Do it, please.")
    bad = put(file, lambda asked: "Do it, please." if number_in(asked) % 3 else "Do it.")
    _, kept = analysed(good, good, file)
    assert [claim.state for claim in kept.claims] == ["holds", "holds"]
    assert kept.findings == ()
    _, lost = analysed(good, bad, file)
    assert [claim.state for claim in lost.claims] == ["broken", "broken"]
    assert lost.findings[0].startswith("The invariant polite is broken")
    assert lost.findings[0].endswith("Customers read it.")
    few = put(file, lambda asked: "Do it, please.", limit=20)
    _, open_ = analysed(few, few, file)
    assert [claim.state for claim in open_.claims] == ["undecided", "undecided"]
    assert "59 prompts without a failure would prove it" in open_.claims[0].said


def test_unchanged_is_told_of_both_replies(tmp_path):
    text = (
        "  - {id: a, prompts: [" + ", ".join(f"Sum {number} now" for number in range(60)) + "],"
        " checks: [{json: true}, {unchanged: {extract: {json: /amount}}}]}"
    )
    file = written(tmp_path, text)
    one, spaced, other = (
        put(file, lambda asked, text=text: text) for text in ('{"amount":1}', '{"amount": 1}', '{"amount":2}')
    )
    states = {claim.demand: claim.state for claim in analysed(one, spaced, file)[1].claims}
    assert states == {"held at least 0.9": "holds", "unchanged at least 0.9": "holds"}
    states = {claim.demand: claim.state for claim in analysed(one, other, file)[1].claims}
    assert states == {"held at least 0.9": "holds", "unchanged at least 0.9": "broken"}


def test_a_prompt_that_always_fails_is_found_and_flicker_is_not():
    rng = np.random.default_rng(0)
    steady = [(10, 10)] * 49
    assert failing([*steady, (1, 10)], 0.8) == [49]
    wrong = sum(bool(failing([(int(count), 10) for count in rng.binomial(10, 0.9, 50)], 0.9)) for _ in range(400))
    assert wrong / 400 <= 0.07  # a raw rule "8 of 10" stops 97% of such releases


def test_what_n_can_prove_is_as_published():
    assert provable_share(59) > 0.95 > provable_share(58)
    assert provable_share(299) > 0.99 > provable_share(298)
    assert provable_margin(133) <= 0.02 < provable_margin(132)
    low, high = mean_limits(np.array([1.0] * 30))
    assert low == pytest.approx(0.05 ** (1 / 30))
    assert high == 1


def test_the_plan_says_what_the_prompts_can_prove(tmp_path):
    file = many(tmp_path, 24, "{at_least: 0.95, not_worse_by: 0.02}")
    table = behaviour.plan(PlanSpec(options=behaviour.Options(file=file), data=NoData(), benchmarks=("invariants",)))
    (row,) = table.rows
    assert row[:4] == ("invariants/polite", 24, 24, "0 or 1")
    assert "24 prompts prove at most 0.88, 59 are needed" in row[4]
    assert "at best 0.10, 133 are needed" in row[4]
    enough = behaviour.Options(file=many(tmp_path, 60, "{at_least: 0.9}"))
    table = behaviour.plan(PlanSpec(options=enough, data=NoData(), benchmarks=("invariants",)))
    assert table.rows[0][4] == "own.yaml; can hold"


def test_a_dataset_that_is_not_here_is_not_run(tmp_path):
    file = written(tmp_path, "  - {id: a, prompts: {dataset: o/n/c/s, field: text}, checks: [{json: true}]}")
    (row,) = put(file, lambda asked: "x").benchmarks
    assert row.status == "NOT_RUN"
    with pytest.raises(DataUnavailableError):
        NoData().load("o/n")


def test_prompts_may_stand_in_a_file_of_their_own(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi there"}\n{"ask": "Ho there"}\n')
    text = "  - {id: a, prompts: {file: prompts.jsonl}, checks: [{contains: x}]}"
    file = written(tmp_path, text)
    first = behaviour.Options(file=file).file_content
    assert len(put(file, lambda asked: "x").benchmarks[0].samples) == 2
    (tmp_path / "prompts.jsonl").write_text('{"ask": "Ho there"}\n{"akk": "Hi"}\n')
    with pytest.raises(UserError, match="row 2: ask: "):
        open_invariants(file)
    (tmp_path / "prompts.jsonl").write_text('{"ask": "Ho there"}\n')
    assert behaviour.Options(file=file).file_content != first


def test_invariants_need_a_file():
    spec = evaluation_spec([], options=behaviour.Options())
    with pytest.raises(UserError, match=r"behaviour\.file="):
        behaviour.evaluate(replace(spec, benchmarks=("invariants",)))


def test_a_gate_holds_invariants_to_their_own_rates_and_to_a_margin_that_it_names(tmp_path):
    file = many(tmp_path, 60, "{at_least: 0.95}")
    good, bad = (
        put(file, answer) for answer in (lambda asked: "please", lambda asked: "please" if number_in(asked) else "no")
    )
    rows, analysis = analysed(good, bad, file)
    model = ModelRecord(name="m", fingerprint="f")
    record = FamilyRecord(
        family="behaviour", comparisons=rows, claims=analysis.claims, before_artifact="a", after_artifact="b"
    )
    stage = StageRecord(method="", before=model, after=model, families=(record,))
    read = StageRecord.model_validate_json(stage.model_dump_json())
    own = Contract.model_validate({"contract": 1, "must_hold": [{"what": "behaviour/invariants/*"}]})
    (clause,) = judge_stages(own, [read]).clauses
    assert (clause.demand, clause.state) == ("held at least 0.95", "undecided")
    wide = Contract.model_validate({"contract": 1, "must_hold": [{"what": "behaviour/invariants/*", "margin": 0.2}]})
    assert judge_stages(wide, [read]).clauses[0].demand == "not worse by 0.2"
    assert judge_stages(wide, [read]).passes


def test_the_family_takes_the_file_by_the_registry(tmp_path):
    file = many(tmp_path, 3, "{at_least: 0.5}")
    options = Plugins().options("evals", "behaviour", {"file": file})
    assert isinstance(options, behaviour.Options)
    assert options.file_content
    assert isinstance(put(file, lambda asked: "please"), Evaluation)


def test_large_numbers_that_differ_by_one_are_not_unchanged():
    assert extracted({"number": True}, "It is 1,234,567.") != extracted({"number": True}, "It is 1,234,568.")
    assert extracted({"number": True}, "It is 12.50.") == extracted({"number": True}, "It is 12.5.")
