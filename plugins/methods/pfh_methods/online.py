"""What the methods share that learn from their own rollouts: TRL's trainers put on a domain, and what came of it."""

from __future__ import annotations

import dataclasses
import functools
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pfh import templates
from pfh.domain import Problem
from pfh.engine import Completion, GenerationRequest
from pfh.errors import StepFailedError, UserError
from pfh.ledger import Phase
from pfh.specs import TrainingResult, TrainingSpec
from pfh.tokens import decode_tokens, first_stop, read_completion
from pfh.training import (
    TrainingOptions,
    load_for_training,
    lora_config,
    save_trained,
    train_resumably,
    trainer_arguments,
)
from pydantic import Field, model_validator

from pfh_methods.collapse import repeated_share, signs_of_collapse
from pfh_methods.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

_BLIND_TO_STOPS = tuple(
    f"completions/{figure}"
    for figure in ("clipped_ratio", "mean_terminated_length", "min_terminated_length", "max_terminated_length")
)
"""Figures of TRL's that take a completion which a stop string ended for one that was cut off."""

Measure = Callable[[Problem, str], float]
"""A figure of one completion, whose mean goes into the curves."""


class OnlineOptions(TrainingOptions):
    """Options of every method that learns from its own rollouts."""

    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate; about 1e-6 for adapter=full")
    generations: int = Field(8, ge=2, description="completions a prompt, whose rewards are compared")
    batch_size: int = Field(8, ge=1, description="completions a device trains on at once; halved when memory runs out")
    gradient_accumulation: int = Field(
        4,
        ge=1,
        description="batches whose gradients make one update: batch_size x this is the completions of an update",
    )
    temperature: float = Field(1.0, gt=0, description="softmax temperature of the rollouts and of the trained policy")
    max_new_tokens: int | None = Field(
        None, ge=1, description="length limit of a completion; unset: as the domain says"
    )
    beta: float = Field(0.0, ge=0, description="strength of the pull towards the start model; 0 keeps no reference")
    epsilon: float = Field(0.2, gt=0, description="the ratio of new to old policy is clipped to 1 - this .. 1 + this")
    inner_epochs: int = Field(1, ge=1, description="updates made on each batch of rollouts")
    save_steps: int = Field(5, ge=1, description="updates between checkpoints: the most that a killed run repeats")
    use_vllm: bool = Field(False, description="generate with vLLM in this process (TRL's colocate mode); needs a GPU")
    vllm_memory: float = Field(0.3, gt=0, lt=1, description="share of the GPU's memory that vLLM may take")

    @model_validator(mode="after")
    def _whole_groups(self) -> OnlineOptions:
        completions = self.batch_size * self.gradient_accumulation
        if completions % self.generations:
            raise ValueError(
                f"an update takes batch_size x gradient_accumulation = {completions} completions, which must be a "
                f"multiple of generations ({self.generations})"
            )
        return self

    @property
    def prompts_per_update(self) -> int:
        """Prompts whose completions make one update."""
        return self.batch_size * self.gradient_accumulation // self.generations


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a trainer of the run is built on."""

    spec: TrainingSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stops: tuple[str, ...]
    tally: Tally

    @property
    def end_tokens(self) -> set[int]:
        """Tokens that end a completion."""
        ends = self.model.generation_config.eos_token_id
        return {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}

    def read(self, problem: Problem, ids: Sequence[int]) -> Completion:
        """Return the completion that the tokens `ids` are, as every backend reads it."""
        ended = ids[-1:] and ids[-1] in self.end_tokens
        stopped = first_stop(decode_tokens(self.tokenizer, ids), self.stops) is not None
        return read_completion(
            self.tokenizer,
            GenerationRequest(id=problem.id, messages=problem.messages),
            ids,
            prompt_tokens=0,
            end_tokens=self.end_tokens,
            stops=self.stops,
            truncated=not ended and not stopped,
        )


Build = Callable[[Ground, Mapping[str, Any]], "Trainer"]
"""(ground, arguments that GRPOConfig and RLOOConfig share) -> a trainer made by `on_domain`."""


def train_online(spec: TrainingSpec, method: str, build: Build) -> tuple[TrainingResult, Trainer]:
    """Train with the trainer that `build` makes until the end; return the result, and the trainer as it ended.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: no reward ever differed from another of its group, or training broke off.
    """
    options: OnlineOptions = spec.options
    if len(spec.problems) < options.prompts_per_update:
        raise UserError(
            f"{method} takes {options.prompts_per_update} prompts an update and there are {len(spec.problems)}: give "
            "more --problems, or lower batch_size or gradient_accumulation."
        )
    if options.use_vllm:
        _require_vllm(method)
    output_dir = spec.output_dir / "trainer"
    tally = Tally.read(spec.output_dir / "rollouts.json")

    def build_on_ground(batch_size: int, gradient_accumulation: int) -> Trainer:
        model, tokenizer = load_for_training(spec.checkpoint)
        stops = (*spec.domain.sampling.stop, *templates.stops(tokenizer))
        if stops and not options.use_vllm:
            # generate() looks for stop strings only where it is handed the tokenizer, which TRL does not do.
            model.generate = functools.partial(model.generate, tokenizer=tokenizer)
        ground = Ground(spec=spec, model=model, tokenizer=tokenizer, stops=stops, tally=tally)
        arguments = trainer_arguments(
            options,
            output_dir=output_dir,
            seed=spec.seed,
            batch_size=batch_size,
            gradient_accumulation=gradient_accumulation,
        )
        return build(ground, {**arguments, **_rollout_arguments(spec, stops)})

    trained = train_resumably(
        build_on_ground,
        output_dir=output_dir,
        batch_size=options.batch_size,
        gradient_accumulation=options.gradient_accumulation,
        progress=spec.progress,
    )
    _require_variance(trained.curves, method)
    result = TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=_phases(trained.phase, trained.curves, tally),
        curves=trained.curves,
        notes=(_outcome(trained.curves), *signs_of_collapse(trained.curves)),
    )
    return result, trained.trainer


def prompts(spec: TrainingSpec) -> list[dict[str, Any]]:
    """Return the training rows: every problem's chat, and its place among the problems."""
    return [{"prompt": list(problem.messages), "problem": place} for place, problem in enumerate(spec.problems)]


