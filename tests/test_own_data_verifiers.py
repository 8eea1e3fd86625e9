"""Who judges a user's own data: the verifier that the answers suggest, or the one that is chosen."""

from __future__ import annotations

import json

import pytest
from pfh.errors import UserError
from pfh.hooks.domains import HasGold, why_unverified
from pfh.progress import Silent
from pfh.steps.verifier import check_verifier

from tests.own_data import open_data, rows_of, write

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
CHECK = '''
def short(completion, answer):
    """Ends with the answer, in few words."""
    return completion.strip().endswith(answer) and len(completion.split()) <= 3


def columns(completion, row, prompt):
    return 0.5 * (row["id"] in completion) + 0.5 * (prompt in completion)


def broken(completion):
    raise RuntimeError("no idea")


def stuck(completion, answer):
    while completion == "stuck":
        pass
    return completion == answer


def large(completion):
    return 7
'''


def only(domain):
    return domain.problems("train", 1, 0)[0]


def judged(domain, *completions):
    verdicts = domain.verify_many([only(domain)] * len(completions), completions)
    return [(verdict.reward, verdict.counted) for verdict in verdicts]


@pytest.mark.parametrize(
    ("answers", "verifier"),
    [
        (["42", "3.5", "$1,000"], "number"),
        (["Paris", "the Nile", "4"], "exact"),
        (["A long answer that explains all of what was asked, as people do who write completions.", "x"], "none"),
        (["Two lines\nof text", "x"], "none"),
        (["We add.\n#### 42", "So\n#### 7"], "number"),
        (["Thus \\boxed{x^2}.", "Thus \\boxed{2}."], "exact"),
    ],
)
def test_the_answers_suggest_a_verifier_which_is_said(answers, verifier, tmp_path):
    rows = [{"question": f"q{n}", "answer": answer} for n, answer in enumerate(answers)]
    assert f"verifier: {verifier}" in open_data(write(tmp_path, rows)).description[1]


