"""The battery: which of lm-eval's tasks it holds, how they are grouped, and how much of each a preset takes.

The eight categories are those of the study of forgetting by samples (Harmon et al. 2025, arXiv 2510.17776); the second
grouping is CapTrack's (arXiv 2603.06610): what a model CAN do, WILL do, and HOW it does it. Nothing here asks whether a
model WILL: that is what the family `safety` measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Preset = Literal["quick", "standard", "full"]
Category = Literal[
    "knowledge",
    "reasoning",
    "mathematics",
    "code",
    "commonsense",
    "multilingual",
    "truthfulness",
    "instruction following",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
OTHER = "other"
"""Group of a task that the battery does not hold."""
BUILTIN = "builtin"
"""Name that stands for all benchmarks that need no data."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One benchmark of the battery: a task, group or tag of lm-eval, or a built-in one."""

    name: str
    folder: str = ""
    """Where lm-eval defines it, below its folder of tasks; empty for a built-in benchmark."""
    prefix: str = ""
    """What the names of its kin begin with; empty: the name itself."""
    category: Category
    capability: str
    """CapTrack's group."""
    quick: int | None = None
    """Documents a task in the preset quick; None leaves the benchmark out."""
    standard: int = 0
    """Documents a task in the preset standard; 0 is all of them."""


KNOWLEDGE = "CAN: knowledge and skills"
REASONING = "CAN: reasoning"
COMMONSENSE = "CAN: robustness (commonsense)"
MULTILINGUAL = "CAN: robustness (multilingual)"
INSTRUCTIONS = "HOW: instructions"

BATTERY = (
    Entry(
        name="mmlu",
        folder="mmlu/default",
        prefix="mmlu",
        category="knowledge",
        capability=KNOWLEDGE,
        quick=2,
        standard=10,
    ),
    Entry(name="triviaqa", folder="triviaqa", category="knowledge", capability=KNOWLEDGE, standard=200),
    Entry(name="nq_open", folder="nq_open", category="knowledge", capability=KNOWLEDGE, standard=200),
    Entry(
        name="arc_challenge",
        folder="arc",
        prefix="arc_",
        category="reasoning",
        capability=REASONING,
        quick=60,
        standard=400,
    ),
    Entry(
        name="bbh_fewshot", folder="bbh/fewshot", prefix="bbh", category="reasoning", capability=REASONING, standard=10
    ),
    Entry(
        name="gpqa_main_zeroshot",
        folder="gpqa/zeroshot",
        prefix="gpqa",
        category="reasoning",
        capability=REASONING,
    ),
    Entry(name="gsm8k", folder="gsm8k", prefix="gsm8k", category="mathematics", capability=KNOWLEDGE, standard=100),
    Entry(
        name="hendrycks_math",
        folder="hendrycks_math",
        prefix="hendrycks_math",
        category="mathematics",
        capability=KNOWLEDGE,
        standard=20,
    ),
    Entry(name="humaneval", folder="humaneval", prefix="humaneval", category="code", capability=KNOWLEDGE),
    Entry(name="mbpp", folder="mbpp", prefix="mbpp", category="code", capability=KNOWLEDGE, standard=100),
    Entry(
        name="hellaswag",
        folder="hellaswag",
        category="commonsense",
        capability=COMMONSENSE,
        quick=40,
        standard=400,
    ),
    Entry(
        name="winogrande",
        folder="winogrande",
        category="commonsense",
        capability=COMMONSENSE,
        quick=80,
        standard=400,
    ),
    Entry(name="piqa", folder="piqa", category="commonsense", capability=COMMONSENSE, quick=60, standard=400),
    Entry(
        name="mgsm_direct",
        folder="mgsm/direct",
        prefix="mgsm",
        category="multilingual",
        capability=MULTILINGUAL,
        standard=10,
    ),
    Entry(
        name="xwinograd",
        folder="xwinograd",
        prefix="xwinograd",
        category="multilingual",
        capability=MULTILINGUAL,
        quick=12,
        standard=100,
    ),
    Entry(name="truthfulqa_mc1", folder="truthfulqa", category="truthfulness", capability=KNOWLEDGE, quick=40),
    Entry(name="truthfulqa_mc2", folder="truthfulqa", category="truthfulness", capability=KNOWLEDGE),
    Entry(name="ifeval", folder="ifeval", category="instruction following", capability=INSTRUCTIONS, standard=100),
    Entry(name="builtin-arithmetic", category="mathematics", capability=KNOWLEDGE, quick=0),
    Entry(name="builtin-logic", category="reasoning", capability=REASONING, quick=0),
    Entry(name="builtin-algorithms", category="reasoning", capability=REASONING, quick=0),
    Entry(name="builtin-language", category="reasoning", capability=REASONING, quick=0),
)
BY_NAME = {entry.name: entry for entry in BATTERY}


def preset_names(preset: Preset) -> tuple[str, ...]:
    """Return the benchmarks of a preset."""
    return tuple(entry.name for entry in BATTERY if preset != "quick" or entry.quick is not None)


def preset_limit(name: str, preset: Preset) -> int | None:
    """Return how many documents of each task of the benchmark `name` a preset takes; None is all of them."""
    entry = BY_NAME.get(name)
    if entry is None or preset == "full":
        return None
    return (entry.quick if preset == "quick" else entry.standard) or None


def category_of(name: str) -> str:
    """Return the study's category of a benchmark, also of kin of the battery such as `mmlu_anatomy`."""
    entry = _entry_of(name)
    return entry.category if entry else OTHER


def capability_of(name: str) -> str:
    """Return CapTrack's group of a benchmark."""
    entry = _entry_of(name)
    return entry.capability if entry else OTHER


def _entry_of(name: str) -> Entry | None:
    kin = (entry for entry in BATTERY if entry.prefix and name.startswith(entry.prefix))
    return BY_NAME.get(name) or next(kin, None)
