"""What the methods share that learn from their own rollouts: options, the course of a training, and its account."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Message
from pfh.hooks.domains import Problem
from pfh.hooks.ledger import Phase
from pfh.hooks.meanings import Needs
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.tokens import chat_templates as templates
from pfh.kit.tokens.encoding import encode_text
from pfh.kit.training import Schedule, TrainingOptions, Work, load_for_training, rate, save_trained, train_resumably
from pfh.kit.training.best import RECENT
from pfh.kit.training.colocated import end_vllm
from pydantic import Field, model_validator

from pfh_methods.collapse import signs_of_collapse
from pfh_methods.on_domain import OnlineSetup
from pfh_methods.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer


class OnlineOptions(TrainingOptions):
    """Options of every method that learns from its own rollouts."""

    needs: ClassVar[Needs] = Needs.VERIFIER

    learning_rate: float = rate(1e-6)
    generations: int = Field(8, ge=2, description="completions a prompt, whose rewards are compared")
    batch_size: int = Field(8, ge=1, description="completions a device trains on at once; halved when memory runs out")
    gradient_accumulation: int = Field(
        16,
        ge=1,
        description="batches whose gradients make one update: batch_size x this is the completions of an update",
    )
    temperature: float = Field(1.0, gt=0, description="softmax temperature of the rollouts and of the trained policy")
    max_new_tokens: int | None = Field(None, ge=1, description="length limit of a completion; unset: the domain's")
    max_length: int = Field(4096, ge=8, description="most tokens of prompt and completion; longer prompts are left out")
    schedule: Schedule = Field("constant_with_warmup", description="course of the learning rate after the warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    epsilon: float = Field(0.2, gt=0, description="the ratio of new to old policy is clipped to 1 - this from below")
    epsilon_high: float = Field(
        0.28, gt=0, description="upper end of that range, 1 + this, so that rare tokens can become likely"
    )
    inner_epochs: int = Field(1, ge=1, description="updates made on each batch of rollouts")
    overlong: Literal["reward", "mask"] = Field(
        "reward", description="completions that the length limit cut: judged like others, or left without loss"
    )
    overlong_buffer: int = Field(
        0,
        ge=0,
        description="tokens before the length limit over which a completion loses up to 1 of its reward; 0: none",
    )
    save_steps: int = Field(5, ge=1, description="updates between checkpoints: the most that a killed run repeats")
    keep_best: bool = Field(
        False,
        description=f"save the checkpoint with the best reward over its last {RECENT} batches, not the last one",
    )
    use_vllm: bool = Field(False, description="generate with vLLM, in this process or by a server; needs a GPU")
    vllm_memory: float = Field(0.3, gt=0, lt=1, description="share of the GPU's memory that vLLM may take here")
    vllm_tensor_parallel: int = Field(
        1, ge=1, description="processes over which vLLM shares out each layer; must divide the training's"
    )
    vllm_sleep: bool = Field(False, description="let vLLM give its memory back while the policy is updated")
    vllm_server: str = Field(
        "", description="URL of a server (trl vllm-serve) on other GPUs, in place of vLLM in this process"
    )

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
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.generations, read=self.inner_epochs > 1, generated=1, along=True)

    @property
    def prompts_per_update(self) -> int:
        """Prompts whose completions make one update."""
        return self.batch_size * self.gradient_accumulation // self.generations


Build = Callable[[OnlineSetup, Mapping[str, Any]], "Trainer"]
"""(setup, arguments that GRPOConfig and RLOOConfig share) -> a trainer of a class that `on_domain` made."""
Told = Callable[["Trainer"], Sequence[str]]
"""What is to be said of a trainer that has ended, and can still generate."""
Chats = Callable[[Problem], Mapping[str, Sequence[Message]]]
"""The chats that a trainer puts for a problem: "prompt" is the problem's own."""


def check_online(spec: StageSpec, method: str) -> None:
    """Check what is known beforehand to end an online training.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
    """
    if spec.options.use_vllm:
        _require_vllm(method)
    _require_prompts(spec, method, len(spec.problems))


def own_chat(problem: Problem) -> Mapping[str, Sequence[Message]]:
    """Return the chat of `problem` as it is put to the model when it is measured."""
    return {"prompt": problem.messages}


