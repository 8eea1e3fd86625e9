"""The vLLM engine: one resident vLLM model behind pfh's `Engine`."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn

from pfh.errors import NotNumbersError, StepFailedError, UserError, out_of_resources
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
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens import encoding as tokens
from pfh.kit.tokens.loading import load_tokenizer, pick_device, pick_dtype, quiet, reason
from pfh.kit.tokens.taught import all_ends

from pfh_backends.vllm.adapters import LoraRoom, room_for

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pfh.hooks.backends import EngineSpec
    from pfh.hooks.checkpoint import Checkpoint
    from transformers import PreTrainedTokenizerBase

CPU_GROUP = 64
GPU_GROUP = 1024
"""Requests handed over at once: what a killed run repeats. vLLM itself decides how many of them run together."""

_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process requests are scheduled the same in every run
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; by itself vLLM takes a share of the machine's memory
}
"""Environment variables that vLLM reads; those that the user has set are left."""
_FAILURES = (ValueError, RuntimeError, OSError, ImportError, KeyError, TypeError, AssertionError, MemoryError)
"""What vLLM raises for models, adapters and machines that it cannot serve."""


class VllmEngine:
    """Generates and scores with the model of `spec`, and swaps LoRA adapters over it.

    Of a model's generation_config only the end-of-sequence tokens count, as in the HF engine. Room for adapters is made
    when the first one comes, which loads the model again, once; other adapters then need no reload.
    """

    def __init__(self, spec: EngineSpec) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        self._device = pick_device()
        self._dtype = str(pick_dtype(spec.dtype, self._device)).removeprefix("torch.")
        self._memory_share = spec.memory_share
        self._group = GPU_GROUP if self._device.type == "cuda" else CPU_GROUP
        self._checkpoint = spec.checkpoint
        self._base: Path | None = None
        self._room: LoraRoom | None = None
        self._llm: Any = None
        self._lora_ids: dict[str, int] = {}
        self.use(spec.checkpoint)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose weights answer now."""
        return self._checkpoint

    @property
    def identity(self) -> str:
        """Backend, versions, dtype and kind of device."""
        import torch
        import vllm

        return f"vllm {vllm.__version__}, torch {torch.__version__}, {self._dtype}, {self._device.type}"

    @property
    def depth(self) -> int:
        """Number of the model's blocks."""
        return int(self._llm.llm_engine.model_config.hf_text_config.num_hidden_layers)

    def use(self, checkpoint: Checkpoint) -> None:
        """Answer with `checkpoint` from now on; an adapter of the resident base is swapped in without a reload.

        Raises:
            UserError: vLLM cannot load it; the engine is then empty until a `use` succeeds.
            StepFailedError: it does not fit into memory, or its outputs are not numbers.
        """
        if self._llm is not None and checkpoint == self._checkpoint:
            return
        needed = room_for(checkpoint) if checkpoint.adapter else None
        same_base = self._llm is not None and checkpoint.path == self._base
        if not same_base:
            self._room = None
        if not same_base or (needed and not (self._room and self._room.holds(needed))):
            self._load(checkpoint, self._room.widened(needed) if self._room and needed else needed or self._room)
        self._checkpoint = checkpoint
        self._tokenizer = load_tokenizer(checkpoint)
        self._end_tokens = _end_tokens(self._llm.llm_engine.model_config, self._tokenizer)
        self._try_out()

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text that the model is fed for a chat, generation prompt included."""
        return templates.render(self._tokenizer, messages)

    def count_tokens(self, text: str) -> int:
        """Return the length of `text` in this model's tokens, special tokens not added."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """Return `text` in this model's tokens, special tokens not added."""
        return tokens.encode_text(self._tokenizer, text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special ones included."""
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    def batches(self, requests: Sequence[GenerationRequest | ScoringRequest]) -> list[list[int]]:
        """Group `requests` in their order: neighbours share their beginnings most often."""
        indices = list(range(len(requests)))
        return [indices[start : start + self._group] for start in range(0, len(indices), self._group)]

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        """Complete every request, in the order given, each with a seed of its own.

        `Completion.tokens` counts what was generated; a stop string's own tokens count too.
        """
        from vllm import SamplingParams

        if not requests:
            return []
        stops = tokens.stop_strings(self._tokenizer, requests, sampling.stop)
        prompts, limits = zip(
            *(
                tokens.fit_prompt(prompt, sampling.max_new_tokens, self._window)
                for prompt in tokens.encode_prompts(self._tokenizer, requests)
            ),
            strict=True,
        )
        outputs = self._run(
            prompts,
            [
                SamplingParams(
                    max_tokens=limit,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    seed=_seed(request.id, sampling) if sampling.temperature > 0 else None,
                    stop=list(stops),
                    stop_token_ids=sorted(self._end_tokens),
                    ignore_eos=True,  # the end-of-sequence token is among stop_token_ids where the model has one
                )
                for request, limit in zip(requests, limits, strict=True)
            ],
        )
        return [
            tokens.read_completion(
                self._tokenizer,
                request,
                output.outputs[0].token_ids,
                prompt_tokens=len(prompt),
                end_tokens=self._end_tokens,
                stops=stops,
                truncated=output.outputs[0].finish_reason == "length",
            )
            for request, prompt, output in zip(requests, prompts, outputs, strict=True)
        ]

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        """Score every request, in the order given.

        vLLM computes the logits of whole prompts and takes nothing from its prefix cache for that: the HF engine is
        faster. What fills the window to the brim loses two more tokens of its beginning than there.
        """
        from vllm import SamplingParams

        rows = tokens.encode_pairs(self._tokenizer, requests, self._window - 2)
        prompts = [(*row.inputs, row.targets[-1]) for row in rows if row.targets]
        asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        outputs = iter(self._run(prompts, [asked] * len(prompts)))
        return [
            _score(next(outputs).prompt_logprobs, row.targets)
            if row.targets
            else Score(logprob=0.0, greedy=True, tokens=0)
            for row in rows
        ]

    def hidden_states(self, texts: Sequence[str], layers: Sequence[int]) -> list[NDArray[np.float32]]:
        """Raise a UserError: vLLM shows no hidden states."""
        raise UserError("The backend vllm shows no hidden states: use --backend hf, or auto, for what needs them.")

    def next_token_logprobs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raise a UserError: vLLM gives the most likely tokens, not the whole vocabulary."""
        raise UserError("The backend vllm gives no whole next-token distributions: use --backend hf, or auto.")

    def distributions(self, requests: Sequence[GenerationRequest], completions: Sequence[str]) -> list[Distributions]:
        """Raise a UserError: vLLM gives the most likely tokens, not the whole vocabulary."""
        raise UserError("The backend vllm gives no whole next-token distributions: use --backend hf, or auto.")

    def intervened(self, interventions: Sequence[Intervention]) -> AbstractContextManager[None]:
        """Raise a UserError: vLLM's forward pass cannot be changed from outside."""
        raise UserError("The backend vllm cannot intervene in the residual stream: use --backend hf, or auto.")

    def close(self) -> None:
        """Free the model's memory; `use` loads again."""
        if self._llm is None:
            return
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = self._base = self._room = None
        gc.collect()
        cleanup_dist_env_and_memory()

    @property
    def _window(self) -> int:
        return int(self._llm.llm_engine.model_config.max_model_len)

    def _load(self, checkpoint: Checkpoint, room: LoraRoom | None) -> None:
        """Make the base of `checkpoint` resident, with `room` for adapters."""
        import torch

        if checkpoint.gguf_file:
            raise UserError(
                f"The backend vllm loads no GGUF files ({checkpoint.name}): use --backend hf, or safetensors weights."
            )
        self.close()
        from vllm import LLM

        lora: dict[str, object] = {"enable_lora": room is not None}
        if room is not None:
            lora |= {"max_lora_rank": room.rank, "lora_target_modules": sorted(room.modules), "max_loras": 1}
        set_threads = torch.set_num_threads
        try:
            with quiet():
                self._llm = LLM(
                    model=str(checkpoint.path),
                    dtype=self._dtype,
                    trust_remote_code=False,
                    load_format="auto" if checkpoint.allow_pickle else "safetensors",
                    max_model_len=-1,  # what the model sees, or what fits into memory
                    enable_prefix_caching=True,
                    gpu_memory_utilization=self._memory_share,
                    enforce_eager=self._device.type == "cpu",
                    generation_config="vllm",  # nothing of the model's own but what `Sampling` says
                    seed=0,
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                    **lora,
                )
        except _FAILURES as error:
            self._refuse(checkpoint, error)
        finally:
            torch.set_num_threads = set_threads  # on a CPU vLLM replaces it for the whole process
        self._base, self._room = checkpoint.path, room

    def _refuse(self, checkpoint: Checkpoint, error: Exception) -> NoReturn:
        """Raise what loading, or an adapter, failed with; nothing is resident then."""
        self.close()
        if line := out_of_resources(error):
            raise StepFailedError(f"{checkpoint.name} cannot be loaded by vLLM: {line}") from error
        raise UserError(
            f"{checkpoint.name} cannot be loaded by vLLM: {reason(error)} Use --backend hf where this cannot be mended."
        ) from error

    def _try_out(self) -> None:
        """Let the model write one token: an adapter is loaded by this, and broken weights show.

        Raises:
            StepFailedError: the model's outputs are not numbers.
        """
        from vllm import SamplingParams

        try:
            output = self._run([(0,)], [SamplingParams(max_tokens=1, temperature=0.0, logprobs=0)])[0]
        except _FAILURES as error:
            self._refuse(self._checkpoint, error)
        if not abs(output.outputs[0].cumulative_logprob) < float("inf"):
            self.close()
            raise NotNumbersError

    def _run(self, prompts: Sequence[Sequence[int]], sampling: Sequence[Any]) -> list[Any]:
        outputs: list[Any] = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            list(sampling),
            use_tqdm=False,
            lora_request=self._lora_request(),
        )
        return outputs

    def _lora_request(self) -> Any:  # noqa: ANN401 - vLLM's LoRARequest, or None
        if self._checkpoint.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        fingerprint = self._checkpoint.fingerprint
        number = self._lora_ids.setdefault(fingerprint, len(self._lora_ids) + 1)
        return LoRARequest(fingerprint, number, str(self._checkpoint.adapter))


def _seed(request_id: str, sampling: Sampling) -> int:
    digest = hashlib.sha256(f"{sampling.seed}\0{request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def _end_tokens(model_config: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:  # noqa: ANN401 - vLLM's
    """Return the tokens that end a completion, as every backend finds them."""
    from transformers import GenerationConfig

    try:
        stated = GenerationConfig.from_pretrained(model_config.model, local_files_only=True).eos_token_id
    except OSError:
        stated = getattr(model_config.hf_text_config, "eos_token_id", None)
    return all_ends(stated, tokenizer)


def _score(prompt_logprobs: Sequence[Any], targets: Sequence[int]) -> Score:
    """Sum what the prompt's last tokens, the `targets`, were given; a prompt's first token is given nothing."""
    given = [place[token] for place, token in zip(prompt_logprobs[-len(targets) :], targets, strict=True)]
    return Score(
        logprob=sum(entry.logprob for entry in given), greedy=all(entry.rank == 1 for entry in given), tokens=len(given)
    )
