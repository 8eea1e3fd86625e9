"""What a training would take on devices that are not here, line by line, so that the arithmetic can be followed.

The terms are those of `pfh.kit.training.estimate`: every sequence as long as max_length allows. GB are 10^9 bytes. Time
is operations at a stated speed; what is generated takes as long as its operations, or as every step's reading of all
weights, keys and values at a stated bandwidth, whichever is longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfh.errors import UserError
from pfh.kit.accelerators import REACHED, STAND_IN
from pfh.kit.training.estimate import Estimate

if TYPE_CHECKING:
    from pfh.kit.training.options import TrainingOptions

SPEED, BANDWIDTH = round(REACHED * STAND_IN.flops, -12), STAND_IN.bandwidth
"""Operations and bytes a second of a device where the user says nothing: those of an A100."""
_WRITTEN = re.compile(r"(?:(\d+)\s*x\s*)?(\d+(?:\.\d+)?)\s*GB(?:\s*@\s*(\d+(?:\.\d+)?)\s*TFLOPS)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Devices:
    """So many devices of one kind."""

    count: int
    memory: float
    """Bytes of each."""
    speed: float = SPEED
    """Operations a second of each that a training reaches."""

    @classmethod
    def parse(cls, text: str) -> Devices:
        """Read "80GB", "4x80GB" or "8x80GB@400TFLOPS".

        Raises:
            UserError: it is none of these.
        """
        found = _WRITTEN.fullmatch(text.strip())
        count = int(found[1] or 1) if found else 0
        if found is None or count < 1 or not float(found[2]):
            raise UserError(f"--devices got {text!r}: write a number and the memory of each, such as 4x80GB.")
        speed = 1e12 * float(found[3]) if found[3] else SPEED
        if not speed:
            raise UserError(f"--devices got {text!r}: a device without operations trains nothing.")
        return cls(count=count, memory=1e9 * float(found[2]), speed=speed)


def plan_lines(estimate: Estimate, options: TrainingOptions, devices: Devices, completion: int | None) -> Iterator[str]:
    """Yield the plan of a training; `completion` is the length limit of what is generated, where that is known.

    `estimate` is of the batch that each device holds.
    """
    yield (
        f"{estimate.weights:.3g} weights, {estimate.trained:.3g} of them trained"
        + (f" (LoRA of rank {options.lora_rank}, beside them)" if options.adapter == "lora" else "")
        + f"; {estimate.updates:,} updates of {estimate.update} sequences of at most {options.max_length:,} tokens"
    )
    yield f"memory of each device of {devices.memory / 1e9:g} GB, {estimate.batch} sequences at once, in GB:"
    for part in estimate.parts:
        when = "" if part.when == "always" else f" (while {part.when})"
        yield f"  {part.name}{when}: {part.formula} = {part.amount / 1e9:.1f}"
    yield from _vllm_lines(estimate, options, devices)
    yield f"  together {_together(estimate, options, devices, 1)}"
    if devices.count > 1:
        yield (
            f"  with weights, gradients and states shared out over {devices.count} devices (FSDP): "
            f"{_together(estimate, options, devices, devices.count)}"
        )
    yield from _time_lines(estimate, options, devices, completion)


def _together(estimate: Estimate, options: TrainingOptions, devices: Devices, sharing: int) -> str:
    """Say what is held while training, and while generating where that holds something of its own; and if it fits."""
    vllm = _vllm(options) * devices.memory
    training, generating = (estimate.held(when, sharing) + vllm for when in ("training", "generating"))
    lighter = ["keep frozen weights in base_precision=bfloat16 or 4bit"] if _frozen_in_float32(options) else []
    lighter += ["share them out (--accelerate)"] if sharing < devices.count else []
    smaller = "lower batch_size (raise gradient_accumulation with it) or max_length"
    told = f"{training / 1e9:.1f}: {_fits(training, devices, [smaller, *lighter])}"
    if not any(part.when == "generating" for part in estimate.parts):
        return told
    other = "let vLLM generate (use_vllm=true), lower gradient_accumulation or max_length"
    if devices.count == 1:
        other = "they are then drawn in halves, which takes longer; or let vLLM generate (use_vllm=true)"
    return f"while training {told}\n  while generating {generating / 1e9:.1f}: " + _fits(
        generating, devices, [other, *lighter]
    )


def _fits(needed: float, devices: Devices, advice: Sequence[str]) -> str:
    return "fits" if needed <= devices.memory else f"does not fit: {', '.join(advice)}"


def _frozen_in_float32(options: TrainingOptions) -> bool:
    return options.base_precision == "float32" and options.adapter == "lora"


def _vllm_lines(estimate: Estimate, options: TrainingOptions, devices: Devices) -> Iterator[str]:
    if not (share := _vllm(options)):
        return
    split = int(getattr(options, "vllm_tensor_parallel", 1))
    weights, given = 2.0 * estimate.weights / split, share * devices.memory
    tokens = (given - weights) * split / estimate.cached
    halved = f" / {split}" if split > 1 else ""
    yield (
        f"  vLLM: vllm_memory {share:g} of the device = {given / 1e9:.1f}; its weights take {estimate.weights:.3g} x 2 "
        f"bytes{halved} = {weights / 1e9:.1f} of it"
    )
    yield (
        f"    {estimate.cached:,} bytes a token leave room for the keys and values of {tokens:,.0f} tokens at once"
        if tokens > 0
        else "    that is too little: raise vllm_memory or vllm_tensor_parallel"
    )


def _time_lines(
    estimate: Estimate, options: TrainingOptions, devices: Devices, completion: int | None
) -> Iterator[str]:
    tokens, reach = estimate.update * options.max_length, devices.count * devices.speed
    taught = estimate.taught_flops * tokens / reach
    yield (
        f"time of an update of {tokens:,} tokens on {devices.count} x {devices.speed / 1e12:g} TFLOP/s; a token "
        f"meets {estimate.met:.3g} weights:"
    )
    yield (
        f"  read and trained on: {estimate.taught_formula} = {estimate.taught_flops:.3g} operations a token: "
        f"{taught:.1f} s"
    )
    writing = 0.0
    if estimate.generated:
        computed = 2 * estimate.met * estimate.generated * tokens / reach
        times = "" if estimate.generated == 1 else f" x {estimate.generated:g}"
        steps, width = _steps(options, completion), 2.0 if _vllm(options) else estimate.bytes_read
        cache, cached = 0.0, ""
        if options.work.along:
            at_half = max(options.max_length - steps // 2, 1)
            cache = float(estimate.together * at_half * estimate.cached)
            cached = (
                f" and, at half way, {estimate.together:,} x {at_half:,} tokens x {estimate.cached:,} bytes of keys "
            )
            cached += "and values"
        read = steps * (width * estimate.weights + cache) / BANDWIDTH
        writing = max(computed, read)
        yield (
            f"  generation, the longer of 2 x {estimate.met:.3g}{times} operations a token: {computed:.1f} s, and "
            f"{steps:,} steps that read {estimate.weights:.3g} x {width:g} bytes of weights{cached} at "
            f"{BANDWIDTH / 1e12:g} TB/s: {read:.1f} s"
        )
    beside = estimate.general_flops / reach
    if estimate.general:
        yield (
            f"  {estimate.general} general rows beside them, as long: {estimate.general_flops:.3g} operations: "
            f"{beside:.1f} s"
        )
    before = 0.0
    if estimate.answered:
        before = estimate.answered_flops / reach
        yield (
            f"  before the training {estimate.answered:,} tokens of the start's own answers to general prompts x 2 x "
            f"{estimate.met:.3g} operations: {before:.1f} s, if decoding them keeps the device as busy"
        )
    taken = taught + writing + beside
    hours, minutes = divmod(round((taken * estimate.updates + before) / 60), 60)
    yield (
        f"  {estimate.updates:,} updates x {taken:.1f} s{f' + {before:.1f} s' if before else ''} = {hours} h "
        f"{minutes} min; attention among the tokens, {'' if estimate.generated else 'rollouts and '}teachers before "
        "the training, communication and the verifier are not counted"
    )


def _vllm(options: TrainingOptions) -> float:
    """Return which share of a device vLLM takes beside the training."""
    here = getattr(options, "use_vllm", False) and not getattr(options, "vllm_server", "")
    return float(getattr(options, "vllm_memory", 0.0)) if here else 0.0


def _steps(options: TrainingOptions, completion: int | None) -> int:
    """Return how many tokens are generated one after the other in an update: all completions together."""
    return int(getattr(options, "max_new_tokens", None) or completion or options.max_length)
