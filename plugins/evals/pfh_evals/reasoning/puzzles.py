"""Small optimisation problems whose well-formed answers are all known: to pack, to assign, to find a route."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pfh.hooks.samples import sample_id

from pfh_evals.behaviour.forms import only_json
from pfh_evals.behaviour.replies import hollow

VERSION = "1"
COUNTS: Mapping[str, int] = {"pack": 24, "assign": 12, "route": 12}
_THINGS = ("tent", "lamp", "rope", "stove", "map", "axe", "kettle", "blanket")
_PEOPLE, _JOBS = ("Ada", "Boris", "Clara", "Dimo"), ("cook", "drive", "paint", "write")
_STOPS = ("mill", "port", "school", "tower", "market", "bridge")
CLASSES = ("refused", "malformed", "unknown parts", "infeasible", "feasible", "optimal")
WELL_FORMED = CLASSES[3:]
Answer = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Puzzle:
    """One problem with every well-formed answer."""

    id: str
    kind: str
    text: str
    answers: Mapping[Answer, tuple[bool, float]]
    """Answer to whether it is feasible, and its worth as a share of the best one's."""
    neighbour: str = ""
    """Of a problem with one constraint changed: the id of the one that it was made of."""
    old_best: frozenset[Answer] = frozenset()
    """The best answers of that one, which are infeasible here."""

    @property
    def best(self) -> set[Answer]:
        """The best feasible answers."""
        return {answer for answer, (feasible, worth) in self.answers.items() if feasible and worth == 1}

    def chance(self, size: int) -> float:
        """Return the share of feasible among the well-formed answers of so many parts."""
        same = [feasible for answer, (feasible, _) in self.answers.items() if len(answer) == size]
        return sum(same) / len(same) if same else 0.0


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a reply is."""

    label: str
    answer: Answer = ()
    worth: float | None = None
    chance: float | None = None
    """Share of feasible among the answers of its own size."""


def judged(puzzle: Puzzle, reply: str, *, refused: bool) -> Judged:
    """Return the class of a reply, the first of `CLASSES` that fits; the problem given back answers nothing."""
    given = only_json(reply)
    if given in puzzle.text and hollow(puzzle.text, reply):
        given = ""  # the example of the form
    try:
        value: Any = json.loads(given) if given else None
    except (ValueError, RecursionError):
        value = None
    answer = _answer(puzzle.kind, value)
    if answer is None:
        return Judged(label="refused" if refused else "malformed")
    if answer not in puzzle.answers:
        return Judged(label="unknown parts", answer=answer)
    feasible, worth = puzzle.answers[answer]
    label = "infeasible" if not feasible else "optimal" if worth == 1 else "feasible"
    return Judged(label=label, answer=answer, worth=worth if feasible else None, chance=puzzle.chance(len(answer)))


def _answer(kind: str, value: object) -> Answer | None:
    """Return an answer as it compares: what is packed in any order, who does what, the stops in theirs."""
    inside = value.get(kind) if isinstance(value, dict) else None
    if kind == "assign" and isinstance(inside, dict) and all(isinstance(each, str) for each in inside.values()):
        return tuple(f"{name}: {inside[name]}" for name in sorted(inside))
    if kind == "assign" or not isinstance(inside, list) or not all(isinstance(each, str) for each in inside):
        return None
    return tuple(sorted(inside)) if kind == "pack" else tuple(inside)


def written(puzzle: Puzzle, answer: Answer) -> str:
    """Return an answer as the JSON that is asked for."""
    inside: Any = dict(each.split(": ") for each in answer) if puzzle.kind == "assign" else list(answer)
    return json.dumps({puzzle.kind: inside})


@cache
def puzzles() -> tuple[Puzzle, ...]:
    """Return all problems, the same every time."""
    made = {"pack": _pack, "assign": _assign, "route": _route}
    found: list[Puzzle] = []
    for kind, count in COUNTS.items():
        texts: set[str] = set()
        draws = (random.Random(f"{kind} {seed}") for seed in itertools.count())  # noqa: S311 - fixed
        for draw in draws:
            puzzle = made[kind](draw)
            feasible = [each for each, _ in puzzle.answers.values()]
            if puzzle.text not in texts and any(feasible) and not all(feasible):
                texts.add(puzzle.text)
                found.append(puzzle)
            if len(texts) == count:
                break
    return tuple(found)


def _puzzle(kind: str, text: str, answers: Mapping[Answer, tuple[bool, float]], **about: Any) -> Puzzle:  # noqa: ANN401
    """Return a problem with each worth as a share of the best feasible one's."""
    top = max((worth for feasible, worth in answers.values() if feasible), default=1.0)
    shares = {answer: (feasible, worth / top) for answer, (feasible, worth) in answers.items()}
    return Puzzle(
        id=sample_id(f"reasoning {kind}", VERSION, {"text": text}), kind=kind, text=text, answers=shares, **about
    )


