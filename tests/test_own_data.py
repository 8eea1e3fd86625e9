"""Data of a user's own: every form that people have is found, and whatever is wrong with a row is named."""

from __future__ import annotations

import csv
import json
import re

import pytest
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import Dataset

from tests.own_data import ROWS, chat, open_data, rows_of, sharegpt, write

BY_FORM = {"messages": "messages", "sharegpt": "sharegpt", "instruction": "instruction"}
PAIRED = {"preference", "preference of chats", "chats with a prompt", "answers of the assistant", "common beginning"}
PAIRED |= {"transcripts"}


@pytest.mark.parametrize("form", ROWS)
def test_a_form_is_found_and_every_row_becomes_the_same_problem(form, tmp_path):
    domain = open_data(write(tmp_path, rows_of(form)), verifier="none")
    problems = (*domain.problems("train", 1000, 0), *domain.holdout("held_out"))

    assert len(problems) == 100
    found = {(problem.messages[-1]["content"], problem.solution, problem.rejected) for problem in problems}
    assert (
        found
        == {
            (f"What comes after {n}?", f"It is {n + 1}.", f"No idea, {n}." if form in PAIRED else None)
            for n in range(100)
        }
        or form == "common beginning"
    )
    if form == "common beginning":  # whose prompt is what the two texts begin with
        assert {prompt for prompt, _, _ in found} == {f"What comes after {n}?" for n in range(100)}
    assert "100 rows of the form" in domain.description[0]


@pytest.mark.parametrize(
    "ending", ["json", "json lines in .json", "json of columns", "csv", "semicolons", "tsv", "parquet"]
)
def test_the_kinds_of_files_hold_the_same_rows(ending, tmp_path):
    rows = [{"prompt": f"Say {n},\nplease.", "completion": f'"{n}"; yes\ttoo'} for n in range(9)]
    file = (
        tmp_path
        / f"rows.{ending.split()[-1].removeprefix('.').replace('semicolons', 'csv').replace('columns', 'json')}"
    )
    if ending == "json":
        file.write_text(json.dumps(rows, indent=1))
    elif ending == "json lines in .json":
        write(tmp_path, rows, file.name)
    elif ending == "json of columns":
        file.write_text(json.dumps({name: [row[name] for row in rows] for name in rows[0]}))
    elif ending == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="") as out:
            table = csv.writer(out, delimiter={"csv": ",", "semicolons": ";", "tsv": "\t"}[ending])
            table.writerows([["prompt", "completion"], *(row.values() for row in rows)])
    problems = open_data(file, held_out=0).problems("train", 99, 0)
    assert {(each.messages[0]["content"], each.solution) for each in problems} == {tuple(row.values()) for row in rows}


def test_a_dataset_of_the_hub_is_read_as_a_file_is():
    class Hub:
        def load(self, hub_id, config="default", split="test"):
            assert (hub_id, config, split) == ("me/mine", "plain", "dev")
            return Dataset(rows=tuple(rows_of("completion", 5)), fingerprint="f", origin="hub, me/mine (plain/dev)")

    domain = open_data("me/mine", Hub(), config="plain", split="dev", held_out=0)
    assert len(domain.problems("train", 5, 0)) == 5
    assert "hub, me/mine (plain/dev)" in domain.description[0]


def test_columns_are_named_by_options_and_what_is_not_used_is_said(tmp_path):
    rows = [{"a": f"q{n}", "b": f"r{n}", "note": "x", "sys": "Be kind."} for n in range(5)]
    domain = open_data(write(tmp_path, rows), prompt="a", completion="b", system="sys", held_out=0)
    problem = domain.problems("train", 1, 0)[0]
    assert [turn["role"] for turn in problem.messages] == ["system", "user"]
    assert "prompt a" in domain.description[0]
    assert "not used: note" in domain.description[0]
    assert "verifier: none" in domain.description[1]


def test_an_instruction_is_put_with_its_input(tmp_path):
    row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    problem = open_data(write(tmp_path, [row]), held_out=0).problems("train", 1, 0)[0]
    assert problem.messages == ({"role": "user", "content": "Add.\n\n1, 2"},)


