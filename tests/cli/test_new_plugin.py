"""`pfh new-plugin`: every kind installs and passes its own test."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from pfh import __version__

from tests.plugin_dists import pfh

NEW = {
    "method": "methods",
    "eval": "evals",
    "domain": "domains",
    "judge": "judges",
    "attack": "attacks",
    "reader": "readers",
    "backend": "backends",
    "launcher": "launchers",
}


def test_every_kind_of_new_plugin_installs_and_passes_its_test(call, tmp_path: Path):
    site, packages = tmp_path / "installed", tmp_path / "packages"
    for kind in NEW:
        made = call("new-plugin", kind, f"new-{kind}", "--output", str(packages))
        assert made.returncode == 0, made.stderr
        for wheel in WheelBuilder(str(packages / f"pfh-new-{kind}")).build(directory=str(tmp_path / "wheels")):
            with zipfile.ZipFile(wheel) as content:
                content.extractall(site)

    listed = pfh("list-plugins", "--json", path=site)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "-rA", str(packages)],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )

    found = {(row["kind"], row["name"]): row["distribution"] for row in json.loads(listed.stdout)}
    assert tested.returncode == 0, tested.stdout
    for kind, group in NEW.items():
        assert found[group, f"new-{kind}"] == f"pfh-new-{kind}"
        assert re.search(rf"PASSED .*test_pfh_new_{kind}\.py", tested.stdout)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Loud", "'Loud' cannot be a plugin's name: use lower-case letters"),
        ("1st", "cannot be a plugin's name"),
        ("../up", "cannot be a plugin's name"),
        ("a--b", "cannot be a plugin's name"),
        ("methods", "A module pfh_methods is installed already"),
        ("dpo", f"pfh {__version__} provides methods:dpo already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(call, tmp_path: Path, name: str, message: str):
    ended = call("new-plugin", "method", name, "--output", str(tmp_path / "packages"))

    assert ended.returncode == 2
    assert message in ended.stderr
    assert not (tmp_path / "packages").exists()


def test_a_folder_that_exists_is_left_alone(call, tmp_path: Path):
    (tmp_path / "pfh-mine").mkdir()

    ended = call("new-plugin", "judge", "mine", "--output", str(tmp_path))

    assert ended.returncode == 2
    assert "exists already" in ended.stderr
    assert list((tmp_path / "pfh-mine").iterdir()) == []
