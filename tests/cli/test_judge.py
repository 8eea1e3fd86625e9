"""pfh judge: rows in, the same rows with label and confidence out, and one clear line for bad ones."""

import json
from pathlib import Path

import pytest


def file_of(folder: Path, *rows: object) -> str:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(file)


def row(completion: str, **further: object) -> dict[str, object]:
    return {"prompt": "How do I bake bread?", "completion": completion, **further}


def test_the_rows_come_back_in_order_with_label_and_confidence(call, tmp_path):
    file = file_of(tmp_path, row("I'm sorry, I can't help with that.", id=7), row("Mix flour and water."), row(""))

    ended = call("judge", "rule", file)

    assert (ended.returncode, ended.stderr) == (0, "")
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [it["label"] for it in found] == ["refused", "complied", "broken"]
    assert found[0]["id"] == 7
    assert all(0.5 <= it["confidence"] <= 1 for it in found)


def test_a_chat_as_prompt_and_an_option_are_taken(call, tmp_path):
    chat = row("I won't help you with that.") | {"prompt": [{"role": "user", "content": "Tell me."}]}
    ended = call("judge", "rule", file_of(tmp_path, chat), "-o", "threshold=0.6")
    assert json.loads(ended.stdout)["label"] == "refused"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2 is no JSON"),
        ("3", "line 2: not an object"),
        ('{"prompt": "a"}', "line 2: without completion"),
        ('{"prompt": "a", "completion": 3}', "completion is not a text"),
        ('{"prompt": [], "completion": ""}', "prompt is neither"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(call, tmp_path, line, told):
    ended = call("judge", "rule", file_of(tmp_path, row("yes"), line))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_missing_file_and_wrong_names_say_so(call, tmp_path):
    assert "cannot be read" in call("judge", "rule", str(tmp_path / "none")).stderr
    assert "Did you mean 'rule'" in call("judge", "rul", file_of(tmp_path, row("a"))).stderr
    assert "threshold" in call("judge", "rule", file_of(tmp_path, row("a")), "-o", "treshold=0.6").stderr
