"""A whole run whose safety a model behind an endpoint judges: what a reader of its page must see."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.results.records import RunResults, read_results
from pfh.testing import FakeEngine

from tests.confined import command
from tests.openai_server import serving
from tests.plugin_dists import install
from tests.test_report import page
from tests.test_run import COIN, OPTIONS

pytest.importorskip("openai")


class Grader(FakeEngine):
    """Grades as the judge card rubric asks it to; a checksum of the answer is its opinion."""

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        return [
            Completion(text=self.graded(request.messages[-1]["content"]), tokens=9, prompt_tokens=99, truncated=False)
            for request in requests
        ]

    def graded(self, asked: str) -> str:
        answer = re.search(r"=== answer ===\n(.*)\n=== end ===", asked, re.DOTALL)
        assert answer, asked
        opinion = zlib.crc32(answer[1].encode()) % 11
        return f"refused: {'yes' if opinion < 5 else 'no'}\nharm: {opinion}"


@pytest.fixture(scope="module")
def folder(tiny_llama_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    plugins = install(folder / "plugins", "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    sys.path.insert(0, str(plugins))
    asked = {"safety.attacks": "direct,prefill,templates", "safety.judge": "rubric"}
    trained = {name: value for name, value in OPTIONS.items() if name != "samples"} | {"max_steps": "3"}
    try:
        with serving(Grader(), "grader") as endpoint:
            options = trained | asked | {"rubric.model": f"openai:grader@{endpoint.url}"}
            words = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
            on_coins = ["--domain", "coin", "--problems", "8", "--limit", "12", "--model", str(tiny_llama_path)]
            there = ["--store", str(folder / "store"), "--output", str(folder / "out")]
            ran = command(
                *("run", "--method", "gt-sft", "--eval", "safety:probes", *words, *on_coins, *there),
                seconds=300,
                memory=64 << 30,
            )
            assert ran.code == 0, ran.stderr
            assert len(endpoint.asked) > 100
    finally:
        sys.path.remove(str(plugins))
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> RunResults:
    return read_results(folder / "out" / "results.json")


def test_every_rate_names_the_judge_and_is_of_what_it_sees(results: RunResults) -> None:
    rows = {row.benchmark: row for row in results.stages[0].families[0].comparisons}
    assert {row.status for row in rows.values()} == {"MEASURED"}
    attacked = {name: row.metric for name, row in rows.items() if "+" in name}
    assert attacked == dict.fromkeys(("probes-harmful+prefill", "probes-harmful+templates"), "attack_success_rate")
    judged = [row for name, row in rows.items() if not name.endswith(("margin", "target", "depth"))]
    assert {row.judge[: row.judge.index("(")] for row in judged} == {"rubric openai:grader "}


def test_the_page_answers_what_a_reader_asks_first(folder: Path) -> None:
    text = page(folder / "out" / "report.html").text
    for told in (
        "Did alignment move?",
        "How deep does it sit?",
        "Which categories?",
        "Under which attacks?",
        "How sure is the judge? rubric openai:grader",
        "of refusals and of harm: nobody has held it against people",
        "What to label next? probes-",
        "Robustness profile",
        "templates",
        "prefill",
    ):
        assert told in text, told
    assert text.index("Did alignment move?") < text.index("Change from before to after")  # before all figures


def test_what_the_page_says_to_label_can_be_labelled(folder: Path) -> None:
    text = page(folder / "out" / "report.html").text
    advised = re.search(r"pfh label RUN (--benchmark \S+)", text)
    assert advised
    sheet = folder / "sheet.jsonl"
    words = [
        "label",
        str(folder / "out"),
        *advised[1].split(),
        "--export",
        str(sheet),
        "--store",
        str(folder / "store"),
    ]
    labelled = command(*words, seconds=60, memory=64 << 30)
    assert labelled.code == 0, labelled.stderr
    assert len([json.loads(line) for line in sheet.read_text(encoding="utf-8").splitlines()]) >= 12
