"""The prompts of each benchmark, as its dataset has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pfh.errors import DataUnavailableError
from pfh.hooks.datasets import Dataset, DataSource, Row

PROBES = Path(__file__).with_name("probes.json")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One prompt."""

    prompt: str
    """What the user says, context included."""
    category: str
    extra: Mapping[str, str] = field(default_factory=dict)
    """More that the benchmark says of it."""


Loaded = tuple[tuple[Document, ...], str]
"""Documents, and where they come from."""


def probes(*kinds: str) -> Callable[[DataSource], Loaded]:
    """Return a loader of the built-in probes of these kinds."""

    def load(data: DataSource) -> Loaded:
        rows = [row for row in json.loads(PROBES.read_text(encoding="utf-8")) if row["kind"] in kinds]
        return tuple(
            Document(
                prompt=row["prompt"],
                category=row["category"] if row["kind"] == "harmful" else row["kind"],
                extra={"probe": row["id"]},
            )
            for row in rows
        ), "built in"

    return load


def xstest(label: str) -> Callable[[DataSource], Loaded]:
    """Return a loader of the safe or the unsafe prompts of XSTest."""

    def load(data: DataSource) -> Loaded:
        dataset = rows_of(data, "walledai/XSTest", "default", "test", ("prompt", "type", "label"))
        return tuple(
            Document(prompt=row["prompt"], category=row["type"]) for row in dataset.rows if row["label"] == label
        ), dataset.origin

    return load


def harmbench_standard(data: DataSource) -> Loaded:
    """Load the behaviours that stand alone."""
    dataset = rows_of(data, "walledai/HarmBench", "standard", "train", ("prompt", "category"))
    return tuple(
        Document(prompt=row["prompt"], category=row["category"], extra={"functional_category": "standard"})
        for row in dataset.rows
    ), dataset.origin


def harmbench_contextual(data: DataSource) -> Loaded:
    """Load the behaviours that are about a text."""
    dataset = rows_of(data, "walledai/HarmBench", "contextual", "train", ("prompt", "context", "category"))
    return tuple(
        Document(
            prompt=f"{row['context']}\n\n---\n\n{row['prompt']}",  # as HarmBench's direct requests put it
            category=row["category"],
            extra={"functional_category": "contextual", "behavior": row["prompt"], "context": row["context"]},
        )
        for row in dataset.rows
    ), dataset.origin


def do_not_answer(data: DataSource) -> Loaded:
    """Load the questions of Do-Not-Answer."""
    dataset = rows_of(data, "LibrAI/do-not-answer", "default", "train", ("question", "risk_area"))
    return tuple(
        Document(prompt=row["question"], category=row["risk_area"], extra={"type": str(row.get("types_of_harm") or "")})
        for row in dataset.rows
    ), dataset.origin


def rows_of(data: DataSource, hub_id: str, config: str, split: str, fields: tuple[str, ...]) -> Dataset:
    """Return a dataset whose rows have text in these fields.

    Raises:
        DataUnavailableError: it cannot be had, or a row has none.
    """
    dataset = data.load(hub_id, config, split)
    for number, row in enumerate(dataset.rows, start=1):
        missing = [name for name in fields if not isinstance(row.get(name), str)]
        if missing:
            raise DataUnavailableError(
                f"row {number} of {dataset.origin} has no text in {', '.join(missing)}; its fields are "
                f"{', '.join(sorted(row))}. Get the dataset in the layout of the hub."
            )
    return dataset


def strongreject(data: DataSource) -> Loaded:
    """Load the forbidden prompts of StrongREJECT."""
    dataset = rows_of(data, "walledai/StrongREJECT", "default", "train", ("prompt", "category"))
    return tuple(Document(prompt=row["prompt"], category=row["category"]) for row in dataset.rows), dataset.origin


def jailbreakbench(split: Literal["harmful", "benign"]) -> Callable[[DataSource], Loaded]:
    """Return a loader of JailbreakBench's behaviours, with the target of each; the benign ones mirror the harmful."""

    def load(data: DataSource) -> Loaded:
        fields = ("Goal", "Target", "Category")
        dataset = rows_of(data, "JailbreakBench/JBB-Behaviors", "behaviors", split, fields)
        return tuple(
            Document(prompt=row["Goal"], category=row["Category"], extra={"target": row["Target"]})
            for row in dataset.rows
        ), dataset.origin

    return load


def wildguardtest(kind: Literal["vanilla", "adversarial", "benign"]) -> Callable[[DataSource], Loaded]:
    """Return a loader of WildGuardTest's harmful prompts, plain or adversarial, or of its benign ones."""

    def load(data: DataSource) -> Loaded:
        dataset = _wildguard(data)
        return tuple(
            Document(prompt=row["prompt"], category=str(row.get("subcategory") or kind))
            for row in dataset.rows
            if _kind_of_wildguard(row) == kind
        ), dataset.origin

    return load


def _wildguard(data: DataSource) -> Dataset:
    """Load the gated dataset, or the copy of it that is not."""
    try:
        return rows_of(data, "allenai/wildguardmix", "wildguardtest", "test", ("prompt",))
    except DataUnavailableError as gated:
        try:
            return rows_of(data, "walledai/WildGuardTest", "default", "train", ("prompt",))
        except DataUnavailableError:
            raise gated from None


def _kind_of_wildguard(row: Row) -> str:
    label = row.get("prompt_harm_label") or row.get("label")
    if label == "unharmful":
        return "benign"
    if label != "harmful":  # people did not agree
        return ""
    return "adversarial" if row.get("adversarial") else "vanilla"


SALAD = "OpenSafetyLab/Salad-Data"
SALAD_BASE = 21_318
"""Rows of SALAD's base set on the hub; fewer are a part of it, and no figure of SALAD."""


def salad(*, lite: bool = False) -> Callable[[DataSource], Loaded]:
    """Return a loader of SALAD's base questions, or (`lite`) of those that its authors had labelled by people."""

    def load(data: DataSource) -> Loaded:
        dataset = rows_of(data, SALAD, "base_set", "train", ("question", "1-category", "2-category"))
        rows = dataset.rows
        if lite:
            rows = tuple(row for row in rows if str(row.get("human_harmful")) == "1")
        elif len(rows) < SALAD_BASE:
            raise DataUnavailableError(
                f"{dataset.origin} holds {len(rows)} of SALAD's {SALAD_BASE:,} base questions: get all of {SALAD} "
                "(base_set) from the hub, or ask for salad-lite"
            )
        return tuple(_salad_document(row, row["question"]) for row in rows), dataset.origin

    return load


def salad_attack(data: DataSource) -> Loaded:
    """Load SALAD's attack-enhanced questions."""
    dataset = rows_of(data, SALAD, "attack_enhanced_set", "train", ("augq", "baseq", "1-category", "2-category"))
    return tuple(_salad_document(row, row["augq"], row["baseq"]) for row in dataset.rows), dataset.origin


def _salad_document(row: Row, prompt: str, behavior: str = "") -> Document:
    extra = {"domain": row["1-category"], **({"behavior": behavior} if behavior else {})}
    return Document(prompt=prompt, category=row["2-category"], extra=extra)
