"""A plugin written for an earlier pfh loads, or is told in one line what to import."""

from __future__ import annotations

from importlib import import_module

import pytest
from pfh.errors import PluginError
from pfh.registry import moved
from pfh.registry.code import module_file
from pfh.registry.plugins import Plugins

from tests.plugin_dists import install

AT_THE_TOP = """
from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.domain import Rollout
from pfh.engine import GenerationRequest, Sampling
from pfh.judging import Judgement
from pfh.specs import EvaluationSpec, TrainingResult, TrainingSpec
from pfh.statistics import compare_evaluations
from pfh.training import TrainingOptions, train_resumably

@hookimpl
def train(spec):
    raise NotImplementedError
"""
IN_A_HOOK = """
from pfh import hookimpl

@hookimpl
def train(spec):
    from pfh.training import Trained, load_for_training
    from pfh.settled import settle
    import pfh.supervised
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """Installs one method, and returns the plugins."""

    def installed(source: str, kind: str = "methods") -> Plugins:
        monkeypatch.syspath_prepend(install(tmp_path, "older", {"older": source}, {f"pfh.{kind}": {"old": "older"}}))
        return Plugins()

    return installed


def test_a_plugin_of_the_flat_core_is_told_every_new_import_in_one_line(plugins):
    found = plugins(AT_THE_TOP)
    told = found.check(found.catalogue.find("methods", "old"))
    assert "\n" not in told
    assert told.startswith("methods:old (from older 1.0) was written for an earlier pfh")
    for line in (
        "from pfh.hooks.backends import GenerationRequest, Sampling",
        "from pfh.hooks.domains import Rollout",
        "from pfh.hooks.evals import EvaluationSpec",
        "from pfh.hooks.judges import Judgement",
        "from pfh.hooks.methods import TrainingResult, TrainingSpec",
        "from pfh.kit.training import TrainingOptions, train_resumably",
    ):
        assert line in told
    assert "import compare_evaluations" in told
    assert "StepFailedError" not in told


def test_what_it_is_told_can_be_imported(plugins):
    found = plugins(AT_THE_TOP)
    told = found.check(found.catalogue.find("methods", "old")).partition("Write: ")[2].removesuffix(".")
    exec(told, {})


def test_an_import_inside_a_hook_is_named_when_the_hook_fails(plugins):
    found = plugins(IN_A_HOOK)
    assert found.check(found.catalogue.find("methods", "old")) == ""
    with pytest.raises(PluginError, match="methods:old") as told:
        found.train("old", None)
    assert "import FinishedTraining (which was Trained), load_for_training" in str(told.value)
    assert "from pfh.kit.reasoning_gym import with_ordered_sets (which was settle)" in str(told.value)
    assert "import pfh.kit.supervised" in str(told.value)


def test_every_module_that_moved_leads_to_one_that_is_there():
    assert [name for name in moved.MOVED.values() if module_file(f"pfh.{name}") is None] == []
    for name, other in moved.RENAMED.items():
        place = moved._place(name.partition(".")[0], other)
        assert hasattr(import_module(place), other)


def test_a_missing_import_of_another_package_is_as_before(plugins):
    found = plugins("import no_such_module_anywhere")
    told = found.check(found.catalogue.find("methods", "old"))
    assert "Install the package that provides 'no_such_module_anywhere'" in told


SPELLED = """
from pfh import hookimpl
from pydantic import BaseModel

class Options(BaseModel):
    NAME: str = ""

@hookimpl
def options():
    return Options

@hookimpl
def HOOK(spec):
    raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("kind", "hook", "name", "declaration"),
    [
        ("methods", "train", "teacher", r"teacher: Annotated\[str, Names\.MODEL\]"),
        ("evals", "evaluate", "judge", r"judge: Annotated\[str, Names\.JUDGE\]"),
        ("evals", "evaluate", "domain", r"wants: ClassVar\[Wants\] = Wants\.DOMAIN"),
    ],
)
def test_an_option_whose_name_said_what_it_means_is_to_be_declared(kind, hook, name, declaration, plugins):
    source = SPELLED.replace("NAME", name).replace("HOOK", hook)
    with pytest.raises(PluginError, match=rf"{kind}:old \(from older 1\.0\).*{declaration}"):
        plugins(source, kind).options_model(kind, "old")


def test_in_a_plugin_that_knows_how_to_declare_a_name_says_nothing(plugins):
    source = "from pfh.hooks.methods import TrainingSpec\n" + SPELLED.replace("NAME", "teacher").replace(
        "HOOK", "train"
    )
    assert plugins(source).options_model("methods", "old")
