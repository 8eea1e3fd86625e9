"""The catalogue: plugins found by metadata, nothing imported."""

import sys
from pathlib import Path

import pytest
from pfh.errors import PluginError
from pfh.registry.catalogue import Catalogue

from tests.plugin_dists import METHOD, install, install_method


def found(name: str, kind: str = "methods"):
    return Catalogue().find(kind, name)


def test_the_first_party_plugins_are_installed():
    plugin = found("rule", "judges")

    assert (plugin.key, plugin.distribution, plugin.module) == ("judges:rule", "pfh", "pfh_judges.rule")
    assert plugin.summary


def test_a_third_party_is_listed_without_being_imported(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(install_method(tmp_path, "'''Never imported.'''\nraise SystemExit(3)\n"))

    plugin = found("third")

    assert (plugin.source, plugin.summary) == ("third-party 1.0", "Never imported.")
    assert plugin.module not in sys.modules


def test_kinds_come_in_their_order_and_names_sorted(tmp_path: Path, monkeypatch):
    groups = {"pfh.judges": {"b": "m", "a": "m"}, "pfh.methods": {"z": "m"}, "pfh.unheard-of": {"x": "m"}}
    monkeypatch.syspath_prepend(install(tmp_path, "several", {"m": ""}, groups))

    keys = [plugin.key for plugin in Catalogue() if plugin.distribution == "several"]

    assert keys == ["methods:z", "judges:a", "judges:b"]


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ('"""One line."""\n', "One line."),
        ("#!/usr/bin/env python\n# a comment\n\n'''\n    Indented.\n\n    More.\n'''\n", "Indented."),
        ('r"""Raw \\d."""\nimport os\n', "Raw \\d."),
        ("import os\n'''No docstring.'''\n", ""),
        ("", ""),
        ('"""Never ended', ""),
        ("b'bytes'\n", ""),
        ("'''Fine.'''\nthis is no python at all (\n", "Fine."),
    ],
)
def test_the_summary_is_the_first_line_of_the_docstring(tmp_path: Path, monkeypatch, source: str, summary: str):
    monkeypatch.syspath_prepend(install_method(tmp_path, source))

    assert found("third").summary == summary


def test_a_module_in_a_namespace_package_is_found_without_importing_its_parents(tmp_path: Path, monkeypatch):
    modules = {"acme_space.inner.method": "'''Deep.'''\n"}
    monkeypatch.syspath_prepend(
        install(tmp_path, "acme", modules, {"pfh.methods": {"deep": "acme_space.inner.method"}})
    )

    assert found("deep").summary == "Deep."
    assert "acme_space" not in sys.modules


def test_an_unknown_name_gets_the_nearest_and_the_installed_ones():
    with pytest.raises(PluginError, match=r"^No judge named 'rul'\. Did you mean 'rule'\? Installed: .*rule"):
        found("rul", "judges")


def test_two_providers_of_a_name_are_an_error_for_that_name_alone(tmp_path: Path, monkeypatch):
    install_method(tmp_path, distribution="one")
    install_method(tmp_path, distribution="two")
    install_method(tmp_path, distribution="three", name="other")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(PluginError, match=r"methods:third is provided by (one 1\.0 and two|two 1\.0 and one) 1\.0"):
        found("third")
    assert found("other").distribution == "three"


def test_a_distribution_that_is_on_the_path_twice_counts_once(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(install_method(tmp_path / "later"))
    monkeypatch.syspath_prepend(install_method(tmp_path / "first"))

    assert len(Catalogue().providers(found("third"))) == 1


def test_metadata_that_no_installer_wrote_hides_only_its_own_distribution(tmp_path: Path, monkeypatch):
    install_method(tmp_path)
    for name, text in {"garbage": "[pfh.methods]\nno equals sign\n", "other": "[pfh.methods]\nbytes = \xff"}.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_bytes(text.encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)

    assert Catalogue().names("methods").count("third") == 1


def test_the_code_version_changes_with_the_plugins_files_and_with_nothing_else(tmp_path: Path, monkeypatch):
    modules = {"pack.__init__": METHOD, "pack.helper": "x = 1\n"}
    monkeypatch.syspath_prepend(install(tmp_path, "packed", modules, {"pfh.methods": {"packed": "pack"}}))
    before = found("packed").code_version

    (tmp_path / "elsewhere.py").write_text("x = 2\n")
    assert found("packed").code_version == before
    (tmp_path / "pack" / "helper.py").write_text("x = 2\n")
    assert found("packed").code_version != before


@pytest.mark.parametrize(
    "line", ["from pack.near import x", "from pack import near", "import pack.near", "from .near import x"]
)
def test_the_code_version_of_a_module_takes_in_what_it_imports_from_beside_it(line, tmp_path: Path, monkeypatch):
    modules = {
        "pack.__init__": "",
        "pack.method": f"{METHOD}\n{line}\n",
        "pack.near": "from pack.far import x\n",
        "pack.far": "x = 1\n",
        "pack.stranger": "x = 1\n",
    }
    monkeypatch.syspath_prepend(install(tmp_path, "packed", modules, {"pfh.methods": {"packed": "pack.method"}}))
    before = found("packed").code_version
    (tmp_path / "pack" / "stranger.py").write_text("x = 2\n")
    assert found("packed").code_version == before
    (tmp_path / "pack" / "far.py").write_text("x = 2\n")
    assert found("packed").code_version != before
