"""Plugins installed as pip would leave them: modules, and a .dist-info with entry points, in a folder on sys.path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

METHOD = """\
'''A method for tests.'''
from pfh import hookimpl

@hookimpl
def train(spec):
    raise NotImplementedError
"""


def install(
    folder: Path,
    distribution: str,
    modules: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
    version: str = "1.0",
) -> Path:
    """Write the distribution into `folder`, which then only needs to be on sys.path; return `folder`.

    A module of the same name that another test has loaded is forgotten.

    Args:
        folder: stands for site-packages.
        distribution: the name that pip would know.
        modules: module name, dots for packages, to source.
        entry_points: group to name to value.
        version: of the distribution.
    """
    for module, source in modules.items():
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        sys.modules.pop(module, None)
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


def install_method(folder: Path, source: str = METHOD, name: str = "third", distribution: str = "third-party") -> Path:
    """Install one method whose module is `<distribution>_<name>`."""
    module = f"{distribution}_{name}".replace("-", "_")
    return install(folder, distribution, {module: source}, {"pfh.methods": {name: module}})


def pfh(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with the plugins in `path` installed."""
    paths = [str(path)] if path else []
    settings = {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80", **environment}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PFH_", "_TYPER", "TYPER_"))}
    return subprocess.run(
        [sys.executable, "-m", "pfh_cli.main", *arguments], env=kept | settings, capture_output=True, text=True
    )
