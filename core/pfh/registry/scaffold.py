"""Write the package of a new plugin, which works as it is and waits to be changed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pfh import __version__
from pfh.errors import UserError
from pfh.registry.catalogue import Catalogue, Kind

NewKind = Literal["method", "eval", "domain", "judge", "attack", "reader", "backend", "launcher"]


_TEMPLATES = Path(__file__).parent / "scaffolds"


_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


def write_package(kind: NewKind, name: str, output: Path) -> Path:
    """Write an installable package with a plugin of `kind` into a new folder under `output`; return that folder.

    Raises:
        UserError: the name is not valid or taken, the folder exists, or `output` cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    distribution = f"pfh-{name.replace('_', '-')}"
    module = distribution.replace("-", "_")
    group: Kind = f"{kind}s"  # type: ignore[assignment]
    _check_name(name, module, group)
    folder = output / distribution
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another name, or another folder with --output.")
    words = {
        "kind": kind,
        "group": group,
        "name": name,
        "module": module,
        "distribution": distribution,
        "pfh_version": __version__,
    }
    templates = Environment(  # noqa: S701 - it writes Python, TOML and Markdown, no HTML
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    files = {
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "README.md.jinja",
        f"src/{module}/__init__.py": f"{kind}.py.jinja",
        f"src/{module}/py.typed": None,
        f"tests/test_{module}.py": f"test_{kind}.py.jinja",
    }
    try:
        for path, template in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            text = templates.get_template(template).render(words) if template else ""
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder with --output.") from error
    return folder


def _check_name(name: str, module: str, group: Kind) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a plugin's name: use lower-case letters, digits and single hyphens, a letter first."
        )
    if find_spec(module):
        raise UserError(f"A module {module} is installed already; choose another name.")
    catalogue = Catalogue()
    if name in catalogue.names(group):
        raise UserError(f"{catalogue.find(group, name).source} provides {group}:{name} already; choose another name.")
