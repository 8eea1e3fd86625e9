"""The sandbox: programs run, stay inside, end in time, and cannot make tests pass that they do not pass."""

# ruff: noqa: E501 - a hostile program is easier to read on one line

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pfh.errors import StepFailedError, UserError
from pfh.sandbox import (
    UNSAFE_VARIABLE,
    Job,
    Limits,
    Program,
    UnitTests,
    available,
    run_many,
    run_python,
    run_tests,
    running,
    warm,
)

pytestmark = pytest.mark.skipif(available() != "", reason=available())

TIGHT = Limits(seconds=1.5, cpu_seconds=1, memory_mb=256, processes=8, file_mb=8, output_kb=64)
ADD_TESTS = UnitTests(script="assert add(2, 3) == 5\nassert add(-41, 7) == -34", names=("add",))


def test_runs_a_program_on_its_input():
    outcome = run_python("print(input()[::-1])", stdin="abc\n")
    assert (outcome.status, outcome.stdout, outcome.exit_code) == ("ok", "cba\n", 0)


def test_runs_of_one_program_start_fresh():
    with Program("import sys; print(len(sys.argv), input()); sys.argv.append('x')") as program:
        assert [program.run(word).stdout for word in ("a", "b")] == ["1 a\n", "1 b\n"]


def test_a_program_finds_its_files_and_its_preloaded_names():
    outcome = run_python("import math\nprint(open('data.txt').read(), math.pi > 3)", files={"data.txt": "here"})
    assert outcome.stdout == "here True\n"


def test_input_may_be_long_and_opened_by_name():
    text = "x" * 3_000_000
    assert run_python("print(len(open('/dev/stdin').read()))", stdin=text).stdout == "3000000\n"


def test_runs_are_repeatable():
    code = "import random; print(random.random(), hash('word'), list({'b', 'a', 'c'}))"
    assert run_python(code).stdout == run_python(code).stdout


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("raise SystemExit(3)", 3),
        ("import sys; sys.exit('no')", 1),
        ("exit()", 0),
        ("import os; os._exit(7)", 7),
        ("1/0", 1),
        ("import os; os.abort()", -6),
        ("import atexit, os; atexit.register(os._exit, 9)", 9),
    ],
)
def test_ends_as_the_interpreter_would(code: str, exit_code: int):
    outcome = run_python(code)
    assert (outcome.exit_code, outcome.status) == (exit_code, "ok" if exit_code == 0 else "error")


def test_threads_finish_before_the_program_ends():
    code = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()"
    assert run_python(code).stdout == "late\n"


def test_outcomes_come_in_order_and_a_stuck_job_fails_only_itself():
    jobs = [Job(code="print(input())", stdin=str(number)) for number in range(6)]
    jobs[2] = Job(code="while True: pass", limits=Limits(seconds=1))
    outcomes = run_many(jobs, workers=3)
    assert [outcome.stdout.strip() for outcome in outcomes] == ["0", "1", "", "3", "4", "5"]
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "timeout", "ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(100)", "timeout"),
        ("import signal, time\nfor s in (1, 2, 15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("import os\nos.close(1); os.close(2)\nimport time; time.sleep(100)", "timeout"),
        ("while True: print('endless ' * 100)", "output"),
        ("import sys\nwhile True: sys.stderr.write('endless ' * 100)", "timeout"),
        ("x = bytearray(10**9)", "memory"),
        ("x = []\nwhile True: x.append(bytearray(10**6))", "memory"),
        ("import os\nfor _ in range(2): os.fork()\nx = bytearray(10**8)\nfor i in range(0, 10**8, 4096): x[i] = 1\n"
         "import time; time.sleep(100)", "memory"),
        ("import os\nos.fork()\nos.kill(0, 9)", "error"),
        ("import os\nos.kill(1, 9); os.kill(-1, 15); print('still here')", "error"),
        ("def f(n): return f(n + 1)\nf(0)", "error"),
        ("import sys\nsys.setrecursionlimit(10**9)\nclass A:\n def __repr__(s): return repr([s])\nrepr(A())", "timeout error"),
        ("(" * 10_000 + ")" * 10_000, "error"),
        ("-" * 200_000 + "1", "memory error"),
        ("print('a\0b')", "error"),
        ("this is no python", "error"),
        ("\ud800", "error"),
        ("x = 1\n" * 170_000, "memory timeout"),
        ("x = 1" + " " * 1_000_000, "ok"),
        ("", "ok"),
    ],
)  # fmt: skip
def test_limits_hold(code: str, status: str):
    limits = TIGHT if "timeout" in status else replace(TIGHT, seconds=60, cpu_seconds=30)  # the machine may be busy
    assert run_python(code, limits=limits).status in status.split()


