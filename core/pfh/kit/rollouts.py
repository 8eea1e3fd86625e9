"""Rollouts: completions of a domain's problems with their rewards, and how they are kept."""

from __future__ import annotations

from pfh.hooks.backends import GenerationRequest
from pfh.hooks.domains import Generation, GenerationSpec, Rollout, verify_each
from pfh.text import storable


def single_turn(spec: GenerationSpec) -> Generation:
    """Draw `spec.samples` completions of every problem and let the domain judge each.

    Sample i of a problem is the request "<problem id>/<i>", so it is the same draw however many others are asked for.
    """
    drawn = [(problem, index) for problem in spec.problems for index in range(spec.samples)]
    requests = [GenerationRequest(id=f"{problem.id}/{index}", messages=problem.messages) for problem, index in drawn]
    completions = spec.engine.generate(requests, spec.sampling)
    texts = [storable(completion.text) for completion in completions]
    verdicts = verify_each(spec.domain, [problem for problem, _ in drawn], texts)
    rollouts = [
        Rollout(
            problem=problem,
            index=index,
            completion=text,
            tokens=completion.tokens,
            truncated=completion.truncated,
            token_ids=completion.token_ids if text == completion.text else (),
            verdict=verdict,
        )
        for (problem, index), completion, text, verdict in zip(drawn, completions, texts, verdicts, strict=True)
    ]
    return Generation(rollouts=tuple(rollouts))
