"""What happens in the process of a program: its namespace is made, its code run, and the process ended."""

from __future__ import annotations

import atexit
import builtins
import io
import random
import signal
import socket
import sys
import threading
import traceback
from types import ModuleType
from typing import Any

from pfh.sandbox.inside import calls


def run_program(job: dict[str, Any], channel: socket.socket | None) -> int:
    """Run the job's code as the main program, or its functions for the tests, or the tests; return the exit status.

    The `random` module starts from one seed, so that a run can be repeated.
    """
    _fresh_streams()
    random.seed(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if job["role"] == "tests":
            assert channel is not None
            calls.judge(channel, job["names"], job["setup"], job["code"])
        elif job["role"] == "functions":
            assert channel is not None
            calls.serve(channel, _executed(job, "solution"))
        else:
            _executed(job, "__main__")
        code = 0
    except SystemExit as error:
        code = _exit_code(error.code)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for all threads but daemons, as the interpreter does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _executed(job: dict[str, Any], name: str) -> ModuleType:
    module = ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    sys.argv = ["solution.py"]
    sys.path.insert(0, "")
    for source, file in ((job["prelude"], "prelude.py"), (job["code"], "solution.py")):
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - this is the sandbox
    return module


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _fresh_streams() -> None:
    """Open the standard streams anew, as an interpreter that starts with these descriptors would."""
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r")), encoding="utf-8", errors="surrogateescape")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding="utf-8", errors="surrogateescape")
    stderr = io.BufferedWriter(io.FileIO(2, "w"))
    sys.stderr = io.TextIOWrapper(stderr, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
