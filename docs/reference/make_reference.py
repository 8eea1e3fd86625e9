"""Write hooks.md and plugins.md beside this file from the code: `python docs/reference/make_reference.py`."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pfh.hooks import hookspecs
from pfh.registry.catalogue import KINDS, Plugin
from pfh.registry.plugins import REQUIRED_HOOK, Plugins

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

DOCS = Path(__file__).parent
NOTICE = "<!-- Written by make_reference.py from the code; edit the docstrings instead. -->\n\n<!-- fmt: off -->"

CROSSING_HOOKS = {
    "pfh.hooks.methods": "Methods",
    "pfh.hooks.domains": "Domains",
    "pfh.hooks.evals": "Benchmark families",
    "pfh.hooks.evaluation": "Evaluations",
    "pfh.hooks.samples": "Samples",
    "pfh.hooks.comparison": "Paired figures",
    "pfh.hooks.meanings": "What options mean",
    "pfh.hooks.tables": "Tables and plots",
    "pfh.hooks.backends": "Engines",
    "pfh.hooks.judges": "Judges",
    "pfh.hooks.readers": "Readers",
    "pfh.hooks.launchers": "Launchers",
    "pfh.hooks.checkpoint": "Checkpoints",
    "pfh.hooks.datasets": "Datasets",
    "pfh.hooks.budget": "Budgets",
    "pfh.hooks.ledger": "The ledger",
    "pfh.progress": "Progress",
    "pfh.errors": "Errors",
}
"""Module to heading: where the types that hooks take and return live."""
LEFT_OUT = {"HubData", "Silent"}
"""Implementations, which no plugin needs to know."""

FOR_PLUGINS = (
    "pfh.kit.training",
    "pfh.kit.rollouts",
    "pfh.kit.conversations",
    "pfh.kit.tokens.chat_templates",
    "pfh.kit.subset",
    "pfh.hooks.samples",
    "pfh.testing",
)
"""Modules whose functions are there for plugins to call."""

CHOSEN_BY = {
    "methods": "`pfh run --method NAME`",
    "evals": "`pfh run --eval NAME`",
    "domains": "`pfh run --domain NAME`",
    "backends": "what runs the model",
    "judges": "an option of an eval that needs one",
    "attacks": "`-o safety.attacks=NAME`",
    "readers": "`READER:PATH`, or any path that it knows",
    "launchers": "where runs are executed",
    "wrappers": "always loaded by `pfh run`",
}


def hooks_page() -> str:
    """Return docs/reference/hooks.md."""
    parts = [
        "# Hooks",
        NOTICE,
        "A hook is a function that pfh calls and a plugin implements. A plugin is a module with hooks, named by an "
        "entry point. How to write one, step by step: [write a plugin](../how-to/write-a-plugin.md).",
        "Each hook takes one frozen spec and returns one result. Specs grow by fields with defaults, so a plugin "
        "written for this version keeps working.",
        "## Kinds of plugins",
        _table(
            ("group of the entry point", "required hook", "chosen by"),
            [
                (f"`pfh.{kind}`", f"`{REQUIRED_HOOK[kind]}`" if kind in REQUIRED_HOOK else "none", CHOSEN_BY[kind])
                for kind in KINDS
            ],
        ),
        "Any kind may also implement [`options`](#options). In the examples below `fakes` is `pfh.testing`.",
        "## The hooks",
        *(_hook(name) for name, hook in vars(hookspecs).items() if hasattr(hook, "pfh_spec")),
        "## The types",
        "What crosses a hook, by module. Data classes are frozen and take keyword arguments only; of a protocol any "
        "object will do that has its attributes and methods.",
        *(_types(import_module(name), heading) for name, heading in CROSSING_HOOKS.items()),
        "## Functions for plugins",
        *(_functions(import_module(name)) for name in FOR_PLUGINS),
    ]
    return "\n\n".join(parts) + "\n"


def plugins_page() -> str:
    """Return docs/reference/plugins.md: every plugin of the distribution pfh, with its options."""
    plugins = Plugins()
    parts = [
        "# The built-in plugins",
        NOTICE,
        "What comes with pfh. `pfh list-plugins` shows these and every other installed one. An option is given as "
        "`-o NAME.key=value`, for the method also as `-o key=value`; a list is written with commas.",
    ]
    for kind in KINDS:
        built_in = [plugin for plugin in plugins.catalogue if (plugin.kind, plugin.distribution) == (kind, "pfh")]
        if built_in:
            parts += [f"## {kind.capitalize()}", *(_plugin(plugin, plugins) for plugin in built_in)]
    return "\n\n".join(parts) + "\n"


def _hook(name: str) -> str:
    function = getattr(hookspecs, name)
    text, _, example = inspect.getdoc(function).partition("Example:")
    signature = f"def {name}{inspect.signature(function)}".replace("'", "")
    return "\n\n".join(
        (f"### {name}", _code("python", signature), _prose(text), _code("pycon", textwrap.dedent(example).strip("\n")))
    )


def _types(module: ModuleType, heading: str) -> str:
    parts = [f"### {heading}", f"Module `{module.__name__}`.", *_aliases(module)]
    for node in _public(module, ast.ClassDef):
        parts += [f"#### {node.name}", _prose(ast.get_docstring(node) or "")]
        fields = list(_fields(node))
        if fields:
            parts.append(_table(("field", "type", "default", "meaning"), fields))
        methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
        described = [method for method in methods if method.name != "__init__"]
        parts += ["\n".join(f"- `{_signature(method)}`: {_first_line(method)}" for method in described)]
    return "\n\n".join(part for part in parts if part)


def _aliases(module: ModuleType) -> list[str]:
    """Say which words the named literals of a module allow."""
    assigned = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.Assign)]
    values = {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in assigned}
    return [f"`{name}` is `{value}`." for name, value in values.items() if value.startswith("Literal[")]


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ...]]:
    for place, statement in enumerate(node.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        after = node.body[place + 1] if place + 1 < len(node.body) else None
        meaning = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            meaning = " ".join(str(after.value.value).split())
        default = f"`{_default(statement.value)}`" if statement.value else ""
        yield f"`{statement.target.id}`", f"`{ast.unparse(statement.annotation)}`", default, meaning


def _default(value: ast.expr) -> str:
    """Return a default as a reader would write it: of `field(default_factory=dict)`, "dict()"."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("field", "Field"):
        given = {word.arg: ast.unparse(word.value) for word in value.keywords}
        return given["default"] if "default" in given else f"{given['default_factory']}()"
    return ast.unparse(value)


