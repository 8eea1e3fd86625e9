"""How like a reply is to texts that a file of invariants names, by the embeddings of a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pfh.hooks.judges import Embeds

from pfh_evals.behaviour.invariants.checks import SIMILAR, texts_of


def named_texts(checks: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the texts that replies should be like, of checks and of those inside them."""
    found: set[str] = set()
    for check in checks:
        for name, setting in check.items():
            if name == SIMILAR:
                found |= set(texts_of(setting["to"]))
            elif name in ("any_of", "not"):
                found |= named_texts(setting if name == "any_of" else [setting])
    return found


def cosines(judge: Embeds, replies: Mapping[str, str], texts: Mapping[str, set[str]]) -> dict[str, dict[str, float]]:
    """Return for every reply, by its key, the cosine with each of the texts of that key."""
    wanted = [key for key in replies if texts[key]]
    named = sorted({text for key in wanted for text in texts[key]})
    if not named:
        return {key: {} for key in replies}
    vectors = dict(zip(named, judge.embed(named), strict=True))
    embedded = dict(zip(wanted, judge.embed([replies[key] for key in wanted]), strict=True))
    return {
        key: {text: float(vectors[text] @ embedded[key]) for text in texts[key]} if key in embedded else {}
        for key in replies
    }
