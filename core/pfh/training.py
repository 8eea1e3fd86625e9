"""What methods that train with TRL share: loading, settings, resumption, and what the training cost."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pfh.best import load_best, watch_for_best
from pfh.budget import Account
from pfh.errors import StartAgainError, StepFailedError, UserError, did_you_mean
from pfh.ledger import Phase
from pfh.live import live_line
from pfh.models import Checkpoint
from pfh.progress import Progress
from pfh.trackers import NONE, check_tracker

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import LoraConfig
    from torch.utils.data import DataLoader
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

COMPLETE = "COMPLETE"
"""The file that a trainer checkpoint gets once every other file of it is written."""

ALL_LINEAR = "all-linear"
"""As the only one of `lora_targets`: every linear layer but the output head."""

_SPENT = "spent.json"
_SMALLER = "batch_size"
"""Where a rank that ran out of memory leaves what all of them shall try next."""
_FULL_BELOW = 2**20
"""Bytes."""
_NO_FIGURES = ("_per_second", "_runtime", "step_time", "num_tokens")
"""Logged timings, and a counter of TRL's that forgets what came before a kill."""


class TrainingOptions(BaseModel):
    """Options that every method trained with TRL has; a method adds its own and may change a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    epochs: float = Field(1.0, gt=0, description="passes over the training examples")
    max_steps: int | None = Field(None, ge=1, description="stop after this many updates, whatever epochs says")
    batch_size: int = Field(4, ge=1, description="examples a device holds at once; halved when memory runs out")
    gradient_accumulation: int = Field(1, ge=1, description="batches whose gradients make one update")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates over which the learning rate rises")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="course of the learning rate after the warm-up"
    )
    optimizer: Literal["adamw_torch", "rmsprop"] = Field("adamw_torch", description="optimiser")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: int = Field(1024, ge=8, description="longest sequence in tokens; longer ones lose their end")
    adapter: Literal["lora", "full"] = Field("lora", description="train a LoRA adapter, or all weights")
    lora_rank: int = Field(16, ge=1, description="rank of the LoRA matrices")
    lora_alpha: float = Field(32, gt=0, description="LoRA scale: the adapter is multiplied by alpha / rank")
    lora_targets: tuple[str, ...] = Field(
        (ALL_LINEAR,), min_length=1, description="layers with an adapter by name, such as q_proj,v_proj, or all-linear"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what training computes in; weights stay float32; auto: bfloat16 on CUDA, float32 elsewhere"
    )
    save_steps: int = Field(10, ge=1, description="updates between checkpoints: the most that a killed run repeats")
    report_to: str = Field(
        NONE, description="tracker that training logs to: trackio, wandb, mlflow, tensorboard, or none"
    )

    @field_validator("report_to")
    @classmethod
    def _can_report(cls, tracker: str) -> str:
        return check_tracker(tracker)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    trainer: Trainer
    curves: tuple[dict[str, float], ...]
    """One row an update: "step", "loss", and what else the trainer logged; TRL's own timings are left out."""
    phase: Phase