def _functions(module: ModuleType) -> str:
    lines = [f"- `{_signature(node)}`: {_first_line(node)}" for node in _public(module, ast.FunctionDef)]
    if module.__name__ not in CROSSING_HOOKS:
        lines += [f"- class `{node.name}`: {_first_line(node)}" for node in _public(module, ast.ClassDef)]
    return "\n\n".join((f"### {module.__name__}", _prose(inspect.getdoc(module) or ""), "\n".join(lines)))


def _public(module: ModuleType, form: type) -> list[ast.ClassDef | ast.FunctionDef]:
    """Return what `module` defines, and what a package has of its modules."""
    body = ast.parse(inspect.getsource(module)).body
    named = [node for node in body if isinstance(node, form)]
    for node in body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{module.__name__}."):
            names = {alias.name for alias in node.names}
            named += [found for found in _public(import_module(node.module), form) if found.name in names]
    return [node for node in named if not node.name.startswith("_") and node.name not in LEFT_OUT]


def _signature(node: ast.FunctionDef) -> str:
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    return f"{node.name}({arguments}) -> {ast.unparse(node.returns) if node.returns else 'None'}"


def _first_line(node: ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _plugin(plugin: Plugin, plugins: Plugins) -> str:
    model = plugins.options_model(plugin.kind, plugin.name)
    parts = [f"### {plugin.name}", plugin.summary]
    if model is not None:
        parts.append(_options(model))
    return "\n\n".join(parts)


def _options(model: type[BaseModel]) -> str:
    rows = [
        (
            f"`{name}`",
            f"`{_annotation(field)}`{_bounds(field)}",
            f"`{_shown(field.get_default(call_default_factory=True))}`",
            field.description or "",
        )
        for name, field in model.model_fields.items()
    ]
    return _table(("option", "type", "default", "meaning"), rows)


def _annotation(field: FieldInfo) -> str:
    return re.sub(r"Annotated\[(\w+),.*?\)\]+(?=\W|$)", r"\1", inspect.formatannotation(field.annotation)).replace(
        "typing.", ""
    )


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, sign in signs.items()
        if hasattr(rule, name)
    ]
    return f", {', '.join(found)}" if found else ""


def _shown(default: object) -> str:
    text = ",".join(str(item) for item in default) if isinstance(default, tuple) else str(default)
    return text.replace("\n", "\\n")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _prose(docstring: str) -> str:
    """Return a docstring as Markdown; its "Raises:" becomes a line of prose."""
    text = inspect.cleandoc(docstring).strip()
    return re.sub(r"\n(Args|Raises|Returns):\n", r"\n\1:\n\n", text)


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


if __name__ == "__main__":
    (DOCS / "hooks.md").write_text(hooks_page(), encoding="utf-8")
    (DOCS / "plugins.md").write_text(plugins_page(), encoding="utf-8")
