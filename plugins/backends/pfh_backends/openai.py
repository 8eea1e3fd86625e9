"""A model behind an OpenAI-compatible endpoint, of which only completions can be had: a teacher, or one to measure."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

from pfh import hookimpl
from pfh.errors import StepFailedError, UserError, did_you_mean
from pfh.hooks.backends import (
    Completion,
    Distributions,
    GenerationRequest,
    Intervention,
    Message,
    Sampling,
    Score,
    ScoringRequest,
)
from pfh.kit.thoughts import thinks_on
from pfh.text import redacted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openai import OpenAI
    from pfh.hooks.backends import EngineSpec
    from pfh.hooks.checkpoint import Checkpoint

CONCURRENCY = "PFH_OPENAI_CONCURRENCY"
"""Environment variable: requests that are under way at once."""
DEFAULT_CONCURRENCY = 16
RETRIES = 8
"""Of a request that was refused for its rate, timed out or met a server's error; the pause doubles up to 8 seconds,
unless the server says how long to wait."""
SECONDS = 300.0
"""A request that takes longer is tried again."""
GROUPS_OF = 4
"""A group, the most that a killed run repeats, has so many requests for each one under way."""


@hookimpl
def open_engine(spec: EngineSpec) -> RemoteEngine:
    """Return an engine over the endpoint of `spec.checkpoint`.

    Raises:
        UserError: the checkpoint is no remote model, the client is not installed, or the endpoint does not have it.
    """
    if find_spec("openai") is None:
        raise UserError("A remote model needs the client of its interface: pip install 'pfh[openai]'.")
    engine = RemoteEngine(spec.checkpoint)
    engine.check()
    return engine


class RemoteEngine:
    """Completes prompts by an endpoint; log-likelihoods and hidden states it does not have."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.use(checkpoint)
        self._at_once = _concurrency()

    @property
    def checkpoint(self) -> Checkpoint:
        """The remote model."""
        return self._checkpoint

    @property
    def identity(self) -> str:
        """The interface, its client's version, and the endpoint."""
        assert self._checkpoint.endpoint is not None
        return f"openai {version('openai')}, {self._checkpoint.endpoint.url}"

    @property
    def depth(self) -> int:
        """Nobody knows."""
        self._cannot("the number of its blocks")

    def use(self, checkpoint: Checkpoint) -> None:
        """Ask `checkpoint` from now on.

        Raises:
            UserError: it has no endpoint.
        """
        from openai import OpenAI

        if checkpoint.endpoint is None:
            raise UserError(
                f"{checkpoint.name} is no model behind an endpoint: name one as openai:MODEL or openai:MODEL@URL, or "
                "choose another --backend."
            )
        self._checkpoint, self._model = checkpoint, checkpoint.endpoint.model
        login = base64.b64encode(checkpoint.endpoint.login.encode()).decode()
        self._client: OpenAI = OpenAI(
            base_url=checkpoint.endpoint.url,
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            default_query=dict(parse_qsl(checkpoint.endpoint.query)),
            default_headers={"Authorization": f"Basic {login}"} if login else {},
            max_retries=RETRIES,
            timeout=SECONDS,
        )

    def check(self) -> None:
        """Ask the endpoint which models it has.

        Raises:
            UserError: nothing answers there, the key is refused, or the model is not among them.
        """
        import openai

        assert self._checkpoint.endpoint is not None
        url = self._checkpoint.endpoint.url
        try:
            offered = [model.id for model in self._client.with_options(max_retries=1, timeout=30).models.list()]
        except openai.APIConnectionError as error:
            raise UserError(
                f"Nothing answers at {url} ({error.__cause__ or error}): start the server, or correct the URL in "
                "--model openai:MODEL@URL or OPENAI_BASE_URL."
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(f"{url} refuses the key: set OPENAI_API_KEY.") from error
        except openai.NotFoundError:  # an endpoint that does not list its models; the first request will tell
            return
        except openai.APIError as error:
            raise StepFailedError(f"{url} does not list its models: {_first_line(error)}. Try again later.") from error
        if self._model not in offered:
            raise UserError(
                f"{url} has no model {self._model!r}.{did_you_mean(self._model, offered)} "
                f"It has {', '.join(offered[:5]) or 'none'}."
            )

    def render(self, messages: Sequence[Message]) -> str:
        """Return the chat with a line for each turn: the endpoint has the template, and does not show it."""
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages)

    def count_tokens(self, text: str) -> int:
        """Only the endpoint can tell."""
        self._cannot("the tokens of a text")

    def encode(self, text: str) -> list[int]:
        """Only the endpoint can tell."""
        self._cannot("the tokens of a text")

    def decode(self, tokens: Sequence[int]) -> str:
        """Only the endpoint can tell."""
        self._cannot("the text of tokens")

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` in their order."""
        size = GROUPS_OF * DEFAULT_CONCURRENCY
        return [list(range(start, min(start + size, len(requests)))) for start in range(0, len(requests), size)]

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, several at once, in the order given.

        Raises:
            UserError: the endpoint refuses what was asked.
            StepFailedError: a request failed however often it was tried.
        """
        pool = ThreadPoolExecutor(self._at_once)
        try:
            return list(pool.map(lambda request: self._complete(request, sampling), requests))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """The interface has none for a given text."""
        self._cannot("log-likelihoods")

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """The interface has none."""
        self._cannot("hidden states")

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The interface has none over the whole vocabulary."""
        self._cannot("distributions over the next token")

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """The interface has none over the whole vocabulary."""
        self._cannot("distributions over the next token")

    def intervened(self, interventions: Sequence[Intervention]) -> AbstractContextManager[None]:
        """The interface has none."""
        self._cannot("interventions")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _complete(self, request: GenerationRequest, sampling: Sampling) -> Completion:
        import openai

        drawn: dict[str, Any] = {
            "model": self._model,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": _seed(request.id, sampling.seed),
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
        }
        try:
            if request.prompt is None:
                messages: list[Any] = [*request.messages]
                if arguments := dict(self._checkpoint.chat_template_kwargs):
                    drawn["extra_body"] = {"chat_template_kwargs": arguments}
                chat = self._client.chat.completions.create(messages=messages, **drawn)
                choice, usage, text = chat.choices[0], chat.usage, _with_thought(chat.choices[0].message)
            else:
                plain = self._client.completions.create(prompt=request.prompt, **drawn)
                choice, usage, text = plain.choices[0], plain.usage, plain.choices[0].text
        except (openai.BadRequestError, openai.UnprocessableEntityError, openai.NotFoundError) as error:
            raise UserError(f"{self._checkpoint.name} refuses a request: {_first_line(error)}.") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(f"{self._checkpoint.name} refuses the key: set OPENAI_API_KEY.") from error
        except openai.OpenAIError as error:
            raise StepFailedError(
                f"{self._checkpoint.name} failed {RETRIES + 1} times: {_first_line(error)}. What was answered is kept; "
                f"run the same command again, with a lower {CONCURRENCY} (it was {self._at_once}) if the rate was "
                "refused."
            ) from error
        except (IndexError, AttributeError, TypeError) as error:
            raise StepFailedError(f"{self._checkpoint.name} gave an answer without a completion.") from error
        return Completion(
            text=text or "",
            tokens=usage.completion_tokens if usage else 0,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            truncated=choice.finish_reason == "length" or thinks_on(text or ""),
        )

    def _cannot(self, what: str) -> NoReturn:
        raise UserError(
            f"{self._checkpoint.name} answers through an OpenAI-compatible endpoint, which does not tell {what}: "
            "choose benchmarks that only generate, or give the model's weights."
        )


def _with_thought(message: Any) -> str:  # noqa: ANN401 - what the endpoint sends
    """Return what was said, behind the thought that many servers send in a field of its own."""
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    said = message.content or ""
    if not isinstance(thought, str) or not thought:
        return str(said)
    return f"<think>\n{thought}\n</think>\n\n{said}" if said.strip() else f"<think>\n{thought}"


def _concurrency() -> int:
    given = os.environ.get(CONCURRENCY, str(DEFAULT_CONCURRENCY))
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{CONCURRENCY} is {given!r}; set it to a whole number of at least 1.")
    return int(given)


def _seed(request: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{request}".encode()).digest()[:4]) >> 1


def _first_line(error: Exception) -> str:
    return redacted((str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip("."))
