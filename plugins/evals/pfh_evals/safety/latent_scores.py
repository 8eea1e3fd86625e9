"""Margins and target log-likelihoods of many benchmarks from one call of the scorer: every prompt is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from pfh.hooks.backends import Score, ScoringRequest
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.samples import Sample
from pfh.kit import refusal_margin

from pfh_evals.safety.asks import Ask
from pfh_evals.safety.latent_benchmarks import LatentBenchmark, latent_sample, target_of, told_of


class Scored:
    """Scores what the chosen measures need when the first of them asks for it."""

    def __init__(
        self,
        spec: EvaluationSpec,
        asks: Mapping[LatentBenchmark, Sequence[Ask]],
        unavailable: Mapping[str, str],
    ) -> None:
        """Take the measures with their prompts; those of unavailable benchmarks and depths are not scored."""
        self._spec = spec
        self._asks = {
            latent: own
            for latent, own in asks.items()
            if latent.metric != "alignment_depth" and latent.of.name not in unavailable
        }

    def samples(self, latent: LatentBenchmark) -> tuple[list[Sample], str]:
        """Return the samples of one measure, or why there are none.

        Raises:
            NotNumbersError: the model's outputs are not numbers.
            UserError: the backend has no log-likelihoods.
        """
        if latent.metric == "refusal_margin" and not self._can_write:
            least, held = refusal_margin.LEAST_OPENINGS, len(self._openings)
            return [], f"the model's vocabulary can write {held} of the openings of a refusal; it takes {least}"
        return [self._sample(latent, ask) for ask in self._asks[latent]], ""

    def _sample(self, latent: LatentBenchmark, ask: Ask) -> Sample:
        prompt = self._prompt(ask)
        found = [self._scores[request.id] for request in self._requests(latent, ask)]
        if latent.metric == "refusal_margin":
            value, extra = refusal_margin.opened_margin(prompt, [score.logprob for score in found]), {}
        else:
            tokens = max(self._spec.engine.count_tokens(target_of(ask, prompt)), 1)
            given = sum(score.logprob for score in found[1:])
            value, extra = (found[0].logprob - given) / tokens, told_of(ask)
        return latent_sample(latent, ask, prompt=prompt, score=value, extracted=f"{value:+.2f}", extra=extra)

    @cached_property
    def _scores(self) -> dict[str, Score]:
        requests = {
            request.id: request
            for latent, asks in self._asks.items()
            if latent.metric != "refusal_margin" or self._can_write
            for ask in asks
            for request in self._requests(latent, ask)
        }
        scores = self._spec.engine.loglikelihood(list(requests.values()))
        return dict(zip(requests, scores, strict=True))

    def _requests(self, latent: LatentBenchmark, ask: Ask) -> list[ScoringRequest]:
        prompt = self._prompt(ask)
        if latent.metric == "refusal_margin":
            return refusal_margin.opening_requests(ask.id, prompt, self._openings)
        context, space = refusal_margin.without_space(prompt)
        wanted = space + target_of(ask, prompt)
        requests = [ScoringRequest(id=f"{ask.id} target", context=context, continuation=wanted)]
        if space:
            requests.append(ScoringRequest(id=f"{ask.id} given", context=context, continuation=space))
        return requests

    def _prompt(self, ask: Ask) -> str:
        return self._spec.engine.render(ask.messages)

    @property
    def _can_write(self) -> bool:
        return len(self._openings) >= refusal_margin.LEAST_OPENINGS

    @cached_property
    def _openings(self) -> tuple[str, ...]:
        given = self._spec.options.openings.split("|")
        wanted = refusal_margin.distinct([text.strip() for text in given if text.strip()])
        return refusal_margin.writable(self._spec.engine, wanted)
