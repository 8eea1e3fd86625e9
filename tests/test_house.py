"""The house stays one that a newcomer can live in: small modules, one folder a purpose, a small core of hooks."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "pfh"
MODULES = [file for folder in ("core", "cli", "plugins") for file in (ROOT / folder).rglob("*.py")]
LINES = {file.relative_to(ROOT): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
ROOMS = {
    *("commands", "hooks", "kit", "registry", "report", "results", "sandbox", "sources", "starts", "statistics"),
    *("steps", "store"),
}


def test_modules_are_small() -> None:
    assert {str(file): lines for file, lines in LINES.items() if lines > 400} == {}
    assert statistics.median(LINES.values()) < 120


def test_the_core_has_one_folder_a_purpose_and_few_modules_beside_them() -> None:
    assert {path.name for path in CORE.iterdir() if path.is_dir() and (path / "__init__.py").exists()} == ROOMS
    beside = {path.stem for path in CORE.glob("*.py")} - {"__init__"}
    assert beside == {"errors", "logs", "progress", "testing", "text"}


@pytest.mark.parametrize("file", sorted((CORE / "hooks").glob("*.py")), ids=lambda file: file.stem)
def test_hooks_import_nothing_of_pfh_but_hooks_errors_and_progress(file: Path) -> None:
    imported = [
        node.module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pfh"
    ]
    allowed = ("pfh.hooks", "pfh.errors", "pfh.progress")
    assert [module for module in imported if not module.startswith(allowed)] == []


def test_every_room_is_on_the_map() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert [room for room in sorted(ROOMS) if f"[{room}]" not in page] == []