def load_for_training(
    checkpoint: Checkpoint, dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return `checkpoint` as a transformers model and its tokenizer, an adapter of the checkpoint merged.

    Train in float32: in bfloat16 updates smaller than half a unit in the last place are lost.
    A tokenizer without a chat template gets pfh's plain one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pfh.templates import chat_template

    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "trust_remote_code": False}
    names: dict[str, Any] = {}
    if checkpoint.gguf_file:
        from transformers import GgufConfig

        names = {"gguf_file": checkpoint.gguf_file}
        settings["quantization_config"] = GgufConfig(dequantize=True)
    elif not checkpoint.allow_pickle:
        settings["use_safetensors"] = True
    model = AutoModelForCausalLM.from_pretrained(checkpoint.path, **names, **settings)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, **names, trust_remote_code=False)
    if checkpoint.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, checkpoint.adapter).merge_and_unload()
    tokenizer.chat_template = chat_template(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def lora_config(
    options: TrainingOptions, model: PreTrainedModel | None = None, dropout: float = 0.0
) -> LoraConfig | None:
    """Return the peft configuration of a LoRA adapter, or None for full fine-tuning.

    Raises:
        UserError: `model`, where it is given, lacks one of `options.lora_targets`.
    """
    if options.adapter == "full":
        return None
    from peft import LoraConfig

    if model is not None:
        check_targets(options.lora_targets, model)

    return LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=dropout,
        target_modules=ALL_LINEAR if options.lora_targets == (ALL_LINEAR,) else list(options.lora_targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def check_targets(targets: tuple[str, ...], model: PreTrainedModel) -> None:
    """Refuse a name that cannot have an adapter: peft leaves it out without a word when another one is there.

    Raises:
        UserError: `model`, whose weights are not looked at, has no linear layer of that name.
    """
    from torch.nn import Linear

    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module is not head
    }
    for target in targets:
        if target not in linear | {ALL_LINEAR}:
            raise UserError(
                f"lora_targets names {target!r}, which is no linear layer of this model ({model.config.model_type})."
                f"{did_you_mean(target, linear)} Beside the output head it has {', '.join(sorted(linear))}; "
                f"lora_targets={ALL_LINEAR} takes all of these."
            )
    if ALL_LINEAR in targets and len(targets) > 1:
        raise UserError(
            f"lora_targets is either {ALL_LINEAR} alone or names of layers, not both: {', '.join(targets)}."
        )


def trainer_arguments(
    options: TrainingOptions, *, output_dir: Path, seed: int, batch_size: int, gradient_accumulation: int
) -> dict[str, Any]:
    """Return what every TRL config takes from `options`; bfloat16 is autocast, the weights stay float32."""
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    checkpointing: dict[str, Any] = {"gradient_checkpointing": options.gradient_checkpointing}
    if "activation_checkpointing" in TrainingArguments.__dataclass_fields__:
        # TRL turns the old name on; None hands the decision to the new name of transformers 5.23.
        checkpointing = {"gradient_checkpointing": None, "activation_checkpointing": options.gradient_checkpointing}
    return {
        "output_dir": str(output_dir),
        "seed": seed,
        "data_seed": seed,
        "learning_rate": options.learning_rate,
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps or -1,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation,
        "warmup_steps": options.warmup,
        "lr_scheduler_type": options.schedule,
        "optim": options.optimizer,
        "weight_decay": 0.0,
        "max_grad_norm": options.max_grad_norm,
        "use_cpu": not on_gpu,
        "bf16": options.precision == "bfloat16" or (options.precision == "auto" and on_gpu),
        "fp16": False,
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "steps",
        "save_steps": options.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "report_to": options.report_to,
        **checkpointing,
    }


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the latest trainer checkpoint in `output_dir` that was written to its end, or None."""
    found = {int(folder.name.rpartition("-")[2]): folder for folder in output_dir.glob("checkpoint-*[0-9]")}
    whole = [step for step in found if (found[step] / COMPLETE).exists()]
    return found[max(whole)] if whole else None


def train_resumably(
    build: Callable[[int, int], Trainer],
    *,
    output_dir: Path,
    batch_size: int,
    gradient_accumulation: int,
    progress: Progress,
    name: str = "training",
    account: Account | None = None,
    rounds: int = 1,
) -> Trained:
    """Train to the end from the last complete checkpoint in `output_dir`, with smaller batches if memory runs out.

    Args:
        build: given the batch size and the accumulation, returns a new TRL trainer that saves into `output_dir`.
        output_dir: outlives a killed process; what all attempts spent is kept there too.
        batch_size: most examples that a device holds at once.
        gradient_accumulation: batches an update; their product, the examples of an update, stays the same when the
            batch is halved, and when several processes (`pfh.ranks`) share it out.
        progress: gets the bar.
        name: the phase, in the ledger and beside the bar.
        account: the stage's; training ends when its budget is spent. A budget of updates or samples takes the place of
            epochs, so the learning rate runs its whole course.
        rounds: trainings still to come in this stage, this one counted; it may spend that part of what is left.

    Raises:
        UserError: the processes cannot share out the examples of an update.
        StepFailedError: the loss is not finite, one example is too large for the memory, the disk is full, or the
            budget does not last for one update.
        StartAgainError: one of several processes ran out of memory.
    """
    from safetensors import SafetensorError

    output_dir.mkdir(parents=True, exist_ok=True)
    effective = batch_size * gradient_accumulation
    share = share_out(effective, processes(), name)
    spent = _Spent.read(output_dir / _SPENT)
    spent.batch_size = _fitting(_smaller(output_dir) or spent.batch_size or batch_size, share)
    allowance = _Allowance.of(account or Account(), rounds, effective, name)
    while True:
        try:
            trained = _attempt(build, share, output_dir, spent, allowance, progress, name)
            if account is not None:
                account.add(trained.phase)
            return trained
        except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
            if _disk_is_full(error, output_dir):
                raise StepFailedError(
                    f"The disk filled up while {name} wrote to {output_dir}: free some space and run the same command "
                    "again; it goes on from the last complete checkpoint."
                ) from error
            if not _out_of_memory(error):
                raise
        # Here, not in the handler: its traceback would keep the model alive.
        free_memory()
        if spent.batch_size == 1:
            raise StepFailedError(
                f"Out of memory in {name} with a single example: lower max_length, set gradient_checkpointing=true, "
                "or train an adapter (adapter=lora) instead of all weights."
            )
        spent.batch_size = _fitting(spent.batch_size // 2, share)
        line = (
            f"out of memory: {name} goes on with batch_size={spent.batch_size} and "
            f"gradient_accumulation={share // spent.batch_size}, from the last complete checkpoint"
        )
        if processes() > 1:  # The others wait for this one, in the middle of an update.
            (output_dir / _SMALLER).write_text(str(spent.batch_size))
            raise StartAgainError(line)
        progress.say(line)


def processes() -> int:
    """Return how many processes share this training: the ranks of `pfh.ranks`, or this one alone."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_first() -> bool:
    """Say whether this process is the one that writes what all share."""
    return os.environ.get("RANK", "0") == "0"


def share_out(effective: int, count: int, name: str) -> int:
    """Return how many of the `effective` examples of an update each of `count` processes takes.

    Raises:
        UserError: they do not divide.
    """
    if effective % count:
        raise UserError(
            f"{name} takes {effective} examples an update (batch_size x gradient_accumulation), which {count} "
            f"processes cannot share out evenly: make it a multiple of {count}."
        )
    return effective // count


def _fitting(most: int, share: int) -> int:
    """Return the largest batch of at most `most` examples that divides `share`."""
    return max(size for size in range(1, min(most, share) + 1) if share % size == 0)


def _smaller(output_dir: Path) -> int:
    path = output_dir / _SMALLER
    return int(path.read_text()) if path.exists() else 0


def save_trained(trainer: Trainer, folder: Path, *, merge_into: Checkpoint | None = None) -> Path:
    """Save the adapter, or all weights with tokenizer and chat template, as safetensors in `folder`; return it.

    Every process of a training must call it: weights that are shared out over them are put together.

    Args:
        trainer: as it ended.
        folder: replaced if it is there.
        merge_into: put an adapter into this checkpoint, from which it was trained, and save all weights.
    """
    from accelerate.utils import DistributedType
    from peft import PeftModel

    accelerator = trainer.accelerator
    model, weights = accelerator.unwrap_model(trainer.model), None
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        weights = accelerator.get_state_dict(trainer.model_wrapped)
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        if merge_into and isinstance(model, PeftModel):
            model, weights = _merged(model, weights, merge_into, folder), None
        if isinstance(model, PeftModel):
            model.save_pretrained(folder, save_embedding_layers=False, state_dict=weights)
        else:
            model.save_pretrained(folder, state_dict=weights)
            trainer.processing_class.save_pretrained(folder)
    accelerator.wait_for_everyone()
    return folder


def _merged(model: Any, weights: dict[str, Any] | None, base: Checkpoint, folder: Path) -> Any:  # noqa: ANN401 - peft's
    """Return the base with the adapter of `model` in it; `weights` are the model's where it does not hold them all."""
    if weights is None:
        return model.merge_and_unload()
    adapter = folder.with_name(f"{folder.name}-adapter")
    model.save_pretrained(adapter, save_embedding_layers=False, state_dict=weights)
    return load_for_training(base.with_adapter(adapter, name=base.name, fingerprint=base.fingerprint))[0]


class _AtItsEnd(Exception):  # noqa: N818 - no error: there is nothing left to train
    """The checkpoint that a training was to go on from is its last."""


def _attempt(
    build: Callable[[int, int], Trainer],
    share: int,
    output_dir: Path,
    spent: _Spent,
    allowance: _Allowance,
    progress: Progress,
    name: str,
) -> Trained:
    from transformers.trainer import TRAINER_STATE_NAME
    from transformers.trainer_callback import PrinterCallback, TrainerState

    spent.attempts += 1
    spent.start(output_dir / _SPENT)
    last = last_complete_checkpoint(output_dir)
    for folder in output_dir.glob("checkpoint-*"):
        if is_first() and not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
    with ExitStack() as stack:
        with _no_bars_of_libraries(), _one_device():
            trainer = build(spent.batch_size, share // spent.batch_size)
            trainer.args._n_gpu = trainer.args.n_gpu
        spent.agree(trainer.accelerator)
        _teach_in_one_update(trainer)
        if allowance.updates is not None:
            trainer.args.max_steps = allowance.updates
        state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)) if last else TrainerState()
        ended = last is not None and (
            allowance.is_spent(spent.seconds, state.num_input_tokens_seen, state.global_step, name)
            or state.global_step >= state.max_steps
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_watch(spent, allowance, stack, progress, name, trainer.accelerator, ended=ended))
        if trainer.args.metric_for_best_model:
            trainer.add_callback(watch_for_best())
        if last is not None and not ended:
            progress.say(f"{name} goes on from update {state.global_step}")
        with suppress(_AtItsEnd):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    kept = load_best(trainer) if trainer.state.best_global_step else {}
    if kept:
        progress.say(f"{name}: the checkpoint of update {kept['kept_update']} is kept, the best of all")
    spent.write()
    return Trained(
        trainer=trainer,
        curves=_curves(trainer.state.log_history),
        phase=Phase(
            name=name,
            seconds=round(spent.seconds, 3),
            tokens=spent.tokens,
            updates=spent.updates,
            devices=trainer.accelerator.num_processes,
            samples=_samples(spent.epochs, len(trainer.train_dataset), share * trainer.accelerator.num_processes),
            notes=({"attempts": spent.attempts, "batch_size": spent.batch_size} if spent.attempts > 1 else {}) | kept,
        ),
    )


