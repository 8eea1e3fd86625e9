"""Examples, scaffolds and the guide import what the guide allows to a stranger, and nothing else of pfh."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pfh.registry.moved import SURFACE

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
IMPORT = re.compile(r"^[ >.]*(?:from|import) (pfh(?:\.[\w.]+)?)(?!\w)(?: import ([\w, ]+))?", re.MULTILINE)
SOURCES = sorted(
    path
    for folder, pattern in (("examples", "**/*.py"), ("core/pfh/registry/scaffolds", "*.py.jinja"))
    for path in (ROOT / folder).glob(pattern)
)


def strays(text: str, *, in_tests: bool) -> list[str]:
    """Return the imports of pfh in `text` that are not of the surface."""
    allowed = set(SURFACE) - (set() if in_tests else {"testing"})
    return [
        f"{module} {names}"
        for module, names in IMPORT.findall(text)
        if f"{module}.{names}".split(".")[1].partition(" as ")[0] not in {*allowed, "hookimpl"}
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_and_scaffolds_import_the_surface_alone(source):
    in_tests = source.name.startswith("test_") or source.name == "conftest.py"
    assert strays(source.read_text(), in_tests=in_tests) == []


def test_the_guide_imports_the_surface_alone_and_lists_it():
    text = GUIDE.read_text()
    assert strays(text, in_tests=True) == []
    table = text.partition("## What a plugin may import")[2].partition("##")[0]
    named = set(re.findall(r"`pfh\.(\w+)", "".join(line for line in table.splitlines() if line.startswith("|"))))
    assert named == set(SURFACE)


def test_an_import_of_what_runs_plugins_is_a_stray():
    assert strays("from pfh.registry.plugins import Plugins\nfrom pfh.hooks.methods import X\n", in_tests=True)
    assert strays("from pfh.testing import Plugins", in_tests=False)
    assert not strays("from pfh import hookimpl\nfrom pfh.errors import UserError", in_tests=False)
