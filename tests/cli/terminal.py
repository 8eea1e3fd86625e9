"""A terminal for tests: what a person would see."""

import contextlib
import os
import re
import subprocess


def on_a_terminal(command: list[str]) -> str:
    """Return what `command` wrote to a terminal, a line for each rewriting of a line, without escape sequences."""
    import pty

    parent, child = pty.openpty()
    settings = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=settings)
    os.close(child)
    written = b""
    with contextlib.suppress(OSError):  # Linux says EIO where others say end of file
        while chunk := os.read(parent, 4096):
            written += chunk
    os.close(parent)
    assert process.wait() == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", written).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")
