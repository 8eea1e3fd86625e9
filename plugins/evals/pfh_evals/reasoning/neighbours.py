"""Next to what was trained on: the same generators one step harder and one step easier.

What was gained at the training's settings alone is tied to them: the headline is a difference in differences.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pfh.errors import UserError, did_you_mean
from pfh.hooks.backends import GenerationRequest, Message, Sampling
from pfh.hooks.samples import Sample, sample_id
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.kit.subset import spread
from pfh.kit.thoughts import behind_thought

from pfh_evals.pairs import Pairs
from pfh_evals.reasoning.puzzles import Puzzle, judged, tightened

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec, PlanSpec

NAME = "neighbours"
ITEMS = 12
"""Problems of each set."""
LEVEL = 1
"""Level of every attribute at the training's settings: one is left below and one above."""
_RESAMPLES = 2000
IN, PACK = "in", "pack"


@dataclass(frozen=True, kw_only=True)
class Near:
    """One problem, of a set of a generator."""

    id: str
    generator: str
    group: str
    """"in" for the training's settings, else the attribute that was moved, with its sign."""
    question: str
    answer: str
    puzzle: Puzzle | None = None

    @property
    def category(self) -> str:
        """The generator and the set."""
        return f"{self.generator}: {self.group}"


def items(generators: Sequence[str]) -> list[Near]:
    """Return the problems of all sets, and packing problems with one constraint changed.

    Raises:
        UserError: there is no such generator, or it has no levels.
    """
    found = [each for name in generators for each in _of_generator(name)]
    return [*found, *_packing()]


@cache
def _of_generator(name: str) -> tuple[Near, ...]:
    import reasoning_gym
    from pfh.kit.reasoning_gym import with_ordered_sets
    from reasoning_gym.factory import CURRICULA

    if name not in CURRICULA:
        raise UserError(f"reasoning: there is no generator {name!r} with levels.{did_you_mean(name, CURRICULA)}")
    found = []
    for group, levels in _groups(name):
        texts: dict[str, str] = {}
        for entry in with_ordered_sets(reasoning_gym.create_dataset(name, **_settings(name, levels))):
            if len(texts) < ITEMS:
                texts.setdefault(str(entry["question"]), str(entry["answer"]))
        for question, answer in texts.items():
            key = sample_id("reasoning neighbours", "1", {"generator": name, "group": group, "question": question})
            found.append(Near(id=key, generator=name, group=group, question=question, answer=answer))
    return tuple(found)


def _settings(name: str, levels: Mapping[str, int]) -> dict[str, Any]:
    """Return the configuration of a generator at these levels alone: what lies at lower ones is left out.

    A curriculum's own range begins at its lowest level, so that its sets would share their problems.
    """
    from reasoning_gym.factory import create_curriculum

    curriculum = create_curriculum(name)
    for attribute, level in levels.items():
        curriculum.set_attr_level(attribute, level)
    config = asdict(curriculum.generate_configuration({"seed": 0, "size": 4 * ITEMS}))
    for key, each in curriculum.attributes.items():
        lower, level = getattr(each, "lower_field_name", None), levels[key]
        if lower is not None and level > 0:
            config[lower] = each.levels[level] if each.ensure_interval else each.levels[level - 1] + 1
    return config