def train_online(
    spec: TrainingSpec,
    method: str,
    build: Build,
    chats: Chats = own_chat,
    *,
    only_reward: bool = True,
    told: Told | None = None,
) -> TrainingResult:
    """Train to the end with the trainer that `build` makes; then a vLLM engine in this process is ended.

    Args:
        spec: the stage.
        method: its name, for errors.
        build: makes the trainer.
        chats: how problems are put.
        only_reward: nothing but the reward teaches.
        told: gives further notes.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: only the reward teaches and never differed within a group, or training broke off.
    """
    options: OnlineOptions = spec.options
    if options.use_vllm:
        _require_vllm(method)
    tally = Tally.read(spec.output_dir / "rollouts.json")

    def build_online(arguments: Mapping[str, Any]) -> Trainer:
        setup = set_up_online(spec, method, chats, tally)
        return build(setup, online_arguments(setup, arguments))

    trained = train_resumably(spec, build_online)
    try:
        # The further updates on a batch of rollouts log no reward.
        drawn = [row for row in trained.curves if "reward" in row]
        if only_reward:
            _require_variance(drawn, method)
        left_out = len(spec.problems) - len(trained.trainer.trained_on.dataset)
        lacking = f"{left_out} of {len(spec.problems)} prompts were left out: longer than max_length."
        return TrainingResult(
            path=save_trained(trained.trainer, spec.output_dir / "trained"),
            phases=_phases(trained.phase, drawn, tally, spec, only_reward=only_reward),
            curves=trained.curves,
            notes=(
                _outcome(drawn, tally),
                *([lacking] if left_out else []),
                *signs_of_collapse(drawn),
                *(told(trained.trainer) if told else ()),
            ),
        )
    finally:
        end_vllm(trained.trainer)


def set_up_online(spec: TrainingSpec, method: str, chats: Chats, tally: Tally) -> OnlineSetup:
    """Load the model and put the problems into rows, without those whose prompt leaves no room for a completion.

    Raises:
        UserError: fewer rows than an update needs.
    """
    from datasets import Dataset

    model, tokenizer = load_for_training(spec.checkpoint, spec.options)
    stops = (*spec.domain.sampling.stop, *templates.stops(tokenizer))
    if stops:
        # generate() looks for stop strings only where it is handed the tokenizer, which TRL does not do.
        model.generate = functools.partial(model.generate, tokenizer=tokenizer)
    rows = _rows(spec, method, tokenizer, chats)
    return OnlineSetup(
        spec=spec, model=model, tokenizer=tokenizer, dataset=Dataset.from_list(rows), stops=stops, tally=tally
    )