def test_a_fork_bomb_is_limited_and_leaves_nothing():
    bomb = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(1)"
    child = "import os\npid = os.fork()\nif pid: os.wait()\nprint(pid >= 0)"
    first, after = run_many([Job(code=bomb, limits=TIGHT), Job(code=child)], workers=2)
    assert first.status in {"timeout", "memory"}
    assert after.stdout == "True\nTrue\n"


def test_a_program_left_behind_is_killed_with_its_job(tmp_path: Path):
    code = (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(1000)\nprint('done')"
    )
    assert run_python(code).stdout.startswith("done")
    second = "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))"
    assert run_python(second).stdout == "2\n"  # the supervisor and itself


@pytest.mark.parametrize(
    "code",
    [
        "print(open('/etc/passwd').read())",
        "print(open('/etc/hostname').read())",
        "import socket; socket.create_connection(('1.1.1.1', 53), timeout=1)",
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname())",
        "import urllib.request; urllib.request.urlopen('http://example.com', timeout=1)",
        "open('/escaped', 'w')",
        "open('/usr/escaped', 'w')",
        "open('/pfh/pfh/sandbox/inside/calls.py', 'a')",
        "open('/dev/escaped', 'w')",
        "open('/proc/sys/kernel/hostname', 'w').write('x')",
        "import os; os.open('/proc/sys/kernel/ns_last_pid', os.O_WRONLY)",
        "import os; os.open('/proc/pressure/memory', os.O_WRONLY)",
        "for place in ('/tmp/job/', '/dev/shm/'):\n for n in range(5): open(f'{place}{n}', 'wb').write(bytes(2**20))",
        "import os; os.mkdir('/root/x')",
        "import os; os.setuid(0)",
        "import os; os.chroot('/')",
        "import os; print(os.environ['PATH_TO_SECRETS'])",
        "import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
        "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
        "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "import ctypes; assert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0",
        "import os; os.memfd_create('x')",
        "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "open('/proc/1/mem', 'rb').read(1)",
        "import os; print(os.listdir('/proc/1/fd'))",
        "import os; os.write(3, b'x')",
        "import os; [os.fstat(n) for n in range(3, 200) if not os.fstat(n)]",
        "open('big', 'wb').write(bytes(9 * 2**20))",
        "for n in range(100): open(str(n), 'wb').write(bytes(2**20))",
    ],
)  # fmt: skip
def test_what_a_program_cannot_do(code: str):
    assert run_python(code, limits=replace(TIGHT, seconds=60, cpu_seconds=30)).status == "error"


def test_a_program_has_no_privileges():
    status = run_python("print(open('/proc/self/status').read())").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert fields["Uid"].split()[0] != "0"


def test_processes_and_threads_work_within_the_limits():
    code = (
        "import multiprocessing, subprocess\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map(abs, [-1, 2]))\nprint(subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout)"
    )
    assert run_python(code).stdout == "[1, 2]\nb'x\\n'\n"


def test_the_environment_and_the_users_files_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_TOKEN", "secret")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    paths = [str(secret), str(Path.cwd())]
    code = f"import os\nprint('A_TOKEN' in os.environ, *map(os.path.exists, {paths!r}))"
    assert run_python(code).stdout == "False False False\n"


def test_installed_packages_are_there_only_when_named():
    code = "import pluggy, os; print(os.path.basename(pluggy.__path__[0]))"
    assert run_python(code).status == "error"
    assert run_python(code, packages=("pluggy",)).stdout == "pluggy\n"


def test_jobs_do_not_see_each_other():
    write = "open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')"
    read = "import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'))"
    assert run_python(write).status == "ok"
    assert run_python(read).stdout == "['job'] ['job']\n"


