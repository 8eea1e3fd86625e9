"""EvalPlus's results on HumanEval+ and MBPP+: NAME_eval_results.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pfh import hookimpl
from pfh.errors import UserError

from pfh_readers.lines import Skipped, read_json
from pfh_readers.rows import Scores, log_of, sample
from pfh_readers.values import listed, mapping

if TYPE_CHECKING:
    from pfh.hooks.readers import Log, LogSpec

BASE, PLUS = "pass@1", "pass@1 plus"
PASSED = ("pass", "success")


@hookimpl
def read_log(spec: LogSpec) -> Log | None:
    """Read one results file, or the one in a folder."""
    files = [file for file in spec.files if file.name.endswith("eval_results.json")]
    if not files:
        return None
    if len(files) > 1:
        raise UserError(f"{spec.path} holds {len(files)} results of EvalPlus: name one, such as {files[0]}.")
    found = mapping(read_json(files[0]))
    problems = mapping(found.get("eval"))
    if not problems:
        return None
    model = files[0].name.removesuffix(".json").removesuffix("eval_results").strip("_-.") or files[0].parent.name
    directions = {BASE: True, PLUS: True}
    return log_of(spec.path, "evalplus", model, _scores(problems), Skipped(), directions=directions)


def _scores(problems: Mapping[str, object]) -> Iterator[Scores]:
    for problem, attempts in problems.items():
        tried = [mapping(attempt) for attempt in listed(attempts)] or _older(mapping(attempts))
        base = [attempt.get("base_status") in PASSED for attempt in tried]
        plus = [passed and attempt.get("plus_status") in PASSED for passed, attempt in zip(base, tried, strict=True)]
        values: dict[str, float | None] = {BASE: sum(base) / len(base) if base else None}
        if any(attempt.get("plus_status") is not None for attempt in tried):
            values[PLUS] = sum(plus) / len(plus)
        wrote = tried[0].get("solution") if tried else ""
        shown = sample(problem, completion=wrote if isinstance(wrote, str) else "")
        yield Scores(benchmark=problem.partition("/")[0].lower(), sample=shown, values=values)


def _older(found: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the attempts as versions before 0.2 wrote them: a list "base" and a list "plus" of (status, details)."""
    base, plus = ([listed(each)[:1] for each in listed(found.get(name))] for name in ("base", "plus"))
    rest = [[None]] * (len(base) - len(plus))
    return [{"base_status": x[0], "plus_status": y[0]} for x, y in zip(base, [*plus, *rest], strict=False) if x and y]
