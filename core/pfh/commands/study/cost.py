"""What steps take: by the ledgers of earlier ones on this kind of device, else by operations and bytes.

A forward pass takes 2 operations a weight and token, training 6 (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), of
which 2 are the gradients of the weights, which an adapter does without; decoding reads all weights for each token of a
batch. What is assumed of lengths is in `Assumed`, and plans print it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfh.commands.study.calibration import Rates, asked_as, remembered
from pfh.commands.study.schema import Device, Study
from pfh.hooks.budget import Budget
from pfh.hooks.ledger import Phase, read_ledger
from pfh.kit.accelerators import REACHED, STAND_IN, named
from pfh.starts.embedded import EMBEDDED_NAME
from pfh.steps.graph import Step
from pfh.store.store import MANIFEST, Store

LEDGER = "ledger.json"
ALL_WEIGHTS, ADAPTER = 6.0, 4.0
"""Operations a weight and trained token."""
_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)
_UNIT = {"b": 1e9, "m": 1e6}


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What a plan assumes where nothing tells."""

    prompt: int = 256
    """Tokens of a problem's prompt."""
    documents: int = 500
    """Documents of a benchmark where the study sets no limit."""
    benchmarks: int = 8
    """Benchmarks of a family that are not named."""
    asked: int = 512
    """Tokens that a model reads of a document."""
    written: int = 64
    """Tokens that it writes."""
    length: int = 512
    """Tokens of a sequence that is trained on, if max_length allows."""
    batch: int = 32
    """Sequences decoded at once."""
    weights: float = 1e9
    """Weights of a model whose size neither the study nor its name tells."""

    def sentence(self) -> str:
        """Say it."""
        return (
            f"Assumed: prompts of {self.prompt} tokens, {self.documents} documents a benchmark where no limit is set, "
            f"{self.benchmarks} benchmarks a family where none is named, {self.asked} tokens read and {self.written} "
            f"written a document, sequences of {self.length} tokens trained on, {self.batch} decoded at once."
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step does."""

    read: float = 0.0
    """Tokens through the model."""
    written: float = 0.0
    """Tokens decoded."""
    trained: float = 0.0
    """Tokens through the model and back."""
    weights: float = 0.0
    """Of the model."""
    operations: float = ALL_WEIGHTS
    """A weight and trained token."""

    @property
    def tokens(self) -> float:
        """All tokens."""
        return self.read + self.written + self.trained

    @property
    def flops(self) -> float:
        """Operations of all."""
        return self.weights * (2 * (self.read + self.written) + self.operations * self.trained)

    def seconds(self, device: Device, batch: int) -> float:
        """Return how long it takes on a device: decoding as long as its operations or the weights that it reads."""
        flops, bandwidth = device.flops * device.share, device.bandwidth * device.share
        decode = self.written * max(2 * self.weights / flops, 2 * self.weights / batch / bandwidth)
        return self.weights * (2 * self.read + self.operations * self.trained) / flops + decode


CPU = Device(name="a CPU core complex", flops=1e11, bandwidth=2e10, share=0.5)
"""Where neither the study nor a ledger tells of a device, and there is no accelerator."""


@dataclass
class CostModel:
    """Seconds of a step on one device."""

    device: Device
    sizes: Mapping[str, float]
    assumed: Assumed = Assumed()
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Part of a run to modelled seconds a measured second, from ledgers."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Id of a stored step to the seconds that its ledger tells."""
    rates: Mapping[str, Rates] = field(default_factory=dict)
    """Model to what its tokens take on this kind of device, where that was timed."""
    note: str = ""
    """What must be said of the device."""

    def seconds(self, step: Step) -> float:
        """Return how long a step takes."""
        if step.id in self.measured:
            return self.measured[step.id]
        if (speed := self.speeds.get(learned_as(step))) is not None:
            took = self.modelled(step) * speed
        else:
            took = self.modelled(step) if (timed := self._timed(step)) is None else timed
        budget: Budget | None = step.about.get("budget")
        return min(took, budget.amount) if budget is not None and budget.unit == "seconds" else took

    def modelled(self, step: Step) -> float:
        """Return how long a step takes by operations and bytes alone."""
        return self.work(step).seconds(self.device, self.assumed.batch)

    def _timed(self, step: Step) -> float | None:
        """Return how long it takes by the batches that were timed: of the model, else of the one nearest in size."""
        if not self.rates:
            return None
        work, rates = self.work(step), self._nearest(step.about)
        share = 1.0 if str(step.about.get("weights", "")) in self.rates else work.weights / rates.weights
        if step.kind == "evaluation" and (pace := rates.documents.get(asked_as(step.about))) is not None:
            return share * pace.seconds(step.about.get("limit"))
        trained = work.trained * rates.trained * work.operations / ALL_WEIGHTS
        return share * (work.read * rates.read + work.written * rates.written + trained)

    def _nearest(self, about: Mapping[str, Any]) -> Rates:
        """Return what was timed of the step's model, else of the one nearest to it in size."""
        name = str(about.get("weights", ""))
        weights = max(self.size(name), 1.0)
        return self.rates.get(name) or min(self.rates.values(), key=lambda each: abs(math.log(weights / each.weights)))

    def assumes(self, step: Step) -> bool:
        """Say whether how long a step takes rests on lengths or counts of documents that nobody read."""
        if step.id in self.measured:
            return False
        if step.kind == "evaluation":
            return not self.rates or asked_as(step.about) not in self._nearest(step.about).documents
        draws_or_trains = step.kind == "rollouts" or (step.kind == "training" and "method" in step.about)
        return draws_or_trains and self._lengths(step.about) is None

    def source(self, step: Step) -> str:
        """Say what tells how long a step takes."""
        if step.id in self.measured:
            return "its own ledger"
        if learned_as(step) in self.speeds:
            return "ledgers of such steps"
        return "batches timed on this device" if self.rates else "operations and bytes"

    def size(self, name: str) -> float:
        """Return the number of weights of a model, by the study or by its name."""
        if name in self.sizes:
            return self.sizes[name]
        found = _BILLIONS.findall(name.rpartition("/")[2])
        return float(found[-1][0]) * _UNIT[found[-1][1].lower()] if found else self.assumed.weights

    def work(self, step: Step) -> Work:
        """Return what a step does, as far as its plan tells."""
        about, assumed = step.about, self.assumed
        weights = self.size(str(about.get("weights", "")))
        if step.kind == "evaluation":
            count = len(about.get("benchmarks", ())) or assumed.benchmarks
            documents = count * (about.get("limit") or assumed.documents)
            return Work(read=documents * assumed.asked, written=documents * assumed.written, weights=weights)
        if step.kind == "rollouts":
            drawn = about["prompts"] * about["samples"]
            prompt, written = self._lengths(about) or (assumed.prompt, about["new_tokens"])
            return Work(read=drawn * prompt, written=drawn * written, weights=weights)
        if step.kind == "training" and "method" in about:
            return self._training(about, weights)
        return Work(weights=weights)

    def _lengths(self, about: Mapping[str, Any]) -> tuple[float, float] | None:
        """Return the tokens of a prompt and of a completion of the step's domain, where they were read."""
        return self._nearest(about).lengths.get(str(about.get("domain", ""))) if self.rates else None

    def _training(self, about: Mapping[str, Any], weights: float) -> Work:
        options, assumed = about.get("options"), self.assumed
        work = getattr(options, "work", None)
        if options is None or work is None:
            return Work(trained=about["problems"] * assumed.length, weights=weights)
        update = options.batch_size * options.gradient_accumulation
        inner = getattr(options, "inner_epochs", 1)
        updates = max(1, math.ceil(about["problems"] * work.examples * options.epochs / update)) * inner
        updates = min(updates, options.max_steps or updates) * work.rounds
        read = self._lengths(about)
        sequence = min(options.max_length, assumed.length if read is None else sum(read))
        written = sequence / 2 if read is None else read[1]
        each = update * sequence
        replayed, compared = options.replayed(update), options.compared(update)
        done = Work(
            read=each * work.read / inner + compared * sequence,
            written=0.0 if about.get("drawn") else update * written * work.generated / inner,
            trained=each * work.trained + (replayed + compared) * sequence,
            weights=weights,
            operations=ALL_WEIGHTS if options.adapter == "full" else ADAPTER,
        )
        budget: Budget | None = about.get("budget")
        if budget is not None and budget.unit != "seconds":
            takes = {"updates": 1, "samples": update + replayed + compared, "tokens": each, "flops": done.flops}
            updates = min(updates, budget.amount / takes[budget.unit])
        return dataclasses.replace(
            done, read=updates * done.read, written=updates * done.written, trained=updates * done.trained
        )


def cost_model(study: Study, steps: Iterable[Step], store: Store) -> CostModel:
    """Return the model for a study: it learns from the ledgers in the store, of this kind of device."""
    sizes = {**study.sizes, **{start.model: start.scale for start in study.starts if start.model and start.scale}}
    sizes.setdefault(EMBEDDED_NAME, next((s.scale for s in study.starts if s.model is None and s.scale), 134.5e6))
    here, note = device_here()
    device = study.device or here
    model = CostModel(device=device, sizes=sizes, note="" if study.device else note)
    wanted = list(steps)
    model.measured = {step.id: told for step in wanted if (told := _measured(store, step)) is not None}
    if study.device is not None and study.device.name != here.name:
        return model
    model.rates = remembered(store)
    modelled: dict[str, float] = defaultdict(float)
    took: dict[str, float] = defaultdict(float)
    for step in wanted:
        if step.id in model.measured:
            modelled[learned_as(step)] += model.modelled(step)
            took[learned_as(step)] += model.measured[step.id]
    for like, expected, seconds in _of_other_studies(store, device, {step.id for step in wanted}):
        modelled[like] += expected
        took[like] += seconds
    model.speeds = {name: took[name] / modelled[name] for name in took if modelled[name] > 0 and took[name] > 0}
    return model


def _of_other_studies(store: Store, device: Device, known: set[str]) -> Iterator[tuple[str, float, float]]:
    """Yield of the stored steps of other studies what they are like, what was expected of them, and what they took."""
    for file in sorted((store.root / "studies").glob("*/plan.json")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            rows = [
                (str(row["kind"]), str(row["key"]), str(row["like"]), float(row["modelled"]))
                for row in told["steps"].values()
                if told.get("device") == device.name and "modelled" in row
            ]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # of another version of pfh
        for kind, key, like, expected in rows:
            ledger = store.root / "artifacts" / kind / key / LEDGER
            if f"{kind}-{key}" not in known and (seconds := _seconds(ledger, kind)) is not None:
                yield like, expected, seconds


def device_here() -> tuple[Device, str]:
    """Return the device of this machine, and what must be said of it where its speeds are not known."""
    import torch

    if not torch.cuda.is_available():
        return CPU, ""
    name = str(torch.cuda.get_device_name())
    found = named(name)
    taken = found or STAND_IN
    device = Device(name=taken.name if found else name, flops=taken.flops, bandwidth=taken.bandwidth, share=REACHED)
    return device, "" if found else (
        f"The speeds of {name} are not known, and those of an {STAND_IN.name} were taken: give device: in the study's "
        "file, or time a few batches with --calibrate."
    )


def learned_as(step: Step) -> str:
    """Return the name under which steps that take alike are learned from together."""
    told = step.about.get("method") or step.about.get("family") or ""
    return f"{step.kind} {told}".strip()


def _measured(store: Store, step: Step) -> float | None:
    """Return the device seconds of a stored step, as its ledger has them; None without one."""
    return _seconds(store.root / "artifacts" / step.kind / step.key / LEDGER, step.kind)


def _seconds(ledger: Path, kind: str) -> float | None:
    if not ledger.is_file() or not (ledger.parent / MANIFEST).is_file():
        return None
    try:
        phases: tuple[Phase, ...] = read_ledger(ledger)
    except (ValueError, TypeError):
        return None
    own = [phase for phase in phases if kind != "training" or phase.updates or len(phases) == 1]
    return sum(phase.seconds * phase.devices for phase in own)