def test_nothing_of_an_earlier_program_is_in_the_memory_of_a_later_one():
    """What is looked for stands nowhere but shifted by one, so that the later program does not find itself."""
    secret = "KeptByAnEarlierProgram"
    shifted = bytes(value + 1 for value in secret.encode())
    search = f"""
import ctypes
shift, found = bytes(value + 1 & 255 for value in range(256)), 0
for line in open("/proc/self/maps"):
    place, rights = line.split()[:2]
    first, last = (int(each, 16) for each in place.split("-"))
    if "r" in rights and "[v" not in line and last - first < 64 << 20:
        found += {shifted!r} in ctypes.string_at(first, last - first).translate(shift)
print(found)
"""
    keeps = f"import builtins, os\nkept = {secret!r} * 10_000\nbuiltins.kept = kept\nos.environ['KEPT'] = {secret!r}\n"
    own = run_python(keeps + search)
    assert int(own.stdout) > 0, own  # the search finds what is there
    assert run_python(keeps).status == "ok"
    assert run_python(search).stdout == "0\n"


def test_the_sandbox_survives_being_killed():
    assert run_python("print(1)").stdout == "1\n"
    for zygote in warm._zygotes.values():
        zygote.close()
    assert run_python("print(2)").stdout == "2\n"


def test_nothing_outlives_the_process(tmp_path: Path):
    code = (
        "import os, signal\nfrom pfh.sandbox import Program\n"
        "program = Program('import time; time.sleep(1000)')\n"
        "import threading; threading.Thread(target=program.run, daemon=True).start()\n"
        "import time; time.sleep(1); print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    parent = int(ended.stdout)
    deadline = threading.Event()
    for _ in range(100):
        if not _descendants_named("sleep(1000)"):
            break
        deadline.wait(0.1)
    assert parent
    assert not _descendants_named("sleep(1000)")


def _descendants_named(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "bwrap" in line and text in line:
            found.append(line)
    return found


def test_without_bubblewrap_the_user_must_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(warm, "_zygotes", {})
    with pytest.raises(UserError, match=r"not installed.*apt-get install bubblewrap.*--unsafe-local-code"):
        run_python("print(1)")
    monkeypatch.setenv(UNSAFE_VARIABLE, "1")
    assert run_python("print(1)").stdout == "1\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("print(1)", "ok"),
        ("while True: pass", "timeout"),
        ("x = bytearray(10**9)", "memory"),
        ("while True: print('endless ' * 100)", "output"),
        ("import os, time\nif os.fork() == 0: os.setsid()\nos.fork(); time.sleep(1000)", "timeout"),
    ],
)
def test_unconfined_programs_still_have_limits(code: str, status: str):
    assert run_python(code, limits=TIGHT, unsafe_local=True).status == status


def test_functions_are_tested_by_plain_values():
    code = "def add(a, b): return a + b"
    assert run_tests(code, ADD_TESTS).status == "ok"
    assert run_tests("def add(a, b): return a - b", ADD_TESTS).status == "error"


def test_every_plain_type_crosses():
    script = (
        "for x in (None, True, 3, -2**200, 1.5, float('inf'), 2j, 'a\\ud800', b'b', [1, (2,)], {1, 2}, {(1, 'a'): [None]}):\n"
        "    y = same(x)\n    assert y == x and type(y) is type(x), x\n"
        "assert same(float('nan')) != same(float('nan'))"
    )
    assert run_tests("def same(x): return x", UnitTests(script=script, names=("same",))).status == "ok"


def test_objects_cross_as_handles():
    code = (
        "class Node:\n    def __init__(self, value): self.value, self.left = value, None\n"
        "def depth(node): return 0 if node is None else 1 + depth(node.left)\n"
        "def numbers(n): yield from range(n)\n"
    )
    script = (
        "root = Node(1)\nroot.left = Node(2)\nassert root.left.value == 2\nassert depth(root) == 2\n"
        "assert list(numbers(3)) == [0, 1, 2]"
    )
    assert run_tests(code, UnitTests(script=script, names=("Node", "depth", "numbers"))).status == "ok"


def test_exceptions_of_the_program_reach_the_tests():
    script = "try: check(-1)\nexcept ValueError as error: assert 'negative' in str(error)\nelse: assert False"
    code = "def check(x):\n    if x < 0: raise ValueError('negative')"
    assert run_tests(code, UnitTests(script=script, names=("check",))).status == "ok"
    assert run_tests("def check(x): pass", UnitTests(script=script, names=("check",))).status == "error"


