"""The code that decides a result: a module, and what it imports of its own package and of pfh; none of it is run.

Comments, docstrings, the layout of the source and what only a type checker reads decide nothing.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DECIDING = ("pfh.hooks", "pfh.kit", "pfh.sandbox", "pfh.sources", "pfh.text")
"""What of pfh is followed: statistics only tell of samples that are there, progress and errors only say it aloud."""


_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+")


@dataclass(frozen=True, kw_only=True)
class Code:
    """What decides a result."""

    digest: str
    """Twelve hexadecimal digits of a SHA-256 over all files."""
    imports: frozenset[str]
    """All modules, and names in modules, that are imported."""
    libraries: frozenset[str]
    """Top-level modules that are imported from elsewhere, the standard library left out."""


NO_CODE = Code(digest="", imports=frozenset(), libraries=frozenset())
"""Of a module that cannot be found."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What one file says."""

    digest: bytes
    imports: frozenset[str] = frozenset()
    """Modules, and names in modules."""
    strings: frozenset[str] = frozenset()
    """Text that may name a file beside, or a module to start."""
    folders: frozenset[str] = frozenset()
    """Text behind the "/" of a path."""


def code_of(*modules: str) -> Code:
    """Return the code that `modules` decide with: every file of a package, and what is imported or named in a string.

    An import counts wherever it stands, in a function too. A file that is no Python counts where a module beside it
    names it; a module named in a string, as one is that another process runs, counts as imported.
    """
    own = {module.partition(".")[0] for module in modules} - {"pfh"}
    digests: dict[str, bytes] = {}
    imported: set[str] = set()
    waiting, seen = list(modules), set[str]()
    while waiting:
        module = waiting.pop()
        file = None if module in seen else module_file(module)
        seen.add(module)
        if file is None:
            continue
        is_asked_package = module in modules and file.name == "__init__.py"
        for path in _files_under(file.parent) if is_asked_package else [file]:
            source = _read(path, _package(path, file, module))
            digests[f"{module} {path.relative_to(file.parent)}"] = source.digest
            digests |= {f"{module} {name}": _read(data, "").digest for name, data in _data_beside(path, source)}
            imported |= source.imports
            started = {text.partition(":")[0] for text in source.strings if _MODULE.match(text)}
            names = {each for name in source.imports | started for each in _with_parents(name)}
            waiting += [name for name in names - seen if _follows(name, own)]
    if not digests:
        return NO_CODE
    decided = hashlib.sha256(b"".join(name.encode() + b"\0" + digests[name] for name in sorted(digests)))
    tops = {name.partition(".")[0] for name in imported}
    return Code(
        digest=decided.hexdigest()[:12],
        imports=frozenset(imported),
        libraries=frozenset(tops - own - {"pfh"} - sys.stdlib_module_names),
    )


def module_file(module: str) -> Path | None:
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


def _follows(module: str, own: set[str]) -> bool:
    deciding = any(module == part or module.startswith(f"{part}.") for part in DECIDING)
    return deciding or module.partition(".")[0] in own


def _with_parents(name: str) -> Iterator[str]:
    """Yield a module and the packages it is in, whose code runs when it is imported."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(len(parts), 0, -1))


def _files_under(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in {".pyc", ".pyo"}:
            yield path


def _package(path: Path, file: Path, module: str) -> str:
    """Return what the relative imports of `path` are relative to; `file` is that of `module`."""
    if file.name != "__init__.py":
        return module.rpartition(".")[0]
    return ".".join([module, *path.relative_to(file.parent).parent.parts])


def _data_beside(path: Path, source: _Source) -> Iterator[tuple[str, Path]]:
    """Yield the files beside a module that it names, and those in a folder that it names."""
    if path.suffix != ".py":
        return
    for other in path.parent.iterdir():
        if other.is_file() and other.suffix not in {".py", ".pyc"} and other.name in source.strings:
            yield other.name, other
        elif other.is_dir() and other.name in source.folders:
            yield from ((str(each.relative_to(path.parent)), each) for each in _files_under(other))


def _read(path: Path, package: str) -> _Source:
    stat = path.stat()
    return _read_once(path, package, stat.st_mtime_ns, stat.st_size)


@cache
def _read_once(path: Path, package: str, changed: int, size: int) -> _Source:
    content = path.read_bytes()
    if path.suffix != ".py":
        return _Source(digest=hashlib.sha256(content).digest())
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return _Source(digest=hashlib.sha256(content).digest())
    _leave_out_what_does_nothing(tree, docstrings=b"__doc__" in content)
    imports, strings, folders = set[str](), set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.update(_imported(node, package))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            strings.add(node.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
            folders.add(str(node.right.value))
    return _Source(
        digest=hashlib.sha256(ast.dump(tree).encode("utf-8", "surrogatepass")).digest(),
        imports=frozenset(imports),
        strings=frozenset(strings),
        folders=frozenset(folders),
    )


def _leave_out_what_does_nothing(tree: ast.Module, *, docstrings: bool) -> None:
    """Remove what stands under `if TYPE_CHECKING`, and texts that stand alone unless the source reads `docstrings`."""
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                statements[:] = [each for each in statements if not _does_nothing(each, docstrings=docstrings)]


def _does_nothing(statement: ast.stmt, *, docstrings: bool) -> bool:
    if isinstance(statement, ast.If) and isinstance(statement.test, ast.Name):
        return statement.test.id == "TYPE_CHECKING" and not statement.orelse
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str) and not docstrings
    return False


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    source = ".".join([*parents, *([node.module] if node.module else [])])
    if source != "__future__":
        yield source
        yield from (f"{source}.{alias.name}" for alias in node.names)
