"""Versions of the libraries that code imports."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distributions, version

TRAINING = ("accelerate", "datasets", "peft", "torch", "transformers", "trl")
"""What every training rests on, whether its method imports it itself or not."""


DECIDE_NOTHING = frozenset({"pluggy", "pydantic"})
"""They hand over options, which are in a key themselves."""


def library_versions(modules: Iterable[str], known: dict[str, tuple[str, str]] | None = None) -> dict[str, str]:
    """Return the distributions that provide top-level `modules`, with their versions; `known` remembers them."""
    known = {} if known is None else known
    wanted = sorted({*modules} - DECIDE_NOTHING)
    known |= {module: _version(module) for module in wanted if module not in known}
    return dict(known[module] for module in wanted)


def _version(module: str) -> tuple[str, str]:
    name = module.replace("_", "-")
    try:
        return name, version(name)
    except PackageNotFoundError:
        pass
    for distribution in distributions():
        recorded = distribution.read_text("RECORD") or ""
        if any(line.startswith((f"{module}/__init__.py,", f"{module}.py,")) for line in recorded.splitlines()):
            return distribution.name, distribution.version
    return name, "not installed"
