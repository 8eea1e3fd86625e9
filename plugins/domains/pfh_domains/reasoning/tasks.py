"""The tasks of GEM's rg:* environments, which reasoning-gym generates, and how far their scorers can be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol


@dataclass(frozen=True)
class Task:
    """A task whose scorer needs the answer alone and executes nothing that a model wrote; it runs in this process."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the generator: pfh's default difficulty."""
    choices: tuple[str, ...] = ()
    """The possible answers of a closed question; naming two of them is no answer."""


TASKS: Mapping[str, Task] = {
    "basic_arithmetic": Task(
        {
            "min_terms": 2,
            "max_terms": 2,
            "min_digits": 1,
            "max_digits": 1,
            "operators": ["+", "-", "*"],
            "allow_parentheses": False,
            "allow_negation": False,
        }
    ),
    "chain_sum": Task({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "count_bits": Task({"min_n": 1, "max_n": 63}),
    "count_primes": Task({"min_n": 1, "max_n": 30}),
    "family_relationships": Task({"min_family_size": 3, "max_family_size": 4}),
    "gcd": Task({"min_value": 1, "max_value": 30}),
    "isomorphic_strings": Task({"max_string_length": 4}, choices=("True", "False")),
    "lcm": Task({"min_value": 1, "max_value": 12}),
    "leg_counting": Task({"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 5}),
    "letter_counting": Task({"min_words": 1, "max_words": 3}),
    "prime_factorization": Task({"min_value": 4, "max_value": 50}),
    "products": Task({"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "ransom_note": Task(
        {"min_note_length": 2, "max_note_length": 3, "min_magazine_length": 3, "max_magazine_length": 5},
        choices=("True", "False"),
    ),
    "simple_equations": Task({"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 9}),
    "spell_backward": Task({"min_word_len": 3, "max_word_len": 4}),
    "syllogism": Task(choices=("Yes", "No")),
    "word_sequence_reversal": Task({"min_words": 3, "max_words": 3}),
}
DEFAULT_TASKS = ("letter_counting", "count_bits", "syllogism", "prime_factorization")

_ARITHMETIC = re.compile(r"(?!.*\*\s*\*)[\d+\-*/() ]+")
_LIST = re.compile(r"[\d\s.,\[\]'\"-]+")
_FORMULA = re.compile(
    r"(?:\d+(?:\.\d+)?|(?:a?(?:sin|cos|tan)h?|exp|log|sqrt|Abs|pi)(?![A-Za-z])|(?<![A-Za-z])[A-Za-z](?![A-Za-z])"
    r"|[-+*/^() ])+"
)
COMPUTING = {
    "countdown": _ARITHMETIC,
    "puzzle24": _ARITHMETIC,
    "bitwise_arithmetic": re.compile(r"-?(?:0[xX])?[0-9A-Fa-f]+"),
    "number_sorting": _LIST,
    "n_queens": re.compile(r"[Q_\s]+"),
    "simple_integration": _FORMULA,
    "intermediate_integration": _FORMULA,
    "polynomial_multiplication": _FORMULA,
    "propositional_logic": re.compile(r"[A-Z∧∨→↔¬() ]+"),
}
"""Tasks whose scorer evaluates the answer, and what it may be given: numbers, operators, known functions."""
EXACT = frozenset(["binary_matrix", "figlet_font", "spiral_matrix", "string_insertion"])
"""Tasks whose scorer is not asked: it evaluates the answer for partial credit only, or rewards a longer text."""
WITHOUT_REFERENCE = frozenset(["boxnet", "composite", "rush_hour"])
"""Tasks that come without any right answer, so that neither a verifier could be tested nor an example be shown."""
EXAMPLE_KEYS = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}
"""Where a task that has many right answers keeps one of them, in its metadata."""
PREPARED = {"acre": 2000, "gsm_symbolic": 2000, "list_functions": 2000, "word_ladder": 1000}
"""Tasks that prepare all their problems when they are opened, and how many are asked for."""


@cache
def all_tasks() -> tuple[str, ...]:
    """Return the names of all tasks that can be trained on."""
    from reasoning_gym.factory import DATASETS

    return tuple(sorted(set(DATASETS) - WITHOUT_REFERENCE))


class Difficulty(Protocol):
    """What decides how hard the problems of all tasks are."""

    @property
    def level(self) -> int | None:
        """A level of each task's curriculum."""
        ...

    @property
    def small(self) -> bool:
        """Without a level: pfh's settings for small models, or the generator's own."""
        ...


def settings_of(task: str, difficulty: Difficulty, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generator's settings: those of the curriculum's level, pfh's, or none, and `own` over them.

    Raises:
        ValueError: the task has no curriculum.
    """
    if difficulty.level is None:
        return {**(TASKS[task].settings if task in TASKS and difficulty.small else {}), **own}
    from dataclasses import asdict

    from reasoning_gym.factory import create_curriculum, has_curriculum

    if not has_curriculum(task):
        raise ValueError(f"{task} has no levels")
    curriculum = create_curriculum(task)
    curriculum.set_global_level(difficulty.level)
    chosen = asdict(curriculum.generate_configuration({}))
    return {name: value for name, value in chosen.items() if name not in ("seed", "size")} | dict(own)


def reference(task: str, entry: Mapping[str, Any]) -> str:
    """Return a right answer to one generated problem."""
    if task in EXAMPLE_KEYS:
        return str(entry["metadata"][EXAMPLE_KEYS[task]])
    return str(entry["answer"])
