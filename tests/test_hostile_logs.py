"""Logs that are damaged or made to do harm: the line or the member is skipped, or the file refused in one line."""

import json
import struct
import zipfile

import pytest
from pfh.errors import UserError
from pfh.logs import open_log
from pfh_readers import lines

HEADER = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "plan": {}}


def sample(number, **other):
    scores = {"match": {"value": "C", "answer": "a"}}
    return {"id": number, "epoch": 1, "input": f"q{number}", "target": "a", "scores": scores} | other


def archive(path, members, header=HEADER):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", json.dumps(header))
        for number, text in enumerate(members):
            file.writestr(f"samples/{number}_epoch_1.json", text)
    return path


def held(path):
    log = open_log(f"inspect:{path}")
    return len(log.evaluations[0].benchmarks[0].samples), " ".join(log.notes)


GOOD = [json.dumps(sample(i)) for i in range(3)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": 9, "a": ' + "[" * 100_000 + "]" * 100_000 + "}", "3_epoch_1.json: cannot be read"),
        ("[1]", "is no JSON object"),
        (json.dumps({"epoch": 1}), "has no id"),
    ],
)
def test_one_bad_sample_costs_no_other(tmp_path, text, said):
    count, notes = held(archive(tmp_path / "log.eval", [*GOOD, text]))
    assert count == 3
    assert said in notes


def test_a_member_that_unpacks_to_more_than_any_sample_has_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("pfh_readers.inspect.members.LONGEST_LINE", 10_000)
    packed = archive(tmp_path / "bomb.eval", [*GOOD, json.dumps(sample(9, pad="a" * 1_000_000))])
    assert packed.stat().st_size < 10_000
    count, notes = held(packed)
    assert count == 3
    assert "unpacks to more than" in notes


@pytest.mark.parametrize(("at", "value"), [(8, struct.pack("<H", 1)), (10, struct.pack("<H", 99))])
def test_an_encrypted_or_strangely_packed_member_is_skipped(tmp_path, at, value):
    path = archive(tmp_path / "log.eval", GOOD)
    content = bytearray(path.read_bytes())
    last = content.rfind(b"PK\x01\x02")
    content[last + at : last + at + 2] = value
    path.write_bytes(content)
    assert held(path)[0] == 2


@pytest.mark.parametrize("score", ["9" * 400, "1e999", "NaN", "-Infinity", '"x"', "[1, 2]"])
def test_scores_that_are_no_finite_numbers_are_missing(tmp_path, score):
    text = json.dumps(sample(9)).replace('"value": "C"', f'"value": {score}')
    log = open_log(f"inspect:{archive(tmp_path / 'log.eval', [*GOOD, text])}")
    assert [each.score for each in log.evaluations[0].benchmarks[0].samples] == [1.0, 1.0, 1.0, None]
    assert "1 of 4 documents have no finite score" in " ".join(log.notes)


@pytest.mark.parametrize(
    "header", [{"eval": 1}, {}, {"eval": {"model": ["m"], "task": {"a": 1}, "config": 5}, "plan": 3}]
)
def test_headers_of_any_form_are_refused_or_read(tmp_path, header):
    path = archive(tmp_path / "log.eval", GOOD, header)
    if isinstance(header.get("eval"), dict):
        assert held(path)[0] == 3
        return
    with pytest.raises(UserError, match="no log of Inspect"):
        open_log(f"inspect:{path}")


def row(number, **other):
    found = {"doc_id": number, "doc": {"q": number}, "target": "a", "doc_hash": f"h{number}", "filter": "none"}
    return json.dumps(found | {"metrics": ["acc"], "acc": 1.0} | other).encode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 3: is nested too deeply"),
        (b'{"a": "' + b"x" * 5000 + b'"}', "line 3: is longer than"),
        (row(2, metrics=["doc"]), "line 3: is no sample of lm-eval"),
        (row(2, acc=1.0).replace(b"1.0", b"9" * 5000), "line 3: is no JSON"),
    ],
)
def test_one_bad_line_costs_no_other(tmp_path, monkeypatch, line, said):
    if b"xxx" in line:
        monkeypatch.setattr(lines, "LONGEST_LINE", 4000)
    (tmp_path / "samples_t.jsonl").write_bytes(b"\n".join([row(0), row(1), line, row(3)]) + b"\n")
    log = open_log(f"lm-eval:{tmp_path}")
    assert len(log.evaluations[0].benchmarks[0].samples) == 3
    assert said in " ".join(log.notes)


@pytest.mark.parametrize(
    "own", [{"score": 99, "evil": 1}, {"status": "weird", "choices": -5, "tokens": "many"}, [1], "x"]
)
def test_what_a_line_says_of_itself_is_taken_only_in_the_right_form(tmp_path, own):
    (tmp_path / "samples_t.jsonl").write_bytes(row(0, pfh=own) + b"\n")
    found = open_log(f"lm-eval:{tmp_path}").evaluations[0].benchmarks[0].samples[0]
    assert (found.score, found.status, found.choices, found.tokens) == (1.0, "ok", None, None)


def test_names_hold_nothing_that_a_terminal_acts_on(tmp_path):
    header = HEADER | {"eval": {"task": "t\x1b[2J\0", "model": "m\x1b]0;o\x07"}}
    log = open_log(f"inspect:{archive(tmp_path / 'log.eval', GOOD, header)}")
    assert "\x1b" not in log.model + log.evaluations[0].benchmarks[0].name
