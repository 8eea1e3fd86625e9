"""`pfh new-plugin`: a package with a plugin that works, to be changed into one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pfh.registry.scaffold import NewKind


def new_plugin(
    kind: Annotated[NewKind, typer.Argument(metavar="KIND", help="What it adds.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, such as my-method.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the package's folder into.")] = Path(),
) -> None:
    """Write an installable package with a plugin of KIND and a passing test."""
    from pfh.registry.scaffold import write_package

    folder = write_package(kind, name, output)
    print(f"wrote {folder}")
    print(f"install it:  pip install -e {folder}")
    print(f"test it:     python -m pytest {folder}")
