"""The error boundary: every way in which a command can end becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.errors import EXIT_STEP_FAILED, EXIT_USER, PfhError, out_of_resources
from pfh.text import printable, redacted
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from types import FrameType

    import typer

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass
class Invocation:
    """What the boundary must know of the command that it guards; commands reach it as `context.obj`."""

    debug: bool = False
    """Show tracebacks."""
    store: Path | None = None
    """Where tracebacks are kept; None is the default store."""


def invocation(context: typer.Context) -> Invocation:
    """Return the invocation that `context` belongs to."""
    return context.ensure_object(Invocation)


def guarded(command: Callable[[Invocation], int]) -> int:
    """Run `command` and return the exit code, having said on stderr what went wrong, if anything did."""
    called = Invocation()
    _end_as_interrupted()
    try:
        code = command(called)
        sys.stdout.flush()
    except TyperException as error:
        return _fail(error.format_message(), EXIT_USER)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit finds a reader
        return EXIT_BROKEN_PIPE
    except SystemExit as ending:
        if not isinstance(ending.__context__, BrokenPipeError):  # Typer's own answer to one is exit code 1
            raise
        return EXIT_BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last boundary: nothing behind it would tell the user
        return _explain(error, called)
    if code == EXIT_INTERRUPTED:
        _fail("interrupted; the same command resumes", code)
    return code


def _end_as_interrupted() -> None:
    """Let SIGTERM, which schedulers send before they kill, end this process as Ctrl-C does: its workers end with it."""
    own = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == own:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a fork of it, which whoever forked it wants to end
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, interrupt)


def _explain(error: Exception, called: Invocation) -> int:
    if called.debug:
        print(redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if line := out_of_resources(error):
        return _fail(line, EXIT_STEP_FAILED)
    if not isinstance(error, PfhError):
        cause = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
        return _fail(f"unexpected {cause}{_kept(error, called)}", EXIT_STEP_FAILED)
    # A failed step whose cause is known by its class needs no traceback; any other cause is a bug in some code.
    unforeseen = error.exit_code == EXIT_STEP_FAILED and _is_unforeseen(error.__cause__)
    return _fail(f"{error}{_kept(error, called) if unforeseen else ''}", error.exit_code)


def _is_unforeseen(cause: BaseException | None) -> bool:
    return cause is not None and not isinstance(cause, PfhError) and not out_of_resources(cause)


def _kept(error: Exception, called: Invocation) -> str:
    """Save the traceback; return where, as the end of a line."""
    from pfh.store.store import default_root

    text = redacted("".join(traceback.format_exception(error)))
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06}.txt"
    for folder in ((called.store or default_root()) / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return f" (traceback: {folder / name})"
    return " (--debug shows the traceback)"


def _fail(message: str, code: int) -> int:
    line = printable(redacted(" ".join(message.replace("Value error, ", "").split())), lines=False)
    print(f"pfh: {line}", file=sys.stderr)
    return code
