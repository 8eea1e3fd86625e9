"""Logged requests replayed: personal data masked, bad lines told, what replies lost, and nothing sent anywhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pfh.errors import UserError
from pfh.hooks.backends import Completion
from pfh.hooks.checkpoint import Checkpoint, Endpoint
from pfh.hooks.evals import AnalysisSpec
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FAKE_CHECKPOINT, FakeEngine, evaluation_spec
from pfh_evals import traffic
from pfh_evals.behaviour.tool_calls import Call, read_calls
from pfh_evals.traffic.masking import BUILT_IN, masked, read_rules
from pfh_evals.traffic.measures import MEASURES, Said, scores
from pfh_evals.traffic.requests import LONGEST, Logged, read_requests

TOOL = {
    "name": "refund",
    "parameters": {"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}},
}


@pytest.mark.parametrize(
    ("kind", "found", "spared"),
    [
        ("EMAIL", "ada.l+x@mail.example.co.uk", "ada at mail"),
        ("URL", "https://u:p@host.example/x?token=1", "example.org is a host"),
        ("KEY", "sk-abcdefghij0123456789", "sk-short"),
        ("IBAN", "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("CARD", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("SSN", "078-05-1120", "078-05-11201"),
        ("IP", "192.168.0.12", "version 1.2.3.400"),
        ("PHONE", "+49 (0)30 901820", "in 2024, 1500 of 3000"),
    ],
)
def test_every_mask_finds_what_it_is_for_and_spares_what_looks_like_it(kind, found, spared):
    (text,), counts = masked([f"It is {found}, he said."])
    assert text == f"It is <{kind}_1>, he said."
    assert counts == {kind: 1}
    (text,), counts = masked([f"It is {spared}, he said."])
    assert kind not in counts


def test_every_kind_is_tested_above():
    assert set(BUILT_IN) == {"EMAIL", "URL", "KEY", "IBAN", "CARD", "SSN", "IP", "PHONE"}


def test_one_value_has_one_mask_in_all_turns():
    texts, counts = masked(["I am a@b.example.", "Hello a@b.example, write c@d.example."])
    assert texts == ["I am <EMAIL_1>.", "Hello <EMAIL_1>, write <EMAIL_2>."]
    assert counts == {"EMAIL": 3}


@given(st.text(alphabet="a1@.-+ :/()\nDE0", max_size=400))
def test_masking_ends_and_finds_nothing_more_in_what_it_left(text):
    (once,), _ = masked([text])
    (twice,), _ = masked([once])
    assert masked([twice])[0] == [twice]


def test_masking_is_linear_in_long_texts():
    for long in ("a" * 200_000, "1" * 200_000, "a@" * 100_000, "0(" * 100_000, "eyJ" * 60_000):
        masked([long])  # quadratic patterns would take minutes


def log(folder, *rows):
    file = folder / "requests.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return str(file)


def turn(role, content):
    return {"role": role, "content": content}


def chat(*turns, **fields):
    roles = ("user", "assistant")
    return {"messages": [turn(roles[place % 2], text) for place, text in enumerate(turns)], **fields}


def test_logs_are_read_in_the_forms_that_they_have(tmp_path):
    file = log(
        tmp_path,
        chat("Hi there"),
        "",
        chat("Hi you", "Hello."),
        chat("First", "Yes.", "Mail a@b.example", "Done, a@b.example."),
        {"request": chat("Inner"), "response": {"choices": [{"message": {"content": "Out."}}]}},
        {
            "messages": [
                {"role": "developer", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Parts"}]},
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "tool", "content": "1"},
                {"role": "user", "content": "y"},
            ]
        },
        chat("Hi there"),
    )
    found = read_requests(file)
    assert [(each.asked, each.reply) for each in found.requests] == [
        ("Hi there", ""),
        ("Hi you", "Hello."),
        ("Mail <EMAIL_1>", "Done, <EMAIL_1>."),
        ("Inner", "Out."),
        ("Parts", ""),
    ]
    assert [message["role"] for message in found.requests[4].messages] == ["system", "user"]
    assert found.left_out == {"with images or other parts": 1, "with calls or results of tools": 1, "asked twice": 1}
    assert found.masks == {"EMAIL": 2}


def test_an_answer_that_called_a_tool_is_read_from_the_endpoints_own_form(tmp_path):
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "refund", "arguments": "{}"}}]}
    asked = {"role": "user", "content": "Refund A"}
    old = {"message": {"content": None, "function_call": {"name": "refund", "arguments": "{}"}}}
    file = log(
        tmp_path,
        {"messages": [asked, called]},
        {"messages": [{**asked, "content": "Refund B"}], "response": {"choices": [{"message": called}]}},
        {"messages": [{**asked, "content": "Refund C"}], "response": {"choices": [old]}},
        {"messages": [asked, called, asked]},
    )
    found = read_requests(file)
    assert [read_calls(each.reply).calls for each in found.requests] == [(Call("refund", {}),)] * 3
    assert found.left_out == {"with calls or results of tools": 1}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"messages": [{"role": "usr", "content": "x"}]}', "line 2: there is no role 'usr'. Did you mean 'user'?"),
        ('{"messages": []}', "line 2 has no messages"),
        ('{"prompt": "x"}', "line 2 has no messages"),
        ("{not json", "line 2 is no JSON"),
        ("[1]", "line 2 is no JSON object"),
        (
            '{"messages": [{"role": "system", "content": "x"}]}',
            "line 2: the request does not end with a turn of the user",
        ),
        ('{"messages": ["x"]}', "line 2: there is no role None"),
        ('{"messages": [{"role": "user", "content": "x"}], "tools": [{"x": 1}]}', "a tool has no name"),
        (
            '{"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "t", "parameters": {"type": 1}}]}',
            "no JSON schema",
        ),
        ('{"messages": [{"role": "user", "content": "' + "x" * 10 * LONGEST + '"}]}', "line 2 is longer than 1 MiB"),
        ("[" * 100_000, "line 2 is no JSON"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path, row, said):
    with pytest.raises(UserError) as raised:
        read_requests(log(tmp_path, chat("Hi"), row))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("line", "said"), [("a x", "NAME in capitals"), ("A (", "regular expression"), ("A x*", "NAME in")]
)
def test_masks_of_ones_own_are_checked(tmp_path, line, said):
    file = tmp_path / "masks.txt"
    file.write_text(f"# ours\nCUSTOMER C-[0-9]+\n{line}\n")
    with pytest.raises(UserError, match="line 3") as raised:
        read_rules(str(file))
    assert said in str(raised.value)


def test_masks_of_ones_own_are_put_and_one_that_never_ends_leaves_its_request_out(tmp_path):
    file = tmp_path / "masks.txt"
    file.write_text("CUSTOMER C-[0-9]+\nEVIL ^(a+)+$\n")
    found = read_requests(log(tmp_path, chat("I am C-123"), chat("a" * 40 + "!")), read_rules(str(file)))
    assert [each.asked for each in found.requests] == ["I am <CUSTOMER_1>"]
    assert found.left_out == {"a mask of yours did not end": 1}


GERMAN = "Das Buch ist gestern bei uns angekommen und wird heute verschickt."
ENGLISH = "The parcel arrived here yesterday and it will be sent out today."


@pytest.mark.parametrize(
    ("name", "request_", "passes", "fails"),
    [
        ("says-something", ("Where is it?", ""), "In Rome.", ""),
        ("says-something", ("Where is it?", ""), "In Rome.", "Where is it?"),
        ("says-something", ("Where is it?", ""), "In Rome.", "so it is so it is so it is"),
        ("form-kept", ("Sum?", '{"a": 1}'), '{"a": 2}', 'Sure: {"a": 2}'),
        ("form-kept", ("Reply as JSON: sum?", ""), '```json\n{"a": 2}\n```', "a is 2"),
        ("form-kept", ("Table?", "|a|\n|---|\n|1|"), "|a|\n|---|\n|2|", "a: 2"),
        ("form-kept", ("Code?", "```\nx\n```"), "Here:\n```\ny\n```", "y"),
        ("tool-kept", ("Refund A", '{"name": "refund", "arguments": {"order": "A"}}'), "refund(order='A')", "Done."),
        ("tool-kept", ("Refund A", 'refund(order="A")'), "refund(order='B')", 'refund(amount="B")'),
        ("tool-kept", ("Hello", "Hello!"), "Hi.", '{"name": "refund", "arguments": {}}'),
        ("language-kept", (GERMAN, ""), GERMAN.replace("Buch", "Haus"), ENGLISH),
        ("language-kept", (ENGLISH, GERMAN), GERMAN, ENGLISH),
    ],
)
def test_every_rule_has_a_reply_that_keeps_it_and_one_that_does_not(name, request_, passes, fails):
    asked, reply = request_
    logged = Logged(
        id="x",
        line=1,
        messages=({"role": "user", "content": asked},),
        reply=reply,
        tools=(TOOL,) if "tool" in name else (),
    )
    measure = next(each for each in MEASURES if each.name == name)
    assert measure.score(logged, Said(text=passes, refused=False, truncated=False)) == 1
    assert measure.score(logged, Said(text=fails, refused=False, truncated=False)) == 0


def test_what_a_request_does_not_ask_for_is_not_scored():
    logged = Logged(id="x", line=1, messages=({"role": "user", "content": "Hi"},), reply="")
    found = scores(logged, Said(text="Hello.", refused=False, truncated=True))
    assert found["form-kept"] is found["tool-kept"] is found["language-kept"] is found["like-the-log"] is None
    assert found["sound"] == 0.5  # it says something, and was cut off


class Says(FakeEngine):
    def __init__(self, answer, checkpoint=FAKE_CHECKPOINT):
        super().__init__(checkpoint=checkpoint)
        self.answer, self.seen = answer, []

    def generate(self, requests, sampling):
        self.seen += [request.messages[-1]["content"] for request in requests]
        texts = [self.answer(request.messages[-1]["content"]) for request in requests]
        return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]


def put(file, answer, **fields):
    options = traffic.Options(requests=file)
    engine = Says(answer)
    return traffic.evaluate(replace(evaluation_spec([], options=options), engine=engine, **fields)), engine


def test_what_replies_lost_is_told_worst_first_and_no_text_stands_in_the_tables(tmp_path):
    rows = [chat(f"Sum of order {place}, reply as JSON please", '{"sum": 1}') for place in range(20)]
    file = log(tmp_path, *rows, chat("Write to ada@mail.example"))
    before, engine = put(file, lambda asked: '{"sum": 2}' if "JSON" in asked else "Yes, bob@mail.example.")
    assert "Write to <EMAIL_1>" in engine.seen
    after, _ = put(file, lambda asked: "" if " 7," in asked else "It is 2." if "JSON" in asked else "sorry, no")
    assert not any("@" in sample.completion + sample.prompt for row in before.benchmarks for sample in row.samples)
    assert all(row.sensitive for row in before.benchmarks)
    rows = {row.benchmark: row for row in compare_evaluations(before, after)}
    assert (rows["form-kept"].n, rows["form-kept"].before, rows["form-kept"].after) == (20, 1.0, 0.0)
    assert rows["form-kept"].verdict == "worse"
    assert rows["tool-kept"].status == "INSUFFICIENT"
    spec = AnalysisSpec(before=before, after=after, comparisons=tuple(rows.values()), options=None)
    analysis = traffic.analyze(spec)
    worst = analysis.tables[2].rows
    assert worst[0][0] == 8  # the line of the reply that says nothing
    assert worst[0][2] == "says-something, form-kept"
    assert len(worst) == 20
    assert analysis.findings[0].startswith("20 of 21 logged requests")
    assert "from 0 to 1 of 21" in analysis.findings[1]
    assert "mail" not in str(analysis.tables)


def test_the_same_model_twice_lost_nothing(tmp_path):
    file = log(tmp_path, *(chat(f"Say {place} for me") for place in range(5)))
    one, _ = put(file, lambda asked: "Fine.")
    analysis = traffic.analyze(AnalysisSpec(before=one, after=one, comparisons=(), options=None))
    assert analysis.findings == ()
    assert analysis.tables[0].rows[0][:2] == ("the same text", 5)


def test_nothing_is_sent_to_a_remote_model(tmp_path):
    file = log(tmp_path, chat("Hi"))
    remote = replace(FAKE_CHECKPOINT, endpoint=Endpoint(backend="openai", url="http://127.0.0.1:1/v1", model="m"))
    assert isinstance(remote, Checkpoint)
    engine = Says(lambda asked: "x", checkpoint=remote)
    spec = replace(evaluation_spec([], options=traffic.Options(requests=file)), engine=engine)
    with pytest.raises(UserError, match="do not leave this machine"):
        traffic.evaluate(spec)
    assert engine.seen == []


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(UserError, match="cannot be read"):
        traffic.Options(requests="/nowhere.jsonl").content  # noqa: B018 - the property reads it
