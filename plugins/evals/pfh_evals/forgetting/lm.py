"""pfh's engine as a model of lm-eval. Imports lm-eval: import this module where a battery runs, not before."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM  # noqa: TID253 - a base class; nothing imports this module before it is needed
from lm_eval.models.utils import normalize_gen_kwargs  # noqa: TID253
from pfh.errors import UserError
from pfh.hooks.backends import Completion, Engine, GenerationRequest, Message, Sampling, Score, ScoringRequest
from pfh.kit.thoughts import behind_thought, opened_by, thinks_on

from pfh_evals.forgetting.tasks import CannotRunError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

MAX_NEW_TOKENS = 256
"""Length limit of a completion where a task states none, as in lm-eval."""
KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}


_NOT_ASKED = Score(logprob=-1.0, greedy=False, tokens=1)
_NOT_WRITTEN = Completion(text="", tokens=0, prompt_tokens=0, truncated=False)
"""Answers for documents that are not looked at; nobody sees them."""


class EngineLM(LM):  # type: ignore[misc]
    """Answers lm-eval's requests with an engine. What was generated is kept, as lm-eval passes on the text alone.

    Of documents that are not in a part it answers without the engine: lm-eval builds their requests all the same, as
    the worked examples of one document depend on those before it.
    """

    def __init__(self, engine: Engine, seed: int = 0, part: Collection[tuple[str, int]] | None = None) -> None:
        super().__init__()
        self._part = part
        self.completions: dict[tuple[str, int], Completion] = {}
        """(Task, document number) to the first completion of the document."""
        self._engine = engine
        self._seed = seed
        self._chats = False

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of every continuation, and whether greedy decoding would write it."""
        asked = [
            ScoringRequest(id=name, context=request.args[0], continuation=request.args[1])
            for name, request in zip(_ids(requests), requests, strict=True)
            if self._is_asked(request)
        ]
        scores = iter(self._engine.loglikelihood(asked) if asked else ())
        answers = [next(scores) if self._is_asked(request) else _NOT_ASKED for request in requests]
        return [(score.logprob, score.greedy) for score in answers]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refuse: an engine scores a continuation in one window.

        Raises:
            CannotRunError: always.
        """
        raise CannotRunError("it measures the perplexity of whole documents, which pfh does not run")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return what the engine writes for every prompt, up to the first of the task's stop strings.

        Of a chat's answer what stands behind the thought, as lm-eval's own models do with `think_end_token`.
        """
        names = _ids(requests)
        groups: dict[Sampling, list[int]] = defaultdict(list)
        texts: dict[int, str] = {}
        for index, request in enumerate(requests):
            if not self._is_asked(request):
                texts[index] = _NOT_WRITTEN.text
                self.completions.setdefault((request.task_name, request.doc_id), _NOT_WRITTEN)
                continue
            groups[_sampling(request.args[1], self._seed)].append(index)
        for sampling, indices in groups.items():
            asked = [GenerationRequest(id=names[index], prompt=requests[index].args[0]) for index in indices]
            for index, written in zip(indices, self._engine.generate(asked, sampling), strict=True):
                completion = _with_opened_thought(requests[index].args[0], written) if self._chats else written
                texts[index] = behind_thought(completion.text).lstrip("\n") if self._chats else completion.text
                self.completions.setdefault((requests[index].task_name, requests[index].doc_id), completion)
        return [texts[index] for index in range(len(requests))]

    def _is_asked(self, request: Instance) -> bool:
        return self._part is None or (request.task_name, request.doc_id) in self._part

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a chat as the engine does; without a system turn where the model's template refuses one.

        Without a generation prompt the last turn is the beginning of the answer.
        """
        self._chats = True
        turns = [Message(role=turn["role"], content=turn["content"]) for turn in chat_history]  # type: ignore[typeddict-item]
        begun = "" if add_generation_prompt else turns.pop()["content"]
        try:
            return self._engine.render(turns) + begun
        except UserError:
            if not any(turn["role"] == "system" for turn in turns):
                raise
            return self._engine.render([turn for turn in turns if turn["role"] != "system"]) + begun

    @property
    def tokenizer_name(self) -> str:
        """Name of the model whose template renders chats."""
        return self._engine.checkpoint.fingerprint


def _with_opened_thought(prompt: str, written: Completion) -> Completion:
    """Return a completion with the thought that its prompt opens, as the engine shows the answer to a chat."""
    opened = opened_by(prompt)
    text = opened.text + written.text if opened else written.text
    return dataclasses.replace(written, text=text, truncated=written.truncated or thinks_on(text))


def _ids(requests: list[Instance]) -> list[str]:
    """Name the requests by task, document, option and repetition, so that none draws what another draws."""
    times: dict[str, int] = defaultdict(int)
    names = []
    for request in requests:
        name = f"{request.task_name}/{request.doc_id}/{request.idx}"
        names.append(f"{name}/{times[name]}")
        times[name] += 1
    return names


def _sampling(settings: dict[str, Any], seed: int) -> Sampling:
    chosen = dict(normalize_gen_kwargs(settings, MAX_NEW_TOKENS))
    unknown = sorted(chosen.keys() - KNOWN_SETTINGS)
    if unknown:
        raise CannotRunError(f"it asks for generation settings that pfh does not have: {', '.join(unknown)}")
    return Sampling(
        max_new_tokens=chosen["max_gen_toks"],
        temperature=float(chosen.get("temperature", 0.0)) if chosen["do_sample"] else 0.0,
        top_p=float(chosen.get("top_p", 1.0)),
        stop=tuple(stop for stop in chosen["until"] if stop),
        seed=seed,
    )
