"""The QA domain: questions, splits, one answer a completion, exact match over all aliases and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pfh.errors import DataUnavailableError, UserError
from pfh.hooks.datasets import Dataset, Row
from pfh.hooks.domains import DomainSpec, Problem, Rollout
from pfh.registry.options import fill
from pfh.sources.datasets import HubData
from pfh.store.rollouts import read_rollouts, write_rollouts
from pfh_domains import qa
from pfh_domains.qa.choices import options_in
from pfh_domains.qa.extraction import LONGEST_ANSWER, extract_answer
from pfh_domains.qa.matching import exact_match, normalised, token_f1
from pfh_domains.qa.problems import BBH_TASKS
from pfh_domains.qa.settings import Options
from pfh_domains.sources import from_answer, to_answer


class FakeData:
    """Datasets in memory, by hub id, configuration and split."""

    def __init__(self, rows: Mapping[str, list[Row]]) -> None:
        self.rows = rows

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        name = f"{hub_id}/{config}/{split}"
        if name not in self.rows:
            raise DataUnavailableError(f"{name} is not here")
        return Dataset(rows=tuple(self.rows[name]), fingerprint=f"{len(self.rows[name])}", origin="test")


LINE = {"answer_format": "line", "shots": 4}


def rows(count: int) -> list[Row]:
    return [
        {"problem": f"who lives at number {n}", "answer": [f"Person {n}", f"The person {n} "]} for n in range(count)
    ]


def domain(**options: object) -> qa.Qa:
    return qa.Qa(Options(**LINE | options), FakeData({"axon-rl/HotpotQA/default/train": rows(60)}))


OPENED = domain()


def problem(*answers: str) -> Problem:
    asked = ({"role": "user", "content": "Which is it?"},)
    return Problem(id="p", environment="qa:test", messages=asked, answer=to_answer(answers))


def test_splits_are_disjoint_and_a_longer_list_begins_with_the_shorter():
    opened = domain()
    train, test = opened.problems("train", 30, seed=3), opened.problems("test", 5, seed=3)
    assert not {p.id for p in train} & {p.id for p in test}
    assert opened.problems("train", 10, seed=3) == train[:10]
    assert opened.problems("train", 10, seed=4) != train[:10]
    assert {p.environment for p in train} == {"qa:HotpotQA"}
    assert train[0].messages[-1]["content"].startswith("Who lives at number")
    with pytest.raises(UserError, match=r"train split: .* and 1000 were asked for"):
        opened.problems("train", 1000, seed=0)


def test_every_alias_is_right_and_the_solution_is_a_completion():
    for answer_format in ("line", "tagged"):
        opened = domain(answer_format=answer_format)
        one = opened.problems("train", 1, seed=0)[0]
        assert len(from_answer(one.answer)) == 2
        assert opened.verify(one, one.solution).reward == 1
        assert opened.verify(one, one.messages[1]["content"]).reward == 0  # a worked example's answer


def test_the_sets_own_repositories_stand_in_for_gems_copies():
    stand_in = "google-research-datasets/nq_open/efficientqa/dev"
    questions = {stand_in: [{"question": f"q {n}", "answer": ["x"]} for n in range(40)]}
    nq = qa.Qa(Options(dataset="NaturalQuestions", **LINE), FakeData(questions))
    hotpot = {"hotpotqa/hotpot_qa/distractor/train": [{"question": f"q {n}?", "answer": "x"} for n in range(40)]}
    assert len(nq.problems("train", 20, seed=0)) == 20
    assert len(qa.Qa(Options(dataset="qa:HotpotQA"), FakeData(hotpot)).problems("train", 20, seed=0)) == 20
    with pytest.raises(DataUnavailableError, match="axon-rl/HotpotQA"):
        qa.Qa(Options(dataset="HotpotQA"), FakeData({})).problems("train", 1, seed=0)


@pytest.mark.parametrize("name", ["triviaqa", "MMLU", "bbh", "eval:QaOpen"])
def test_held_out_sets_cannot_be_trained_on(name):
    with pytest.raises(UserError, match="held out"):
        fill(Options, {"dataset": name}, "domain qa")


def test_an_unknown_dataset_names_the_nearest_and_grids_need_the_tagged_form():
    with pytest.raises(UserError, match="Did you mean 'HotpotQA'"):
        fill(Options, {"dataset": "HotPotQA"}, "domain qa")
    with pytest.raises(UserError, match="answer_format=tagged"):
        fill(Options, {"dataset": "rg:arc_agi", "answer_format": "line"}, "domain qa")


def test_generated_questions_keep_the_contract_and_compare_grids_line_by_line():
    line = qa.Qa(Options(dataset="rg:arc_1d", **LINE), FakeData({}))
    train = line.problems("train", 6, seed=1)
    assert line.problems("train", 3, seed=1) == train[:3]
    assert not {p.id for p in train} & {p.id for p in line.problems("test", 3, seed=1)}
    assert line.version != qa.Qa(Options(dataset="rg:arc_1d", **LINE | {"shots": 1}), FakeData({})).version
    for one in train:
        assert line.verify(one, one.solution).reward == 1
        assert line.verify(one, one.solution[:-1] + "x").reward == 0
    grids = qa.Qa(Options(dataset="arc_agi", answer_format="tagged", shots=4), FakeData({}))
    (one,) = grids.problems("train", 1, seed=0)
    assert grids.verify(one, one.solution).reward == 1
    assert grids.verify(one, one.solution.replace("\n", " ")).reward == 0


@pytest.mark.parametrize(
    ("completion", "answer_format", "expected"),
    [
        ("Paris", "line", "Paris"),
        ("\n Paris \n", "line", "Paris"),
        ("Paris\nLondon", "line", None),
        ("", "line", None),
        ("Hm. <answer>Paris</answer>", "tagged", "Paris"),
        ("<answer>Paris</answer> I repeat: <answer> Paris </answer>", "tagged", "Paris"),
        ("<answer>Paris</answer><answer>London</answer>", "tagged", None),
        ("<answer><answer>Paris</answer></answer>", "tagged", None),
        ("<answer>Paris", "tagged", None),
        ("Paris</answer>", "tagged", None),
        ("<answer></answer>", "tagged", None),
        ("Paris", "tagged", None),
        ("x" * (LONGEST_ANSWER + 1), "line", None),
        ("<answer>Paris" + " " * LONGEST_ANSWER + "London</answer>", "tagged", None),
        ("<answer>" * 50_000, "tagged", None),
    ],
)
def test_one_answer_is_found_or_none(completion, answer_format, expected):
    assert extract_answer(completion, answer_format) == expected


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        ("paris.", ["Paris"]),
        ("The Beatles", ["Beatles", "Fab Four"]),
        ("fab four", ["Beatles", "Fab Four"]),
        ("1000", ["1,000"]),
        ("A", ["A"]),
        ("(a)", ["A", "A. An apple"]),
        ("A. an apple", ["A", "A. An apple"]),
        ("] >", ["] >"]),
        ("1990-91", ["1990–91"]),
        ("-5", ["-5"]),
        ("the the", ["The The"]),
    ],
)
def test_other_writings_of_a_reference_are_right(answer, references):
    assert exact_match(answer, references)
    assert domain().verify(problem(*references), answer).reward == 1


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        ("Paris or London", ["Paris"]),
        ("Paris, London", ["Paris", "London"]),
        ("The capital is Paris", ["Paris"]),
        ("Par", ["Paris"]),
        ("Paris Paris", ["Paris"]),
        ("a", ["B"]),
        ("A. 24", ["B", "B. 24"]),
        ("B A", ["A"]),
        ("the", ["A"]),
        ("39960", ["-39960"]),
        ("35", ["3.5"]),
        ("3.5 million", ["35 million"]),
        ("> ]", ["] >"]),
        (".", ["!"]),
        ("the", ["The The"]),
        ("২০", ["20"]),
    ],
)
def test_containing_a_reference_is_not_enough(answer, references):
    assert not exact_match(answer, references)
    assert domain().verify(problem(*references), answer).reward == 0


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("the answer is X.", "X"),
        ("xmen", "X-Men"),
        ("21", "twenty-one"),
        ("twenty one", "21"),
        ("1,500,000", "1.5 million"),
        ("305", "three hundred and five"),
        ("10%", "10 percent"),
        ("20 pounds", "£20"),
        ("May 5th, 1990", "5 May 1990"),
        ("from 1939 to 1945", "1939-1945"),
        ("1939-45", "1939–45"),
        ("US", "U.S."),
        ("Sao Paulo", "São Paulo"),
        ("ZURICH", "Zürich"),
        ("“Hamlet”", '"Hamlet"'),
        ("《Hamlet》", "Hamlet"),
        ("「東京」", "東京"),
        ("rock & roll", "rock and roll"),
        ("3rd", "third"),
        ("7", "Seven"),
        ("seven", "7"),
        ("Motley Crue", "Mötley Crüe"),
        ("Oklahoma", "Oklahoma!"),
        ("MASH", "M*A*S*H"),
        ("1. Paris", "Paris"),
        ("- Paris", "Paris"),
        ("**Paris**", "Paris"),
        ("Answer: Paris", "Paris"),
        ("It's Paris.", "Paris"),
        ("It is Paris", "Paris"),
        ("Paris\n\nParis is the capital.", "Paris"),
        ("St Louis", "St. Louis"),
        ("Jean Luc Picard", "Jean-Luc Picard"),
        ("email", "e-mail"),
        ("1234", "1,234"),
        ("16:9", "16:9"),
        ("C#", "C#"),
        ("100 km", "100 km"),
        ("Beatles", "the Beatles"),
        ("O’Brien", "O'Brien"),
        ("naive", "naïve"),
        ("2 1/2", "2 1/2"),
        ("the 1960s", "1960s"),
        ("1 million dollars", "$1 million"),
        ("1/2", "½"),
        ("12", "１２"),
        ("Henry viii", "Henry VIII"),
        ("The answer is True.", "True"),
        ("Answer: valid", "valid"),
        ("Yes.", "Yes"),
        ("yes", "Yes"),
        ("Beyonce", "Beyoncé"),
        ("٢٠", "20"),
        ("May 5, 1990", "1990-05-05"),
        ("STRASSE", "Straße"),
        ("cafe\u0301", "café"),
        ("Paris\u200b", "Paris"),
        ("北京。", "北京"),
        ("«Москва»", "Москва"),
    ],
)
def test_evaluation_accepts_another_writing_and_an_answer_in_a_sentence(answer, reference):
    assert OPENED.verify(problem(reference), answer).counted == 1


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("London", "Paris"),
        ("Paris or London", "Paris"),
        ("Paris, London", "Paris"),
        ("C#", "C"),
        ("F#", "F"),
        ("B-", "B"),
        ("A-", "A+"),
        ("50 dollars", "50%"),
        ("x < y", "x <= y"),
        ("23", "2^3"),
        ("23", "2+3"),
        ("35", "3.5"),
        ("5", "-5"),
        ("1914-1919", "1914-1918"),
        ("May 6, 1990", "May 5, 1990"),
        ("2", "2nd"),
        ("£5", "$5"),
        ("1 billion", "1 million"),
        ("14", "four"),
        ("Yes and no", "Yes"),
        ("No", "Yes"),
        ("home", "@home"),
        ("Google", "Google+"),
        ("C", "C++"),
        ("C++", "C"),
        ("x > y", "x < y"),
        ("5", "5!"),
    ],
)
def test_evaluation_takes_no_other_answer(answer, reference):
    verdict = OPENED.verify(problem(reference), answer)
    assert (verdict.reward, verdict.counted) == (0, 0)


CHOICE = "Which?\nA. the cat\nB. a dog\nC. Both\nD. None"
LISTED = "When?\nOptions:\n(A) 12/14/2026\n(B) 12/25/1937\n(C) red"


@pytest.mark.parametrize(
    ("answer", "reference", "prompt", "right"),
    [
        ("The correct answer is (B).", "B", CHOICE, 1),
        ("B) a dog", "B", CHOICE, 1),
        ("B: a dog", "B", CHOICE, 1),
        ("(B) a dog", "B", CHOICE, 1),
        ("**B**", "B", CHOICE, 1),
        ("I choose B.", "B", CHOICE, 1),
        ("The correct option is B, because dogs bark.", "B", CHOICE, 1),
        ("Let me think. A is wrong.\nAnswer: B", "B", CHOICE, 1),
        ("<answer>B</answer>", "B", CHOICE, 1),
        ("B.", "B", CHOICE, 1),
        ("Answer: **B**", "B", CHOICE, 1),
        ("B. a dog\n\nExplanation: because", "B", CHOICE, 1),
        ("The answer is B. a dog", "B", CHOICE, 1),
        ("\\boxed{C}", "C", CHOICE, 1),
        ("B", "(B)", LISTED, 1),
        ("The answer is (B).", "(B)", LISTED, 1),
        ("So the answer is (B) 12/25/1937.", "(B)", LISTED, 1),
        ("B) 12/25/1937", "(B)", LISTED, 1),
        ("(B)", "(B)", LISTED, 1),
        ("cat", "A", CHOICE, 0),
        ("the cat", "A", CHOICE, 0),
        ("A or B", "A", CHOICE, 0),
        ("A. a dog", "A", CHOICE, 0),
        ("A, B, C, D", "A", CHOICE, 0),
        ("The answer is A", "B", CHOICE, 0),
        ("The answer is A or B", "B", CHOICE, 0),
        ("A dog", "A", CHOICE, 0),
        ("Both", "B", CHOICE, 0),
        ("(C) 12/25/1937", "(B)", LISTED, 0),
        ("(A)(B)(C)", "(B)", LISTED, 0),
        ("(B) red", "(B)", LISTED, 0),
        ("I choose A. Not B.", "B", CHOICE, 0),
    ],
)
def test_evaluation_reads_the_letter_that_is_chosen(answer, reference, prompt, right):
    option = options_in(prompt).get(reference)
    asked = OPENED.own_problem(
        prompt, [reference, *([f"{reference}. {option}"] if option and prompt is CHOICE else [])]
    )
    assert OPENED.verify(asked, answer).counted == right


def test_f1_counts_shared_tokens():
    assert token_f1("the city of Paris", ["Paris"]) == pytest.approx(2 * 1 / (3 + 1))
    assert token_f1("Paris Paris", ["Paris", "Paris, France"]) == pytest.approx(2 * 1 / (2 + 1))
    assert token_f1("London", ["Paris"]) == token_f1("", ["Paris"]) == token_f1("x", []) == 0
    verdict = domain().verify(problem("Paris"), "in Paris")
    assert (verdict.reward, verdict.f1) == (0, pytest.approx(2 / 3))


def test_f1_is_kept_with_the_rollouts(tmp_path):
    one = problem("Paris")
    verdict = domain().verify(one, "in Paris")
    rollout = Rollout(problem=one, index=0, completion="in Paris", tokens=2, truncated=False, verdict=verdict)
    write_rollouts(tmp_path / "rollouts.parquet", [rollout])
    assert read_rollouts(tmp_path / "rollouts.parquet") == (rollout,)


def test_held_out_sets_are_read_and_multiple_choice_wants_the_letter():
    data = {
        "mandarjoshi/trivia_qa/rc.nocontext/validation": [
            {"question": "Who?", "answer": {"value": "Ann", "aliases": ["Anna", "Ann"]}}
        ],
        "cais/mmlu/all/test": [
            {"question": "Which?", "subject": "colours", "choices": ["red", "blue", "green", "24"], "answer": 1}
        ],
        **{f"lukaemon/bbh/{task}/test": [{"input": "True?", "target": "(B)"}] for task in BBH_TASKS},
    }
    opened = qa.Qa(Options(**LINE | {"shots": 2}), FakeData(data))
    (trivia,), (choice,), bbh = (opened.holdout(name) for name in opened.holdouts)
    assert from_answer(trivia.answer) == ("Ann", "Anna")
    assert "A. red\nB. blue\nC. green\nD. 24" in choice.messages[-1]["content"]
    rewards = [
        opened.verify(choice, text).reward for text in ("B", "B. blue", "(b)", "blue", "A", "A B C D", "A. blue")
    ]
    assert rewards == [1, 1, 1, 0, 0, 0, 0]
    assert len(bbh) == len(BBH_TASKS) == 27
    assert opened.verify(bbh[0], "B").reward == 1
    del data["lukaemon/bbh/snarks/test"]
    with pytest.raises(DataUnavailableError, match="snarks"):
        qa.Qa(Options(**LINE), FakeData(data)).holdout("bbh")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.sampled_from(["{}", "<answer>{}</answer>", "{} <answer>"]))
def test_no_text_raises_or_earns_unless_it_is_the_answer(text, around):
    answer = around.replace("{}", text)
    verdict = OPENED.verify(problem("Zanzibar", "Unguja"), answer)
    said = verdict.extracted is not None and normalised(verdict.extracted) in ("zanzibar", "unguja")
    assert verdict.reward == float(said)


@pytest.mark.skipif("PFH_DATA_MIRROR" not in os.environ, reason="PFH_DATA_MIRROR is not set")
@pytest.mark.parametrize("dataset", ["NaturalQuestions", "HotpotQA"])
def test_gold_answers_of_the_mirror_earn_one(dataset):
    opened = qa.open_domain(DomainSpec(options=Options(dataset=dataset, **LINE), data=HubData()))
    problems = [*opened.problems("train", 150, seed=0), *opened.holdout("triviaqa"), *opened.holdout("mmlu")]
    right = sum(opened.verify(one, alias).reward for one in problems for alias in from_answer(one.answer)[:1])
    assert right >= 0.995 * len(problems)
