"""What decides a result: code that is imported anywhere, data beside it, libraries; not comments, not strangers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pfh.registry.code import code_of, module_file
from pfh.registry.libraries import library_versions

METHOD = """\
'''A method.'''
from __future__ import annotations
from typing import TYPE_CHECKING
from pack.near import x
if TYPE_CHECKING:
    from pack.stranger import Type

def train(spec):
    '''Train.'''
    import trl.trainer
    from pack import inner
    return inner, x
"""


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose module `method` imports, names and starts some others."""
    files = {
        "__init__.py": "",
        "method.py": METHOD,
        "near.py": "from .far import x\nFILE = __file__ + 'words.json'\nNAMES = ['words.json']\n",
        "far.py": "from pathlib import Path\nx = 1\nPROGRAMS = Path(__file__).parent / 'programs'\n",
        "inner/__init__.py": "from ..worker_names import STARTED\n",
        "worker_names.py": "STARTED = ['-m', 'pack.worker:main']\n",
        "worker.py": "x = 1\n",
        "stranger.py": "Type = int\n",
        "words.json": "[1]",
        "other.json": "[1]",
        "programs/deep/run.sh": "echo 1\n",
    }
    for name, text in files.items():
        (tmp_path / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pack" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "pack"


def edited(pack: Path, name: str, text: str) -> bool:
    """Say whether another text of a file changes the code of `pack.method`."""
    before = code_of("pack.method").digest
    (pack / name).write_text(text)
    return code_of("pack.method").digest != before


@pytest.mark.parametrize("name", ["method.py", "near.py", "far.py", "inner/__init__.py", "worker.py"])
def test_what_is_imported_or_started_decides_wherever_the_import_stands(name, pack):
    assert edited(pack, name, (pack / name).read_text() + "\nchanged = True\n")


@pytest.mark.parametrize("name", ["words.json", "programs/deep/run.sh"])
def test_data_that_a_module_names_decide(name, pack):
    assert edited(pack, name, "[2]")


@pytest.mark.parametrize("name", ["stranger.py", "other.json"])
def test_what_nothing_but_a_type_checker_reads_decides_nothing(name, pack):
    assert not edited(pack, name, "[2]")


def test_comments_docstrings_layout_and_types_alone_decide_nothing(pack):
    text = METHOD.replace("'''A method.'''", "'''Another sentence.'''  # and a comment").replace("'''Train.'''", "'x'")
    text = text.replace("from pack.stranger import Type", "from pack.other import Type").replace(
        "import x", "import (x)"
    )
    assert not edited(pack, "method.py", text)


def test_a_docstring_that_the_module_reads_decides(pack):
    assert edited(pack, "far.py", (pack / "far.py").read_text() + "PROMPT = __doc__\n")
    assert edited(pack, "far.py", "'''Say this.'''\n" + (pack / "far.py").read_text())


def test_of_a_package_that_is_asked_for_every_file_decides(pack):
    before = code_of("pack").digest
    (pack / "other.json").write_text("[2]")
    assert code_of("pack").digest != before


def test_a_file_that_is_no_python_is_told_apart_by_its_bytes(pack):
    assert edited(pack, "far.py", "x = (\n")
    assert edited(pack, "far.py", "x = ((\n")


def test_libraries_are_what_is_imported_from_elsewhere(pack):
    assert code_of("pack.method").libraries == {"trl"}
    assert code_of("no_such_module_anywhere").digest == ""
    assert module_file("no_such_module_anywhere.x") is None


def test_a_method_is_followed_into_the_kit_and_not_into_statistics_or_progress():
    code = code_of("pfh_methods.gt_sft")
    assert {"pfh.kit.training.loop", "pfh.kit.supervised", "pfh.kit.tokens.chat_templates"} <= code.imports
    assert {"trl", "peft", "torch", "transformers", "datasets", "accelerate"} <= code.libraries


def test_versions_are_those_of_the_distribution_that_provides_the_module():
    from importlib.metadata import version

    found = library_versions(["sklearn", "lm_eval", "pydantic", "no_such_module_anywhere"])
    assert found == {
        "scikit-learn": version("scikit-learn"),
        "lm-eval": version("lm-eval"),
        "no-such-module-anywhere": "not installed",
    }
