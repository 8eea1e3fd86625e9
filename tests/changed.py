"""Print the test files that an edit concerns: those that were changed, and those that import a changed module.

`make check` runs them. Compared is the working tree with the last commit on main that it shares.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
AT_MOST = 8
"""Test files; an edit that concerns more of them is one for `make test`."""


def changed_files() -> list[Path]:
    """Return the files that differ from the last commit, untracked ones among them."""
    commands = (["git", "diff", "--name-only", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard"])
    lines = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for command in commands]
    return [ROOT / name for out in lines for name in out.stdout.split()]


def module_of(path: Path) -> str:
    """Return the dotted name of a source file, such as pfh.store.store."""
    parts = path.with_suffix("").relative_to(ROOT).parts
    start = next((place for place, part in enumerate(parts) if part.startswith("pfh")), len(parts))
    return ".".join(part for part in parts[start:] if part != "__init__")


def main() -> None:
    """Print them, one a line."""
    changed = [path for path in changed_files() if path.suffix == ".py" and path.exists()]
    modules = [module for path in changed if (module := module_of(path))]
    pattern = re.compile("|".join(rf"\b{re.escape(module)}\b" for module in modules) or r"(?!)")
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    own = [test for test in tests if test in changed]
    users = [test for test in tests if test not in own and pattern.search(test.read_text())]
    for test in [*own, *users][:AT_MOST]:
        print(test.relative_to(ROOT))


if __name__ == "__main__":
    main()
