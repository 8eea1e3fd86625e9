"""Fakes that behave: an engine without a model, for tests of methods, domains and evals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pfh.engine import Completion, GenerationRequest, Message, Sampling, Score, ScoringRequest
from pfh.models import Checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAKE_CHECKPOINT = Checkpoint(name="fake", path=Path("fake"), fingerprint="fake")


class FakeEngine:
    """Answers from a list, over and over; a word is a token, and every continuation word costs one nat."""

    identity = "fake"

    def __init__(
        self, answers: Sequence[str] = ("",), checkpoint: Checkpoint = FAKE_CHECKPOINT, batch_size: int = 4
    ) -> None:
        self.answers = tuple(answers)
        self.checkpoint = checkpoint
        self.batch_size = batch_size
        self.generated = 0

    def use(self, checkpoint: Checkpoint) -> None:
        """Take another name; the answers stay."""
        self.checkpoint = checkpoint

    def render(self, messages: Sequence[Message]) -> str:
        """Join the turns, one a line."""
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages)

    def count_tokens(self, text: str) -> int:
        """Count the words."""
        return len(text.split())

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group the requests in their order, `batch_size` at a time."""
        indices = list(range(len(requests)))
        return [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Give the next answer of the list to every request."""
        completions = []
        for request in requests:
            words = self.answers[self.generated % len(self.answers)].split()
            kept = words[: sampling.max_new_tokens]
            self.generated += 1
            completions.append(
                Completion(
                    text=" ".join(kept),
                    tokens=len(kept),
                    prompt_tokens=self.count_tokens(self.render(request.messages)),
                    truncated=len(kept) < len(words),
                )
            )
        return completions

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Charge one nat a word."""
        counts = [self.count_tokens(request.continuation) for request in requests]
        return [Score(logprob=-float(count), greedy=False, tokens=count) for count in counts]

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return zeros, four wide."""
        return [np.zeros((len(layers), self.count_tokens(text), 4), dtype=np.float32) for text in texts]

    def close(self) -> None:
        """Nothing to free."""
