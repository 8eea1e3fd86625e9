"""Where a plugin that was written for an earlier pfh finds what it imports, and how it says what its options mean."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.meanings import Learns, Meaning, Names, Wants, has_variable
from pfh.registry.code import module_file

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.registry.catalogue import Kind, Plugin

MOVED = {
    "budget": "hooks.budget",
    "data": "sources.datasets",
    "domain": "hooks.domains",
    "engine": "hooks.backends",
    "evaluation": "hooks.evaluation",
    "fakes": "testing",
    "figures": "statistics.formatting",
    "fingerprints": "sources.fingerprints",
    "hookspecs": "hooks.hookspecs",
    "judging": "hooks.judges",
    "ledger": "hooks.ledger",
    "loading": "kit.tokens.loading",
    "measurements": "statistics.single",
    "models": "sources.models",
    "packages": "sources.wheels",
    "plugins": "testing",
    "preferences": "kit.preferences",
    "rollouts": "kit.rollouts",
    "run": "hooks.launchers",
    "samples": "hooks.samples",
    "seeds": "statistics",
    "settled": "kit.reasoning_gym",
    "shortage": "errors",
    "specs": "hooks.methods",
    "statistics": "statistics.paired",
    "subset": "kit.subset",
    "supervised": "kit.supervised",
    "teaching": "kit.teachers",
    "templates": "kit.tokens.chat_templates",
    "tokens": "kit.tokens.encoding",
    "trackers": "kit.training.trackers",
    "training": "kit.training",
    "transitions": "statistics.transitions",
    "turns": "kit.conversations",
    "validation": "kit.validation",
}
"""Modules of pfh as they were to where most of each went; both without "pfh."."""


RENAMED = {
    "settled.settle": "with_ordered_sets",
    "shortage.shortage": "out_of_resources",
    "statistics.Verdict": "ChangeVerdict",
    "training.Trained": "FinishedTraining",
    "training.share_out": "examples_per_process",
}
"""Names that are others now."""


SURFACE = ("hooks", "kit", "statistics", "sources", "sandbox", "errors", "progress", "text", "testing")
"""What of pfh a plugin may import, `testing` in its tests."""


SPELLED: dict[Kind, dict[str, tuple[Meaning, str]]] = {
    "methods": {
        "teacher": (Names.MODEL, "teacher: Annotated[str, Names.MODEL]"),
        "conversations": (Learns.CONVERSATIONS, "learns: ClassVar[Learns] = Learns.CONVERSATIONS"),
    },
    "evals": {
        "judge": (Names.JUDGE, "judge: Annotated[str, Names.JUDGE]"),
        "domain": (Wants.DOMAIN, "wants: ClassVar[Wants] = Wants.DOMAIN"),
        "reference": (Wants.REFERENCE, "reference: Annotated[bool, Wants.REFERENCE]"),
    },
}
"""Kind to the names of options that meant something by themselves, and how that is declared now."""


def new_imports(plugin: Plugin) -> str:
    """Return the imports that a plugin needs in place of those that no longer lead anywhere; empty where all do."""
    needed: dict[str, set[str]] = defaultdict(set)
    imports = {name.removeprefix("pfh.") for name in plugin.code.imports if name.startswith("pfh.")}
    for imported in imports:
        module, _, name = imported.rpartition(".")
        if module_file(f"pfh.{imported}") is not None:
            continue
        if module in MOVED and name not in _defined(f"pfh.{module}"):
            other = RENAMED.get(f"{module}.{name}")
            needed[_place(module, other or name)].add(f"{other} (which was {name})" if other else name)
        elif imported in MOVED and not any(each.startswith(f"{imported}.") for each in imports):
            needed.setdefault(f"pfh.{MOVED[imported]}", set())
    return "; ".join(
        f"from {module} import {', '.join(sorted(names))}" if names else f"import {module}"
        for module, names in sorted(needed.items())
    )


def undeclared(plugin: Plugin, model: type[BaseModel]) -> str:
    """Return how to declare an option whose name alone once said what it means; empty where there is none.

    A plugin that imports anything of `pfh.hooks` knows that names say nothing.
    """
    if any(name.startswith("pfh.hooks") for name in plugin.code.imports):
        return ""
    for name, (meaning, declaration) in SPELLED.get(plugin.kind, {}).items():
        field = model.model_fields.get(name)
        if (field or name in model.__class_vars__) and not (
            has_variable(model, meaning) or (field and meaning in field.metadata)
        ):
            return f"its option {name} means nothing by its name: write {declaration} with pfh.hooks.meanings"
    return ""


def _place(module: str, name: str) -> str:
    """Return the module of the surface that has `name`, that to which its own went before all others."""
    likely = f"pfh.{MOVED[module]}"
    return next((place for place in (likely, *_surface()) if name in _defined(place)), likely)


@cache
def _surface() -> tuple[str, ...]:
    package = Path(__file__).parents[1]
    files = [file for part in SURFACE for file in (*package.glob(f"{part}.py"), *(package / part).rglob("*.py"))]
    names = (file.relative_to(package.parent).with_suffix("").parts for file in files)
    return tuple(".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in sorted(names))


@cache
def _defined(module: str) -> frozenset[str]:
    file = module_file(module)
    return frozenset(_names(ast.parse(file.read_bytes()), file.name == "__init__.py")) if file else frozenset()


def _names(tree: ast.Module, is_package: bool) -> Iterator[str]:
    """Yield what a module defines at its top, and what it hands on."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if is_package or alias.asname == alias.name)
