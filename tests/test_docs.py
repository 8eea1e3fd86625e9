"""The documentation says what is true: links, reference pages, code, command lines, and that nothing is left out."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from pfh.hooks import hookspecs
from pfh.progress import Silent
from pfh.registry.catalogue import KINDS
from pfh.registry.plugins import Plugins
from pfh.results.contracts import read_contract
from pfh_cli.main import app
from pfh_evals.behaviour.invariants.opened import open_invariants
from typer.exceptions import Exit, TyperException

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/README.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

sys.path.insert(0, str(REFERENCE))
import make_reference  # noqa: E402


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    page: Path
    line: int
    language: str
    marker: str
    """What an HTML comment right before the block says, such as "runs" or "from examples/..."."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced code blocks of a page."""
    pattern = r"(?:^<!-- (?P<marker>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    text = page.read_text()
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], found["marker"] or "", found["text"])


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [
    pytest.param(line, id=f"{block}: {line}")
    for block in BLOCKS
    if block.language in ("", "sh", "bash")
    for line in block.text.replace("\\\n", " ").splitlines()
    if re.match(r"(\$ )?(\w+=\S+ )*pfh ", line)
]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name(value: object) -> str:
    """Name a parameter in a test's id."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@pytest.mark.parametrize(("page", "written"), [("hooks.md", "hooks_page"), ("plugins.md", "plugins_page")])
def test_reference_pages_are_what_the_code_says(page: str, written: str) -> None:
    assert (REFERENCE / page).read_text() == getattr(make_reference, written)(), (
        "run: python docs/reference/make_reference.py"
    )


def test_every_hook_is_in_the_reference() -> None:
    hooks = [hook for hook in vars(hookspecs) if hasattr(getattr(hookspecs, hook), "pfh_spec")]

    assert hooks
    assert set(hooks) <= anchors(REFERENCE / "hooks.md")


def test_every_kind_of_plugin_is_in_the_guide() -> None:
    guide = (DOCS / "how-to" / "write-a-plugin.md").read_text()

    assert [kind for kind in KINDS if f"`pfh.{kind}`" not in guide] == []


def test_every_built_in_plugin_is_documented() -> None:
    groups = PROJECT["project"]["entry-points"]
    headings = anchors(REFERENCE / "plugins.md")

    assert [plugin for group in groups.values() for plugin in group if plugin not in headings] == []


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()

    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert [page for page in sorted(pages) if f"({page})" not in index] == []


def test_every_dependency_has_its_reason() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    wanted += [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in wanted} | {*project["optional-dependencies"]}
    reasons = (DOCS / "decisions.md").read_text()

    assert sorted(package for package in names if f"`{package}`" not in reasons) == ["slurm"]
    assert "Slurm" in reasons


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_blocks_compile(block: Block) -> None:
    text = block.text
    if block.page.name == "hooks.md":
        text = text.rstrip() + ": ..."  # signatures
    if block.marker.startswith("from ") and "return" in text:
        text = "def quoted():\n" + textwrap.indent(text, "    ")
    compile(text, str(block), "exec")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.marker.startswith("from ")], ids=str)
def test_quoted_blocks_are_in_their_source(block: Block) -> None:
    source = (ROOT / block.marker.removeprefix("from ")).read_text()

    assert block.text in source or textwrap.indent(block.text, "    ") in source


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.marker == "runs"}), ids=name)
def test_runnable_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "docs"}
    for block in BLOCKS:
        if block.page == page and block.marker == "runs":
            exec(compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True), names)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_are_understood(line: str) -> None:
    words = shlex.split(line.removeprefix("$ ").rstrip("&"), comments=True)
    arguments = words[words.index("pfh") + 1 :]
    command = typer.main.get_command(app)
    if not arguments[0].startswith("-"):
        _, command, arguments = command.resolve_command(typer.Context(command), arguments)
    with contextlib.suppress(Exit):  # --help and --version
        command.make_context("pfh", arguments)


@pytest.mark.parametrize("line", ["pfh run --no-such-option", "pfh ran", "pfh run --seed many"])
def test_a_wrong_command_line_is_found(line: str) -> None:
    with pytest.raises(TyperException):
        test_command_lines_are_understood(line)


def test_there_are_command_lines_to_check() -> None:
    assert len(COMMANDS) > 10


def test_the_wrapper_of_the_guide_wraps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from pfh import testing as fakes

    block = next(block for block in BLOCKS if block.marker == "runs: wrapper")
    (tmp_path / "says_when.py").write_text(block.text)
    (tmp_path / "trains.py").write_text(
        "from pfh import hookimpl\nfrom pfh.hooks.methods import TrainingResult\n\n\n"
        "@hookimpl\ndef train(spec):\n    return TrainingResult(path=spec.output_dir, phases=())\n"
    )
    metadata = tmp_path / "third_party-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[pfh.wrappers]\nsays-when = says_when\n[pfh.methods]\ntrains = trains\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins, heard = Plugins(), Heard()
    plugins.load_wrappers()

    result = plugins.train("trains", dataclasses.replace(fakes.training_spec(tmp_path), progress=heard))

    assert result.path == tmp_path
    assert heard.lines == ["fake trained with seed 0 in 0 s"]


class Heard(Silent):
    """Progress that keeps the log lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


def test_the_workflow_of_the_release_gate_is_understood_and_its_files_are_there() -> None:
    job = yaml.safe_load((ROOT / "examples" / "ci" / "release-gate.yaml").read_text())["jobs"]["gate"]
    lines = [step["run"].replace(".venv/bin/", "") for step in job["steps"] if "pfh " in step.get("run", "")]
    assert [line.split()[1] for line in lines] == ["compare", "compare", "gate"]
    for line in lines:
        test_command_lines_are_understood(line)
    assert "--junit gate.xml" in lines[2]
    uploaded = next(step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert uploaded["if"] == "always()"


def test_the_example_invariants_and_contracts_are_without_fault() -> None:
    opened = open_invariants(str(ROOT / "examples" / "invariants" / "support.yaml"))
    assert len(opened.written.invariants) == 4
    for file in (ROOT / "examples" / "contracts").glob("*.yaml"):
        read_contract(file)
