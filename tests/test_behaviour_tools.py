"""Tool calls in the family behaviour: one verdict a reply, cases of BFCL, and the built-in cases by their schemas."""

from __future__ import annotations

import json

import pytest
from pfh.hooks.evals import PlanSpec
from pfh.testing import NoData
from pfh_evals import behaviour
from pfh_evals.behaviour import bfcl, tool_likelihood, tools
from pfh_evals.behaviour.tool_calls import read_calls
from pfh_evals.behaviour.tool_verdicts import invented, verdict

OPTIONS = behaviour.Options(needle_words="96")
OSLO = {"name": "weather", "arguments": {"city": ["Oslo"], "unit": ["celsius", None]}}
TOOLS = [
    {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer"},
            },
            "required": ["city"],
        },
    },
    {"name": "timer.start", "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}}},
]
ASKED = "What is the weather in Oslo?"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"name": "weather", "arguments": {"city": "Oslo"}}', "correct"),
        ('```json\n{"name": "weather", "arguments": {"city": "oslo", "unit": "celsius"}}\n```', "correct"),
        ('<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>', "correct"),
        ('{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}', "correct"),
        ("weather(city='Oslo')", "correct"),
        ("[weather(city='Oslo')]", "correct"),
        ("```tool_code\nprint(weather(city='Oslo'))\n```", "correct"),
        (
            '{"tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}',
            "correct",
        ),
        ('{"weather": {"city": "Oslo"}}', "correct"),
        ('<function=weather>{"city": "Oslo"}</function>', "correct"),
        ('Thought: I look.\nAction: weather\nAction Input: {"city": "Oslo"}', "correct"),
        ('{"name": "weather", "arguments": {"city": "Rome"}}', "wrong value"),
        ('{"name": "weather", "arguments": {"city": "Oslo", "unit": "fahrenheit"}}', "wrong value"),
        ('{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}', "wrong value"),
        ('{"name": "weather", "arguments": {"unit": "celsius"}}', "missing argument"),
        ('{"name": "weather", "arguments": {"city": "Oslo", "when": "now"}}', "invented argument"),
        ('{"name": "weather", "arguments": {"city": 7}}', "invalid arguments"),
        ('{"name": "weather", "arguments": ["Oslo"]}', "invalid arguments"),
        ('{"name": "timer.start", "arguments": {"minutes": 3}}', "wrong tool"),
        ('{"name": "rain", "arguments": {"city": "Oslo"}}', "unknown tool"),
        ("weather(city='Oslo')\nweather(city='Rome')", "too many calls"),
        ("It is cold in Oslo today.", "no call"),
        ("NONE", "no call"),
        ("", "no call"),
        ('{"name": "weather", "arguments": {"city": "Oslo"', "unreadable call"),
        ("weather('Oslo')", "unreadable call"),
        ("<tool_call>", "unreadable call"),
        ("Action: weather\nAction Input: Oslo", "unreadable call"),
        (json.dumps(TOOLS[0]), "unreadable call"),  # a tool that is described again is not called
        (f"The tools are {json.dumps(TOOLS)}", "unreadable call"),
    ],
)
def test_a_reply_to_a_request_for_a_tool_has_one_verdict(reply, expected):
    assert verdict(reply, ASKED, [OSLO], TOOLS) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("NONE", "abstained"),
        ("I have no tool for that.\nSorry.\nAsk me something else.", "abstained"),
        ("Which city do you mean?", "abstained"),
        ('{"name": "NONE", "arguments": {}}', "abstained"),
        ("Action: weather\nAction Input: Oslo", "unreadable call"),
        ('{"name": "weather", "arguments": {"city": "Oslo"}}', "called without need"),
        ("weather(city='Oslo'", "unreadable call"),
        ("", "says nothing"),
        ("abc", "says nothing"),
        ("abc abc abc abc", "says nothing"),
        (ASKED, "says nothing"),
    ],
)
def test_abstaining_is_said_and_neither_a_broken_call_nor_nothing(reply, expected):
    assert verdict(reply, ASKED, [], TOOLS) == expected


