"""Whatever is called on the command line, fuzzed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import strategies as st

WORDS = (
    *("run", "eval", "compare", "report", "gate", "export", "verify", "judge", "label", "list-plugins", "new-plugin"),
    *("--method", "dpo", "sdft", "--eval", "safety:probes", "forgetting", "policy", "--model", "safe", "--limit", "2"),
    *(
        "--dry-run",
        "--problems",
        "--seed",
        "--budget",
        "5m",
        "3updates",
        "-o",
        "beta=nan",
        "learning_rate=1e400",
        "--json",
    ),
    *(
        "--output",
        "/dev/null",
        "/proc/x",
        "--store",
        "/etc/hostname/x",
        "--tasks",
        "--domain",
        "math",
        "--backend",
        "hf",
    ),
    *("--contract", "--junit", "--html", "--summary", "--accelerate", "--seeds", "0,1", "--allow-mismatch", "--dtype"),
    *(
        "inf",
        "-inf",
        "nan",
        "1e999",
        "9" * 400,
        "-1",
        "0",
        "\x1b[2J\u202e",
        "../../etc/passwd",
        "a" * 5000,
        "",
        "=",
        ".=",
    ),
    *("__class__=1", "openai:", "openai:x@http://127.0.0.1:9/v1", "lm-eval:/", "/dev/zero", "/", ".", "{}", "method"),
)


def test_commands(tmp_path: Path, fuzzed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is called, without a model to run."""
    import sys

    from pfh_cli.main import main

    monkeypatch.setenv("PFH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def read(words: list[str]) -> None:
        sys.argv = ["pfh", *words, *(["--dry-run"] if words[:1] in (["run"], ["eval"], ["compare"]) else [])]
        with chdir(tmp_path):
            code = main()
        assert code in (0, 2), code

    words = st.lists(st.sampled_from(WORDS), max_size=9)
    commands = st.sampled_from(WORDS[:11]).flatmap(lambda first: words.map(lambda rest: [first, *rest]))
    fuzzed(read, ["list-plugins", "--json"], commands)
