"""A journal around an engine: every finished group is kept at once, so a killed run repeats one group at the most."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pfh.errors import NotNumbersError, UserError
from pfh.hooks.backends import (
    Completion,
    Distributions,
    Engine,
    GenerationRequest,
    Intervention,
    Kept,
    Message,
    Sampling,
    Score,
    ScoringRequest,
    WhiteBox,
)
from pfh.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pfh.hooks.checkpoint import Checkpoint


Request = TypeVar("Request", GenerationRequest, ScoringRequest)


Answer = TypeVar("Answer", Completion, Score)


class JournaledEngine:
    """An `Engine` that shows its progress and writes each group of answers down as soon as it is finished.

    The journal is append-only JSON lines. A group is found again by a hash of its requests, the sampling, the
    checkpoint and the engine's identity; so several calls share one journal, in any order.
    """

    def __init__(
        self,
        engine: Engine,
        journal_path: Path,
        progress: Progress,
        label: str,
        shared: dict[str, Completion] | None = None,
        *,
        one_by_one: bool = False,
    ) -> None:
        """Wrap `engine`.

        Args:
            engine: what answers.
            journal_path: where groups of answers are kept.
            progress: shows them.
            label: what is answered, for the progress.
            shared: completions of other journals, which are not drawn again, and those of this one.
            one_by_one: find answers by request and not by group, as where more is asked each time; the file says which.
        """
        self.seconds = 0.0
        """Seconds that the answers given so far took, those of earlier attempts included."""
        self.prompt_tokens = 0
        """Tokens of the prompts completed so far."""
        self._engine = engine
        self._path = journal_path
        self._progress = progress
        self._label = label
        self._groups = _read_journal(journal_path)
        self._shared = {} if shared is None else shared
        self._one_by_one = one_by_one
        self._scores: dict[str, Score] = {}
        for entry in self._groups.values():
            self._remember(entry)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose weights answer now."""
        return self._engine.checkpoint

    @property
    def identity(self) -> str:
        """The wrapped engine's identity."""
        return self._engine.identity

    @property
    def depth(self) -> int:
        """Number of the model's blocks."""
        return self._engine.depth

    def use(self, checkpoint: Checkpoint) -> None:
        """Answer with `checkpoint` from now on."""
        self._engine.use(checkpoint)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text that the model is fed for a chat."""
        return self._engine.render(messages)

    def count_tokens(self, text: str) -> int:
        """Return the length of `text` in tokens."""
        return self._engine.count_tokens(text)

    def encode(self, text: str) -> list[int]:
        """Return `text` in tokens."""
        return self._engine.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones included."""
        return self._engine.decode(tokens)

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` as the wrapped engine does."""
        return self._engine.batches(requests)

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, or find its completion in the journal."""
        keys = {id(request): self._request_key(request, sampling) for request in requests}

        def complete(group: list[GenerationRequest]) -> list[Completion]:
            unknown = [request for request in group if keys[id(request)] not in self._shared]
            fresh = iter(self._engine.generate(unknown, sampling) if unknown else ())
            return [self._shared.get(keys[id(request)]) or next(fresh) for request in group]

        answers = self._answer(requests, complete, Completion, sampling)
        self._shared |= {keys[id(request)]: answer for request, answer in zip(requests, answers, strict=True)}
        self.prompt_tokens += sum(answer.prompt_tokens for answer in answers)
        return answers

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Score every request, or find its score in the journal."""

        def score(group: list[ScoringRequest]) -> list[Score]:
            keys = [self._request_key(request, None) if self._one_by_one else "" for request in group]
            unknown = [request for request, key in zip(group, keys, strict=True) if key not in self._scores]
            scores = self._engine.loglikelihood(unknown) if unknown else []
            if any(math.isnan(each.logprob) for each in scores):  # no backend's word is taken for it
                raise NotNumbersError
            fresh = iter(scores)
            return [self._scores.get(key) or next(fresh) for key in keys]

        return self._answer(requests, score, Score, None)

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return the residual streams; they are too large for a journal."""
        return self._engine.hidden_states(texts, layers)

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the log-probabilities of the next tokens; they are too large for a journal."""
        return self._engine.next_token_logprobs(texts)

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Return what the model expects along each completion; too large for a journal."""
        return self._engine.distributions(requests, completions)

    def intervened(self, interventions: Sequence[Intervention]) -> AbstractContextManager[None]:
        """Answer under `interventions`; the engine's identity tells these answers from others in the journal."""
        return self._engine.intervened(interventions)

    def white_box(self) -> AbstractContextManager[tuple[Any, Any]]:
        """Lend the wrapped engine's model and tokenizer.

        Raises:
            UserError: it has no gradients.
        """
        if not isinstance(self._engine, WhiteBox):
            raise UserError("it needs gradients; use --backend hf or auto")
        return self._engine.white_box()

    def keep(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Return what was kept under `name` for these weights, or make it and keep it; it must be plain JSON."""
        whole = json.dumps(["kept", self.checkpoint.fingerprint, self.identity, name])
        key = hashlib.sha256(whole.encode()).hexdigest()[:32]
        if key not in self._groups:
            began = time.monotonic()
            value = make()
            self._append(key, time.monotonic() - began, [{"kept": value}], [])
        kept: Kept = self._groups[key]["answers"][0]["kept"]
        return kept

    def close(self) -> None:
        """Free the model's memory."""
        self._engine.close()

    def _answer(
        self,
        requests: Sequence[Request],
        run: Callable[[list[Request]], list[Answer]],
        answer_type: type[Answer],
        sampling: Sampling | None,
    ) -> list[Answer]:
        groups = self._engine.batches(requests)
        keys = [self._key([requests[index] for index in group], sampling) for group in groups]
        done = sum(len(group) for group, key in zip(groups, keys, strict=True) if key in self._groups)
        answers: dict[int, Answer] = {}
        with self._progress.task(self._label, total=len(requests), done=done) as bar:
            for group, key in zip(groups, keys, strict=True):
                if key not in self._groups:
                    began = time.monotonic()
                    fresh = run([requests[index] for index in group])
                    asked = [self._request_key(requests[index], sampling) for index in group if self._one_by_one]
                    self._append(key, time.monotonic() - began, [dataclasses.asdict(each) for each in fresh], asked)
                    bar.advance(len(group))
                entry = self._groups[key]
                self.seconds += entry["seconds"]
                answers |= zip(group, (answer_type(**fields) for fields in entry["answers"]), strict=True)
        return [answers[index] for index in range(len(requests))]

    def _request_key(self, request: GenerationRequest | ScoringRequest, sampling: Sampling | None) -> str:
        """Return what an answer depends on: where a completion is drawn, that is the request's id too."""
        drawn = sampling is not None and sampling.temperature
        return self._key([request if drawn else dataclasses.replace(request, id="")], sampling)

    def _key(self, requests: Sequence[GenerationRequest | ScoringRequest], sampling: Sampling | None) -> str:
        asked = [dataclasses.asdict(request) for request in requests]
        drawn = dataclasses.asdict(sampling) if sampling else None
        whole = json.dumps([self.checkpoint.fingerprint, self.identity, drawn, asked], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:32]

    def _append(self, key: str, seconds: float, answers: Sequence[Mapping[str, Any]], asked: list[str]) -> None:
        entry: dict[str, Any] = {"key": key, "seconds": seconds, "answers": answers}
        entry |= {"asked": asked} if asked else {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="ascii") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._groups[key] = entry
        self._remember(entry)

    def _remember(self, entry: Mapping[str, Any]) -> None:
        """Find each answer of a group by its request too, where the journal tells whose it is."""
        for asked, answer in zip(entry.get("asked", ()), entry["answers"], strict=False):
            if "logprob" in answer:
                self._scores[asked] = Score(**answer)
            else:
                self._shared[asked] = Completion(**answer)


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Read the finished groups; a last line that a killed process left torn is cut off the file."""
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole, newline, torn = content.rpartition(b"\n")
    if torn:
        with path.open("r+b") as stream:
            stream.truncate(len(whole) + len(newline))
    entries = (_parse(line) for line in whole.splitlines())
    return {entry["key"]: entry for entry in entries if entry is not None}


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a journal line, or None for one that the disk has garbled: its group is run again."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"key", "seconds", "answers"} <= entry.keys() else None
