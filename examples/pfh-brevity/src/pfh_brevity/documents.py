"""The documents: three benchmarks that this package wrote, and one over a public dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pfh.hooks.evals import EvaluationSpec

from pfh_brevity.checkers import Form

MT_BENCH = "HuggingFaceH4/mt_bench_prompts"
"""Zheng et al. 2023, arXiv 2306.05685: open questions of eight kinds, two turns each."""

QUESTIONS = {
    "places": (
        "What is the capital of Portugal?",
        "On which continent does the river Niger flow?",
        "Which ocean lies between Africa and Australia?",
        "Which country has the city of Osaka?",
        "In which city does the Louvre stand?",
        "Which desert covers most of northern Africa?",
    ),
    "nature": (
        "Which gas do plants take in to grow?",
        "What do caterpillars turn into?",
        "Which planet is nearest to the sun?",
        "What is frozen water called?",
        "Which insect makes honey?",
        "Which metal is liquid at room temperature?",
    ),
    "language": (
        "What is the opposite of early?",
        "Which word names a baby cat?",
        "What is the past tense of 'go'?",
        "What is the plural of 'mouse'?",
        "Which word names someone who bakes bread?",
        "Which word rhymes with 'light' and is the opposite of day?",
    ),
    "numbers": (
        "How many legs does a spider have?",
        "How many days are in a week?",
        "What is six plus seven?",
        "How many sides does a hexagon have?",
        "How many minutes are in half an hour?",
        "What is half of eighteen?",
    ),
}
SUBJECTS = (
    "a thunderstorm", "a bicycle", "winter", "a library", "the moon", "a good friend",
    "bread", "a railway station", "the sea", "a garden in spring", "an old clock", "a mountain path",
)  # fmt: skip
KINDS = (
    "fruits", "colours", "European countries", "musical instruments", "farm animals", "kitchen tools",
    "sports", "months of the year", "kinds of weather", "trees", "school subjects", "means of transport",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Document:
    """One prompt, and the form that its answer must have."""

    prompt: str
    category: str
    form: Form
    asked: int | None = None
    """Words or list items that the prompt asks for; None where it asks for no length."""


def one_word(spec: EvaluationSpec) -> tuple[list[Document], str]:
    """Questions that one word answers."""
    documents = [
        Document(prompt=f"{question} Answer in exactly one word.", category=category, form="words", asked=1)
        for category, questions in QUESTIONS.items()
        for question in questions
    ]
    return documents, "built in"


def word_count(spec: EvaluationSpec) -> tuple[list[Document], str]:
    """Subjects to describe in exactly N words, for every N of the options."""
    documents = [
        Document(
            prompt=f"Describe {subject} in exactly {count} words. Write nothing else.",
            category=f"{count} words",
            form="words",
            asked=count,
        )
        for count in spec.options.words
        for subject in SUBJECTS
    ]
    return documents, "built in"


def json_list(spec: EvaluationSpec) -> tuple[list[Document], str]:
    """Things to name as a JSON list of N strings, for every N of the options."""
    documents = [
        Document(
            prompt=f"Name {count} {kind}. Answer with a JSON list of {count} strings and nothing else.",
            category=f"{count} items",
            form="list",
            asked=count,
        )
        for count in spec.options.items
        for kind in KINDS
    ]
    return documents, "built in"


def length(spec: EvaluationSpec) -> tuple[list[Document], str]:
    """First turns of MT-Bench, asked as they are: how many words does the model spend?

    Raises:
        DataUnavailableError: the dataset cannot be had here.
    """
    dataset = spec.data.load(MT_BENCH, split="train")
    documents = [
        Document(prompt=str(row["prompt"][0]), category=str(row["category"]), form="free") for row in dataset.rows
    ]
    return documents, dataset.origin


DOCUMENTS: dict[str, Callable[[EvaluationSpec], tuple[list[Document], str]]] = {
    "one-word": one_word,
    "word-count": word_count,
    "json-list": json_list,
    "length": length,
}
