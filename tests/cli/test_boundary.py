"""The error boundary: one line and an exit code, whatever went wrong."""

import errno
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pfh.errors import StepFailedError, UserError
from pfh_cli.boundary import guarded


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("mend this"), 2, "mend this"),
        (StepFailedError("gave up"), 3, "gave up"),
        (MemoryError(), 3, "Out of memory; "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 3, "Out of memory; "),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "The disk is full; "),
        (ValueError("first line\nsecond line"), 3, "unexpected ValueError: first line (traceback: "),
        (UserError("two\nlines and \x1b[31m colour"), 2, "two lines and \\x1b[31m colour"),
    ],
)
def test_every_error_is_one_line_with_its_exit_code(error, code, message, capsys, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PFH_STORE", str(tmp_path))

    def fail(called):
        raise error

    assert guarded(fail) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"pfh: {message}")
    assert printed.count("\n") == 1


def test_a_gpu_out_of_memory_is_told_from_other_errors(capsys, monkeypatch):
    class OutOfMemoryError(RuntimeError):
        pass

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(OutOfMemoryError=OutOfMemoryError))

    def fail(called):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    assert guarded(fail) == 3
    assert "The accelerator ran out of memory" in capsys.readouterr().err


def test_where_no_traceback_can_be_kept_the_line_says_how_to_see_it(capsys, monkeypatch, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("PFH_STORE", str(file))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(file))

    def fail(called):
        raise ValueError("odd")

    assert guarded(fail) == 3
    assert capsys.readouterr().err == "pfh: unexpected ValueError: odd (--debug shows the traceback)\n"
