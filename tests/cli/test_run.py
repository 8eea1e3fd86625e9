"""`pfh run`: what goes to stdout and stderr, and how it ends."""

import json
import re
from pathlib import Path

from pfh_cli.plans import show_plan

from tests.cli.pretence import RUN


def test_a_dry_run_prints_the_plan_with_every_option(call):
    printed = call(*RUN, "--seed", "3", "-o", "third-eval.shots=2", "--base", "--dry-run", "--json")

    plan = json.loads(printed.stdout)
    assert plan["methods"] == ["third"]
    assert plan["evals"] == [{"family": "third-eval", "benchmarks": []}]
    assert plan["options"]["evals:third-eval"] == {"shots": 2}
    assert (plan["seed"], plan["start"], plan["domain"], plan["launcher"]) == (3, "base", "reasoning", "local")


def test_a_dry_run_is_readable(call):
    printed = call(*RUN, "-o", "third-eval.shots=2", "--limit", "7", "--dry-run")

    lines = printed.stdout.splitlines()
    assert {"methods: third", "evals: third-eval", "limit: 7", "options of evals:third-eval: shots=2"} <= set(lines)
    assert not [line for line in lines if line.startswith("budget")]  # none was given


def test_a_dry_run_shows_what_a_family_would_ask_as_a_table(call):
    printed = call("eval", "safe", "--eval", "forgetting:builtin-logic", "--limit", "3", "--dry-run")

    lines = printed.stdout.splitlines()
    heading = next(line for line in lines if line.startswith("benchmark"))
    assert heading.split()[:5] == ["benchmark", "category", "tasks", "documents", "requests"]
    assert next(line for line in lines if line.startswith("builtin-logic")).split()[:4] == [
        "builtin-logic",
        "reasoning",
        "2",
        "6",
    ]


def test_a_dry_run_leaves_no_option_out_and_shows_no_control_character(capsys):
    options = {"temperature": 0.0, "samples": 0, "packing": False, "steps": None, "tasks": []}
    rows = [{"benchmark": "hid\x1b[8mden", "whole": True, "documents": 1234}]
    asks = {"quiz": {"title": "What is asked", "rows": rows, "note": ""}}

    show_plan({"seed": 0, "limit": None, "options": {"evals:quiz": options}, "asks": asks}, as_json=False)

    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == [
        "seed: 0",
        "options of evals:quiz: temperature=0.0, samples=0, packing=no; not set: steps, tasks",
    ]
    assert printed.splitlines()[-1].split()[-2:] == ["yes", "1,234"]
    assert "\x1b" not in printed


def test_results_go_to_stdout_and_the_rest_to_stderr(pretend, folder: Path):
    table = pretend("print('a library speaks')")
    as_json = pretend("print('a library speaks')", "--json")

    assert table.returncode == as_json.returncode == 0
    assert "Nothing changed." in table.stdout
    assert table.stdout.endswith(f"report: {folder / 'report.html'}\nmodel: {folder / 'model'}\n")
    assert json.loads(as_json.stdout)["headline"] == "Nothing changed."
    assert "a library speaks" in table.stderr
    assert "a library speaks" in as_json.stderr


def test_the_exit_code_is_the_runs(pretend):
    assert pretend(code=2).returncode == 2


def test_an_interrupted_run_says_how_to_go_on(pretend):
    ended = pretend("raise KeyboardInterrupt")

    assert (ended.returncode, ended.stderr) == (130, "pfh: interrupted; the same command resumes\n")


def test_an_unforeseen_failure_in_a_plugin_leaves_its_traceback_in_the_store(pretend, tmp_path: Path):
    ended = pretend("{}['weights']")

    assert ended.returncode == 3
    line = re.fullmatch(
        r"pfh: launchers:pretend \(from pretend 1\.0\) failed in launch: KeyError: 'weights'\. \(traceback: (.*)\)\n",
        ended.stderr,
    )
    assert line
    kept = Path(line[1])
    assert kept.parent == tmp_path / "store" / "logs"
    assert "KeyError: 'weights'" in kept.read_text()
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback(pretend):
    ended = pretend("{}['weights']", "--debug")

    assert "Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("pfh: launchers:pretend")


def test_a_failure_that_the_step_explained_leaves_no_traceback(pretend):
    ended = pretend("from pfh.errors import StepFailedError; raise StepFailedError('No pairs; draw more.')")

    assert (ended.returncode, ended.stderr) == (3, "pfh: No pairs; draw more.\n")


def test_a_store_that_cannot_be_written_is_the_users_to_mend(pretend, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()

    ended = pretend("", "--store", str(file))

    assert ended.returncode == 2
    assert f"The store {file} cannot be written" in ended.stderr
