"""Does the answer stand when the question is put another way? Option orders, wordings, typos, languages.

Answers are read from log-likelihoods. The score of an item is 1 where it is answered right in every variant: agreement
alone has no good direction, as a model that always says B agrees with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Score, ScoringRequest
from pfh.hooks.samples import Sample

from pfh_evals.behaviour.asks import built_in, chat
from pfh_evals.behaviour.questions import Question, questions
from pfh_evals.behaviour.surface import variants

if TYPE_CHECKING:
    from pfh.hooks.backends import Engine
    from pfh.hooks.evals import EvaluationSpec

    from pfh_evals.behaviour.asks import Spec

LETTERS = "ABCDEFGHIJ"
FLOOR = 0.75
"""A start that chooses one position in more than this share of all orders answers that whatever is asked."""
_PLAIN = "Question: {q}\nAnswer:"
_FRAMES: Mapping[str, str] = {
    "question": _PLAIN,
    "exam": "Read the question and answer it.\n\n{q}\n\nAnswer:",
    "bare": "{q}\nThe answer is",
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way in which an item is put."""

    name: str
    context: str
    options: tuple[str, ...]
    """Continuations, in the order in which they are offered."""
    contents: tuple[int, ...]
    """Which option of the item each of them stands for."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A base item, with the variants that it is put in."""

    id: str
    asked: str
    category: str
    right: int
    choices: int
    target: str
    variants: tuple[Variant, ...]
    by_token: bool
    """The likeliest option is by the mean over its tokens, else by the sum."""


def _cloze(item: Question, name: str, context: str) -> Variant:
    return Variant(
        name=name,
        context=context,
        options=tuple(f" {option}" for option in item.options),
        contents=tuple(range(len(item.options))),
    )


def _item(question: Question, put: Sequence[Variant], *, by_token: bool = True) -> Item:
    return Item(
        id=question.id,
        asked=question.text,
        category=question.category,
        right=question.answer,
        choices=len(question.options),
        target=question.options[question.answer],
        variants=tuple(put),
        by_token=by_token,
    )


def wordings(spec: Spec, engine: Engine | None = None) -> tuple[list[Item], str]:
    """Return the questions in four frames, one of them a chat, and in the project's own paraphrases."""
    found, source = questions(spec)
    items = []
    for each in found:
        put = [_cloze(each, name, frame.format(q=each.text)) for name, frame in _FRAMES.items()]
        asked = chat(f"{each.text} Reply with the answer alone.")
        put.append(_cloze(each, "chat", engine.render(asked) if engine else each.text))
        put += [
            _cloze(each, f"paraphrase {number}", _PLAIN.format(q=text))
            for number, text in enumerate(each.paraphrases, start=1)
        ]
        items.append(_item(each, put))
    return items, source


def surfaces(spec: Spec, engine: Engine | None = None) -> tuple[list[Item], str]:
    """Return the questions with typos, in lower case, and with doubled spaces."""
    found, source = questions(spec)
    return [
        _item(
            each,
            [
                _cloze(each, name, _PLAIN.format(q=text))
                for name, text in variants(each.text, each.id, each.options).items()
            ],
        )
        for each in found
    ], source


def orders(spec: Spec, engine: Engine | None = None) -> tuple[list[Item], str]:
    """Return the questions with their options listed, in every rotation; the answer is a letter."""
    found, source = questions(spec)
    items = []
    for each in found:
        count = len(each.options)
        put = []
        for shift in range(count):
            order = tuple((place + shift) % count for place in range(count))
            listed = "\n".join(f"{LETTERS[place]}. {each.options[content]}" for place, content in enumerate(order))
            put.append(
                Variant(
                    name=f"rotation {shift}",
                    context=f"Question: {each.text}\n{listed}\nAnswer:",
                    options=tuple(f" {LETTERS[place]}" for place in range(count)),
                    contents=order,
                )
            )
        items.append(_item(each, put, by_token=False))
    return items, source


def languages(spec: Spec, engine: Engine | None = None) -> tuple[list[Item], str]:
    """Return twelve easy questions, each in six languages."""
    from pfh.hooks.samples import sample_id
    from pfh.kit.subset import spread

    by_item: dict[int, list[dict[str, Any]]] = {}
    for row in built_in("languages.json"):
        by_item.setdefault(row["item"], []).append(row)
    found = {}
    for rows in by_item.values():
        english = next(row for row in rows if row["language"] == "en")
        key = sample_id("behaviour languages", "1", {"question": english["question"]})
        put = [
            Variant(
                name=row["language"],
                context=row["frame"].format(q=row["question"]),
                options=tuple(f" {option}" for option in row["options"]),
                contents=tuple(range(len(row["options"]))),
            )
            for row in rows
        ]
        found[key] = Item(
            id=key,
            asked=english["question"],
            category="",
            right=0,
            choices=len(english["options"]),
            target=english["options"][0],
            variants=tuple(put),
            by_token=True,
        )
    return [found[key] for key in spread(dict.fromkeys(found, ""), spec.limit)], "built in"


