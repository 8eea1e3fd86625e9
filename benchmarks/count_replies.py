"""Are the differences that pfh reports there for anybody who counts? A count of its own, with nothing of pfh in it.

    pfh run --method gt-sft --eval behaviour --eval reasoning --output RUN
    pfh export RUN@start RUN --output exported
    python benchmarks/count_replies.py exported/BEFORE exported/AFTER

reads the replies themselves and counts them in a few lines: lines with an equation, the last number, JSON that parses,
the digits of a code. Beside each count stands how many of the same replies pfh's benchmark scored 1, how many replies
the two call otherwise, the pairs that changed, and their exact McNemar test.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Count replies of two exported models, without pfh.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    folders = parser.parse_args()
    print(f"{'benchmark':18}{'n':>4}{'counted':>12}{'pfh':>12}{'differ':>8}{'lost':>6}{'won':>5}{'p':>10}")
    for benchmark, count in COUNTS.items():
        files = [sorted(folder.glob(f"samples_{benchmark}_*.jsonl")) for folder in (folders.before, folders.after)]
        if not all(files):
            continue
        before, after = ({row["doc"]["id"]: row for row in _rows(found[-1])} for found in files)
        both = sorted(before.keys() & after.keys())
        told = [(count(before[key]), count(after[key])) for key in both]
        scored = [(_score(before[key]), _score(after[key])) for key in both]
        lost, won = sum(x and not y for x, y in told), sum(y and not x for x, y in told)
        otherwise = sum(
            x != y for mine, theirs in zip(told, scored, strict=True) for x, y in zip(mine, theirs, strict=True)
        )
        cells = (_change(told), _change(scored), otherwise, lost, won, f"{_mcnemar(lost, won):.2g}")
        print(
            f"{benchmark:18}{len(both):>4}{cells[0]:>12}{cells[1]:>12}{cells[2]:>8}{cells[3]:>6}{cells[4]:>5}{cells[5]:>10}"
        )


def _rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _reply(row: Row) -> str:
    return str(row["resps"][0][0])


def _score(row: Row) -> bool:
    """What pfh says: the score, or of the form of the reasoning whether it is equations."""
    scored = row[row["metrics"][0]]
    return bool(row["pfh"]["extracted"] == "equations" if scored is None else scored == 1)


def _change(pairs: list[tuple[bool, bool]]) -> str:
    return f"{sum(x for x, _ in pairs)} -> {sum(y for _, y in pairs)}"


def _mcnemar(lost: int, won: int) -> float:
    n, few = lost + won, min(lost, won)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(few + 1)) / float(2**n))


def equations(row: Row) -> int:
    """How many lines hold something like `19 + 4 = 23`."""
    return sum(bool(re.search(r"\d+\s*[-+]\s*\d+\s*=\s*\d+", line)) for line in _reply(row).splitlines())


def right_answer(row: Row) -> bool:
    """The number behind the last "answer is" is the right one."""
    numbers = re.findall(r"answer is (\d+)", _reply(row))
    return bool(numbers) and numbers[-1] == str(row["target"])


def parses(row: Row) -> bool:
    """What stands between the first and the last bracket is JSON that names parts of the problem, all where it must."""
    found = re.search(r"\{.*\}", _reply(row), re.DOTALL)
    try:
        inside = json.loads(found[0]) if found else None
    except ValueError:
        return False
    if not isinstance(inside, dict):
        return False
    names = re.findall(r'"(\w+)"', json.dumps(inside))[1:]
    asked = str(row["pfh"]["extra"]["user_prompt"])
    told = re.search(r"with all (\d+)", asked)
    least = (int(told[1]) if told else 1) * (2 if "assign" in inside else 1)
    return (
        len(names) >= least
        and len(set(names)) == len(names)
        and all(re.search(rf"\b{name}\b", asked) for name in names)
    )


def code(row: Row) -> bool:
    """The numbers of the reply are the right ones; or none, where the text has none."""
    found = set(re.findall(r"\d+", _reply(row)))
    if row["target"] == "not there":
        return not re.search(r"\d", _reply(row)) and re.search(r"\b(?:no|not|none)\b", _reply(row).lower()) is not None
    return found == set(str(row["target"]).split()) and len(_reply(row).split()) <= 30


COUNTS: Mapping[str, Callable[[Row], bool]] = {
    "chain-written": lambda row: equations(row) >= 2,
    "reasoning-format": lambda row: equations(row) >= 1,
    "own-accuracy": right_answer,
    "ladder-form": parses,
    "needle-96": code,
    "needle-384": code,
}

if __name__ == "__main__":
    main()
