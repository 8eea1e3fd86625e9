"""What ends a command from outside: a scheduler's SIGTERM, and the end of whoever handed out a task."""

from __future__ import annotations

import subprocess
import sys

import psutil

COMMAND = """
import time
from pfh_cli.boundary import guarded

def command(called):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("put away", flush=True)

raise SystemExit(guarded(command))
"""
WORKER = """
import time
import pfh.commands.study.performing as performing

def perform(file):
    print("begun", file, flush=True)
    time.sleep(60 if "long" in str(file) else 0)
    return 0, ""

performing.perform_file = perform
performing.serve_tasks()
"""


def started(script: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_schedulers_signal_ends_a_command_as_ctrl_c_does():
    with started(COMMAND) as process:
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        said, line = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "put away\n")
    assert line == "pfh: interrupted; the same command resumes\n"


LAUNCHER = f"""
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(worker.pid, flush=True)
print(sys.argv[1], file=worker.stdin, flush=True)
worker.wait()
"""


def test_a_worker_whose_launcher_was_killed_does_not_go_on(tmp_path):
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "long.log"
    command = [sys.executable, "-c", LAUNCHER, f"{tmp_path}/tasks/long.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as launcher:
        worker = psutil.Process(int(launcher.stdout.readline()))
        while not log.exists() or "begun" not in log.read_text():
            assert launcher.poll() is None
        launcher.kill()
        worker.wait(timeout=30)


def test_a_worker_ends_well_where_nothing_is_left_to_do(tmp_path):
    (tmp_path / "logs").mkdir()
    with started(WORKER) as process:
        said, _ = process.communicate(f"{tmp_path}/tasks/short.json\n", timeout=30)
    assert (process.returncode, said) == (0, '{"task": "short", "code": 0, "said": ""}\n')