def _teach_in_one_update(trainer: Trainer) -> None:
    """Leave the warm-up out of a training of one update, which would be all of it: with a learning rate of 0."""
    create = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - torch's
        if num_training_steps == 1:
            trainer.args.warmup_steps = 0
        return create(num_training_steps, *arguments, **named)

    trainer.create_scheduler = create_scheduler


def _samples(epochs: float, examples: int, per_update: int) -> int:
    """Return how many examples `epochs` passes took: an epoch that was begun, by its updates."""
    whole = int(epochs)
    updates = round((epochs - whole) * math.ceil(examples / per_update))
    return whole * examples + min(updates * per_update, examples)


def _watch(
    spent: _Spent,
    allowance: _Allowance,
    stack: ExitStack,
    progress: Progress,
    name: str,
    accelerator: Accelerator,
    *,
    ended: bool,
) -> TrainerCallback:
    from transformers import TrainerCallback
    from trl.trainer.utils import RepeatSampler

    class Watch(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
        """Draws the bar, stops at a loss that is not finite, marks whole checkpoints, counts what was spent."""

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            if ended:
                # The weights are loaded, and Trainer.train would make one update more before it looked.
                raise _AtItsEnd
            self.bar = stack.enter_context(progress.task(name, total=state.max_steps, done=state.global_step))
            self.tokens, self.epoch = state.num_input_tokens_seen, state.epoch or 0.0

        def on_epoch_begin(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            train_dataloader: DataLoader,
            **_: object,
        ) -> None:
            batches = train_dataloader.batch_sampler
            sampler = getattr(getattr(batches, "batch_sampler", batches), "sampler", None)
            if isinstance(sampler, RepeatSampler):
                # TRL's own sampler: it would begin with the order of the first epoch in every resumed training.
                sampler.generator.manual_seed(args.seed + int(state.epoch or 0))

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            self.bar.advance()
            spent.updates += 1
            spent.tokens += int(state.num_input_tokens_seen - self.tokens)
            spent.epochs += state.epoch - self.epoch
            self.tokens, self.epoch = state.num_input_tokens_seen, state.epoch
            spent.write()
            if allowance.is_spent(spent.seconds, state.num_input_tokens_seen, state.global_step, name):
                control.should_training_stop = True
                progress.say(f"{name} ends at update {state.global_step} of {state.max_steps}: its budget is spent")

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, float],
            **_: object,
        ) -> None:
            for figure in ("loss", "grad_norm"):
                if figure in logs and not math.isfinite(logs[figure]):
                    raise StepFailedError(
                        f"{name} broke off at update {state.global_step} of {state.max_steps}: the {figure} is "
                        f"{logs[figure]}. Lower learning_rate (it was {args.learning_rate:g}) or max_grad_norm."
                    )
            if "loss" in logs:
                self.bar.note(live_line(state.log_history))

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
            accelerator.wait_for_everyone()  # Each process writes a part of a checkpoint.
            if accelerator.is_main_process:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    return Watch()