def online_arguments(setup: OnlineSetup, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what GRPOConfig and RLOOConfig share, every default that matters among it.

    `arguments` is what every TRL config takes.
    """
    spec, options = setup.spec, setup.spec.options
    shared = dict(arguments) | {
        "num_generations": options.generations,
        "max_completion_length": _length_limit(spec),
        "temperature": options.temperature,
        # With vLLM, TRL multiplies by pi_train / pi_sampler: of a cut distribution the ratio of what was drawn is far
        # below 1, and the gradient all but vanishes. Nor is what a cut distribution draws on-policy.
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "epsilon": options.epsilon,
        "epsilon_high": options.epsilon_high,
        "num_iterations": options.inner_epochs,
        # A resumed trainer draws new rollouts first, so a checkpoint must stand where a batch of them ends.
        "save_steps": -(-options.save_steps // options.inner_epochs) * options.inner_epochs,
        "disable_dropout": options.lora_dropout == 0,
        "shuffle_dataset": True,
        "mask_truncated_completions": options.overlong == "mask",
        "log_completions": False,
        # TRL counts the tokens itself; what the Trainer looks at here are not yet tokens.
        "include_num_input_tokens_seen": "no",
        "use_vllm": options.use_vllm,
        "vllm_mode": "server" if options.vllm_server else "colocate",
        "vllm_server_base_url": options.vllm_server or None,
        "vllm_gpu_memory_utilization": options.vllm_memory,
        # Else vLLM reserves its cache for the longest sequence that the model could take.
        "vllm_max_model_length": options.max_length,
        "vllm_tensor_parallel_size": options.vllm_tensor_parallel,
        "vllm_enable_sleep_mode": options.vllm_sleep,
    }
    if options.keep_best:
        shared |= {"metric_for_best_model": "reward", "greater_is_better": True}
    if setup.stops:
        shared["generation_kwargs"] = {"stop" if options.use_vllm else "stop_strings": list(setup.stops)}
    return shared


def reference_arguments(spec: TrainingSpec, beta: float) -> dict[str, Any]:
    """Return the arguments of a pull towards the start model; with beta 0 no reference is kept.

    Raises:
        UserError: TRL cannot load the reference.
    """
    if beta and spec.checkpoint.gguf_file and spec.options.adapter == "full":
        raise UserError(
            "beta above 0 with adapter=full keeps a second copy of the weights, which TRL does not load from GGUF: "
            "choose adapter=lora, or start from safetensors."
        )
    return {"beta": beta, "sync_ref_model": False}


def _rows(spec: TrainingSpec, method: str, tokenizer: PreTrainedTokenizerBase, chats: Chats) -> list[dict[str, Any]]:
    options: OnlineOptions = spec.options
    room = options.max_length - _length_limit(spec)
    rows = []
    for place, problem in enumerate(spec.problems):
        put = chats(problem)
        if max(len(encode_text(tokenizer, templates.render(tokenizer, chat))) for chat in put.values()) <= room:
            rows.append({**{name: list(chat) for name, chat in put.items()}, "problem": place})
    _require_prompts(spec, method, len(rows))
    return rows


def _require_prompts(spec: StageSpec, method: str, prompts: int) -> None:
    needed, room = spec.options.prompts_per_update, spec.options.max_length - _length_limit(spec)
    if prompts < needed:
        raise UserError(
            f"{method} takes {needed} prompts an update and has {prompts} (of {len(spec.problems)}, whose prompt may "
            f"take {room} tokens): give more --problems, lower batch_size or gradient_accumulation, or raise "
            "max_length."
        )


def _length_limit(spec: StageSpec) -> int:
    return int(spec.options.max_new_tokens or spec.domain.sampling.max_new_tokens)


def _require_vllm(method: str) -> None:
    import torch

    if find_spec("vllm") is None:
        raise UserError(f"{method} was asked to generate with vLLM, which is not installed: pip install 'pfh[vllm]'.")
    if not torch.cuda.is_available():
        raise UserError(f"{method} can generate with vLLM beside the training only on a GPU: use_vllm=false here.")


def _require_variance(curves: Sequence[Mapping[str, float]], method: str) -> None:
    if not curves or any(row["frac_reward_zero_std"] < 1 for row in curves):
        return
    mean = _mean(curves, "reward")
    easier = "easier" if mean < 0.5 else "harder"
    raise StepFailedError(
        f"{method} has learned nothing: all completions of a prompt earned the same reward each time ({mean:.2f} on "
        f"average, batches of rollouts: {len(curves)}), so nothing told one from another. Make the domain's problems "
        f"{easier}, raise generations or temperature, or start from a model that sometimes succeeds; the trainer's "
        "checkpoints are kept."
    )


def _phases(
    training: Phase, curves: Sequence[Mapping[str, float]], tally: Tally, spec: TrainingSpec, *, only_reward: bool
) -> tuple[Phase, Phase]:
    rollouts = Phase(
        name="rollouts",
        seconds=round(tally.generation_seconds + tally.scoring_seconds, 3),
        tokens=tally.tokens,
        devices=training.devices,
        samples=tally.samples,
        notes={
            "generation_seconds": round(tally.generation_seconds, 3),
            "scoring_seconds": round(tally.scoring_seconds, 3),
            "zero_variance_share": _mean(curves, "frac_reward_zero_std"),
        },
    )
    rest = round(max(training.seconds - rollouts.seconds, 0.0), 3)
    effective = tally.told_apart if only_reward else tally.asked
    notes = {
        **training.notes,
        "prompts": len(spec.problems),
        "effective_prompts": len(effective),
        "target_form": "own completions",
    }
    updated = training.updates * spec.options.batch_size * spec.options.gradient_accumulation
    rehearsed = int(training.notes.get("general_rows", 0))
    return rollouts, dataclasses.replace(training, seconds=rest, samples=updated + rehearsed, notes=notes)


def _outcome(curves: Sequence[Mapping[str, float]], tally: Tally) -> str:
    part = max(len(curves) // 4, 1)
    return (
        f"Mean reward of the rollouts: {_mean(curves[:part], 'reward'):.2f} in the first quarter of {len(curves)} "
        f"batches, {_mean(curves[-part:], 'reward'):.2f} in the last; in {_mean(curves, 'frac_reward_zero_std'):.0%} "
        f"of the groups all completions earned the same. Of {len(tally.asked)} prompts that were put to it, "
        f"{len(tally.told_apart)} had completions with different rewards."
    )


def _mean(curves: Sequence[Mapping[str, float]], figure: str) -> float:
    return sum(row[figure] for row in curves) / max(len(curves), 1)
