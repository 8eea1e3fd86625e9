"""TRL's online trainers put on a domain: its problems, its verifier, and completions that end where it says."""

from __future__ import annotations

import functools
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Completion, GenerationRequest, Message
from pfh.hooks.domains import Problem, verify_each
from pfh.hooks.methods import TrainingSpec
from pfh.kit.halving import halving
from pfh.kit.thoughts import thinks_on
from pfh.kit.tokens.encoding import decode_tokens, first_stop, read_completion
from pfh.kit.tokens.taught import encode_prompt, end_tokens
from pfh.kit.training import lora_config

from pfh_methods.collapse import repeated_share
from pfh_methods.tally import Tally

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BLIND_TO_STOPS = tuple(
    f"completions/{figure}"
    for figure in ("clipped_ratio", "mean_terminated_length", "min_terminated_length", "max_terminated_length")
)
"""Figures of TRL's that take a completion which a stop string ended for one that was cut off."""

KL_EVERY = 10
"""Batches of rollouts between two measurements of the divergence from the start, where the loss needs none."""

CompletionFigure = Callable[[Problem, str], float]
"""A figure of one completion, whose mean goes into the curves."""


@dataclass(frozen=True, kw_only=True)
class OnlineSetup:
    """What a trainer of the run is built on."""

    spec: TrainingSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dataset: Dataset
    """A row a problem: its chat in "prompt", its place among the problems in "problem"."""
    stops: tuple[str, ...]
    tally: Tally

    @functools.cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a completion."""
        return end_tokens(self.model, self.tokenizer)

    @property
    def shared_arguments(self) -> dict[str, Any]:
        """Arguments that every trainer class takes."""
        return {
            "model": self.model,
            "processing_class": self.tokenizer,
            "train_dataset": self.dataset,
            "peft_config": lora_config(self.spec.options, self.model),
        }

    def read(self, problem: Problem, ids: Sequence[int]) -> Completion:
        """Return the completion that the tokens `ids` are, as every backend reads it."""
        ended = len(ids) > 0 and ids[-1] in self.end_tokens
        return read_completion(
            self.tokenizer,
            GenerationRequest(id=problem.id, messages=problem.messages),
            ids,
            prompt_tokens=0,
            end_tokens=self.end_tokens,
            stops=self.stops,
            truncated=not ended and not _stopped(self.tokenizer, ids, self.stops),
        )


def reward_function(
    setup: OnlineSetup, measures: Mapping[str, CompletionFigure] | None = None
) -> Callable[..., list[float]]:
    """Return the reward as TRL calls it: the domain's verdict on each completion.

    Into the curves go the shares of completions without an answer, of those cut off at the length limit, of those that
    were cut while the model thought and of repeated text, and the means of `measures`. Of a conversation the last
    completion is judged (`pfh_methods.conversations`).
    """
    problems, domain, buffer = setup.spec.problems, setup.spec.domain, setup.spec.options.overlong_buffer
    limit = setup.spec.options.max_new_tokens or domain.sampling.max_new_tokens

    def reward(
        completion_ids: Sequence[Sequence[int]],
        problem: Sequence[int],
        log_metric: Callable[[str, float], None],
        last: Sequence[Sequence[int]] | None = None,
        turns: Sequence[int] | None = None,
        unlearned: Sequence[int] | None = None,
        **_: object,
    ) -> list[float]:
        asked = [problems[place] for place in problem]
        completions = [setup.read(one, ids) for one, ids in zip(asked, last or completion_ids, strict=True)]
        texts = [completion.text for completion in completions]
        verdicts = verify_each(domain, asked, texts)
        figures = {
            "format_failures": [
                float(verdict.format_failure and not thinks_on(text))
                for verdict, text in zip(verdicts, texts, strict=True)
            ],
            "truncated": [float(completion.truncated) for completion in completions],
            "cut_while_thinking": [float(thinks_on(text)) for text in texts],
            "repeated_text": [repeated_share(text) for text in texts],
        }
        if turns is not None:
            figures["turns"] = [float(number) for number in turns]
        if unlearned is not None:
            figures["turns_without_loss"] = [float(number) for number in unlearned]
        for name, measure in (measures or {}).items():
            figures[name] = [measure(one, text) for one, text in zip(asked, texts, strict=True)]
        for name, values in figures.items():
            log_metric(name, sum(values) / len(values))
        lengths = [len(ids) for ids in last or completion_ids]
        penalties = [overlong_penalty(length, limit, buffer) for length in lengths]
        return [verdict.reward + penalty for verdict, penalty in zip(verdicts, penalties, strict=True)]

    return reward


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """Return DAPO's soft punishment (arXiv 2503.14476, equation 13): 0 to -1 over the last `buffer` tokens."""
    return max(-1.0, min(0.0, (limit - buffer - length) / buffer)) if buffer else 0.0


