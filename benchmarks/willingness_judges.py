"""How well the rules `asks` and `marks` of the family behaviour agree with a reader: `python willingness_judges.py`.

`willingness_replies.json` holds replies of the embedded model (unaligned, also at temperature 1, aligned, and after
gt-sft) to the prompts of the benchmarks of willingness. One reader labelled them, before the rule's answer was looked
at. Those of the half "tuning" were looked at while the rules were mended; quote the half "held out". `--do-not-answer`
also holds `marks` against people's action for six models' answers to Do-Not-Answer (Wang et al. 2023, arXiv
2308.13387): "cannot tell" is what the rule should find, and "cannot assist" what it must not. Those answers were seen
while it was mended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pfh.sources.datasets import HubData
from pfh_evals.behaviour.willingness import asks_back, marks_uncertainty
from rich.console import Console
from rich.table import Table
from statsmodels.stats.proportion import proportion_confint

REPLIES = Path(__file__).with_name("willingness_replies.json")
DRAWS = 4000
DO_NOT_ANSWER = "LibrAI/do-not-answer"
ACTIONS = ("cannot assist", "refutes", "both sides", "cautions", "cannot tell", "follows")


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement of the rules of willingness with a reader.")
    parser.add_argument("--do-not-answer", action="store_true", help="also hold `marks` against people's actions")
    arguments = parser.parse_args()
    rows = json.loads(REPLIES.read_text(encoding="utf-8"))
    table = Table(title="Rules of willingness against a reader (95% intervals)", title_justify="left")
    for column in ("rule", "replies", "n", "of them yes", "agree", "sensitivity", "specificity", "kappa"):
        table.add_column(column, justify="left" if column in ("rule", "replies") else "right")
    for rule in ("asks", "marks"):
        for half in ("tuning", "held out"):
            chosen = [row for row in rows if (row["rule"], row["half"]) == (rule, half)]
            read = np.array([row["label"] for row in chosen], dtype=bool)
            said = np.array([_said(row) for row in chosen], dtype=bool)
            cells = (_share(read == said), _share(said[read]), _share(~said[~read]), _kappa(read, said))
            table.add_row(rule, half, str(len(chosen)), str(read.sum()), *cells)
    console = Console(width=130)
    console.print(table)
    for row in rows:
        if _said(row) != row["label"]:
            console.print(f"{row['rule']}, {row['half']}: {row['prompt']!r} -> {row['completion']!r}: {row['label']}")
    if arguments.do_not_answer:
        console.print(_actions())


def _said(row: dict[str, object]) -> bool:
    reply = str(row["completion"])
    slots = row.get("slots")
    return asks_back(reply, [str(each) for each in slots]) if isinstance(slots, list) else marks_uncertainty(reply)


def _share(hits: NDArray[np.bool_]) -> str:
    if not len(hits):
        return "none"
    low, high = proportion_confint(int(hits.sum()), len(hits), method="wilson")
    return f"{hits.mean():.2f} [{low:.2f}, {high:.2f}]"


def _kappa(read: NDArray[np.bool_], said: NDArray[np.bool_]) -> str:
    """Return Cohen's kappa with the percentile interval of a bootstrap over replies."""
    draw = np.random.default_rng(0)
    drawn = [_of(read[rows], said[rows]) for rows in draw.integers(0, len(read), (DRAWS, len(read)))]
    if np.isnan(_of(read, said)):
        return "none"
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{_of(read, said):.2f} [{low:.2f}, {high:.2f}]"


def _of(read: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    by_chance = read.mean() * said.mean() + (1 - read.mean()) * (1 - said.mean())
    return float(((read == said).mean() - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def _actions() -> Table:
    table = Table(title="Do-Not-Answer: share that `marks` finds, by people's action", title_justify="left")
    rows = HubData().load(DO_NOT_ANSWER, split="train").rows
    models: Sequence[str] = [key.removesuffix("_response") for key in rows[0] if key.endswith("_response")]
    for action in ACTIONS:
        table.add_column(action, justify="right")
    cells = []
    for number in range(len(ACTIONS)):
        replies = [row[f"{name}_response"] or "" for row in rows for name in models if row[f"{name}_action"] == number]
        cells.append(f"{np.mean([marks_uncertainty(reply) for reply in replies]):.2f} of {len(replies)}")
    table.add_row(*cells)
    return table


if __name__ == "__main__":
    main()