CHEATS = {
    "always equal": "class E(int):\n  def __eq__(s, o): return True\n  def __ne__(s, o): return False\ndef add(a, b): return E(0)",
    "always equal, no int": "class E:\n  def __eq__(s, o): return True\n  __hash__ = None\ndef add(a, b): return E()",
    "exits early": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits in the call": "import os\ndef add(a, b): os._exit(0)",
    "raises SystemExit": "def add(a, b): raise SystemExit(0)",
    "raises StopIteration": "def add(a, b): raise StopIteration",
    "no assert": "import builtins\nclass AssertionError(Exception): pass\nbuiltins.AssertionError = Exception\ndef add(a, b): return 0",
    "patches exit": "import os, sys\nos._exit = lambda code: None\nsys.exit = os._exit\ndef add(a, b): return 0",
    "writes to every descriptor": "import os\nfor n in range(64):\n  try: os.write(n, b'{\"status\": \"ok\"}')\n  except OSError: pass",
    "answers everything at once": "import os\nos.write(3, b'{\"value\": true}\\n' * 1000)\nimport time; time.sleep(100)",
    "shuts the line": "import os\nos.close(3)\ndef add(a, b): return 0",
    "kills what it sees": "import os\nfor n in range(2, 1000):\n  try: os.kill(n, 9)\n  except OSError: pass\ndef add(a, b): return 0",
    "looks at frames": (
        "import sys, gc\ndef add(a, b):\n  f = sys._getframe()\n  while f:\n    for v in f.f_locals.values():\n"
        "      if isinstance(v, str) and 'assert' in v: return 5\n    f = f.f_back\n  return 0"
    ),
    "searches the files": (
        "import os\ndef add(a, b):\n  for top in ('/tmp', '/proc', '/pfh', '/dev/shm'):\n    for d, _, fs in os.walk(top):\n"
        "      for f in fs:\n        try: text = open(os.path.join(d, f)).read(100000)\n        except Exception: continue\n"
        "        if 'add(2, 3) == 5' in text: return 5\n  return 0"
    ),
    "deep value": "def add(a, b):\n  x = []\n  for _ in range(100000): x = [x]\n  return x",
    "huge value": "def add(a, b): return 'x' * 10**8",
    "no reply": "def add(a, b):\n  while True: pass",
    "malformed reply": "import os\ndef add(a, b):\n  os.write(3, b'{\"value\": {\"list\": 3}}\\n')",
    "syntax error": "def add(a, b) return",
    "nothing": "",
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
def test_cheating_does_not_pass_tests(cheat: str):
    assert run_tests(CHEATS[cheat], ADD_TESTS, limits=TIGHT).status != "ok"


def test_a_quiet_end_of_an_iteration_is_no_pass():
    tests = UnitTests(script="assert all(map(lambda x: f(x) == 99, range(3)))", names=("f",))
    assert run_tests("def f(x): raise StopIteration", tests).status == "error"


def test_a_program_that_ends_is_no_expected_exception():
    script = "try: f(1)\nexcept Exception: pass\nelse: assert False"
    assert run_tests("import os\ndef f(x): os._exit(0)", UnitTests(script=script, names=("f",))).status == "error"


PIECES = st.sampled_from(
    [
        "import os, sys, time, signal, threading, socket",
        "print('x' * 1000)",
        "while True: pass",
        "while True: print(1)",
        "os.fork()",
        "os._exit(0)",
        "sys.exit(0)",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.close(0); os.close(1); os.close(2)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "threading.Thread(target=lambda: time.sleep(99)).start()",
        "x = [0] * 10**9",
        "open('/etc/passwd').read()",
        "open('x', 'w').write('x' * 10**7)",
        "os.setsid()",
        "del sys.modules['os']",
        "sys.stdout = None",
        "raise KeyboardInterrupt",
        "def f(x): return f",
        "class int(int): pass",
        "__builtins__.print = None",
        "sys.setrecursionlimit(10**8)",
        "time.sleep(99)",
        "\0",
        "(((",
    ]
)


@settings(
    max_examples=int(os.environ.get("PFH_HOSTILE_PROGRAMS", "25")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.one_of(PIECES, st.text(max_size=30)), max_size=6))
def test_no_program_prints_or_returns_what_it_does_not_know(pieces: list[str]):
    code = "\n".join(pieces)
    limits = Limits(seconds=1, cpu_seconds=1, memory_mb=256, processes=8, file_mb=8, output_kb=64)
    outcome = run_python(code, stdin="7919", limits=limits)
    assert "62710561" not in outcome.stdout  # the square of the input
    tests = UnitTests(script="assert square(7919) == 62710561", names=("square",))
    assert run_tests(code, tests, limits=limits).status != "ok"


def test_a_right_program_whose_sandbox_is_killed_is_run_again_in_a_fresh_one():
    run_python("")
    killer = threading.Timer(0.2, lambda: warm._zygotes[True, ()]._process.kill())
    killer.start()
    with Program("import time\ntime.sleep(.6)\nprint(int(input()) ** 2)") as program:
        outcomes = [program.run("3"), program.run("4")]
    assert [(outcome.status, outcome.stdout) for outcome in outcomes] == [("ok", "9\n"), ("ok", "16\n")]


def test_functions_whose_sandbox_is_killed_are_tested_again():
    run_python("")
    killer = threading.Timer(0.2, lambda: warm._zygotes[True, ()]._process.kill())
    killer.start()
    outcome = run_tests("import time\ndef add(a, b): time.sleep(.3); return a + b", ADD_TESTS)
    assert outcome.status == "ok"


def test_a_sandbox_that_ends_again_fails_the_step_and_scores_nothing(monkeypatch: pytest.MonkeyPatch):
    def lost(**_: object) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr(running, "open_job", lost)
    with pytest.raises(StepFailedError, match="nothing was scored"):
        run_python("print(1)")
    with pytest.raises(StepFailedError, match="nothing was scored"):
        run_tests("def add(a, b): return a + b", ADD_TESTS)


def test_a_program_that_ends_its_own_tests_early_has_failed_them():
    outcome = run_tests("import os\ndef add(a, b): os._exit(0)", ADD_TESTS)
    assert outcome.status == "error"


def test_memory_shared_by_processes_counts():
    code = (
        "import mmap, os, time\nfor _ in range(5):\n  if os.fork() == 0:\n    m = mmap.mmap(-1, 100 << 20)\n"
        "    for k in range(0, 100 << 20, 4096): m[k] = 1\n    time.sleep(1)\n    os._exit(0)\ntime.sleep(1.2)"
    )
    assert run_python(code, limits=TIGHT).status == "memory"


def test_memory_that_processes_share_counts_once():
    code = (
        "import mmap, os, time\nm = mmap.mmap(-1, 90 << 20)\nfor k in range(0, 90 << 20, 4096): m[k] = 1\n"
        "for _ in range(5):\n  if os.fork() == 0:\n    s = sum(m[k] for k in range(0, 90 << 20, 4096))\n"
        "    time.sleep(.3)\n    os._exit(0)\nfor _ in range(5): os.wait()\nprint('shared')"
    )
    assert run_python(code, limits=replace(TIGHT, seconds=10, cpu_seconds=10)).stdout == "shared\n"


def test_processor_time_is_that_of_all_processes_together():
    code = "import os\nfor _ in range(2): os.fork()\nwhile True: pass"
    outcome = run_python(code, limits=replace(TIGHT, seconds=30, cpu_seconds=1))
    assert (outcome.status, outcome.seconds < 8) == ("timeout", True)


def test_a_program_cannot_make_its_supervisor_wait_for_output_that_was_taken_back():
    code = (
        "import os, time\nr = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\nend = time.time() + 1\n"
        "while time.time() < end:\n  os.write(1, b'x')\n  try: os.read(r, 1)\n  except BlockingIOError: pass\n"
        "while True: time.sleep(1)"
    )
    outcome = run_python(code, limits=TIGHT)
    assert (outcome.status, outcome.seconds < 4) == ("timeout", True)


def test_buffers_of_sockets_stay_small_and_sessions_are_not_left():
    code = (
        "import os, socket\na, b = socket.socketpair()\nfor name in ('SO_SNDBUF', 'SO_RCVBUF'):\n"
        "  try: a.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1 << 24)\n  except OSError: print('refused')\n"
        "try: os.setsid()\nexcept OSError: print('refused')\na.send(b'x'); print(b.recv(1))"
    )
    assert run_python(code).stdout == "refused\nrefused\nrefused\nb'x'\n"