def test_dotted_names_are_read_in_the_gold_and_in_the_reply():
    gold = [{"name": "math.factorial", "arguments": {"number": [5]}}]
    known = [
        {"name": "math.factorial", "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}}}
    ]
    found = {reply: verdict(reply, "5!", gold, known) for reply in (
        "I like trains a lot.", "math.factorial(number=99)", "math.factorial(number=5)",
        '{"name": "math.factorial", "arguments": {"number": 5}}', "```\nmath.factorial(number=5)\n```",
    )}  # fmt: skip
    assert list(found.values()) == ["no call", "wrong value", "correct", "correct", "correct"]


def test_several_calls_are_right_in_any_order():
    gold = [{"name": "weather", "arguments": {"city": [city]}} for city in ("Oslo", "Rome")]
    assert verdict("weather(city='Rome')\nweather(city='Oslo')", ASKED, gold, TOOLS) == "correct"
    assert verdict("weather(city='Rome')", ASKED, gold, TOOLS) == "too few calls"
    assert verdict("weather(city='Rome')\nweather(city='Rome')", ASKED, gold, TOOLS) == "wrong value"


def test_an_argument_is_invented_if_nobody_said_it():
    def of(**arguments):
        return invented(json.dumps({"name": "weather", "arguments": arguments}), ASKED, [], TOOLS)

    assert of(city="Oslo", unit="celsius") == []
    assert of(city="Bergen") == ["city"]
    assert of(city="Oslo", mood="grey") == ["mood"]


def test_hostile_calls_are_read_without_harm():
    for text in ("[" * 5000, "{" * 5000, '{"name": 3}', "__import__('os').system(x='ls')", "f(" * 999, "a(b=\udc80)"):
        assert read_calls(text).kind in ("none", "attempt", "calls")
    assert verdict("weather(city={1, 2})", ASKED, [OSLO], TOOLS) == "invalid arguments"


def test_cases_of_bfcl_keep_optional_arguments_and_types():
    row = {
        "id": "simple_0",
        "question": [[{"role": "user", "content": "Play it."}]],
        "function": [
            {
                "name": "spotify.play",
                "parameters": {
                    "type": "dict",
                    "properties": {"artist": {"type": "string"}, "speed": {"type": "float"}, "x": {"type": "any"}},
                    "required": ["artist"],
                },
            }
        ],
    }
    case = bfcl.case_of(row, [{"spotify.play": {"artist": ["Swift", "Taylor Swift"], "speed": [1.0, ""]}}])
    schema = case["tools"][0]["parameters"]
    assert (schema["type"], schema["properties"]["speed"]["type"], schema["properties"]["x"]) == (
        "object",
        "number",
        {},
    )
    for reply in ("spotify.play(artist='Taylor Swift')", "spotify.play(artist='Swift', speed=1)"):
        assert verdict(reply, case["asked"], case["expected"], case["tools"]) == "correct"
    assert bfcl.case_of(row, [])["kind"] == "none fits"


def test_the_built_in_cases_are_right_by_their_own_schemas():
    spec = PlanSpec(options=OPTIONS, data=NoData())
    asks, _ = tools.requests(spec)
    assert len(asks) == len({each.id for each in asks}) == 48
    for each in asks:
        if each.case["expected"]:
            expected = each.case["expected"][0]
            arguments = {name: values[0] for name, values in expected["arguments"].items() if values[0] is not None}
            reply = json.dumps({"name": expected["name"], "arguments": arguments})
            assert verdict(reply, each.case["asked"], each.case["expected"], each.case["tools"]) == "correct"
            assert invented(reply, each.case["asked"], [], each.case["tools"]) == []
            right, wrong = tool_likelihood.contrasts(each)
            assert right not in wrong.values()
            assert len(set(wrong.values())) == len(wrong) >= 4
