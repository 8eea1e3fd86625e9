"""The one generation pass that all measures share, and the benchmarks that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.judges import Embeds, Judge
from pfh.hooks.samples import Sample, sample_id
from pfh.kit.thoughts import behind_thought

from pfh_evals.judging import judgements, score_of, side_by_side
from pfh_evals.policy.measures import DIVERGENCE, EMBEDDING, IN_TOKENS, REFUSAL, Measure
from pfh_evals.policy.prompts import Prompt
from pfh_evals.policy.words import embedding_distance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pfh.hooks.evals import EvaluationSpec


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The completions of one prompt."""

    prompt: Prompt
    rendered: str
    """What the model was fed."""
    completions: tuple[Completion, ...]

    @property
    def said(self) -> list[str]:
        """What the completions say, without thoughts, in order."""
        return [behind_thought(completion.text) for completion in self.completions]


def draw(spec: EvaluationSpec, prompts: Sequence[Prompt]) -> list[Answers]:
    """Let the model complete every prompt `spec.options.samples` times, all in one call.

    A problem's completions are the same draws as those that the family target asks for.
    """
    options = spec.options
    requests = [
        GenerationRequest(id=f"{prompt.problem or prompt.id}/{number}", messages=prompt.messages)
        for prompt in prompts
        for number in range(options.samples)
    ]
    sampling = Sampling(
        max_new_tokens=options.max_new_tokens, temperature=options.temperature, top_p=options.top_p, seed=spec.seed
    )
    written = spec.engine.generate(requests, sampling)
    return [
        Answers(
            prompt=prompt,
            rendered=spec.engine.render(prompt.messages),
            completions=tuple(written[place * options.samples : (place + 1) * options.samples]),
        )
        for place, prompt in enumerate(prompts)
    ]


def measured(
    measure: Measure,
    answers: Sequence[Answers],
    judges: Sequence[Judge],
    vectors: Mapping[str, NDArray[np.float32]],
    spec: EvaluationSpec,
    *,
    keep: bool,
) -> tuple[Sample, ...]:
    """Return a sample a prompt, scored by `measure`; `keep` every completion in it, or the first only.

    `vectors` are those of `embed`, for the measure that needs them.
    """
    labels = _labels(answers, judges, spec) if measure.name == REFUSAL else []
    samples = []
    for row, each in enumerate(answers):
        said = labels[row] if labels else []
        values = [score_of([label], refusals=True) for label in said[0]] if said else _values(measure, each)
        score = (
            embedding_distance(vectors[each.prompt.id]) if measure.name == EMBEDDING else _score(measure, each, values)
        )
        extra = {
            "user_prompt": each.prompt.text,
            "prompt_id": each.prompt.id,
            **({"values": values} if values else {}),
            **(side_by_side(judges, said) if said else {}),
            **({"row": row} if measure.name == EMBEDDING else {}),  # of the array "embeddings"
            **({"prompt_tokens": _tokens(each.prompt, spec)} if measure.group == IN_TOKENS else {}),
        }
        samples.append(
            Sample(
                id=sample_id(measure.name, "1", {"prompt": each.prompt.id}),
                benchmark=measure.name,
                category=each.prompt.category,
                prompt=each.rendered,
                completion=each.completions[0].text,
                score=score,
                tokens=each.completions[0].tokens,
                extra={**extra, **(_kept(each) if keep else {})},
            )
        )
    return tuple(samples)


def embed(answers: Sequence[Answers], judge: Embeds, spec: EvaluationSpec) -> dict[str, NDArray[np.float32]]:
    """Return the unit vectors of each prompt's completions, shape (samples, width), by the prompt's id."""
    found = {}
    with spec.progress.task("embedding completions", len(answers)) as bar:
        for each in answers:
            found[each.prompt.id] = judge.embed(each.said)
            bar.advance(1)
    return found


def stored_completions(evaluation: Evaluation) -> list[Sample]:
    """Return the samples that keep every completion of their prompt; [] where the evaluation drew none."""
    for benchmark in evaluation.benchmarks:
        kept = [sample for sample in benchmark.samples if "completions" in sample.extra]
        if kept:
            return kept
    return []


def other_tokenizer(samples: Sequence[Sample], start: Evaluation) -> bool:
    """Say whether the start's evaluation shows other tokens for a prompt than these samples of a length do."""
    known = {
        sample.extra["prompt_id"]: sample.extra["prompt_tokens"]
        for benchmark in start.benchmarks
        for sample in benchmark.samples
        if "prompt_tokens" in sample.extra
    }
    return any(
        known.get(sample.extra["prompt_id"], sample.extra["prompt_tokens"]) != sample.extra["prompt_tokens"]
        for sample in samples
    )


def _tokens(prompt: Prompt, spec: EvaluationSpec) -> list[int] | None:
    try:
        return spec.engine.encode(prompt.text)
    except UserError:
        return None


def _kept(answers: Answers) -> dict[str, object]:
    return {
        "completions": [completion.text for completion in answers.completions],
        "ended": [not completion.truncated for completion in answers.completions],
    }


def _values(measure: Measure, answers: Answers) -> list[float | None]:
    """Return the scores of the single completions, None for one that has none."""
    if measure.each is None:
        return []
    return [measure.each(answers.prompt, completion) for completion in answers.completions]


def _score(measure: Measure, answers: Answers, values: Sequence[float | None]) -> float | None:
    if measure.together is not None:
        return measure.together(answers.said)
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and measure.name != DIVERGENCE else None


def _labels(answers: Sequence[Answers], judges: Sequence[Judge], spec: EvaluationSpec) -> list[list[list[str]]]:
    """Return for each prompt what every judge says of its completions, a list a judge."""
    prompts = [each.prompt.text for each in answers for _ in each.completions]
    said = [
        [str(each.label) for each in own]
        for own in judgements(judges, prompts, [text for each in answers for text in each.said], spec)
    ]
    found, start = [], 0
    for each in answers:
        batch = slice(start, start + len(each.completions))
        found.append([own[batch] for own in said])
        start = batch.stop
    return found
