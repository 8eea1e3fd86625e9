"""The installed plugins, known from package metadata alone: nothing here imports one."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Literal, get_args

from pfh.errors import PluginError, did_you_mean
from pfh.registry.code import NO_CODE, Code, code_of, module_file

Kind = Literal["methods", "evals", "domains", "backends", "judges", "attacks", "readers", "launchers", "wrappers"]


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
        return (self.entry_point.dist and self.entry_point.dist.name) or "unknown"

    @property
    def version(self) -> str:
        """Version of that distribution."""
        return (self.entry_point.dist and self.entry_point.dist.version) or "unknown"

    @cached_property
    def source(self) -> str:
        """Distribution and version, as errors name them."""
        return f"{self.distribution} {self.version}"

    @property
    def module(self) -> str:
        """The module that the entry point names; empty where its value is malformed."""
        match = EntryPoint.pattern.match(self.entry_point.value)
        return match["module"] if match else ""

    @cached_property
    def summary(self) -> str:
        """First line of the module's docstring, read from its source."""
        path = module_file(self.module)
        return _docstring_line(path) if path else ""

    @cached_property
    def code(self) -> Code:
        """The plugin's code, and what it imports of pfh; read only when a key is made."""
        return code_of(self.module) if self.module else NO_CODE

    @property
    def code_version(self) -> str:
        """Distribution, version and a hash of the code that decides: what a step's key says of a plugin."""
        return f"{self.source} {self.code.digest}".rstrip()


class Catalogue:
    """Every installed plugin, by kind and name."""

    def __init__(self) -> None:
        self._plugins: dict[tuple[Kind, str], list[Plugin]] = {}
        for plugin in _installed():
            self._plugins.setdefault((plugin.kind, plugin.name), []).append(plugin)

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


def _installed() -> Iterator[Plugin]:
    """Read the metadata of every distribution once, whatever the number of kinds."""
    kinds = {f"pfh.{kind}": kind for kind in KINDS}
    seen = set()
    for distribution in distributions():
        try:
            if "[pfh." not in (distribution.read_text("entry_points.txt") or ""):
                continue
            found = list(distribution.entry_points)
        except (OSError, TypeError, ValueError):  # a file that no installer wrote; it says nothing about plugins
            continue
        name = re.sub(r"[-_.]+", "-", distribution.name or "").lower()
        if name in seen:  # the same distribution further down sys.path is shadowed
            continue
        seen.add(name)
        for entry_point in found:
            if kind := kinds.get(entry_point.group):
                yield Plugin(kind, entry_point)


def _docstring_line(path: Path) -> str:
    """Read the first line of a module's docstring, and of its source no more than that."""
    skipped = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}
    try:
        with path.open("rb") as file:
            first = next((token for token in tokenize.tokenize(file.readline) if token.type not in skipped), None)
        if first is None or first.type != tokenize.STRING:
            return ""
        docstring = ast.literal_eval(first.string)
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return ""
    return inspect.cleandoc(docstring).partition("\n")[0] if isinstance(docstring, str) else ""
