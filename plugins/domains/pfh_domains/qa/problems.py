"""The training questions and the held-out sets: TriviaQA, MMLU and BIG-Bench Hard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pfh.hooks.datasets import Dataset, DataSource
from pfh.hooks.domains import Problem, Split

from pfh_domains.qa.choices import letter_of, options_in
from pfh_domains.qa.prompts import CHOICES, QUESTIONS, Example, chat, with_options, written
from pfh_domains.qa.settings import Options
from pfh_domains.sources import Source, by_split, digest, to_answer

BBH_TASKS = (
    "boolean_expressions",
    "causal_judgement",
    "date_understanding",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "multistep_arithmetic_two",
    "navigate",
    "object_counting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "sports_understanding",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
)


def training_problems(options: Options, source: Source, dataset: Dataset) -> dict[Split, list[Problem]]:
    """Return the questions that the options admit, by split."""
    return by_split(_admitted(options, source, dataset))


def load_holdout(name: str, options: Options, data: DataSource) -> tuple[Problem, ...]:
    """Return the problems of one of `HOLDOUTS`, in the order of the dataset.

    Raises:
        DataUnavailableError: the set cannot be had here.
    """
    return tuple(HOLDOUTS[name](options, data))


def references(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    """Return the reference answers that a row gives, a string or a list of them, without blank ones."""
    values = value if isinstance(value, list) else [value]
    answers = (str(one).strip() for one in values if one is not None)
    return tuple(dict.fromkeys(answer for answer in answers if answer))


def make_problem(
    identity: str,
    environment: str,
    question: str,
    answers: Sequence[str],
    options: Options,
    examples: Sequence[Example] = QUESTIONS,
    what: str = "the answer",
) -> Problem:
    """Return a problem that any of `answers` solves; `what` names the kind of answer that is asked for."""
    return Problem(
        id=identity,
        environment=environment,
        messages=chat(question, options.answer_format, examples[: options.shots], what, tool=bool(options.tool)),
        answer=to_answer(answers),
        solution=written(answers[0], options.answer_format),
    )


def _admitted(options: Options, source: Source, dataset: Dataset) -> Iterator[tuple[str, Problem]]:
    for row in dataset.rows:
        question, answers = str(row[source.question]).strip(), references(row[source.answer])
        if answers and question and len(question) <= options.max_prompt_chars:
            hashed = digest(question)
            name = f"qa-{options.dataset}-{hashed[:12]}"
            yield hashed, make_problem(name, f"qa:{options.dataset}", _sentence(question), answers, options)


def _triviaqa(options: Options, data: DataSource) -> Iterator[Problem]:
    """Joshi et al. 2017, arXiv 1705.03551: the validation split without context, every alias counts."""
    for number, row in enumerate(data.load("mandarjoshi/trivia_qa", "rc.nocontext", "validation").rows):
        answers = references([row["answer"]["value"], *row["answer"]["aliases"]])
        yield make_problem(f"qa-triviaqa-{number}", "triviaqa", row["question"], answers, options)


def _mmlu(options: Options, data: DataSource) -> Iterator[Problem]:
    """Hendrycks et al. 2021, arXiv 2009.03300: the answer is a letter, with its option or without."""
    for number, row in enumerate(data.load("cais/mmlu", "all", "test").rows):
        letter = "ABCD"[row["answer"]]
        answers = (letter, f"{letter}. {row['choices'][row['answer']]}")
        asked = with_options(row["question"], row["choices"])
        subject = row["subject"]
        name, what = f"qa-mmlu-{subject}-{number}", "the letter of the answer"
        yield make_problem(name, f"mmlu:{subject}", asked, answers, options, CHOICES, what)


def _bbh(options: Options, data: DataSource) -> Iterator[Problem]:
    """Suzgun et al. 2022, arXiv 2210.09261: its 27 tasks, zero-shot but for the worked examples of this domain."""
    for task in BBH_TASKS:
        for number, row in enumerate(data.load("lukaemon/bbh", task, "test").rows):
            answers = list(references(row["target"]))
            option = options_in(row["input"]).get(letter_of(answers) or "")
            answers += [f"{answers[0]} {option}"] if option else []
            yield make_problem(f"qa-bbh-{task}-{number}", f"bbh:{task}", row["input"], answers, options)


HOLDOUTS: dict[str, Callable[[Options, DataSource], Iterator[Problem]]] = {
    "triviaqa": _triviaqa,
    "mmlu": _mmlu,
    "bbh": _bbh,
}


def _sentence(question: str) -> str:
    """Return the question with a capital letter and a question mark, which those of NaturalQuestions lack."""
    question = question[0].upper() + question[1:]
    return question if question[-1] in "?.!" else f"{question}?"
