"""The measures of the family, and what each takes of the completions of one prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pfh.errors import UserError, did_you_mean
from pfh.hooks.backends import Completion
from pfh.kit.thoughts import behind_thought, thinks_on

from pfh_evals.policy import words
from pfh_evals.policy.formats import adheres, fits_schema
from pfh_evals.policy.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One benchmark: what a prompt's score is."""

    name: str
    group: str
    metric: str
    higher_is_better: bool | None = None
    each: Callable[[Prompt, Completion], float | None] | None = None
    """Of one completion; the prompt's score is the mean over its completions."""
    together: Callable[[Sequence[str]], float | None] | None = None
    """Of all completions of a prompt."""
    comparative: bool = False


def _text(measure: Callable[[str], float | None]) -> Callable[[Prompt, Completion], float | None]:
    return lambda prompt, completion: measure(behind_thought(completion.text))


def _schema(prompt: Prompt, completion: Completion) -> float | None:
    return float(fits_schema(prompt.fields, behind_thought(completion.text))) if prompt.form == "json" else None


def _adherence(prompt: Prompt, completion: Completion) -> float | None:
    return float(adheres(prompt, behind_thought(completion.text))) if prompt.form else None


REFUSAL, EMBEDDING, ACCURACY, BRIER, DIVERGENCE = "refusal", "embedding-distance", "mc-accuracy", "brier", "divergence"
"""Measures that need more than the completions: a judge, its embeddings, the questions, and the start."""
IN_TOKENS = "length"
"""The group whose scores are in a tokenizer's tokens, which those of another tokenizer cannot be compared with."""
MEASURES = (
    *(
        Measure(name=f"distinct-{n}", group="diversity", metric=f"distinct_{n}", together=partial(words.distinct, n=n))
        for n in (1, 2, 3)
    ),
    Measure(name="self-bleu", group="diversity", metric="self_bleu", together=words.self_bleu),
    Measure(name=EMBEDDING, group="diversity", metric="cosine_distance"),
    Measure(name="length", group=IN_TOKENS, metric="tokens", each=lambda _, written: float(written.tokens)),
    Measure(name="truncation", group=IN_TOKENS, metric="truncated", each=lambda _, written: float(written.truncated)),
    Measure(
        name="cut-thought",
        group="thinking",
        metric="cut_while_thinking",
        higher_is_better=False,
        each=lambda _, written: float(thinks_on(written.text)),
    ),
    Measure(
        name="repetition",
        group="repetition",
        metric="repeated_4grams",
        higher_is_better=False,
        each=_text(words.repetition),
    ),
    Measure(name="loops", group="repetition", metric="looping", higher_is_better=False, each=_text(words.loops)),
    Measure(name=REFUSAL, group="refusal", metric="refusal_rate"),
    Measure(name="json", group="format", metric="schema_validity", higher_is_better=True, each=_schema),
    Measure(name="adherence", group="format", metric="format_adherence", higher_is_better=True, each=_adherence),
    Measure(name="verbosity", group="style", metric="words", each=_text(lambda text: float(len(text.split())))),
    Measure(name="hedging", group="style", metric="hedges_per_100_words", each=_text(words.hedging)),
    Measure(name="markdown", group="style", metric="markdown_lines", each=_text(words.markdown)),
    Measure(name=ACCURACY, group="calibration", metric="accuracy", higher_is_better=True),
    Measure(name=BRIER, group="calibration", metric="brier_score", higher_is_better=False),
    Measure(name=DIVERGENCE, group="divergence", metric="kl", comparative=True),
)
CALIBRATION = (ACCURACY, BRIER)


def select(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return the measures that `names` (of measures or groups) stand for; all where there are none.

    Raises:
        UserError: there is no such measure or group.
    """
    known = list(dict.fromkeys(name for each in MEASURES for name in (each.group, each.name)))
    for name in names:
        if name not in known:
            raise UserError(
                f"the family policy has no benchmark {name!r}.{did_you_mean(name, known)} It has {', '.join(known)}."
            )
    return tuple(each for each in MEASURES if not names or each.name in names or each.group in names)