def peft_config(ground: Ground) -> Any:  # noqa: ANN401 - peft is untyped here
    """Return the adapter that the options ask for, or None."""
    return lora_config(ground.spec.options, ground.model)


def reward_function(ground: Ground, measures: Mapping[str, Measure] | None = None) -> Callable[..., list[float]]:
    """Return the reward as TRL calls it: the domain's verdict on each completion.

    Into the curves go the shares of completions without an answer, of those cut off at the length limit and of repeated
    text, and the means of `measures`.
    """
    problems, domain = ground.spec.problems, ground.spec.domain

    def reward(
        completion_ids: Sequence[Sequence[int]],
        problem: Sequence[int],
        log_metric: Callable[[str, float], None],
        **_: object,
    ) -> list[float]:
        asked = [problems[place] for place in problem]
        completions = [ground.read(one, ids) for one, ids in zip(asked, completion_ids, strict=True)]
        texts = [completion.text for completion in completions]
        verdicts = [domain.verify(one, text) for one, text in zip(asked, texts, strict=True)]
        log_metric("format_failures", _mean([float(verdict.extracted is None) for verdict in verdicts]))
        log_metric("truncated", _mean([float(completion.truncated) for completion in completions]))
        log_metric("repeated_text", _mean([repeated_share(text) for text in texts]))
        for name, measure in (measures or {}).items():
            log_metric(name, _mean([measure(one, text) for one, text in zip(asked, texts, strict=True)]))
        return [verdict.reward for verdict in verdicts]

    return reward