def on_domain(trainer: type[Any], setup: OnlineSetup, kl_from_start: bool = True) -> type[Any]:
    """Return a subclass of GRPOTrainer or RLOOTrainer whose completions end where the domain's do, and that counts.

    Its `rewards` are those of the latest completions of all processes, shape (completions,). Into the curves go the
    seconds of an update: generation, scoring (the verifier), and the rest (the update itself). With `kl_from_start`, a
    loss without a reference and an adapter, the divergence from the start model is measured now and then.
    """
    from accelerate.utils import gather_object

    stops, tokenizer, tally = setup.stops, setup.tokenizer, setup.tally

    class OnDomain(trainer):  # type: ignore[misc]
        trained_on = setup
        asked: Sequence[int] = ()
        """Places of the problems of the latest batch of this process, a completion each."""
        _clock: float | None = None
        _drawn = 0

        def _tokenize_prompts(
            self, prompts: Sequence[Sequence[Message]]
        ) -> tuple[list[list[int]], None, dict[str, Any]]:
            # As they are measured, where TRL would render them with settings of its own.
            return [encode_prompt(tokenizer, prompt) for prompt in prompts], None, {}

        def _prepare_inputs(self, generation_batch: dict[str, Any]) -> dict[str, Any]:
            before = self.state.num_input_tokens_seen
            inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
            if drawn := self.state.num_input_tokens_seen - before:
                self._drawn = drawn
            elif self.model.training and self._step % self.args.steps_per_generation == 0:
                # TRL counts the tokens where they are drawn, and not the further updates that are made on them.
                self.state.num_input_tokens_seen += self._drawn
            return inputs

        def _generate_single_turn(
            self, prompt_ids: Sequence[Sequence[int]], *arguments: object, **named: object
        ) -> object:
            began = time.perf_counter()
            self._clock = self._clock or began
            # Autocast wraps forward, which an adapter's generate passes by: sampler and policy would differ.
            with self.accelerator.autocast():
                drawn = self._in_halves(super()._generate_single_turn, prompt_ids, *arguments, **named)
            # GRPOTrainer returns the log-probabilities of vLLM too, RLOOTrainer the tokens alone.
            ids, logprobs = drawn if isinstance(drawn, tuple) else (drawn, None)
            lengths = [end_of_completion(tokenizer, one, stops) for one in ids]
            ids = [one[:length] for one, length in zip(ids, lengths, strict=True)]
            if logprobs is not None:
                logprobs = [one[:length] for one, length in zip(logprobs, lengths, strict=True)]
            if self.model.training:
                (tokens,) = everywhere(self.accelerator, sum(lengths))
                tally.generated(time.perf_counter() - began, tokens)
            return (ids, logprobs) if isinstance(drawn, tuple) else ids

        def _in_halves(
            self,
            generate: Callable[..., Any],
            prompt_ids: Sequence[Sequence[int]],
            *arguments: object,
            **named: object,
        ) -> Any:  # noqa: ANN401 - TRL's
            """Generate for all prompts at once, or in halves where one process alone runs out of memory."""
            if self.use_vllm or self.accelerator.num_processes > 1:  # processes gather weights together
                return generate(prompt_ids, *arguments, **named)
            alone = False

            def some(part: Sequence[Sequence[int]]) -> list[Any]:
                nonlocal alone
                drawn = generate(part, *arguments, **named)
                alone = not isinstance(drawn, tuple)
                return list(drawn if alone else drawn[0])

            ids = halving(some, prompt_ids)
            return ids if alone else (ids, None)

        def _calculate_rewards(
            self, inputs: Sequence[Mapping[str, Any]], *arguments: object, **named: object
        ) -> torch.Tensor:
            began = time.perf_counter()
            rewards: torch.Tensor = super()._calculate_rewards(inputs, *arguments, **named)
            self.rewards = rewards[:, 0]
            groups = self.rewards.view(-1, self.num_generations)
            asked = gather_object([row["problem"] for row in inputs])[:: self.num_generations]
            tally.rewarded(asked, (groups.amax(dim=1) > groups.amin(dim=1)).tolist())
            tally.scored(time.perf_counter() - began, samples=len(self.rewards))
            return rewards

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self.asked = [row["problem"] for row in inputs]
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            due = self.state.global_step % (KL_EVERY * self.num_iterations) == 0
            if due and kl_from_start and self.beta == 0 and setup.spec.options.adapter == "lora":
                self._log_kl_from_start(batch)
            return batch

        def completion_logps(
            self,
            model: torch.nn.Module,
            batch: Mapping[str, torch.Tensor],
            prompt: str = "prompt",
            batch_size: int | None = None,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Return log-probabilities and entropies of the completions after a prompt, shape (completions, tokens)."""
            import torch

            logps, entropies, _ = self._get_per_token_logps_and_entropies(
                model,
                torch.cat([batch[f"{prompt}_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch[f"{prompt}_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=batch_size,
                compute_entropy=True,
            )
            return logps, entropies

        def mean_over_update(self, figures: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            """Return this batch's part of the mean of a figure over an update's tokens, as GRPO's with loss="dapo"."""
            tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
            tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
            return figures.sum() / tokens

        def log_mean(self, name: str, figures: torch.Tensor, mask: torch.Tensor) -> None:
            """Log the mean of a figure over the tokens of all processes' batches; nothing where no token counts."""
            import torch

            sums = torch.stack([(figures.detach() * mask).sum().float(), mask.sum().float()])
            total, tokens = self.accelerator.gather(sums[None]).sum(dim=0).tolist()
            if tokens:
                self._metrics["train"][name].append(total / tokens)

        def _log_kl_from_start(self, batch: Mapping[str, torch.Tensor]) -> None:
            """Log the mean over the tokens of log pi - log pi_start: the start is the model without its adapter."""
            import torch

            size, mask = self.args.per_device_train_batch_size, batch["completion_mask"] * batch.get("tool_mask", 1)
            with torch.no_grad():
                now, _ = self.completion_logps(self.model, batch, batch_size=size)
                with self.accelerator.unwrap_model(self.model).disable_adapter():
                    start, _ = self.completion_logps(self.model, batch, batch_size=size)
            self.log_mean("kl", now - start, mask)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for figure in _BLIND_TO_STOPS:
                self._metrics["train"].pop(figure, None)
            if "loss" in logs and self._clock is not None:
                now = time.perf_counter()
                logs.update(tally.split(now - self._clock))
                self._clock = now
                if self.accelerator.is_main_process:
                    tally.write()
            super().log(logs, start_time)

    return OnDomain


def everywhere(accelerator: Accelerator, *numbers: int) -> list[int]:
    """Return the sum of each of `numbers` over all processes of the training."""
    import torch

    mine = torch.tensor([numbers], device=accelerator.device)
    total: list[int] = accelerator.gather(mine).sum(dim=0).tolist()
    return total


def end_of_completion(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Sequence[str]) -> int:
    """Return how many of `ids` the completion has: up to and with the token that completes the first of `stops`."""
    if not _stopped(tokenizer, ids, stops):
        return len(ids)
    return bisect_left(range(len(ids)), True, key=lambda place: _stopped(tokenizer, ids[: place + 1], stops)) + 1


def _stopped(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Sequence[str]) -> bool:
    return bool(stops) and first_stop(decode_tokens(tokenizer, ids), stops) is not None
