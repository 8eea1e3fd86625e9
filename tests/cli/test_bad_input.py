"""A mistake of the user is one line and exit code 2; a broken plugin matters only to who names it."""

import re
import sys
from pathlib import Path

import pytest

from tests.cli.pretence import RUN
from tests.plugin_dists import METHOD, install, install_method


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?"),
        (("run", "--methd", "x"), "No such option: --methd (Possible options: --match, --method"),
        (("run", "--limit", "0"), "Invalid value for '--limit'"),
        (("run", "--dtype", "float31"), "'float31' is not one of 'auto', 'float32', 'bfloat16', 'float16'"),
        (("list-plugins", "--kind", "method"), "'method' is not one of 'methods', 'evals'"),
        (("new-plugin", "metod", "x"), "'metod' is not one of 'method', 'eval'"),
        (("report",), "Missing argument 'RUN'"),
        (("run",), "Name a method with --method (installed: cf-sft, cpi-ft, dpo, "),
        (("run", "--method", "third"), "Name what to measure with --eval (installed: "),
        (("run", "--method", "thrid", "--eval", "third-eval"), "No method named 'thrid'. Did you mean 'third'? "),
        (("run", "--method", "dop", "--eval", "third-eval"), "No method named 'dop'. Did you mean 'dpo' or 'opd'? "),
        (
            ("run", "--method", "third", "--eval", "third-evla"),
            "No eval named 'third-evla'. Did you mean 'third-eval'? ",
        ),
        ((*RUN, "--domain", "reasonign"), "No domain named 'reasonign'. Did you mean 'reasoning'? Installed: "),
        ((*RUN, "--backend", "fh"), "No backend named 'fh'. Did you mean 'hf'? Installed: auto, hf"),
        (
            (*RUN, "--launcher", "lokal"),
            "No launcher named 'lokal'. Did you mean 'local'? Installed: local, pretend, ray, slurm.",
        ),
        ((*RUN, "-o", "third-eval.shot=1"), "evals:third-eval has no option 'shot'. Did you mean 'shots'? "),
        ((*RUN, "-o", "third-eval.shots=few"), "option shots got 'few': input should be a valid integer"),
        ((*RUN, "-o", "shots=1"), "shots is an option of evals:third-eval"),
        ((*RUN, "-o", "beta=1"), "methods:third has no option 'beta'. Options: none."),
        ((*RUN, "-o", "beta"), "-o 'beta' is no option; write key=value"),
        ((*RUN, "--budget", "10 xyz"), "--budget got '10 xyz'. Write a number and a unit"),
        ((*RUN, "--budget", "1e400updates"), "--budget got '1e400updates': leave it out to train without one"),
        ((*RUN, "--limit", "inf"), "Invalid value for '--limit'"),
        ((*RUN, "--seed", str(2**200)), "A seed is a number from 0 to 4294967295"),
        ((*RUN, "--problems", str(10**12)), "--problems must be from 1 to 10,000,000"),
        ((*RUN, "-o", f"third-eval.shots={10**30}"), "no number that large can be used"),
        ((*RUN, "-o", f"third-eval.shots={'9' * 5000}"), "option shots got"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(call, arguments, message):
    ended = call(*arguments)

    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert re.fullmatch(r"pfh: [^\n]*\n", ended.stderr)
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "raise RuntimeError('no weights')",
            "cannot be imported: RuntimeError: no weights. Update it (pip install -U ",
        ),
        ("import sys; sys.exit('bye')", "cannot be imported: SystemExit: bye."),
        ("from pfh import hookimpl\n@hookimpl\ndef trian(spec): ...", "unknown hook 'trian'. Did you mean 'train'?"),
        (
            "from pfh import hookimpl\n@hookimpl\ndef train(sepc): ...",
            "declares the hook train(sepc), but pfh calls train(",
        ),
        (
            "import submitit",
            "Install it with: pip install 'pfh[slurm]'",
        ),
    ],
)
def test_a_broken_plugin_matters_only_to_who_names_it(call, site: Path, monkeypatch, source: str, message: str):
    monkeypatch.setitem(sys.modules, "submitit", None)  # as if it were not installed
    install_method(site, source, "broken", "broken-party")

    named = call("run", "--method", "broken", "--eval", "third-eval")
    unnamed = call(*RUN, "--dry-run")

    assert (named.returncode, unnamed.returncode) == (2, 0)
    assert re.fullmatch(r"pfh: methods:broken \(from broken-party 1\.0\) [^\n]*\n", named.stderr)
    assert message in named.stderr
    assert unnamed.stderr == ""


def test_two_providers_of_one_name_are_an_error_only_for_that_name(call, site: Path):
    install_method(site, METHOD, distribution="usurper")
    install_method(site, METHOD, "other", "harmless")

    conflict = call(*RUN)
    other = call("run", "--method", "other", "--eval", "third-eval", "--dry-run")

    assert (conflict.returncode, other.returncode) == (2, 0)
    assert "third-party 1.0" in conflict.stderr
    assert "usurper 1.0" in conflict.stderr


def test_a_broken_wrapper_stops_every_run_because_it_would_have_watched_it(call, site: Path):
    install(site, "tracker", {"tracker": "raise ValueError('no server')"}, {"pfh.wrappers": {"tracker": "tracker"}})

    ended = call(*RUN, "--dry-run")

    assert ended.returncode == 2
    assert "wrappers:tracker (from tracker 1.0) cannot be imported: ValueError: no server" in ended.stderr