def test_options_in_a_column_make_a_multiple_choice(tmp_path):
    row = {"question": "Which is prime?", "choices": ["4", "7", "9"], "answer": 1}
    domain = open_data(write(tmp_path, [row, row | {"answer": "7", "question": "And?"}]), held_out=0)
    assert "verifier: choice" in domain.description[1]
    assert only(domain).messages[0]["content"].endswith("A. 4\nB. 7\nC. 9")
    assert judged(domain, "B", "The answer is B", "B. 7", "A", "A. 7") == [(1, 1), (1, 1), (1, 1), (0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("verifier", "answer", "right", "in_another_form", "wrong"),
    [
        ("number", "1000", ["1,000", "1000.0", "So\n#### 1000", "a\nThe answer is 1000.", "\\boxed{1000}"],
         ["There are 3.\nThat makes 1000 apples"], ["999", "1000 or 999", "", "#### 1000\n#### 999"]),
        ("exact", "Mount Etna", ["mount etna", "<answer>Mount Etna</answer>", "It is high.\nThe answer is Mount Etna."],
         ["Answer: Mount Etna\nThat is all."], ["Mount Etna or Vesuvius", "Etna", ""]),
        ("math", "\\frac{1}{2}", ["0.5", "\\boxed{\\frac12}", "Half.\n#### 1/2"], ["Thus\nthe result is 1/2 then"],
         ["0.333", "1/3"]),
        ("regex", "[A-Z]{2}\\d+", ["AB12", "The answer is AB12."], ["Code: x\nAnswer: AB12\nDone."],
         ["ab12", "AB", "xAB12y"]),
        ("json", json.dumps(SCHEMA), ['{"n": 1}', '```json\n{"n": 1}\n```'], ['Here it is: {"n": 1}'],
         ['{"n": "1"}', "{n: 1}", "1", '{"n": NaN}', "[" * 100_000]),
    ],
)  # fmt: skip
def test_a_verifier_pays_strictly_and_counts_as_the_field_does(
    verifier, answer, right, in_another_form, wrong, tmp_path
):
    row = {"prompt": "What?", "answer": answer}
    domain = open_data(write(tmp_path, [row]), verifier=verifier, held_out=0)
    assert not why_unverified(domain)
    assert judged(domain, *right) == [(1, 1)] * len(right)
    assert judged(domain, *in_another_form) == [(0, 1)] * len(in_another_form)
    assert judged(domain, *wrong) == [(0, 0)] * len(wrong)
    assert judged(domain, f"<think>{wrong[0]}</think>{right[0]}") == [(1, 1)]


def test_several_answers_are_accepted_and_one_that_looks_like_a_list_is_itself(tmp_path):
    rows = [{"prompt": "q", "answer": ["one", "1"]}]
    assert judged(open_data(write(tmp_path, rows), verifier="exact", held_out=0), "1", "ONE", "2")[:2] == [(1, 1)] * 2
    listed = open_data(write(tmp_path, [{"prompt": "q", "answer": '["a", "b'}]), verifier="exact", held_out=0)
    assert judged(listed, '["a", "b', "c") == [(1, 1), (0, 0)]


def test_a_pattern_and_a_schema_for_all_rows(tmp_path):
    file = write(tmp_path, [{"prompt": f"q{n}"} for n in range(4)])
    assert judged(open_data(file, verifier="regex", pattern="yes|no", held_out=0), "yes", "maybe") == [(1, 1), (0, 0)]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    domain = open_data(file, verifier="json", json_schema=str(schema), held_out=0)
    assert judged(domain, '{"n": 3}', "3") == [(1, 1), (0, 0)]
    schema.write_text('{"type": 3}')
    with pytest.raises(UserError, match="is no JSON schema"):
        open_data(file, verifier="json", json_schema=str(schema))
    with pytest.raises(UserError, match="no regular expression"):
        open_data(file, verifier="regex", pattern="(")
    with pytest.raises(UserError, match="4 of 4 rows"):
        open_data(write(tmp_path, rows_of("completion", 4)), verifier="regex")


def test_a_pattern_that_never_ends_earns_nothing(tmp_path):
    file = write(tmp_path, [{"prompt": "q"}])
    domain = open_data(file, verifier="regex", pattern="(a+)+b", time_limit=0.2, held_out=0)
    assert judged(domain, "a" * 60, "aab") == [(0, 0), (1, 1)]


def test_a_function_of_the_users_own_judges(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_checks.py").write_text(CHECK)
    file = write(tmp_path, [{"prompt": "q", "answer": "4", "id": "x1"}])
    domain = open_data(file, verifier="own_checks:short", held_out=0)
    assert judged(domain, "It is 4", "4", "5", "oh well it is 4") == [(1, 1), (1, 1), (0, 0), (0, 0)]
    assert judged(open_data(file, verifier="own_checks:stuck", time_limit=0.3, held_out=0), "stuck", "4") == [
        (0, 0),
        (1, 1),
    ]
    with pytest.raises(UserError, match=r"fails on an empty completion \(RuntimeError: no idea\)"):
        open_data(file, verifier="own_checks:broken")
    with pytest.raises(UserError, match="it returned 7"):
        open_data(file, verifier="own_checks:large")
    with pytest.raises(UserError, match="ModuleNotFoundError"):
        open_data(file, verifier="nowhere.at_all:f")
    alone = open_data(
        write(tmp_path, [{"prompt": "why", "id": "x1"}], "other.jsonl"), verifier="own_checks:columns", held_out=0
    )
    assert judged(alone, "why x1", "x1", "") == [(1, 1), (0.5, 0.5), (0, 0)]
    before = domain.version
    (tmp_path / "own_checks.py").write_text(CHECK + "\n# another\n")
    assert open_data(file, verifier="own_checks:short", held_out=0).version != before


def test_a_gold_that_its_own_verifier_refuses_is_named_and_counted(tmp_path):
    rows = [{"question": f"q{n}", "answer": answer} for n, answer in enumerate(["1", "2", "three", "4"])]
    file = write(tmp_path, rows)
    with pytest.raises(UserError, match="1 of 4 rows cannot be used: line 3: the answer 'three' is no number"):
        open_data(file, verifier="number")
    domain = open_data(file, verifier="number", on_broken="skip", held_out=0)
    assert {problem.answer for problem in domain.problems("train", 9, 0)} == {"1", "2", "4"}
    wrong = write(
        tmp_path,
        [{"prompt": f"q{n}", "completion": f"It is {n + (n == 2)}.", "answer": f"It is {n}"} for n in range(5)],
    )
    with pytest.raises(UserError, match=r"line 3: verifier=exact refuses its own completion 'It is 3\.'"):
        open_data(wrong, verifier="exact")


def test_a_completion_is_taught_in_the_form_that_it_has_and_earns_the_reward(tmp_path):
    told = "First we add.\nThat makes 42 apples"
    domain = open_data(
        write(tmp_path, [{"prompt": "q", "completion": told, "answer": "42"}]), verifier="number", held_out=0
    )
    assert only(domain).solution == told
    assert judged(domain, told, "Other\nwords make 42 apples") == [(1, 1), (0, 1)]


@pytest.mark.parametrize(
    ("verifier", "answer_format", "asked", "written"),
    [
        ("math", "boxed", "\\boxed{}", "\\boxed{4}"),
        ("exact", "tagged", "<answer>", "<answer>4</answer>"),
        ("exact", "line", "only", "4"),
    ],
)
def test_the_prompts_may_say_how_to_answer(verifier, answer_format, asked, written, tmp_path):
    file = write(tmp_path, [{"prompt": "2 + 2?", "answer": "4"}])
    domain = open_data(file, verifier=verifier, answer_format=answer_format, held_out=0)
    problem = only(domain)
    assert asked in problem.messages[0]["content"]
    assert problem.solution == written
    assert judged(domain, written, "It may be 4.\nOr five.") == [(1, 1), (0, 0)]


@pytest.mark.parametrize("verifier", ["exact", "number", "math", "regex", "json"])
def test_the_self_test_of_verifiers_passes(verifier, tmp_path):
    answers = {"regex": "x[0-9]{2}", "json": json.dumps(SCHEMA)}
    rows = [{"prompt": f"What is {n} and {n}?", "answer": answers.get(verifier, f"{2 * n + 3}")} for n in range(20)]
    domain = open_data(write(tmp_path, rows), verifier=verifier, held_out=0)
    tried = 2 if verifier == "math" else 16  # as computer algebra judges each probe
    outcome = check_verifier(domain, domain.problems("train", tried, 0), Silent())
    assert outcome.problems == tried
    assert outcome.golds == (0 if isinstance(domain, HasGold) else tried)
    assert outcome.unrewarded == ()