def test_every_turn_of_the_assistant_is_an_example_and_a_conversation_is_not_divided(tmp_path):
    rows = [{"conversations": sharegpt(f"q{n}", f"a{n}", "And then?", f"b{n}")} for n in range(60)]
    file = write(tmp_path, rows)
    domain = open_data(file)
    train, held = domain.problems("train", 999, 0), domain.holdout("held_out")
    assert len(train) + len(held) == 120
    assert {problem.cluster for problem in train}.isdisjoint({problem.cluster for problem in held})
    assert len({problem.cluster for problem in held}) == len(held) / 2
    longer = next(problem for problem in train if len(problem.messages) == 3)
    assert longer.messages[1]["content"] == longer.solution.replace("b", "a")
    last = open_data(file, turns="last", held_out=0).problems("train", 999, 0)
    assert {problem.solution for problem in last} == {f"b{n}" for n in range(60)}


def test_duplicates_are_left_out_and_counted_and_the_split_stays_when_rows_are_added(tmp_path):
    rows = rows_of("completion", 200)
    first = open_data(write(tmp_path, [*rows, *rows[:7]]), held_out=0.25)
    assert "7 exact duplicates left out" in first.description[1]
    held = {problem.id for problem in first.holdout("held_out")}
    assert 30 < len(held) < 70  # 50 expected, standard deviation 6
    more = open_data(write(tmp_path, [*rows_of("completion", 300), *rows]), held_out=0.25)
    assert held <= {problem.id for problem in more.holdout("held_out")}
    prompts = [
        {problem.messages[0]["content"] for problem in side}
        for side in (more.problems("train", 999, 0), more.holdout(""))
    ]
    assert prompts[0].isdisjoint(prompts[1])


def test_of_one_prompt_with_several_completions_nothing_is_lost_and_nothing_divided(tmp_path):
    rows = [{"prompt": f"q{n}", "completion": f"{n}{way}"} for n in range(40) for way in "abc"]
    domain = open_data(write(tmp_path, rows), held_out=0.3)
    train, held = domain.problems("train", 999, 0), domain.holdout("held_out")
    assert len({problem.id for problem in (*train, *held)}) == 120
    assert {one.messages[0]["content"] for one in train}.isdisjoint({one.messages[0]["content"] for one in held})


