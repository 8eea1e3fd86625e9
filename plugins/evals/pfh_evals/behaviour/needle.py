"""Is a fact found in a long text? The text is the project's own and sized in words: the same for every model.

By generation (`needle-N`) and by the log-likelihood of the right code against seven others (`needle-ll-N`), N words.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pfh.hooks.backends import ScoringRequest
from pfh.hooks.samples import Sample

from pfh_evals.behaviour.asks import Ask, Generated, Loaded, Read, ask, chat, limited

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine
    from pfh.hooks.evals import EvaluationSpec

    from pfh_evals.behaviour.asks import Spec

_NAMES = (
    *("Ada", "Boris", "Clara", "Dimo", "Elke", "Farid", "Greta", "Hugo", "Irma", "Jonas", "Karin", "Luca", "Mira"),
    *("Nils", "Olga", "Pavel", "Rosa", "Sven", "Tara", "Ugo", "Vera", "Willem", "Xenia", "Yusuf", "Zora"),
)
_THINGS = (
    *("bicycle", "garden", "radio", "boat", "kitchen", "ladder", "camera", "violin", "tent", "stove", "lamp"),
    *("basket", "mirror", "carpet"),
)
_LINES = (
    "{n} painted the {t} on a quiet afternoon.",
    "{n} lent the {t} to a neighbour.",
    "Nobody knew why {n} kept the {t}.",
    "{n} talked about the {t} at dinner.",
    "The {t} of {n} stood behind the house.",
    "{n} had repaired the {t} twice that year.",
)
DEPTHS = (0.1, 0.5, 0.9)
VARIANTS = ("single", "multi-key", "multi-value", "multi-query", "absent")
_BY_LIKELIHOOD = ("single", "multi-key")
CANDIDATES = 8
DUMP = 30
"""Words a code, above which a reply gives back the text instead of answering."""
_KEYS = 4
SPARE = 64
"""Tokens of the model's window that a prompt leaves free."""
_MISSING = re.compile(r"\b(?:not|no|none|n't|unknown|nothing|absent|missing|cannot)\b|n't\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,3}(?:[,. '’\u00a0\u202f]\d{3})+(?!\d)|\d+")
"""A number with or without separators between its thousands."""
_MARKER = re.compile(r"^\s*\d{1,2}[.)]\s+(?=\S)", re.MULTILINE)
"""The number of a line in a list."""


@dataclass(frozen=True)
class Length:
    """A length of the text, in words."""

    words: int

    @property
    def name(self) -> str:
        """Name of the benchmark by generation."""
        return f"needle-{self.words}"

    @property
    def ll_name(self) -> str:
        """Name of the benchmark by log-likelihood."""
        return f"needle-ll-{self.words}"


def lengths(option: str) -> list[Length]:
    """Read lengths with commas between them."""
    return [Length(int(part)) for part in dict.fromkeys(option.split(","))]


def asks_of(length: Length, variants: tuple[str, ...] = VARIANTS) -> list[Ask]:
    """Return an item for every variant and depth."""
    return [_ask(length, variant, depth) for variant in variants for depth in DEPTHS]


def _ask(length: Length, variant: str, depth: float) -> Ask:
    draw = random.Random(f"needle {length.words} {variant} {depth}")  # noqa: S311 - the same text for every model
    people = draw.sample(_NAMES, _KEYS)
    codes = [str(code) for code in draw.sample(range(1000, 10_000), _KEYS + CANDIDATES)]
    wanted, others = people[0], people[1:]
    told = {wanted: codes[:1]}
    if variant == "multi-value":
        told[wanted] = codes[:2]
    if variant in ("multi-key", "multi-query", "absent"):
        told |= {name: [codes[2 + place]] for place, name in enumerate(others)}
    asked_for = {wanted: told[wanted]}
    if variant == "multi-query":
        asked_for = {wanted: told[wanted], others[0]: told[others[0]]}
    if variant == "absent":
        asked_for, told = {wanted: []}, {name: told[name] for name in others}
    lines = _lines(length.words, told, depth, draw)
    names = " and ".join(asked_for)
    what = "codes" if variant in ("multi-value", "multi-query") else "code"
    tail = f"What {'are the' if what == 'codes' else 'is the'} {what} of {names}? Reply with the {what} alone."
    if variant == "absent":
        tail += " If the text does not say it, reply: not there."
    right = [code for held in asked_for.values() for code in held]
    every = [code for held in told.values() for code in held]
    unused = [code for code in codes if code not in every][: CANDIDATES - len(every)]
    case = {"right": right, "others": [code for code in every if code not in right], "who": wanted, "unused": unused}
    return ask(f"needle {length.words}", variant, chat(f"{' '.join(lines)}\n\n{tail}"), {**case, "depth": depth})


