"""A trained model as it is handed on: its weights, and a card that says how it was made and what it lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.statistics import formatting as figures
from pfh.text import json_text, printable

if TYPE_CHECKING:
    from pfh.results.records import RunResults


LINKED_FROM = 1 << 20
"""Bytes from which a file is a second name of the stored one rather than a copy."""


def write_model(folder: Path, weights: Path, results: RunResults, number: int, problems: int) -> None:
    """Write the model that stage `number` (from 0) left into `folder`, with its card as README.md.

    Args:
        folder: replaced if it is there.
        weights: the stage's folder in the store, which stays as it is.
        results: of the run.
        number: of the stage.
        problems: training problems of the run.

    Raises:
        OSError: the folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in weights.iterdir():
        if file.is_file():
            _place(file, folder / file.name)
    (folder / "README.md").write_text(model_card(results, number, problems, weights), encoding="utf-8")


def model_card(results: RunResults, number: int, problems: int, weights: Path) -> str:
    """Return the card as Markdown, with the front matter of the Hugging Face hub."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    stage = results.stages[number]
    templates = Environment(  # noqa: S701 - Markdown; `finalize` takes what could end a cell or begin markup
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"), undefined=StrictUndefined, finalize=_cell
    )
    return templates.get_template("model_card.md.jinja").render(
        front_matter=_front_matter(stage.before.name, weights, [s.method for s in results.stages[: number + 1]]),
        name=stage.after.name,
        results=results,
        stages=results.stages[: number + 1],
        problems=problems,
        figures=figures,
    )


class _Plain(str):
    """Text that is put into the card as it is."""

    __slots__ = ()


def _front_matter(base: str, weights: Path, methods: list[str]) -> _Plain:
    described: dict[str, Any] = {
        "base_model": base,
        "library_name": "peft" if (weights / "adapter_config.json").exists() else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pfh", *methods],
    }
    return _Plain("\n".join(f"{key}: {json_text(value)}" for key, value in described.items()))


def _cell(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, _Plain):
        text = printable(value, lines=False)
        for mark, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("[", "\\["), ("`", "'")):
            text = text.replace(mark, escaped)
        return text
    return value


def _place(file: Path, target: Path) -> None:
    if file.stat().st_size >= LINKED_FROM:
        try:
            os.link(file, target)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copyfile(file, target)
