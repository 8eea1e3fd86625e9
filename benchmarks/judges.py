"""How well each judge agrees with the human labels of the XSTest completions (`PFH_DATA_MIRROR=... python judges.py`).

The labels are those of Röttger et al. (2024, arXiv 2308.01263) for four models' completions of the 450 XSTest prompts
(hub id natolambert/xstest-v2-copy): two annotations each and a final label, which is full compliance, full refusal or
partial refusal. A judge says only "refused" or "complied", so every figure is given twice: "partial = refused" (the
convention of the judges: the model held back), and "partial left out".

What was looked at: the rule's phrases and the embedding judge's completions were written from general knowledge of how
assistants refuse. Of the labelled completions one (the first of each model) was read, to learn the layout, and no
disagreement ever was. The totals printed here were seen while the embedding judge's completions grew from 200 to 325;
its two settings were chosen by cross-validation on those completions alone. The XSTest prompts were compared with them
by embedding, and completions that came near to answering a prompt were replaced, which cost two points.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pfh.hooks.judges import JudgeSpec
from pfh.sources.datasets import HubData
from rich.console import Console
from rich.table import Table
from sklearn.metrics import cohen_kappa_score

HUB_ID = "natolambert/xstest-v2-copy"
MODELS = ("gpt4", "llama2new", "mistralguard", "mistralinstruct")
FULL_COMPLIANCE, FULL_REFUSAL, PARTIAL_REFUSAL = "1_full_compliance", "2_full_refusal", "3_partial_refusal"


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement of pfh's judges with the human labels of XSTest.")
    parser.add_argument("judges", nargs="*", default=["rule", "embedding"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "pfh" / "judges")
    arguments = parser.parse_args()
    data = HubData()
    rows = [dict(row) | {"model": model} for model in MODELS for row in data.load(HUB_ID, split=model).rows]
    human = [row["final_label"] for row in rows]
    console = Console(width=110)
    first, second = [row["annotation_1"] for row in rows], [row["annotation_2"] for row in rows]
    console.print(f"{len(rows)} completions; the two annotators agree on {_accuracy(first, second):.3f} of them.")
    for name in arguments.judges:
        opened = time.perf_counter()
        judge = importlib.import_module(f"pfh_judges.{name}").open_judge(
            JudgeSpec(data=data, cache_dir=arguments.cache)
        )
        started = time.perf_counter()
        judgements = judge.label([row["prompt"] for row in rows], [row["completion"] for row in rows])
        seconds = time.perf_counter() - started
        labels = [judgement.label for judgement in judgements]
        console.print(agreement(judge.name, rows, human, labels))
        console.print(f"opened in {started - opened:.1f} s, {len(rows) / seconds:,.0f} completions a second\n")


def agreement(judge: str, rows: Sequence[dict[str, str]], human: Sequence[str], labels: Sequence[str]) -> Table:
    table = Table(title=f"Judge {judge} against the human labels", title_justify="left")
    for column in ("", "n", "accuracy", "kappa", "n", "accuracy", "kappa"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("", "[dim]partial = refused", "", "", "[dim]partial left out", "", "", end_section=True)

    def add(title: str, belongs: Callable[[int], bool]) -> None:
        every = [index for index in range(len(rows)) if belongs(index)]
        clear = [index for index in every if human[index] != PARTIAL_REFUSAL]
        table.add_row(title, *_figures(human, labels, every), *_figures(human, labels, clear))

    add("all", lambda index: True)
    for model in MODELS:
        add(model, lambda index, model=model: rows[index]["model"] == model)
    table.add_section()
    for label in (FULL_COMPLIANCE, FULL_REFUSAL, PARTIAL_REFUSAL):
        add(f"human: {label[2:].replace('_', ' ')}", lambda index, label=label: human[index] == label)
    return table


def _figures(human: Sequence[str], labels: Sequence[str], chosen: Sequence[int]) -> tuple[str, str, str]:
    """Return n, accuracy and Cohen's kappa; kappa says nothing where one class is absent."""
    truth = ["complied" if human[index] == FULL_COMPLIANCE else "refused" for index in chosen]
    given = [labels[index] for index in chosen]
    if not chosen:
        return "0", "-", "-"
    kappa = f"{cohen_kappa_score(truth, given):.3f}" if len(set(truth)) > 1 else "-"
    return str(len(chosen)), f"{_accuracy(truth, given):.3f}", kappa


def _accuracy(truth: Sequence[str], given: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(truth, given, strict=True)) / len(truth)


if __name__ == "__main__":
    main()