BROKEN = {
    "no JSON": '{"messages": [',
    "no JSON object": "[1, 2]",
    "is no list": {"messages": "hello"},
    "begins with the assistant": {"messages": [{"role": "assistant", "content": "Hi."}, *chat("a", "b")]},
    "has no turn of the assistant": {"messages": chat("a")},
    "turn 2, of the assistant, is empty": {"messages": chat("a", " ")},
    "has the role 'tool'": {"messages": [*chat("a", "b"), {"role": "tool", "content": "c"}]},
    "two turns of the user": {"messages": [{"role": "user", "content": "a"}, *chat("b", "c")]},
    "turn 1 is no text": {"messages": [{"role": "user", "content": [{"type": "image"}]}, chat("a", "b")[1]]},
    "more than data.max_chars": {"messages": chat("x" * 2**20, "b")},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_conversation_is_named_by_file_and_line(reason, tmp_path):
    rows = rows_of("messages", 12)
    rows.insert(4, BROKEN[reason])
    file = write(tmp_path, rows)
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        open_data(file)
    assert f"{file}: 1 of 13 rows" in str(caught.value)
    assert "line 5: " in str(caught.value)
    assert "on_broken=skip" in str(caught.value)
    domain = open_data(file, on_broken="skip", held_out=0)
    assert len(domain.problems("train", 99, 0)) == 12
    assert "1 broken rows left out" in domain.description[1]
    assert "line 5: " in domain.description[2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "chosen is empty"),
        ({"prompt": "q", "chosen": "b", "rejected": " b"}, "chosen and rejected are the same"),
        ({"prompt": "q", "chosen": "b", "rejected": None}, "rejected is empty"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
        ({"prompt": "q", "chosen": chat("q", "a"), "rejected": "b"}, "a text and the other a conversation"),
        ({"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("p", "b")}, "differ in more than their last turn"),
        ({"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "a")}, "are the same"),
    ],
)
def test_a_broken_pair_is_named(row, reason, tmp_path):
    file = write(tmp_path, [*rows_of("preference", 12), row])
    with pytest.raises(UserError, match=f"line 13: .*{reason}"):
        open_data(file)
    assert len(open_data(file, on_broken="skip", held_out=0).problems("train", 99, 0)) == 12


def test_one_reason_is_said_once_and_names_the_first_ten_rows(tmp_path):
    rows = [*rows_of("completion", 100), *({"prompt": f"q{n}", "completion": ""} for n in range(14))]
    with pytest.raises(UserError) as caught:
        open_data(write(tmp_path, rows))
    assert "lines 101, 102, 103, 104, 105, 106, 107, 108, 109, 110 and 4 more: the completion is empty" in str(
        caught.value
    )


def test_a_column_too_many_is_no_error_and_a_field_too_many_is(tmp_path):
    rows = rows_of("completion", 10)
    rows[3]["surplus"] = 1
    assert "not used: surplus" in open_data(write(tmp_path, rows)).description[0]
    table = tmp_path / "rows.csv"
    table.write_text("prompt,completion\na,b\nc,d,e\n")
    with pytest.raises(UserError, match="line 3: has 3 fields, and the first line names 2"):
        open_data(table)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"messages": chat("a", "b"), "prompt": "a", "completion": "b"}],
            "data.form=messages or -o data.form=completion",
        ),
        ([*rows_of("completion", 5), *rows_of("messages", 5)], "data.form=messages or -o data.form=completion"),
        ([{"question": "a", "query": "b", "output": "c"}], "data.prompt=question or -o data.prompt=query"),
        ([{"text": "a", "prompts": "b"}], "its columns are text, prompts.*Did you mean 'prompt'"),
        (["hello"], "line 1 is no JSON"),
        ([""], "holds no rows"),
    ],
)
def test_what_is_not_clear_says_in_one_line_which_option_decides(rows, said, tmp_path):
    with pytest.raises(UserError, match=said) as caught:
        open_data(write(tmp_path, rows))
    assert "\n" not in str(caught.value)


def test_a_form_that_is_named_decides(tmp_path):
    file = write(tmp_path, [{"messages": chat("a", "b"), "prompt": "c", "completion": "d"}])
    assert open_data(file, form="completion", held_out=0).problems("train", 1, 0)[0].solution == "d"
    assert open_data(file, messages="messages", held_out=0).problems("train", 1, 0)[0].solution == "b"


def test_what_is_missing_is_said_with_what_is_near(tmp_path):
    file = write(tmp_path, rows_of("completion", 3), "training.jsonl")
    for name, said in (("training2.jsonl", "Did you mean 'training.jsonl'"), ("other/x.jsonl", "no file")):
        with pytest.raises(UserError, match=said):
            open_data(tmp_path / name)
    with pytest.raises(UserError, match="is a folder"):
        open_data(tmp_path)
    with pytest.raises(DataUnavailableError, match=r"There is no file me/mine, and the .*data\.split"):
        open_data("me/mine")
    with pytest.raises(UserError, match=r"no column 'prompts'.*Did you mean 'prompt'"):
        open_data(file, prompt="prompts")
    with pytest.raises(UserError, match=r"data\.dataset=FILE"):
        open_data("").problems("train", 1, 0)
    (tmp_path / "rows.parquet").write_bytes(b"PAR")
    with pytest.raises(UserError, match="cannot be read"):
        open_data(tmp_path / "rows.parquet")
    (tmp_path / "latin.csv").write_bytes("prompt,completion\nné,b\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv cannot be read"):
        open_data(tmp_path / "latin.csv")


def test_without_rows_for_a_side_the_reason_is_said(tmp_path):
    file = write(tmp_path, rows_of("completion", 3))
    with pytest.raises(DataUnavailableError, match="held_out=0"):
        open_data(file, held_out=0).holdout("held_out")
    with pytest.raises(UserError, match="none is left to train on"):
        open_data(file, held_out=0.999).problems("train", 1, 0)
