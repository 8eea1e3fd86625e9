"""A stored training or evaluation is reused as long as nothing changes that decided it, and no longer."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import EvalChoice
from pfh.kit.training import TrainingOptions
from pfh.progress import Silent
from pfh.registry import code
from pfh.registry.plugins import Plugins
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.steps.training import train_stage
from pfh.store.store import Store
from pfh.testing import EchoDomain

from tests.plugin_dists import install

ROOT = Path(__file__).parent.parent
METHOD = """
from pfh import hookimpl
from pfh.hooks.methods import TrainingResult

@hookimpl
def train(spec):
    from pfh.kit.supervised import train_on
    folder = spec.output_dir / "trained"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return TrainingResult(path=folder, phases=())
"""
DOMAIN = """
from pfh import hookimpl
from pfh.testing import EchoDomain

@hookimpl
def open_domain(spec):
    return EchoDomain()
"""
JUDGE = """
from pfh import hookimpl
from pydantic import BaseModel

class Options(BaseModel):
    strict: bool = False

@hookimpl
def options():
    return Options

@hookimpl
def open_judge(spec):
    return spec.options
"""


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of pfh and of its families; keys read it in place of the real one."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "core" / "pfh", folder / "pfh")
    shutil.copytree(ROOT / "plugins" / "evals" / "pfh_evals", folder / "pfh_evals")

    def find_spec(name: str):
        place = folder / name / "__init__.py"
        if place.exists():
            return importlib.util.spec_from_file_location(name, place, submodule_search_locations=[str(place.parent)])
        return importlib.util.find_spec(name)

    monkeypatch.setattr(code, "find_spec", find_spec)
    return folder


@pytest.fixture
def is_reused(copy: Path, tmp_path: Path, tiny_llama_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Trains with a method that imports the kit, and says whether that was found in the store."""
    site = install(tmp_path / "site", "shared", {"sharing": METHOD}, {"pfh.methods": {"sharing": "sharing"}})
    install(site, "echoing", {"echoing": DOMAIN}, {"pfh.domains": {"echo": "echoing"}})
    monkeypatch.syspath_prepend(site)
    domain = EchoDomain()
    opened = OpenDomain(name="echo", domain=domain, problems=domain.problems("train", 2, seed=0))
    start = Checkpoint(name="start", path=tiny_llama_path, fingerprint="start")

    def train() -> bool:
        progress = Lines()
        session = Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=progress)
        train_stage(session, start, opened, "sharing", options=TrainingOptions(), seed=0)
        return any("reusing the stored sharing training" in line for line in progress.lines)

    assert not train()
    assert train()
    return train


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("supervised.py", 'loss_type="nll"', 'loss_type="dft"'),
        ("training/options.py", '"weight_decay": 0.0', '"weight_decay": 0.1'),
        ("tokens/chat_templates.py", "def chat_template(", "x = 1\n\n\ndef chat_template("),
    ],
)
def test_an_edit_of_shared_training_code_trains_again(file, old, new, is_reused, copy):
    edit(copy / "pfh" / "kit" / file, old, new)
    assert not is_reused()
    assert is_reused()


def test_comments_and_what_only_tells_of_results_reuse_everything(is_reused, copy):
    edit(copy / "pfh" / "kit" / "supervised.py", '"""', '"""Another word. ')
    for file in ("pfh/statistics/paired.py", "pfh/report/page.py", "pfh/registry/code.py", "pfh_evals/policy/words.py"):
        edit(copy / file, "import", "x = 1  # and a comment\nimport") if "pfh_evals" in file else edit(
            copy / file, '"""', '"""Another word. '
        )
    assert is_reused()


@pytest.mark.parametrize("library", ["trl", "peft", "accelerate", "datasets", "transformers", "torch"])
def test_another_version_of_a_library_trains_again(library, is_reused, tmp_path, monkeypatch):
    info = tmp_path / "newer" / f"{library}-99.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path / "newer")
    assert not is_reused()


def test_a_comment_in_one_family_is_nothing_to_any_and_its_code_to_that_one_alone(copy):
    before = {name: code.code_of(f"pfh_evals.{name}").digest for name in ("policy", "safety", "forgetting")}
    file = copy / "pfh_evals" / "policy" / "words.py"
    edit(file, "from __future__", "# a comment\nfrom __future__")
    assert {name: code.code_of(f"pfh_evals.{name}").digest for name in before} == before
    file.write_text(file.read_text() + "\nADDED = 1\n")
    after = {name: code.code_of(f"pfh_evals.{name}").digest for name in before}
    assert {name for name in before if before[name] != after[name]} == {"policy"}


def test_an_evaluation_rests_on_the_libraries_of_its_family_and_on_its_judge_with_its_options(tmp_path, monkeypatch):
    from importlib.metadata import version

    site = install(tmp_path, "severe", {"severe": JUDGE}, {"pfh.judges": {"severe": "severe"}})
    monkeypatch.syspath_prepend(site)
    plugins = Plugins()

    def session(**options):
        filled = {"judges:severe": plugins.options("judges", "severe", options)}
        return Session(plugins=plugins, store=Store(tmp_path / "store"), progress=Silent(), options=filled)

    environment = session().environment(plugins=[("evals", "forgetting")])
    assert environment["lm-eval"] == version("lm-eval")
    assert session().judge_inputs("severe") == session(strict=False).judge_inputs("severe")
    assert session().judge_inputs("severe") != session(strict=True).judge_inputs("severe")
    assert session(strict=True).judge("severe").strict


def test_a_domain_rests_on_its_code_and_options(tmp_path, monkeypatch):
    site = install(tmp_path, "echoing", {"echoing": DOMAIN}, {"pfh.domains": {"echo": "echoing"}})
    monkeypatch.syspath_prepend(site)
    opened = OpenDomain(name="echo", domain=EchoDomain(), problems=())
    before = opened.inputs(Plugins())
    assert "problems" not in opened.identity(Plugins())
    (tmp_path / "echoing.py").write_text(DOMAIN + "\nADDED = 1\n")
    assert opened.inputs(Plugins()) != before


def test_a_judge_gets_the_options_that_name_it_if_a_family_names_it(tmp_path, monkeypatch):
    from pfh.commands.requests import MeasureSpec, fill_options
    from pfh.registry.assignments import assign_options

    monkeypatch.syspath_prepend(install(tmp_path, "severe", {"severe": JUDGE}, {"pfh.judges": {"severe": "severe"}}))
    plugins = Plugins()
    given = ["safety.judge=severe", "severe.strict=true"]
    assigned = assign_options(given, [plugins.catalogue.find("evals", "safety")], plugins)
    spec = MeasureSpec(models=("base",), evals=(EvalChoice(family="safety"),), options=assigned)
    filled = fill_options(spec, plugins)
    assert filled["judges:severe"].strict
    other = dataclasses.replace(spec, options={"judges:severe": {"strict": "true"}})
    with pytest.raises(UserError, match="judges:severe, which is not used here"):
        fill_options(other, plugins)
