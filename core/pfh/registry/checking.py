"""Check a plugin in a process of its own: whatever its import does, the caller lives on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pfh.registry.catalogue import Plugin

SECONDS = 60.0


_MARK = "pfh-check:"


_PROGRAM = f"""\
import json, sys
from pfh.registry.plugins import Plugins
plugins = Plugins()
plugin = next(found for found in plugins.catalogue if found.key == sys.argv[1])
print("\\n{_MARK}" + json.dumps(plugins.check(plugin)), flush=True)
"""


def check_apart(plugin: Plugin) -> str:
    """Return what is wrong with an installed plugin, or an empty string; at most `SECONDS` seconds are spent."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", _PROGRAM, plugin.key]
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{plugin.key} (from {plugin.source}) was not imported within {SECONDS:.0f} s."
    verdicts = [line.removeprefix(_MARK) for line in ended.stdout.splitlines() if line.startswith(_MARK)]
    if ended.returncode or not verdicts:
        return f"{plugin.key} (from {plugin.source}) ended its process at import with exit code {ended.returncode}."
    problem: str = json.loads(verdicts[-1])
    return problem
