"""Fakes that behave: an engine without a model, a domain, and specs made of them, for tests of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np

from pfh.hooks.attacks import AttackSpec, Behaviour
from pfh.hooks.backends import (
    Completion,
    Distributions,
    EngineSpec,
    GenerationRequest,
    Intervention,
    Message,
    Sampling,
    Score,
    ScoringRequest,
)
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.datasets import NoData as NoData
from pfh.hooks.domains import GenerationSpec, Problem, Rollout, Split, Verdict
from pfh.hooks.evals import AnalysisSpec, EvaluationSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import Judgement
from pfh.hooks.launchers import SubmittedSpec
from pfh.hooks.methods import TrainingSpec
from pfh.hooks.samples import Sample
from pfh.kit.conversations import roll_out as _roll_out
from pfh.registry.plugins import Plugins as Plugins
from pfh.statistics.paired import compare_evaluations

if TYPE_CHECKING:
    from numpy.typing import NDArray


FAKE_CHECKPOINT = Checkpoint(name="fake", path=Path("fake"), fingerprint="fake")


class FakeEngine:
    """Answers from a list, over and over; a word is a token, and every continuation word costs one nat."""

    identity = "fake"
    depth = 2

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

    def encode(self, text: str) -> list[int]:
        """Give every word the number of its letters."""
        return [min(len(word), 7) for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        """Write words of so many letters."""
        return " ".join("x" * token for token in tokens)

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
                    prompt_tokens=self.count_tokens(request.prompt or self.render(request.messages)),
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

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Find all of eight tokens equally likely."""
        return np.full((len(texts), 8), -np.log(8), dtype=np.float32)

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Find all of eight tokens equally likely, all along."""
        words = [tuple(self.encode(text)) for text in completions]
        return [
            Distributions(tokens=each, logprobs=np.full((len(each) + 1, 8), -np.log(8), dtype=np.float32))
            for each in words
        ]

    @contextmanager
    def intervened(self, interventions: Sequence[Intervention]) -> Iterator[None]:
        """Answer as ever: there is nothing to intervene in."""
        yield

    def close(self) -> None:
        """Nothing to free."""


class EchoDomain:
    """Asks for a number to be said back; only that number is correct."""

    name = "echo"
    version = "1"
    sampling = Sampling(max_new_tokens=4, temperature=1.0)
    holdouts: tuple[str, ...] = ("echo",)

    def problems(self, split: Split, count: int, seed: int) -> tuple[Problem, ...]:
        """Return `count` problems; the train split asks for even numbers, the test split for odd ones."""
        return tuple(
            Problem(
                id=f"echo-{number}",
                environment="echo",
                messages=({"role": "user", "content": f"Say {number}."},),
                answer=str(number),
            )
            for number in range(0 if split == "train" else 1, 2 * count, 2)
        )

    def holdout(self, name: str) -> tuple[Problem, ...]:
        """Return the first problems of the test split."""
        return self.problems("test", 4, seed=0)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Compare with the number."""
        said = completion.strip()
        return Verdict(reward=float(said == problem.answer), extracted=said or None)


class ApologyJudge:
    """Takes every completion with "sorry" in it for a refusal."""

    name = "apology 1"

    def label(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        """Label every completion."""
        return [Judgement(label="refused" if "sorry" in text.lower() else "complied") for text in completions]


def training_spec(
    output_dir: Path | None = None,
    *,
    options: Any = None,  # noqa: ANN401 - whatever the method's options are
    checkpoint: Checkpoint = FAKE_CHECKPOINT,
    problems: int = 2,
) -> TrainingSpec:
    """Return a spec in a folder of its own, whose rollouts are, of every problem, correct and incorrect in turn."""
    domain = EchoDomain()
    asked = domain.problems("train", problems, seed=0)

    def rollouts(
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
        judged: bool = True,
    ) -> tuple[Rollout, ...]:
        put = asked if problems is None else problems
        texts = [[problem.answer if index % 2 == 0 else f"no {index}" for index in range(samples)] for problem in put]
        return tuple(
            Rollout(
                problem=problem,
                index=index,
                completion=text,
                tokens=len(text.split()),
                truncated=False,
                verdict=domain.verify(problem, text),
            )
            for problem, drawn in zip(put, texts, strict=True)
            for index, text in enumerate(drawn)
        )

    return TrainingSpec(
        checkpoint=checkpoint,
        domain=domain,
        problems=asked,
        rollouts=rollouts,
        seed=0,
        output_dir=output_dir or Path(mkdtemp()),
        options=options,
    )


def generation_spec(*, problems: int, samples: int, answers: Sequence[str] = ("0", "no")) -> GenerationSpec:
    """Return a spec for rollouts of the echo domain by a fake engine."""
    domain = EchoDomain()
    return GenerationSpec(
        domain=domain,
        engine=FakeEngine(answers),
        problems=domain.problems("train", problems, seed=0),
        samples=samples,
        sampling=domain.sampling,
    )


def roll_out(plugins: Plugins, domain: str, spec: GenerationSpec) -> tuple[Rollout, ...]:
    """Roll out as a run does: by the domain's own hook where it has one, else as the core does."""
    return (plugins.generate(domain, spec) or _roll_out(spec)).rollouts


def evaluation_spec(
    answers: Sequence[str],
    *,
    options: Any = None,  # noqa: ANN401 - whatever the eval's options are
    limit: int | None = None,
) -> EvaluationSpec:
    """Return a spec for an eval of a fake engine that gives `answers`; there is no data, and one judge."""
    return EvaluationSpec(
        engine=FakeEngine(answers),
        options=options,
        data=NoData(),
        judge=lambda name: ApologyJudge(),
        domain=EchoDomain(),
        limit=limit,
    )


def attack_spec(answers: Sequence[str], *, options: Any = None) -> AttackSpec:  # noqa: ANN401 - whatever they are
    """Return a spec for an attack with two behaviours on a fake engine that gives `answers`."""
    behaviours = tuple(Behaviour(id=f"b{number}", prompt=f"Do bad thing {number}.") for number in range(2))
    return AttackSpec(behaviours=behaviours, engine=FakeEngine(answers), options=options)


def analysis_spec(*, options: Any = None) -> AnalysisSpec:  # noqa: ANN401 - whatever the eval's options are
    """Return one family of two benchmarks: "steady" did not change, "fallen" went from all to a few correct."""
    before = Evaluation(family="fake", benchmarks=(_benchmark("steady", 10, 20), _benchmark("fallen", 20, 20)))
    after = Evaluation(family="fake", benchmarks=(_benchmark("steady", 10, 20), _benchmark("fallen", 4, 20)))
    return AnalysisSpec(before=before, after=after, comparisons=compare_evaluations(before, after), options=options)


def submitted_spec() -> SubmittedSpec:
    """Return a spec whose study is kept in an empty folder of its own."""
    return SubmittedSpec(folder=Path(mkdtemp()))


def engine_spec() -> EngineSpec:
    """Return a spec that names the fake checkpoint."""
    return EngineSpec(checkpoint=FAKE_CHECKPOINT)


def _benchmark(name: str, correct: int, total: int) -> Benchmark:
    samples = tuple(
        Sample(id=f"{name}-{index}", benchmark=name, prompt="p", completion="c", score=float(index < correct))
        for index in range(total)
    )
    return Benchmark(name=name, version="1", metric="accuracy", higher_is_better=True, samples=samples)
