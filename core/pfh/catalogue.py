"""The installed plugins, known from package metadata alone: nothing here imports one."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, get_args

from pfh.errors import PluginError, did_you_mean

Kind = Literal["methods", "evals", "domains", "backends", "judges", "launchers", "wrappers"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Plugin:
    """One entry point in a group `pfh.<kind>`."""

    kind: Kind
    entry_point: EntryPoint

    @property
    def name(self) -> str:
        """The entry point's name is the plugin's name."""
        return self.entry_point.name

    @property
    def key(self) -> str:
        """Such as "methods:dpo"."""
        return f"{self.kind}:{self.name}"

    @property
    def distribution(self) -> str:
        """Name of the distribution that provides it."""
        return self.entry_point.dist.name if self.entry_point.dist else "unknown"

    @property
    def version(self) -> str:
        """Version of that distribution."""
        return self.entry_point.dist.version if self.entry_point.dist else "unknown"

    @property
    def source(self) -> str:
        """Distribution and version, as errors name them."""
        return f"{self.distribution} {self.version}"

    @cached_property
    def summary(self) -> str:
        """First line of the module's docstring, read from its source."""
        path = _module_file(self.entry_point.module)
        if path is None:
            return ""
        try:
            docstring = ast.get_docstring(ast.parse(path.read_bytes()))
        except (OSError, SyntaxError, ValueError):
            return ""
        return docstring.splitlines()[0] if docstring else ""

    @cached_property
    def code_version(self) -> str:
        """Distribution, version and a hash of the plugin's own files: what a step's key says of its code."""
        path = _module_file(self.entry_point.module)
        if path is None:
            return self.source
        files = sorted(_package_files(path.parent)) if path.name == "__init__.py" else [path]
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return f"{self.source} {digest.hexdigest()[:12]}"


class Catalogue:
    """Every installed plugin, by kind and name."""

    def __init__(self) -> None:
        self._plugins: dict[tuple[Kind, str], list[Plugin]] = {}
        for kind in KINDS:
            for entry_point in entry_points(group=f"pfh.{kind}"):
                self._plugins.setdefault((kind, entry_point.name), []).append(Plugin(kind, entry_point))

    def __iter__(self) -> Iterator[Plugin]:
        order = {kind: place for place, kind in enumerate(KINDS)}
        for key in sorted(self._plugins, key=lambda key: (order[key[0]], key[1])):
            yield from self._plugins[key]

    def names(self, kind: Kind) -> list[str]:
        """Return the names of one kind, sorted."""
        return sorted(name for other, name in self._plugins if other == kind)

    def providers(self, plugin: Plugin) -> list[Plugin]:
        """Return every plugin of the same kind and name: more than one is a conflict."""
        return self._plugins[plugin.kind, plugin.name]

    def find(self, kind: Kind, name: str) -> Plugin:
        """Return the one plugin of that name.

        Raises:
            PluginError: there is none, or two distributions provide it.
        """
        found = self._plugins.get((kind, name), [])
        if len(found) > 1:
            sources = " and ".join(plugin.source for plugin in found)
            raise PluginError(f"{kind}:{name} is provided by {sources}; uninstall one of them.")
        if not found:
            known = self.names(kind)
            raise PluginError(
                f"No {kind.removesuffix('s')} named {name!r}.{did_you_mean(name, known)} "
                f"Installed: {', '.join(known) or 'none'}."
            )
        return found[0]


def _module_file(module: str) -> Path | None:
    """Find a module's source without importing its parents (importlib.util.find_spec would)."""
    search: list[str] | None = None
    spec: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = next((found for finder in sys.meta_path if (found := finder.find_spec(name, search))), None)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _package_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in {".pyc", ".pyo"}:
            yield path
