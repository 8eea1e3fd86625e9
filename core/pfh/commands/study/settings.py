"""Settings of a launcher: what the study's file says, over what the user's own file says of every study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.kit.yaml_files import read_yaml
from pfh.registry.plugins import Plugins

if TYPE_CHECKING:
    from pydantic import BaseModel


def user_file(launcher: str) -> Path:
    """Return where a user's own settings of a launcher are: `pfh/NAME.yaml` in $XDG_CONFIG_HOME or ~/.config."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "pfh" / f"{launcher}.yaml"


def launcher_options(
    launcher: str, of_study: Mapping[str, Any], plugins: Plugins, asked: Mapping[str, Any] | None = None
) -> BaseModel | None:
    """Return the options of a launcher.

    Args:
        launcher: its name.
        of_study: what the study's file says of it.
        plugins: the installed ones.
        asked: what the command line says, which counts before both.

    Raises:
        UserError: an unknown setting, or a value that does not fit; names the file that it is from, if it is the user's
            own.
    """
    plugins.load("launchers", launcher)
    file = user_file(launcher)
    if own := _own(file):
        try:
            plugins.options("launchers", launcher, own)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
    return plugins.options("launchers", launcher, {**own, **of_study, **(asked or {})})


def _own(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    own = read_yaml(file, f"The settings {file}", "write KEY: VALUE, a line each") or {}
    if not isinstance(own, dict):
        raise UserError(f"{file}: settings are a mapping: write KEY: VALUE, a line each.")
    return {str(name): value for name, value in own.items()}
