"""The installed plugins, known from package metadata alone: nothing here imports one."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from pfh.errors import PluginError, did_you_mean

Kind = Literal["methods", "evals", "domains", "backends", "judges", "readers", "launchers", "wrappers"]


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

    @property
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
        path = _module_file(self.module)
        return _docstring_line(path) if path else ""

    @cached_property
    def code_version(self) -> str:
        """Distribution, version and a hash of the plugin's own files: what a step's key says of its code.

        Its own are all files of a package, or a module, the modules beside it that it imports, and the files beside
        it that these name.
        """
        path = _module_file(self.module)
        if path is None:
            return self.source
        files = sorted(
            _package_files(path.parent) if path.name == "__init__.py" else _with_neighbours(path, self.module)
        )
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return f"{self.source} {digest.hexdigest()[:12]}"


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


def _module_file(module: str) -> Path | None:
    """Find a module's source without importing its parents (importlib.util.find_spec would, beyond the first part)."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    files = [Path(spec.origin)] if spec.origin else []
    if parts:
        *parents, name = parts
        folders = [Path(folder, *parents) for folder in spec.submodule_search_locations or ()]
        files = [folder / file for folder in folders for file in (f"{name}/__init__.py", f"{name}.py")]
    return next((file for file in files if file.suffix == ".py" and file.is_file()), None)


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


def _package_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in {".pyc", ".pyo"}:
            yield path


def _with_neighbours(path: Path, module: str) -> set[Path]:
    """Return a module's file, those of the modules beside it that it imports, and what files beside it these name."""
    package = module.rpartition(".")[0]
    files: set[Path] = set()
    new = {path}
    while new:
        files |= new
        modules = {path.parent / f"{name}.py" for file in new for name in _imported_from(package, file)}
        data = {path.parent / name for file in new if file.suffix == ".py" for name in _named_in(file)}
        new = {file for file in (modules | data) - files if file.is_file()}
    return files


def _named_in(file: Path) -> Iterator[str]:
    """Yield the string constants of the source in `file` that could name a file beside it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FILE_NAME.fullmatch(node.value):
            yield node.value


_FILE_NAME = re.compile(r"[\w-]+\.(json|toml|npz|yaml|txt|csv)")


def _imported_from(package: str, file: Path) -> Iterator[str]:
    """Yield the names of the modules of `package` that the source in `file` imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(part for part in (package if node.level == 1 else "", node.module or "") if part)
            names = [source, *(f"{source}.{alias.name}" for alias in node.names)]
        for name in names:
            if package and name.startswith(f"{package}."):
                yield name.removeprefix(f"{package}.").partition(".")[0]
