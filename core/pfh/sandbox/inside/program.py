"""What happens in the process of a program: its namespace is made, its code run, and the process ended."""

from __future__ import annotations

import atexit
import builtins
import signal
import socket
import sys
import traceback
from types import ModuleType
from typing import Any

from pfh.sandbox.inside import calls


def run_program(job: dict[str, Any], channel: socket.socket | None) -> int:
    """Run the job's code as the main program, or its functions for the tests, or the tests; return the exit status."""
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
    if threading := sys.modules.get("threading"):
        threading._shutdown()  # waits for all threads but daemons, as the interpreter does
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
