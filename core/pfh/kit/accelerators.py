"""Accelerators whose speeds are known, for everything that plans: a training's estimate, and a study's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A kind of device, as its maker's data sheet has it."""

    name: str
    """A word of what torch calls the device."""
    flops: float
    """Operations a second at its peak, dense, in bfloat16."""
    bandwidth: float
    """Bytes a second of its memory."""
    memory: float
    """Bytes of its memory."""


KNOWN = (
    Accelerator(name="H200", flops=989e12, bandwidth=4.8e12, memory=141e9),
    Accelerator(name="H100", flops=989e12, bandwidth=3.35e12, memory=80e9),
    Accelerator(name="A100", flops=312e12, bandwidth=2.0e12, memory=80e9),
    Accelerator(name="L40S", flops=362e12, bandwidth=0.86e12, memory=48e9),
    Accelerator(name="L40", flops=181e12, bandwidth=0.86e12, memory=48e9),
    Accelerator(name="L4", flops=121e12, bandwidth=0.3e12, memory=24e9),
    Accelerator(name="A10", flops=125e12, bandwidth=0.6e12, memory=24e9),
    Accelerator(name="T4", flops=65e12, bandwidth=0.32e12, memory=16e9),
)
"""NVIDIA's data sheets; of a T4 in float16."""
STAND_IN = next(each for each in KNOWN if each.name == "A100")
"""Taken where a device is not known; whoever takes it says so."""
REACHED = 0.4
"""Share of the peak that training and reading reach, where nothing was measured."""


def named(text: str) -> Accelerator | None:
    """Return the accelerator that a device's name tells, such as "NVIDIA H100 80GB HBM3"; None if none is known."""
    words = text.upper().replace("-", " ").split()
    return next((each for each in KNOWN if each.name in words), None)
