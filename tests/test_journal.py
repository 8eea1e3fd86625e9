"""The journal: resumption after a kill, torn lines, order, progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pfh.hooks.backends import GenerationRequest, Sampling, ScoringRequest
from pfh.progress import Silent
from pfh.store.journal import JournaledEngine
from pfh.testing import FakeEngine

SAMPLING = Sampling(max_new_tokens=8)


class KilledError(Exception):
    """Stands for the end of the process."""


class EchoEngine(FakeEngine):
    """Repeats the last word of the prompt, in groups of two from the last request to the first; dies on demand."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__()
        self.dies_after = dies_after
        self.calls = 0

    def batches(self, requests):
        indices = list(reversed(range(len(requests))))
        return [indices[start : start + 2] for start in range(0, len(indices), 2)]

    def _run(self):
        if self.calls == self.dies_after:
            raise KilledError
        self.calls += 1

    def generate(self, requests, sampling):
        self._run()
        self.answers = tuple(request.messages[-1]["content"].split()[-1] for request in requests)
        self.generated = 0
        return super().generate(requests, sampling)

    def loglikelihood(self, requests):
        self._run()
        return super().loglikelihood(requests)


class Recorder(Silent):
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int, int]] = []
        self.advanced = 0

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Recorder]:
        self.tasks.append((description, total, done))
        yield self

    def advance(self, amount: int = 1) -> None:
        self.advanced += amount

    def note(self, text: str) -> None:
        pass


def requests(count: int, topic: str = "word") -> list[GenerationRequest]:
    return [
        GenerationRequest(id=f"{topic}{i}", messages=({"role": "user", "content": f"say {topic}{i}"},))
        for i in range(count)
    ]


def journaled(engine, folder, progress=None) -> JournaledEngine:
    return JournaledEngine(engine, folder / "work" / "journal.jsonl", progress or Silent(), "words")


def test_answers_come_in_the_order_of_the_requests(tmp_path):
    completions = journaled(EchoEngine(), tmp_path).generate(requests(5), SAMPLING)
    assert [completion.text for completion in completions] == [f"word{i}" for i in range(5)]


def test_two_calls_resume_after_a_kill_in_the_second(tmp_path):
    dying = EchoEngine(dies_after=4)  # three groups of the first call, one of the second
    engine = journaled(dying, tmp_path)
    first = engine.generate(requests(5), SAMPLING)
    with pytest.raises(KilledError):
        engine.generate(requests(5, "name"), SAMPLING)

    fresh, shown = EchoEngine(), Recorder()
    engine = journaled(fresh, tmp_path, shown)
    assert engine.generate(requests(5), SAMPLING) == first
    assert fresh.calls == 0
    second = engine.generate(requests(5, "name"), SAMPLING)
    assert [completion.text for completion in second] == [f"name{i}" for i in range(5)]
    assert fresh.calls == 2
    assert shown.tasks == [("words", 5, 5), ("words", 5, 2)]
    assert shown.advanced == 3


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_dropped_and_its_group_run_again(tmp_path, cut):
    expected = journaled(EchoEngine(), tmp_path).generate(requests(6), SAMPLING)
    path = tmp_path / "work" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])

    fresh = EchoEngine()
    assert journaled(fresh, tmp_path).generate(requests(6), SAMPLING) == expected
    assert fresh.calls == 1
    again = EchoEngine()
    assert journaled(again, tmp_path).generate(requests(6), SAMPLING) == expected
    assert again.calls == 0


def test_a_garbled_line_in_the_middle_costs_its_group_only(tmp_path):
    expected = journaled(EchoEngine(), tmp_path).generate(requests(6), SAMPLING)
    path = tmp_path / "work" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00garbled\xff\n" + lines[2])
    fresh = EchoEngine()
    assert journaled(fresh, tmp_path).generate(requests(6), SAMPLING) == expected
    assert fresh.calls == 1


def test_another_seed_model_or_engine_is_not_mistaken_for_the_stored_one(tmp_path):
    journaled(EchoEngine(), tmp_path).generate(requests(2), SAMPLING)
    fresh = EchoEngine()
    engine = journaled(fresh, tmp_path)
    engine.generate(requests(2), Sampling(max_new_tokens=8, seed=1))
    assert fresh.calls == 1
    engine.use(fresh.checkpoint.with_adapter(tmp_path, name="other", fingerprint="other"))
    engine.generate(requests(2), SAMPLING)
    assert fresh.calls == 2
    fresh.identity = "another dtype"
    engine.generate(requests(2), SAMPLING)
    assert fresh.calls == 3


def test_scores_resume_and_earlier_seconds_count(tmp_path):
    asked = [ScoringRequest(id=str(i), context="a b", continuation="c " * (i + 1)) for i in range(4)]
    first = journaled(EchoEngine(), tmp_path)
    scores = first.loglikelihood(asked)
    assert [score.logprob for score in scores] == [-1.0, -2.0, -3.0, -4.0]
    fresh = EchoEngine()
    second = journaled(fresh, tmp_path)
    assert second.loglikelihood(asked) == scores
    assert fresh.calls == 0
    assert second.seconds == first.seconds > 0


def test_broken_unicode_survives(tmp_path):
    broken = [GenerationRequest(id="x", messages=({"role": "user", "content": "say \ud800\x00\u2028"},))]
    expected = journaled(EchoEngine(), tmp_path).generate(broken, SAMPLING)
    fresh = EchoEngine()
    assert journaled(fresh, tmp_path).generate(broken, SAMPLING) == expected
    assert fresh.calls == 0


def test_what_another_journal_asked_is_not_asked_again(tmp_path):
    """Greedily, whatever the request is called; where completions are drawn, the id decides the draw."""
    for place, (temperature, expected) in enumerate(((0.0, [1]), (1.0, [2, 1]))):
        shared, sampling, engine = {}, Sampling(max_new_tokens=8, temperature=temperature), EchoEngine()
        asked = []
        plain = engine.generate

        def generate(requests, sampling, plain=plain, asked=asked):
            asked.append(len(requests))
            return plain(requests, sampling)

        first = JournaledEngine(engine, tmp_path / f"{place}-first", Silent(), "first", shared)
        drawn = first.generate(requests(3), sampling)
        engine.generate = generate
        others = [GenerationRequest(id=f"other{i}", messages=each.messages) for i, each in enumerate(requests(3))]
        second = JournaledEngine(engine, tmp_path / f"{place}-second", Silent(), "second", shared)
        found = second.generate([*others[:2], *requests(4)[3:]], sampling)
        assert [each.text for each in found] == [drawn[0].text, drawn[1].text, "word3"]
        assert asked == expected
        engine.generate = None  # a resumed run finds everything in its journal
        again = JournaledEngine(engine, tmp_path / f"{place}-second", Silent(), "second", {})
        assert again.generate([*others[:2], *requests(4)[3:]], sampling) == found
