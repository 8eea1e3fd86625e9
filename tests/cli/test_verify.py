"""pfh verify: rows in, the same rows with what the verifier decided out, and one clear line for bad ones."""

import json
from pathlib import Path

import pytest


def rows_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def file_of(folder: Path, *rows: object) -> str:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(file)


def row(completion: str, answer: object = "5", **further: object) -> dict[str, object]:
    return {"prompt": "How many?", "completion": completion, "answer": answer, **further}


def test_the_rows_come_back_in_order_with_reward_and_score(call, tmp_path):
    file = file_of(tmp_path, row("\\boxed{5}", id=7), row("The answer is 5."), row("\\boxed{6}"), row("6", ["5", "6"]))

    ended = call("verify", "math", file, "-o", "answer_format=boxed")

    assert (ended.returncode, ended.stderr) == (0, "")
    found = rows_of(ended.stdout)
    assert found[0] == row("\\boxed{5}", id=7) | {"reward": 1.0, "score": 1, "extracted": "5", "status": "ok"}
    assert [(it["reward"], it["score"]) for it in found] == [(1, 1), (0, 1), (0, 0), (0, 1)]
    assert [it["status"] for it in found] == ["ok", "format_failure", "ok", "format_failure"]


def test_a_domain_that_takes_no_rows_of_its_own_is_asked_for_each_accepted_answer(call, tmp_path):
    ended = call("verify", "reasoning", file_of(tmp_path, row("blue", ["red", "blue"]), row("green", ["red"])))
    assert [it["score"] for it in rows_of(ended.stdout)] == [1, 0]


def test_an_answer_that_its_own_verifier_refuses_is_named_and_counted(call, tmp_path):
    ended = call("verify", "math", file_of(tmp_path, row("5"), row("5", "5" * 400), row("6")))
    assert ended.returncode == 0
    assert "answer itself of 1 row (line 2)" in ended.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2 is no JSON"),
        ("3", "line 2: not an object"),
        ('{"prompt": "a", "completion": "b"}', "line 2: without answer"),
        ('{"prompt": "a", "completion": 3, "answer": "b"}', "completion is not a text"),
        ('{"prompt": [], "completion": "", "answer": "b"}', "prompt is neither"),
        ('{"prompt": "a", "completion": "", "answer": [[1]]}', "answer is neither"),
        ('{"prompt": "a", "completion": "", "answer": " "}', "the answer is empty"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(call, tmp_path, line, told):
    ended = call("verify", "math", file_of(tmp_path, row("5"), line))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_missing_file_an_empty_one_and_a_wrong_name_say_so(call, tmp_path):
    assert "cannot be read" in call("verify", "math", str(tmp_path / "none")).stderr
    assert "holds no rows" in call("verify", "math", file_of(tmp_path, "")).stderr
    assert "Did you mean 'math'" in call("verify", "maths", file_of(tmp_path, row("5"))).stderr
    assert "answer_format" in call("verify", "math", file_of(tmp_path, row("5")), "-o", "answer_fromat=boxed").stderr


def test_a_cut_thought_is_told_from_a_wrong_form(call, tmp_path):
    file = file_of(tmp_path, row("<think>\n2 and"), row("five"), row("<think>7</think>\\boxed{5}"))

    ended = call("verify", "math", file, "-o", "answer_format=boxed")

    assert [found["status"] for found in rows_of(ended.stdout)] == ["truncated", "format_failure", "ok"]