def _groups(name: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the training's settings, then each attribute moved by one step, where it has such a level."""
    from reasoning_gym.factory import create_curriculum

    attributes = create_curriculum(name).attributes
    at = {key: min(LEVEL, len(each.levels) - 1) for key, each in attributes.items()}
    yield IN, at
    for key, each in attributes.items():
        if at[key] + 1 < len(each.levels) - getattr(each, "ensure_interval", False):
            yield f"{key}+1", {**at, key: at[key] + 1}
        if at[key] > 0:
            yield f"{key}-1", {**at, key: at[key] - 1}


@cache
def _packing() -> tuple[Near, ...]:
    found: list[Near] = []
    seed = 0
    while len(found) < 2 * ITEMS:
        pair = tightened(random.Random(f"tightened {seed}"))  # noqa: S311 - fixed
        seed += 1
        for puzzle, group in zip(pair or (), (IN, "limit-1"), strict=False):
            found.append(
                Near(id=puzzle.id, generator=PACK, group=group, question=puzzle.text, answer="", puzzle=puzzle)
            )
    return tuple(found)


def chat(item: Near) -> tuple[Message, ...]:
    """Return the problem as it is asked; packing problems say themselves how to answer."""
    tail = "" if item.puzzle else "\nReply with the answer alone."
    return ({"role": "user", "content": item.question + tail},)


def limited(spec: EvaluationSpec | PlanSpec) -> list[Near]:
    """Return the problems, every set its share of the limit.

    Raises:
        UserError: there is no such generator.
    """
    by_id = {each.id: each for each in items([name.strip() for name in spec.options.generators.split(",")])}
    return [by_id[key] for key in spread({key: each.category for key, each in by_id.items()}, spec.limit)]


def measure(spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return a sample a problem: is it answered rightly?"""
    asked = limited(spec)
    sampling = Sampling(
        max_new_tokens=spec.options.max_new_tokens, temperature=spec.options.temperature, seed=spec.seed
    )
    done = spec.engine.generate([GenerationRequest(id=each.id, messages=chat(each)) for each in asked], sampling)
    samples = []
    for item, completion in zip(asked, done, strict=True):
        reply = behind_thought(completion.text).strip()
        right, stale = _right(item, reply)
        samples.append(
            Sample(
                id=item.id,
                benchmark=NAME,
                category=item.category,
                prompt=spec.engine.render(chat(item)),
                completion=completion.text,
                extracted=reply.splitlines()[-1][:80] if reply else "",
                target=item.answer or None,
                score=float(right),
                status="truncated" if completion.truncated else "ok",
                tokens=completion.tokens,
                extra={"user_prompt": item.question, "stale": stale, "truncated": completion.truncated},
            )
        )
    return tuple(samples)


def _right(item: Near, reply: str) -> tuple[bool, bool]:
    """Say whether a reply is right, and whether it is the old best answer of the problem next to this one."""
    if item.puzzle is not None:
        said = judged(item.puzzle, reply, refused=False)
        return said.label == "optimal", said.answer in item.puzzle.old_best
    last = reply.splitlines()[-1] if reply else ""
    bare = last.rpartition("=")[2].strip().strip("*`.$ ")
    told = bare.casefold().removeprefix("the answer is").strip(": ")
    return told == item.answer.casefold().strip(), False


def neighbours_table(pairs: Pairs) -> Table:
    """Return for every generator the change at the training's settings, next to them, and their difference."""
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(str(x.category).partition(": ")[0] for x, _ in pairs):
        own = [(x, y) for x, y in pairs if x.category.startswith(f"{name}: ")]
        inside = _changes([(x, y) for x, y in own if x.category == f"{name}: {IN}"])
        near = {
            group: _changes([(x, y) for x, y in own if x.category == group])
            for group in dict.fromkeys(x.category for x, _ in own)
            if group != f"{name}: {IN}"
        }
        if len(inside) and near:
            told, low, high = difference_in_differences(inside, list(near.values()))
            every = np.concatenate(list(near.values()))
            stale = [sum(bool(pair[side].extra["stale"]) for pair in own) for side in (0, 1)]
            rows.append(
                (
                    name,
                    len(inside),
                    len(every),
                    Quantity(value=float(inside.mean()), unit="points"),
                    Quantity(value=float(every.mean()), unit="points"),
                    Quantity(value=told, unit="points", low=low, high=high),
                    *((stale[0], stale[1]) if name == PACK else (None, None)),
                )
            )
    return Table(
        title="Next to what was trained on",
        columns=(
            "generator",
            "n in",
            "n near",
            "change in",
            "change near",
            "difference",
            "stale before",
            "stale after",
        ),
        rows=tuple(rows),
        note="A difference above 0: what was gained is tied to the settings of the training. Stale replies give the "
        "best answer of the problem before its limit was lowered, which a model that remembers answers does.",
    )


def _changes(pairs: Pairs) -> np.ndarray:
    return np.array([(y.score or 0) - (x.score or 0) for x, y in pairs], dtype=float)


def difference_in_differences(
    inside: np.ndarray, near: Sequence[np.ndarray], *, seed: int = 0
) -> tuple[float, float, float]:
    """Return the change inside less the mean change over the sets near it, with a 95% bootstrap stratified by set."""
    draw = np.random.default_rng(seed)

    def resampled(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = values[draw.integers(0, len(values), (_RESAMPLES, len(values)))].mean(1)
        return means

    told = float(inside.mean() - np.mean([each.mean() for each in near]))
    draws = resampled(inside) - np.mean([resampled(each) for each in near], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return told, float(low), float(high)