def on_domain(trainer: type[Any], ground: Ground) -> type[Any]:
    """Return a subclass of GRPOTrainer or RLOOTrainer whose completions end where the domain's do, and that counts.

    Its `rewards` are those of the latest completions of all processes, shape (completions,). Into the curves go the
    seconds of an update: generation, scoring (the verifier), and the rest (the update itself).
    """
    stops, tokenizer, tally = ground.stops, ground.tokenizer, ground.tally

    class OnDomain(trainer):  # type: ignore[misc]
        _clock: float | None = None

        def _generate_single_turn(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - TRL is untyped
            began = time.perf_counter()
            self._clock = self._clock or began
            drawn = super()._generate_single_turn(*arguments, **named)
            # GRPOTrainer returns the log-probabilities of vLLM too, RLOOTrainer the tokens alone.
            ids, logprobs = drawn if isinstance(drawn, tuple) else (drawn, None)
            lengths = [end_of_completion(tokenizer, one, stops) for one in ids]
            ids = [one[:length] for one, length in zip(ids, lengths, strict=True)]
            if logprobs is not None:
                logprobs = [one[:length] for one, length in zip(logprobs, lengths, strict=True)]
            if self.model.training:
                tally.generated(time.perf_counter() - began, lengths)
            return (ids, logprobs) if isinstance(drawn, tuple) else ids

        def _calculate_rewards(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            began = time.perf_counter()
            rewards = super()._calculate_rewards(*arguments, **named)
            self.rewards = rewards[:, 0]
            tally.scored(time.perf_counter() - began)
            return rewards

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            for figure in _BLIND_TO_STOPS:
                self._metrics["train"].pop(figure, None)
            if "loss" in logs and self._clock is not None:
                now = time.perf_counter()
                logs.update(tally.split(now - self._clock))
                self._clock = now
            super().log(logs, start_time)

    return OnDomain


def end_of_completion(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Sequence[str]) -> int:
    """Return how many of `ids` the completion has: up to and with the token that completes the first of `stops`."""

    def stopped(count: int) -> bool:
        return first_stop(decode_tokens(tokenizer, ids[:count]), stops) is not None

    if not stops or not stopped(len(ids)):
        return len(ids)
    return bisect_left(range(len(ids)), True, key=lambda place: stopped(place + 1)) + 1


def _rollout_arguments(spec: TrainingSpec, stops: tuple[str, ...]) -> dict[str, Any]:
    """Return what GRPOConfig and RLOOConfig share, every default that matters among it."""
    options: OnlineOptions = spec.options
    sampling = spec.domain.sampling
    arguments = {
        "num_generations": options.generations,
        "max_completion_length": options.max_new_tokens or sampling.max_new_tokens,
        "temperature": options.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "beta": options.beta,
        "epsilon": options.epsilon,
        "epsilon_high": None,
        "num_iterations": options.inner_epochs,
        # A resumed trainer draws new rollouts first, so a checkpoint must stand where a batch of them ends.
        "save_steps": -(-options.save_steps // options.inner_epochs) * options.inner_epochs,
        "disable_dropout": True,
        "shuffle_dataset": True,
        "mask_truncated_completions": False,
        "sync_ref_model": False,
        "log_completions": False,
        # TRL counts the tokens itself; what the Trainer looks at here are not yet tokens.
        "include_num_input_tokens_seen": "no",
        "use_vllm": options.use_vllm,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": options.vllm_memory,
    }
    if stops:
        arguments["generation_kwargs"] = {"stop" if options.use_vllm else "stop_strings": list(stops)}
    if spec.checkpoint.gguf_file and options.beta and options.adapter == "full":
        raise UserError(
            "A reference model (beta above 0) of a GGUF checkpoint needs adapter=lora: TRL loads a second copy of the "
            "weights only from safetensors."
        )
    return arguments


def _require_vllm(method: str) -> None:
    import torch

    if find_spec("vllm") is None:
        raise UserError(f"{method} was asked to generate with vLLM, which is not installed: pip install 'pfh[vllm]'.")
    if not torch.cuda.is_available():
        raise UserError(f"{method} can generate with vLLM beside the training only on a GPU: use_vllm=false here.")


def _require_variance(curves: Sequence[Mapping[str, float]], method: str) -> None:
    if curves and all(row["frac_reward_zero_std"] == 1 for row in curves):
        mean = _mean([row["reward"] for row in curves])
        advice = "easier" if mean < 0.5 else "harder"
        raise StepFailedError(
            f"{method} has learned nothing: in {len(curves)} updates all completions of a prompt earned the same "
            f"reward every time ({mean:.2f} on average), so no gradient told one from another. Make the domain's "
            f"problems {advice}, raise generations or temperature, or start from a model that sometimes succeeds; the "
            "trainer's checkpoints are kept."
        )


def _phases(training: Phase, curves: Sequence[Mapping[str, float]], tally: Tally) -> tuple[Phase, Phase]:
    zero_variance = _mean([row["frac_reward_zero_std"] for row in curves])
    rollouts = Phase(
        name="rollouts",
        seconds=round(tally.generation_seconds + tally.scoring_seconds, 3),
        tokens=tally.tokens,
        samples=tally.samples,
        notes={
            "generation_seconds": round(tally.generation_seconds, 3),
            "scoring_seconds": round(tally.scoring_seconds, 3),
            "zero_variance_share": zero_variance,
        },
    )
    return rollouts, dataclasses.replace(
        training, seconds=round(max(training.seconds - rollouts.seconds, 0.0), 3), samples=tally.samples
    )


def _outcome(curves: Sequence[Mapping[str, float]]) -> str:
    part = max(len(curves) // 4, 1)
    first, last = _mean([row["reward"] for row in curves[:part]]), _mean([row["reward"] for row in curves[-part:]])
    zero_variance = _mean([row["frac_reward_zero_std"] for row in curves])
    return (
        f"Mean reward of the rollouts: {first:.2f} in the first quarter of {len(curves)} updates, {last:.2f} in the "
        f"last; in {zero_variance:.0%} of the groups all completions earned the same, which teaches nothing."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