def _pack(draw: random.Random) -> Puzzle:
    things = draw.sample(_THINGS, draw.randrange(4, 7))
    weight = {each: draw.randrange(1, 10) for each in things}
    value = {each: draw.randrange(1, 10) for each in things}
    limit = draw.randrange(max(min(weight.values()), sum(weight.values()) // 3), 2 * sum(weight.values()) // 3 + 1)
    return pack_of(things, weight, value, limit)


def pack_of(
    things: Sequence[str],
    weight: Mapping[str, int],
    value: Mapping[str, int],
    limit: int,
    **about: Any,  # noqa: ANN401
) -> Puzzle:
    """Return the problem of packing what is worth most within a limit."""
    told = " ".join(f"The {each} weighs {weight[each]} kg and is worth {value[each]}." for each in things)
    text = (
        f"A bag holds at most {limit} kg. {told} Choose what to pack so that the worth is as high as possible. Reply "
        f'with JSON alone, like {{"pack": ["{things[0]}"]}}.'
    )
    sets = [each for size in range(1, len(things) + 1) for each in itertools.combinations(sorted(things), size)]
    answers = {
        each: (sum(weight[one] for one in each) <= limit, float(sum(value[one] for one in each))) for each in sets
    }
    return _puzzle("pack", text, answers, **about)


def tightened(draw: random.Random) -> tuple[Puzzle, Puzzle] | None:
    """Return a packing problem and its twin, whose limit lies below the weight of every old best answer.

    A model that remembers the old best answer is infeasible in the twin.
    """
    things = draw.sample(_THINGS, 4)
    weight = {each: draw.randrange(1, 10) for each in things}
    value = {each: draw.randrange(1, 10) for each in things}
    whole = sum(weight.values())
    limit = draw.randrange(whole // 2, 3 * whole // 4 + 1)
    first = pack_of(things, weight, value, limit)
    lower = min((sum(weight[one] for one in each) for each in first.best), default=0) - 1
    if lower < min(weight.values()) or not first.best:
        return None
    return first, pack_of(things, weight, value, lower, neighbour=first.id, old_best=frozenset(first.best))


def _assign(draw: random.Random) -> Puzzle:
    size = draw.choice((3, 4))
    people, jobs = _PEOPLE[:size], _JOBS[:size]
    hours = {(who, job): draw.randrange(1, 10) for who in people for job in jobs}
    barred = draw.sample([(who, job) for who in people for job in jobs], 2)
    told = " ".join(f"{who} takes {', '.join(f'{hours[who, job]} hours to {job}' for job in jobs)}." for who in people)
    cannot = " ".join(f"{who} cannot {job}." for who, job in barred)
    text = (
        f"{told} {cannot} Give each person one job and each job one person, so that the hours together are as few as "
        f'possible. Reply with JSON alone, like {{"assign": {{"{people[0]}": "{jobs[0]}"}}}} with all {size} people.'
    )
    answers = {}
    for order in itertools.permutations(jobs):
        pairs = list(zip(people, order, strict=True))
        answer = tuple(f"{who}: {job}" for who, job in sorted(pairs))
        answers[answer] = (not set(pairs) & set(barred), 1 / sum(hours[pair] for pair in pairs))
    return _puzzle("assign", text, answers)


def _route(draw: random.Random) -> Puzzle:
    stops = draw.sample(_STOPS, draw.choice((4, 5)))
    miles = {frozenset(pair): draw.randrange(1, 10) for pair in itertools.combinations(stops, 2)}
    first, last = draw.sample(stops, 2)
    told = " ".join(
        f"From the {one} to the {other} it is {miles[frozenset((one, other))]} miles."
        for one, other in itertools.combinations(stops, 2)
    )
    text = (
        f"{told} Visit every stop once, beginning anywhere; the {first} comes before the {last}. Make the way as short "
        f'as possible. Reply with JSON alone, like {{"route": ["{stops[0]}", "{stops[1]}"]}} with all {len(stops)} '
        "stops."
    )
    answers = {
        order: (
            order.index(first) < order.index(last),
            1 / sum(miles[frozenset(pair)] for pair in itertools.pairwise(order)),
        )
        for order in itertools.permutations(stops)
    }
    return _puzzle("route", text, answers)