@dataclass(frozen=True, kw_only=True)
class _Allowance:
    """What one training may spend: None where it has no limit."""

    seconds: float | None = None
    """Wall-clock."""
    tokens: float | None = None
    updates: int | None = None
    overdraft: float = math.inf
    """Seconds or tokens that the first update must not take: the whole budget of a stage that has trained nothing yet.
    A round that overdraws only its own part ends."""

    @classmethod
    def of(cls, account: Account, rounds: int, effective: int, name: str) -> _Allowance:
        """Return what the stage's budget leaves for the next of `rounds` trainings.

        Raises:
            StepFailedError: that is less than one update.
        """
        if account.budget is None:
            return cls()
        unit, left = account.budget.unit, account.left
        if not account.lasts(effective):
            takes = f"; an update takes {effective}" if unit == "samples" else ""
            raise StepFailedError(
                f"The budget of {account.budget} leaves {left:,.6g} for {name}, less than one update{takes}: raise "
                "--budget, or lower what the method spends; what was measured and drawn is kept."
            )
        if unit in ("updates", "samples"):
            # A round whose part is less than an update makes one, and later rounds go without.
            return cls(updates=max(1, int(left / rounds / (effective if unit == "samples" else 1))))
        left /= processes() if unit == "seconds" else 1
        overdraft = math.inf if any(phase.updates for phase in account.phases) else left
        if unit == "seconds":
            return cls(seconds=left / rounds, overdraft=overdraft)
        return cls(tokens=left / rounds, overdraft=overdraft)

    def is_spent(self, seconds: float, tokens: int, update: int, name: str) -> bool:
        """Say whether training must end after `update`, having taken `seconds` and `tokens` so far.

        Raises:
            StepFailedError: the first update of the stage alone took more than all of the budget.
        """
        for unit, limit, taken in (("seconds", self.seconds, seconds), ("tokens", self.tokens, tokens)):
            if limit is not None and taken >= limit:
                if update == 1 and taken > self.overdraft:
                    raise StepFailedError(
                        f"The budget leaves {self.overdraft:,.6g} {unit} for {name}, and one update took {taken:,.6g}: "
                        "raise --budget, or lower batch_size or gradient_accumulation; what was measured and drawn is "
                        "kept."
                    )
                return True
        return False