def _lines(count: int, told: dict[str, list[str]], depth: float, draw: random.Random) -> list[str]:
    lines: list[str] = []
    held = 0
    while held < count:
        line = draw.choice(_LINES).format(n=draw.choice(_NAMES), t=draw.choice(_THINGS))
        held += len(line.split())
        lines.append(line)
    facts = [f"The code of {name} is {code}." for name, codes in told.items() for code in codes]
    first, *rest = facts
    lines.insert(round(depth * len(lines)), first)
    for fact in rest:
        lines.insert(draw.randrange(len(lines) + 1), fact)
    return lines


def read_needle(item: Ask, reply: str) -> Read:
    """Score 1 where the reply holds every right code and no other number; where there is none, it must say so."""
    found = [re.sub(r"\D", "", number) for number in _NUMBER.findall(_MARKER.sub("", reply))]
    right = item.case["right"]
    dumped = len(reply.split()) > DUMP * max(len(right), 1)
    good = (
        not dumped and set(right) == set(found) if right else not dumped and not found and bool(_MISSING.search(reply))
    )
    return Read(
        score=float(good),
        label=" ".join(found) or "no code",
        target=" ".join(right) or "not there",
        extra={
            "other_code": any(number in item.case["others"] for number in found),
            "depth": item.case["depth"],
        },
    )


def generated(length: Length) -> Generated:
    """Return the benchmark by generation."""
    return Generated(
        name=length.name,
        group="needle",
        metric="found",
        higher_is_better=True,
        load=partial(_load, length),
        read=read_needle,
        version="2",
        quotes=True,
    )


def _load(length: Length, spec: Spec) -> Loaded:
    return asks_of(length), "built in"


def window_of(engine: Engine) -> int | None:
    """Return how many tokens the model sees, from its configuration; None where it does not say."""
    checkpoint = engine.checkpoint
    if checkpoint.endpoint is not None:
        return None
    try:
        config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    window = text.get("max_position_embeddings", config.get("max_position_embeddings"))
    return window if isinstance(window, int) and window > 0 else None


def too_long(engine: Engine, asks: list[Ask]) -> str:
    """Say that prompts do not fit the model's window; empty where they do, or it is not known."""
    window = window_of(engine)
    if window is None or not asks:
        return ""
    longest = max(engine.count_tokens(engine.render(each.messages)) for each in asks)
    if longest <= window - SPARE:
        return ""
    return f"a prompt has {longest} tokens, and the model sees {window}: its beginning would be cut off"


def measure_ll(length: Length, spec: EvaluationSpec) -> tuple[Sample, ...]:
    """Return one sample an item: is the right code likelier than seven others, after "The code of NAME is"?

    Raises:
        UserError: the backend has no log-likelihoods.
    """
    items = limited(asks_of(length, _BY_LIKELIHOOD), spec.limit)
    requests = []
    for item in items:
        context = f"{spec.engine.render(item.messages)}The code of {item.case['who']} is"
        for place, code in enumerate(_candidates(item)):
            requests.append(ScoringRequest(id=f"{item.id}-{place}", context=context, continuation=f" {code}"))
    scores = iter(spec.engine.loglikelihood(requests))
    samples = []
    for item in items:
        codes = _candidates(item)
        values = [next(scores).logprob for _ in codes]
        chosen = codes[max(range(len(codes)), key=values.__getitem__)]
        samples.append(
            Sample(
                id=item.id,
                benchmark=length.ll_name,
                category=item.category,
                prompt=item.asked,
                completion=chosen,
                extracted=chosen,
                target=codes[0],
                score=float(chosen == codes[0] and values.count(max(values)) == 1),  # to a flat model all are equal
                choices=len(codes),
                extra={"other_code": chosen in item.case["others"], "depth": item.case["depth"]},
            )
        )
    return tuple(samples)


def _candidates(item: Ask) -> list[str]:
    return [*item.case["right"], *item.case["others"], *item.case["unused"]]
