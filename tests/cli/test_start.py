"""Start-up: a quick command imports nothing heavy, and a run is checked before it does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin_dists import pfh

HEAVY = ["torch", "transformers", "trl", "peft", "vllm", "datasets", "gem", "lm_eval"]


def imported(code: str, **environment: str) -> set[str]:
    """Return the top-level modules that are imported once `code` has run in a process of its own."""
    script = f"import sys\n{code}\nprint('MODULES', *{{m.partition('.')[0] for m in sys.modules}})"
    settings = os.environ | environment
    ended = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


def command(*arguments: str) -> str:
    return f"sys.argv = ['pfh', *{arguments!r}]\nfrom pfh_cli.main import main\nmain()"


@pytest.mark.parametrize("arguments", [("--help",), ("list-plugins",), ("list-plugins", "--json"), ("--version",)])
def test_a_quick_command_imports_nothing_heavy(arguments):
    assert not imported(command(*arguments)) & {*HEAVY, "pydantic", "rich", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--method", "dop", "--eval", "safety"),
        ("run", "--method", "dpo", "--eval", "safety", "-o", "bata=1"),
        ("run", "--method", "dpo", "--eval", "safety", "-o", "beta=high"),
    ],
)
def test_a_run_is_checked_before_anything_heavy_is_imported(arguments):
    assert not imported(command(*arguments)) & set(HEAVY)


def test_the_version_is_printed():
    printed = pfh("--version")

    assert (printed.returncode, printed.stderr) == (0, "")
    assert re.fullmatch(r"pfh \d+\.\d+\.\d+\n", printed.stdout)


def test_without_a_command_the_help_is_printed():
    assert pfh().stdout == pfh("--help").stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pfh ru", "run"),
        ("pfh run --method thi", "third"),
        ("pfh run --method third --eval third", "third-eval"),
        ("pfh run --backend ", "hf"),
        ("pfh list-plugins --kind ju", "judges"),
        ("pfh new-plugin la", "launcher"),
    ],
)
def test_the_shell_completes_commands_and_plugin_names(site: Path, words: str, offered: str):
    settings = {"_PFH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    assert offered in pfh(path=site, **settings).stdout.split()