@dataclass(frozen=True, kw_only=True)
class Robust:
    """A benchmark of this group."""

    name: str
    load: Callable[..., tuple[list[Item], str]]
    share: bool = False
    """The score is the share of variants answered right, not whether all are."""
    by_default: bool = True

    @property
    def metric(self) -> str:
        """Name what a score is."""
        return "share_of_languages_right" if self.share else "right_in_all"


ROBUST = (
    Robust(name="options", load=orders),
    Robust(name="wording", load=wordings),
    Robust(name="surface", load=surfaces),
    Robust(name="languages", load=languages, share=True, by_default=False),
)


def requests(items: Sequence[Item]) -> list[ScoringRequest]:
    """Return every option of every variant of every item."""
    return [
        ScoringRequest(id=f"{item.id}-{variant.name}-{place}", context=variant.context, continuation=option)
        for item in items
        for variant in item.variants
        for place, option in enumerate(variant.options)
    ]


def measure(benchmark: Robust, spec: EvaluationSpec) -> tuple[tuple[Sample, ...], str]:
    """Return one sample a base item, and where the items come from.

    Raises:
        DataUnavailableError: the questions cannot be had.
        UserError: the backend has no log-likelihoods.
    """
    items, source = benchmark.load(spec, spec.engine)
    scores = iter(spec.engine.loglikelihood(requests(items)))
    return tuple(_sample(benchmark, item, scores) for item in items), source


def _sample(benchmark: Robust, item: Item, scores: Iterator[Score]) -> Sample:
    places: list[int] = []
    contents: list[int] = []
    for number, variant in enumerate(item.variants, start=1):
        values = [_value(next(scores), by_token=item.by_token) for _ in variant.options]
        places.append(max(range(len(values)), key=values.__getitem__))
        tied = values.count(values[places[-1]]) > 1  # a model to which all is equal answers nothing, and not the first
        contents.append(-number if tied else variant.contents[places[-1]])
    right = [content == item.right for content in contents]
    names = [variant.name for variant in item.variants]
    missed = [name for name, good in zip(names, right, strict=True) if not good]
    return Sample(
        id=item.id,
        benchmark=benchmark.name,
        category=item.category,
        prompt=item.variants[0].context,
        completion=f"right in {sum(right)} of {len(right)}" + (f", not in {', '.join(missed)}" if missed else ""),
        extracted=str(sum(right)),
        target=item.target,
        score=sum(right) / len(right) if benchmark.share else float(all(right)),
        extra={
            "user_prompt": item.asked,
            "right": right,
            "variants": names,
            "positions": places,
            "contents": contents,
            "agreement": agreement(contents),
        },
    )


def agreement(contents: Sequence[int]) -> float:
    """Return the share of unordered pairs of variants with the same answer; 1 where there is one variant."""
    pairs = list(combinations(contents, 2))
    return sum(x == y for x, y in pairs) / len(pairs) if pairs else 1.0


def positions(samples: Sequence[Sample]) -> dict[int, float]:
    """Return how often each position was chosen, over all variants of all items."""
    chosen = [place for sample in samples for place in sample.extra["positions"]]
    return {place: chosen.count(place) / len(chosen) for place in sorted(set(chosen))}


def position_bias(samples: Sequence[Sample]) -> float:
    """Return the total variation between the positions chosen and all equally often; 3/4 where four give one."""
    shares = positions(samples)
    count = max(len(sample.extra["positions"]) for sample in samples)
    return sum(abs(shares.get(place, 0.0) - 1 / count) for place in range(count)) / 2


def floored(samples: Sequence[Sample]) -> str:
    """Say which position a model chooses whatever is asked; empty where it does not."""
    shares = positions(samples)
    place = max(shares, key=shares.__getitem__)
    if shares[place] <= FLOOR:
        return ""
    return f"the start answers {LETTERS[place]} whatever is asked, in {shares[place]:.0%} of all orders"


def _value(score: Score, *, by_token: bool) -> float:
    return score.logprob / max(score.tokens, 1) if by_token else score.logprob
