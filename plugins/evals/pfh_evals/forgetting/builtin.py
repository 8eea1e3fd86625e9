"""Benchmarks that need no data: problems that reasoning-gym generates from a seed, as tasks of lm-eval.

All show a few worked examples, the same ones for every problem of a generator. Arithmetic, logic and algorithms are
multiple choice: a generator's own options where it has any, else its answer among wrong ones built from it. Language is
answered in free text and compared with the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError, did_you_mean
from pfh.kit.reasoning_gym import with_ordered_sets

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = 1
PROBLEMS, EXAMPLES = 24, 4
"""Problems and worked examples of each generator."""
DRAWS = 2000
"""Draws of a generator at the most, to find that many different problems."""
SEED_STRIDE = 1_000_003
"""reasoning-gym draws problem i of seed s from s + i, so that neighbouring seeds would share nearly all problems."""
OPTIONS = 4
"""Options of a problem whose generator has none of its own."""

Options = Callable[[str, random.Random], list[str]]
"""From the answer, all options; the answer is among them."""


def _numbers(answer: str, draw: random.Random) -> list[str]:
    """Return the answer and numbers near it, none of them negative unless the answer is."""
    value = int(answer)
    near = [value + step for step in (-10, -3, -2, -1, 1, 2, 3, 10) if value < 0 or value + step >= 0]
    return _shuffled([answer, *(str(number) for number in draw.sample(near, OPTIONS - 1))], draw)


def _one_of(*options: str) -> Options:
    return lambda answer, draw: list(options)


def _shuffled(options: list[str], draw: random.Random) -> list[str]:
    draw.shuffle(options)
    return options


@dataclass(frozen=True, kw_only=True)
class Generator:
    """One generator of reasoning-gym, and how its problems are put."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Options | None = None
    """None asks for an answer in free text."""


GENERATORS: Mapping[str, tuple[Generator, ...]] = {
    "builtin-arithmetic": (
        Generator(
            name="chain_sum",
            settings={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
            options=_numbers,
        ),
        Generator(
            name="products",
            settings={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
            options=_numbers,
        ),
        Generator(name="gcd", settings={"min_value": 1, "max_value": 60}, options=_numbers),
    ),
    "builtin-logic": (
        Generator(name="syllogism", options=_one_of("Yes", "No")),
        Generator(
            name="family_relationships",
            settings={"min_family_size": 3, "max_family_size": 4},
            options=_one_of("mother", "father", "son", "daughter", "wife", "husband"),
        ),
    ),
    "builtin-algorithms": (
        Generator(name="count_bits", settings={"min_n": 1, "max_n": 63}, options=_numbers),
        Generator(name="isomorphic_strings", settings={"max_string_length": 5}, options=_one_of("True", "False")),
        Generator(
            name="ransom_note",
            settings={"max_note_length": 4, "max_magazine_length": 8},
            options=_one_of("True", "False"),
        ),
    ),
    "builtin-language": (
        Generator(name="letter_counting", settings={"min_words": 1, "max_words": 3}),
        Generator(name="spell_backward", settings={"min_word_len": 3, "max_word_len": 4}),
        Generator(name="word_sequence_reversal", settings={"min_words": 3, "max_words": 3}),
    ),
}


def builtin_configurations(name: str, seed: int) -> list[dict[str, Any]]:
    """Return the task configurations of a built-in benchmark, over problems of `seed`.

    Raises:
        UserError: there is no such benchmark.
    """
    if name not in GENERATORS:
        raise UserError(f"there is no built-in benchmark {name!r}.{did_you_mean(name, GENERATORS)}")
    return [_configuration(generator, seed) for generator in GENERATORS[name]]


def _configuration(generator: Generator, seed: int) -> dict[str, Any]:
    common = {
        "task": generator.name,
        "custom_dataset": partial(_documents, generator, seed),
        "test_split": "test",
        "fewshot_split": "examples",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": EXAMPLES,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "metadata": {"version": f"{VERSION} (reasoning-gym {version('reasoning-gym')})"},
    }
    if generator.options is not None:
        accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
        return common | {
            "output_type": "multiple_choice",
            "doc_to_choice": "options",
            "doc_to_target": "{{options.index(answer)}}",
            "metric_list": [accuracy],
        }
    exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
    return common | {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 16},
        "filter_list": [
            {
                "name": "first-line",
                "filter": [{"function": "regex", "regex_pattern": r"^\s*(\S.*?)\s*$"}, {"function": "take_first"}],
            }
        ],
        "metric_list": [exact],
    }


def _documents(generator: Generator, seed: int, **_: object) -> dict[str, Dataset]:
    """Draw different problems until there are enough; the worked examples come first."""
    import reasoning_gym
    from datasets import Dataset

    wanted = PROBLEMS + EXAMPLES
    apart = seed * SEED_STRIDE
    drawn = with_ordered_sets(
        reasoning_gym.create_dataset(generator.name, seed=apart, size=DRAWS, **generator.settings)
    )
    rows: dict[str, dict[str, Any]] = {}
    for index in range(DRAWS):
        item = drawn[index]
        question, answer = item["question"].strip(), str(item["answer"])
        options = generator.options(answer, random.Random(f"{seed}/{index}")) if generator.options else []  # noqa: S311
        if question not in rows and (not options or answer in options):
            rows[question] = {"question": question, "answer": answer, "options": options}
        if len(rows) == wanted:
            break
    documents = list(rows.values())
    return {"examples": Dataset.from_list(documents[:EXAMPLES]), "test": Dataset.from_list(documents[EXAMPLES:])}
