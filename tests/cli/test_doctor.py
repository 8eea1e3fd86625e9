"""`pfh doctor`: what is there, what is missing, what is broken."""

import json
from pathlib import Path

import pytest
from pfh.commands import doctor

from tests.plugin_dists import pfh


def test_the_doctor_looks_at_everything_that_a_run_may_need_and_exits_2_where_it_is_broken(tmp_path: Path):
    ended = pfh("doctor", "--json", HF_HUB_OFFLINE="1", PFH_DATA_MIRROR=str(tmp_path / "gone"))

    findings = {finding["subject"]: finding for finding in json.loads(ended.stdout)}
    assert {"python", "pfh", "plugins", "store", "data mirror", "hub", "sandbox", "vllm", "cpu"} <= set(findings)
    assert "HF_HUB_OFFLINE is set" in findings["hub"]["detail"]
    assert [name for name, finding in findings.items() if finding["status"] == "broken"] == ["data mirror"]
    assert ended.returncode == 2


def test_the_doctors_findings_are_lines_and_what_is_only_missing_is_no_failure(call, monkeypatch):
    findings = [
        doctor.Finding(subject="python", status="ok", detail="3.11"),
        doctor.Finding(subject="vllm", status="missing", detail="not installed", remedy="pip install 'pfh[vllm]'"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))

    ended = call("doctor")

    assert ended.returncode == 0
    assert [line.split() for line in ended.stdout.splitlines()] == [
        ["ok", "python", "3.11"],
        ["-", "vllm", "not", "installed"],
        ["pip", "install", "'pfh[vllm]'"],
    ]


@pytest.mark.parametrize(
    ("needed", "status", "detail"),
    [
        ("pluggy>=1", "ok", "all 1 fit"),
        ("pluggy>=999", "broken", "is installed, pfh needs >=999"),
        ("surely-not-installed>=1", "broken", "not installed"),
        ("surely-not-installed; extra == 'vllm'", "ok", "all 0 fit"),
    ],
)
def test_the_doctor_compares_what_is_installed_with_what_is_needed(monkeypatch, needed, status, detail):
    monkeypatch.setattr(doctor, "requires", lambda name: [needed])
    monkeypatch.setattr(doctor, "MAIN_LIBRARIES", ())

    finding = next(doctor._libraries())

    assert finding.status == status
    assert detail in finding.detail


@pytest.mark.parametrize(("needed", "status"), [(0.0, "ok"), (1e9, "broken")])
def test_the_doctor_looks_at_the_space_under_the_store(monkeypatch, tmp_path: Path, needed, status):
    monkeypatch.setattr(doctor, "SPACE_NEEDED", needed)

    assert doctor._store(tmp_path / "not" / "there" / "yet").status == status
