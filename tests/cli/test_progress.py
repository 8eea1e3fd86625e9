"""Progress on stderr: bars on a terminal, lines elsewhere."""

import re
import sys

import pytest
from pfh_cli import progress as cli_progress

from tests.cli.terminal import on_a_terminal


def test_where_no_terminal_is_there_are_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(cli_progress, "WORTH_A_LINE", 0.0)

    with cli_progress.open_progress() as progress, progress.task("evaluation", total=4, done=1) as bar:
        bar.advance()
        bar.note("loss 0.5")
        bar.advance()
        progress.say("a log line \x1b[31m")
        bar.advance()

    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"evaluation: 2/4 \(50%\), \d+ s left", lines[0])
    assert re.fullmatch(r"evaluation: 3/4 \(75%\), \d+ s left, loss 0\.5", lines[1])
    assert lines[2] == "a log line \\x1b[31m"
    assert re.fullmatch(r"evaluation: 4 done in \d+ s", lines[3])


def test_a_task_that_ends_early_says_how_far_it_went(monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "WORTH_A_LINE", 0.0)

    with cli_progress.open_progress() as progress, progress.task("training", total=1200) as bar:
        bar.advance(18)

    assert re.fullmatch(r"training: 18 of 1200 done in \d+ s\n", capsys.readouterr().err)


def test_quick_tasks_leave_no_line(capsys):
    with cli_progress.open_progress() as progress, progress.task("quick", total=1) as bar:
        bar.advance()

    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys):
    with cli_progress.open_progress(quiet=True) as progress, progress.task("evaluation", total=1) as bar:
        bar.advance()
        progress.say("line")

    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_there_are_bars_and_lines_above_them():
    script = """
import time
from pfh_cli.progress import open_progress
with open_progress() as progress, progress.task("train [bold]", total=3) as bar:
    for step in range(3):
        bar.advance()
        bar.note(f"loss {step}")
        progress.say(f"line {step} [red]")
        print("from a library")
        time.sleep(0.15)
"""
    shown = on_a_terminal([sys.executable, "-c", script])

    assert "train [bold]" in shown
    assert "3/3" in shown
    assert "loss 2" in shown
    for step in range(3):
        assert re.search(rf"^line {step} \[red\]\r?$", shown, re.MULTILINE), shown
    assert len(re.findall(r"^from a library\r?$", shown, re.MULTILINE)) == 3
