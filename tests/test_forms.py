"""Free answers in another form than a task wants: lm-eval's score stays, and what was lost is told apart."""

from __future__ import annotations

from typing import Any

import pytest
from pfh.hooks.backends import Completion
from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine
from pfh_evals import forgetting
from pfh_evals.forgetting.lenient import other_readings

from tests.test_forgetting import evaluate

MATH = [
    {"problem": f"Problem {n}?", "solution": f"So \\boxed{{\\frac{{1}}{{{n}}}}}.", "level": "1", "type": "x"}
    for n in (2, 3)
]
MGSM = [{"question": "Frage: 2 + 3?", "answer": None, "answer_number": 5, "equation_solution": None}] * 2
TRIVIA = [{"question": "Where", "question_id": "q", "answer": {"aliases": ["Paris", "Lutetia"], "value": "Paris"}}] * 2
GSM = [{"question": "2 + 3?", "answer": "Add.\n#### 5"}] * 8
TABLES: dict[tuple[str, str, str], list[dict[str, Any]]] = {
    ("EleutherAI/hendrycks_math", "algebra", "test"): MATH[:1],
    ("juletxara/mgsm", "de", "test"): MGSM[:1],
    ("mandarjoshi/trivia_qa", "rc.nocontext", "validation"): TRIVIA[:1],
    ("google-research-datasets/nq_open", "nq_open", "validation"): [{"question": "where", "answer": ["Paris"]}],
    ("lukaemon/bbh", "snarks", "test"): [{"input": "Which?\nOptions:\n(A) x\n(B) y", "target": "(B)"}],
    ("openai/gsm8k", "main", "test"): GSM[:1],
    ("openai/gsm8k", "main", "train"): GSM,
}
RIGHT = {
    "hendrycks_math_algebra": "\\frac{1}{2}",
    "mgsm_direct_de": "5",
    "triviaqa": "Paris",
    "nq_open": "Paris",
    "bbh_fewshot_snarks": "(B)",
    "gsm8k": "5",
}


def measured(task: str, completion: str, documents: int = 1) -> Benchmark:
    tables = {name: rows * documents for name, rows in TABLES.items()}
    return evaluate(task, engine=FakeEngine([completion]), tables=tables)[task]


@pytest.mark.parametrize("form", ["The answer is {}.", "$\\boxed{{{}}}$", "**Answer:** {}"])
@pytest.mark.parametrize("task", RIGHT)
def test_a_right_answer_in_another_form_is_a_format_failure_and_no_wrong_answer(task: str, form: str) -> None:
    (sample,) = measured(task, form.format(RIGHT[task])).samples
    assert sample.extra["lenient"] == 1
    if sample.score != 1:
        assert (sample.score, sample.status) == (0, "format_failure")


@pytest.mark.parametrize("task", RIGHT)
def test_a_wrong_answer_stays_wrong_in_every_form(task: str) -> None:
    for said in ("The answer is 77.", "$\\boxed{77}$", "(A)", "no"):
        (sample,) = measured(task, said).samples
        assert (sample.score, sample.extra["lenient"]) == (0, 0)


@pytest.mark.parametrize(
    ("completion", "target", "found"),
    [
        ("First \\boxed{3}, then \\boxed{5}", "5", "5"),
        ("3 and 4 make 7 apples", "7", "7"),
        ("<think>The answer is 3</think>The answer is 1,234 dollars.", "1234", "1234"),
        ("B) y, because", "(B)", "(B)"),
        ("I would say (B)", "B", "B"),
        ("Paris\nand more", "Paris", "Paris"),
        ("\\boxed{\\text{Paris}}", "Paris", "Paris"),
        ("nothing", "5", None),
        ("", "5", None),
        ("\\boxed{" * 5000, "x", None),
    ],
)
def test_one_answer_is_found_as_published_graders_find_it(completion: str, target: str, found: str | None) -> None:
    assert (other_readings(completion, target) or [None])[0] == found


def test_what_was_lost_is_split_into_answers_and_forms() -> None:
    before, after = (
        Evaluation(family="forgetting", benchmarks=(measured("gsm8k", number, 3), measured("triviaqa", city, 3)))
        for number, city in (("So #### 5", "Paris"), ("The answer is 5.", "London"))
    )
    spec = AnalysisSpec(before=before, after=after, comparisons=compare_evaluations(before, after), options=None)

    found = forgetting.analyze(spec)

    table = next(table for table in found.tables if table.title.startswith("Lost the answer"))
    assert table.rows == (
        ("gsm8k", 3, 1.0, 0.0, 1.0, 1.0, 3, 0, 3),
        ("triviaqa", 3, 1.0, 0.0, 1.0, 0.0, 3, 3, 0),
    )
    assert any("3 documents that gsm8k lost, 3 are still answered right" in line for line in found.findings)


def test_what_stands_behind_the_thought_of_a_chat_is_scored_and_the_thought_is_kept():
    from lm_eval.api.instance import Instance
    from pfh_evals.forgetting.lm import EngineLM

    class Thinks(FakeEngine):
        def render(self, messages):
            return super().render(messages) + "<think>\n"

        def generate(self, requests, sampling):
            texts = ["hm 7\n</think>\n\n5", "hm 7"]
            return [Completion(text=text, tokens=3, prompt_tokens=1, truncated=False) for text in texts]

    def asked(lm, prompt):
        requests = [
            Instance(request_type="generate_until", doc={}, arguments=(prompt, {}), idx=0, metadata=("t", number, 1))
            for number in range(2)
        ]
        return lm.generate_until(requests), [lm.completions["t", number] for number in range(2)]

    lm = EngineLM(Thinks())
    assert asked(lm, "2+3=")[0] == ["hm 7\n</think>\n\n5", "hm 7"]  # no chat: as lm-eval scores it
    lm = EngineLM(Thinks())
    prompt = lm.apply_chat_template([{"role": "user", "content": "2+3?"}])
    texts, kept = asked(lm, prompt)
    assert texts == ["5", ""]
    assert kept[0].text == "<think>\nhm 7\n</think>\n\n5"
    assert [one.truncated for one in kept] == [False, True]
