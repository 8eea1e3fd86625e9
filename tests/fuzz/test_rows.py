"""Rows of one's own, fuzzed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pfh.commands.judge import read_completions
from pfh.commands.label import read_labels
from pfh.commands.own_judge_errors import read_own_errors
from pfh.commands.verify import read_rows
from pfh.errors import UserError
from pfh.results.stored import open_results
from pfh.sources.datasets import read_jsonl
from pfh.testing import EchoDomain
from pfh_evals.traffic.requests import read_requests

from tests.fuzz.files import comma_separated, lines_of, parquet
from tests.fuzzing import changed, damaged, json_bytes, json_lines
from tests.own_data import ROWS as OWN_ROWS
from tests.own_data import open_data, rows_of


def test_rows(fuzzed: Callable[..., None], kept: Path, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "p",
            "completion": "c",
            "answer": ["a", 1],
            "run": "r",
            "place": "x",
            "label": "refused",
            "human": "refused",
        }
    ] * 2
    results, domain = open_results(kept / "out"), EchoDomain()

    def read(content: bytes) -> None:
        (tmp_path / "rows.jsonl").write_bytes(content)
        text = content.decode("utf-8", "surrogateescape")
        readers: tuple[Callable[[], object], ...] = (
            lambda: read_jsonl(tmp_path / "rows.jsonl"),
            lambda: read_completions(Path("f"), text),
            lambda: read_rows(Path("f"), text, domain),
            lambda: read_labels(Path("f"), text, results),
            lambda: read_own_errors(tmp_path / "rows.jsonl"),
        )
        for each in readers:
            try:
                each()
            except UserError:
                continue

    fuzzed(read, lines_of(rows), json_lines(rows))


OWN_FILES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": lines_of,
    ".json": json_bytes,
    ".csv": comma_separated,
    ".tsv": lambda rows: comma_separated(rows).replace(b",", b"\t"),
    ".parquet": parquet,
}
OWN_OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"verifier": "exact"},
    {"verifier": "number"},
    {"verifier": "math", "answer_format": "boxed"},
    {"verifier": "choice", "answer_format": "tagged"},
    {"verifier": "regex", "time_limit": "0.3"},
    {"verifier": "json", "time_limit": "0.3"},
    {"turns": "last", "held_out": "0"},
)


@pytest.mark.parametrize("ending", OWN_FILES)
def test_data_of_ones_own(ending: str, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """Rows of every form are opened as the domain, and are what a run asks and judges."""
    file, write_rows = tmp_path / f"rows{ending}", OWN_FILES[ending]
    valid = {form: rows_of(form, 3) for form in OWN_ROWS}

    def read(given: tuple[bytes, Mapping[str, str]]) -> None:
        content, options = given
        file.write_bytes(content)
        domain = open_data(file, **{"on_broken": "skip", **options})
        asked = domain.problems("train", 3, 0)
        assert len(domain.verify_many(asked, [each.solution or "" for each in asked])) == len(asked)
        json.dumps([domain.description, domain.version])

    def strange(form: str) -> st.SearchStrategy[bytes]:
        rows = valid[form]
        if ending in (".csv", ".tsv"):
            return damaged(write_rows(rows))
        return st.one_of(changed(rows).map(_written(write_rows)), damaged(write_rows(rows)))

    strategy = st.tuples(st.sampled_from(sorted(valid)).flatmap(strange), st.sampled_from(OWN_OPTIONS))
    fuzzed(read, (write_rows(valid["completion"]), {"held_out": "0"}), strategy)


def _written(write_rows: Callable[[list[Any]], bytes]) -> Callable[[Any], bytes]:
    return lambda rows: write_rows(rows if isinstance(rows, list) else [rows])


def test_logged_requests(fuzzed: Callable[..., None], tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    rows = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a@b.example"}], "tools": [tool]},
        {"request": {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "response": "y"},
        {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "response": {"choices": [{"message": {"content": "b"}}]},
        },
    ]

    def read(content: bytes) -> None:
        (tmp_path / "requests.jsonl").write_bytes(content)
        read_requests(str(tmp_path / "requests.jsonl"))

    fuzzed(read, lines_of(rows), json_lines(rows))
