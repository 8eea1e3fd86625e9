"""Signs that an online method exploits its reward instead of learning the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FEWEST_BATCHES = 8
"""Below this many batches of rollouts a change says little."""
_NGRAM = 4
"""Words."""


def repeated_share(text: str) -> float:
    """Return the share of the word 4-grams of `text` that stand in it already: 0 says nothing twice."""
    words = text.split()
    grams = [tuple(words[place : place + _NGRAM]) for place in range(len(words) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def signs_of_collapse(curves: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """Return a sentence for every sign that the last quarter of `curves` shows against the first, a row a batch."""
    if len(curves) < FEWEST_BATCHES:
        return ()
    part = len(curves) // 4

    def then_and_now(figure: str) -> tuple[float, float]:
        first, last = ([row[figure] for row in rows if figure in row] for rows in (curves[:part], curves[-part:]))
        return (sum(first) / len(first), sum(last) / len(last)) if first and last else (0.0, 0.0)

    signs = []
    reward, length = then_and_now("reward"), then_and_now("completions/mean_length")
    if length[1] >= 2 * length[0] and length[1] - length[0] >= 8:
        while_ = "while the reward rose " if reward[1] > reward[0] else "and the reward did not rise "
        signs.append(
            f"Warning: completions grew from {length[0]:.0f} to {length[1]:.0f} tokens {while_}"
            f"({reward[0]:.2f} to {reward[1]:.2f}): read some, and compare with the held-out accuracy."
        )
    if length[1] <= length[0] / 4:
        signs.append(
            f"Warning: completions shrank from {length[0]:.0f} to {length[1]:.0f} tokens: the model may have stopped "
            "to reason."
        )
    repeated = then_and_now("repeated_text")
    if repeated[1] >= 0.3 and repeated[1] >= repeated[0] + 0.1:
        signs.append(
            f"Warning: {repeated[1]:.0%} of the four-word phrases of a completion repeat earlier ones of it "
            f"({repeated[0]:.0%} at first)."
        )
    entropy = then_and_now("entropy")
    if entropy[1] < 0.1 * entropy[0]:
        signs.append(
            f"Warning: the entropy of the policy fell from {entropy[0]:.2f} to {entropy[1]:.2f} nats a token: it "
            "hardly tries anything any more."
        )
    divergence = then_and_now("kl")
    if divergence[1] >= 1 and divergence[1] >= 10 * divergence[0]:
        signs.append(
            f"Warning: the divergence grew from {divergence[0]:.2f} to {divergence[1]:.2f} nats a token: raise beta or "
            "lower learning_rate."
        )
    return tuple(signs)