@dataclass
class _Spent:
    """What all attempts spent together, on disk after every update.

    Of several processes the first writes it, and the seconds are the first's: all must end with the same update.
    """

    seconds: float = 0.0
    tokens: int = 0
    updates: int = 0
    epochs: float = 0.0
    attempts: int = 0
    batch_size: int = 0

    @classmethod
    def read(cls, path: Path) -> _Spent:
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def start(self, path: Path) -> None:
        self._path, self._last = path, time.monotonic()
        self._accelerator: Accelerator | None = None
        self.write()

    def agree(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.write()

    def write(self) -> None:
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        if self._accelerator is not None and self._accelerator.num_processes > 1:
            self.seconds = _of_the_first(self.seconds, self._accelerator)
        if not is_first():
            return
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self)))
        beside.replace(self._path)


def _of_the_first(number: float, accelerator: Accelerator) -> float:
    import torch
    from accelerate.utils import broadcast

    return float(broadcast(torch.tensor([number], dtype=torch.float64, device=accelerator.device))[0])


def _curves(log_history: list[dict[str, Any]]) -> tuple[dict[str, float], ...]:
    held_back = {row["step"]: {"validation_loss": row["eval_loss"]} for row in log_history if "eval_loss" in row}
    return tuple(
        {
            key: float(value)
            for key, value in (row | held_back.get(row["step"], {})).items()
            if not any(part in key for part in _NO_FIGURES)
        }
        for row in log_history
        if "loss" in row
    )


@contextmanager
def _no_bars_of_libraries() -> Iterator[None]:
    import datasets

    shown, before = datasets.are_progress_bars_disabled(), os.environ.get("TQDM_DISABLE")
    datasets.disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


@contextmanager
def _one_device() -> Iterator[None]:
    """Have the Trainer use one of the GPUs that it sees.

    It would split every batch over all of them (DataParallel), which multiplies the examples of an update, and which
    TRL refuses. `pfh.ranks` trains over several.
    """
    from transformers import TrainingArguments

    seen = TrainingArguments.n_gpu
    TrainingArguments.n_gpu = property(lambda arguments: min(seen.fget(arguments), 1))
    try:
        yield
    finally:
        TrainingArguments.n_gpu = seen


def _out_of_memory(error: BaseException) -> bool:
    import torch

    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said


def _disk_is_full(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # torch and safetensors say it in their own words, if at all.
    return "no space left" in str(error).lower() or shutil.disk_usage(folder).free < _FULL_BELOW


def free_memory() -> None:
    """Free what trainers that are no longer needed hold, on the GPU too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
