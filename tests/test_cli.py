"""The command line: what is printed where, which exit code follows, and what a bad input gets."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import typer
from hatchling.builders.wheel import WheelBuilder
from pfh import doctor, fakes
from pfh.errors import StepFailedError, UserError
from pfh.evaluation import write_evaluation
from pfh.results import FamilyRecord, ModelRecord, RunResults, StageRecord, write_results
from pfh.statistics import Comparison
from pfh.store import Store
from pfh_cli import progress as cli_progress
from pfh_cli.boundary import guarded
from pfh_cli.main import app, main
from typer.testing import CliRunner

from tests.plugin_dists import METHOD, install, install_method, pfh

DOCS = Path(__file__).parent.parent / "docs"
HEAVY = ["torch", "transformers", "trl", "peft", "vllm", "datasets", "gem", "lm_eval"]
RUN = ("run", "--method", "third", "--eval", "third-eval")

EVAL = """\
from pfh import hookimpl
from pydantic import BaseModel

class Options(BaseModel):
    shots: int = 0

@hookimpl
def options():
    return Options

@hookimpl
def evaluate(spec):
    raise NotImplementedError
"""
LAUNCHER = """\
'''Pretends to have run; PRETEND is what it does instead of running.'''
import os
from pathlib import Path
from pfh import hookimpl
from pfh.results import read_results
from pfh.run import RunOutcome
from pfh.specs import LaunchResult

@hookimpl
def launch(spec):
    exec(os.environ.get("PRETEND", ""))
    folder = Path(os.environ["PRETEND_FOLDER"])
    code = int(os.environ.get("PRETEND_CODE", "0"))
    results = read_results(folder / "results.json")
    return LaunchResult(outcomes=(RunOutcome(results=results, folder=folder, exit_code=code),))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder for sys.path with a method, an eval and a launcher that only pretends."""
    folder = tmp_path / "site"
    install_method(folder, METHOD)
    install(folder, "third-eval", {"third_eval": EVAL}, {"pfh.evals": {"third-eval": "third_eval"}})
    return install(folder, "pretend", {"pretend": LAUNCHER}, {"pfh.launchers": {"pretend": "pretend"}})


def results(**fields) -> RunResults:
    row = Comparison(
        benchmark="probes",
        version="1",
        metric="refusal_rate",
        higher_is_better=True,
        **{"status": "NOT_RUN", "reason": "no data"} | fields,
    )
    model = ModelRecord(name="start", fingerprint="f")
    family = FamilyRecord(family="safety", comparisons=(row,), before_artifact="b", after_artifact="a")
    stage = StageRecord(method="dpo", before=model, after=model, families=(family,))
    return RunResults(title="t", headline="Nothing changed.", start="custom", provenance={}, stages=(stage,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as a run leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_results(folder / "results.json", results())
    return folder


@pytest.fixture
def call(site: Path, monkeypatch, capfd):
    """Return a function that runs the command line in this process, the plugins of `site` installed."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pfh", *arguments])
        capfd.readouterr()
        code = main()
        return Ended(code, *capfd.readouterr())

    yield run
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def pretend(call, folder: Path, tmp_path: Path, monkeypatch):
    """Return a function that runs `pfh run` with the launcher that pretends."""
    monkeypatch.setenv("PRETEND_FOLDER", str(folder))
    monkeypatch.setenv("PFH_STORE", str(tmp_path / "store"))

    def run(instead: str = "", *arguments: str, code: int = 0) -> Ended:
        monkeypatch.setenv("PRETEND", instead)
        monkeypatch.setenv("PRETEND_CODE", str(code))
        return call(*RUN, "--launcher", "pretend", *arguments)

    return run


class Ended(NamedTuple):
    """How a command ended in this process."""

    returncode: int
    stdout: str
    stderr: str


def imported(code: str, **environment: str) -> set[str]:
    """Return the top-level modules that are imported once `code` has run in a process of its own."""
    script = f"import sys\n{code}\nprint('MODULES', *{{m.partition('.')[0] for m in sys.modules}})"
    settings = os.environ | environment
    ended = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


def command(*arguments: str) -> str:
    return f"sys.argv = ['pfh', *{arguments!r}]\nfrom pfh_cli.main import main\nmain()"


@pytest.mark.parametrize("arguments", [("--help",), ("list-plugins",), ("list-plugins", "--json"), ("--version",)])
def test_a_quick_command_imports_nothing_heavy(arguments):
    assert not imported(command(*arguments)) & {*HEAVY, "pydantic", "rich", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--method", "dop", "--eval", "safety"),
        ("run", "--method", "dpo", "--eval", "safety", "-o", "bata=1"),
        ("run", "--method", "dpo", "--eval", "safety", "-o", "beta=high"),
        ("run", "--method", "dpo", "--eval", "safety", "--dry-run"),
    ],
)
def test_a_run_is_checked_before_anything_heavy_is_imported(arguments):
    assert not imported(command(*arguments)) & set(HEAVY)


def test_the_version_is_printed():
    printed = pfh("--version")

    assert (printed.returncode, printed.stderr) == (0, "")
    assert re.fullmatch(r"pfh \d+\.\d+\.\d+\n", printed.stdout)


def test_without_a_command_the_help_is_printed():
    assert pfh().stdout == pfh("--help").stdout


# list-plugins


def test_plugins_are_listed_as_a_table_and_as_json(site: Path):
    table = pfh("list-plugins", path=site)
    listed = pfh("list-plugins", "--json", path=site)

    assert table.stdout.splitlines()[0].split() == ["kind", "name", "distribution", "summary"]
    assert re.search(r"^methods +third +third-party 1\.0 +A method for tests\.$", table.stdout, re.MULTILINE)
    assert {
        "kind": "launchers",
        "name": "pretend",
        "distribution": "pretend",
        "version": "1.0",
        "status": "",
        "summary": "Pretends to have run; PRETEND is what it does instead of running.",
    } in json.loads(listed.stdout)


def test_one_kind_can_be_listed():
    listed = json.loads(pfh("list-plugins", "--kind", "judges", "--json").stdout)

    assert {"judges"} == {row["kind"] for row in listed}
    assert "rule" in {row["name"] for row in listed}


def test_a_kind_without_plugins_says_so():
    assert pfh("list-plugins", "--kind", "wrappers").stdout == "No wrappers are installed.\n"


def test_the_check_says_of_every_plugin_whether_it_works(tmp_path: Path):
    install_method(tmp_path, "raise RuntimeError('no')", "raising")
    install_method(tmp_path, "import os; os._exit(9)", "exiting", "other-party")
    install_method(tmp_path, METHOD, "fine", "fine-party")

    checked = pfh("list-plugins", "--check", "--kind", "methods", "--json", path=tmp_path)

    status = {row["name"]: row["status"] for row in json.loads(checked.stdout)}
    assert checked.returncode == 0
    assert status["fine"] == "ok"
    assert "RuntimeError: no" in status["raising"]
    assert "exit code 9" in status["exiting"]


def test_a_name_that_two_distributions_provide_is_marked(tmp_path: Path):
    install_method(tmp_path, METHOD, distribution="one")
    install_method(tmp_path, METHOD, distribution="two")

    table = pfh("list-plugins", path=tmp_path)
    listed = pfh("list-plugins", "--json", path=tmp_path)

    assert re.search(r"third +one 1\.0 +also provided by two 1\.0; A method for tests\.", table.stdout)
    status = {row["distribution"]: row["status"] for row in json.loads(listed.stdout)}
    assert status["one"] == "also provided by two 1.0"
    assert status["two"] == "also provided by one 1.0"
    assert status["pfh"] == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_a_long_summary_is_wrapped_under_its_column(tmp_path: Path, monkeypatch):
    install_method(tmp_path, f"'''{'word ' * 40}end.'''\\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    shown = on_a_terminal([sys.executable, "-m", "pfh_cli.main", "list-plugins", "--kind", "methods"]).splitlines()

    (first,) = (number for number, line in enumerate(shown) if "third-party" in line)
    assert shown[first + 1].startswith(" " * shown[0].index("summary") + "word")
    assert max(map(len, shown)) <= 100


def test_control_characters_of_a_foreign_summary_do_not_reach_the_terminal(tmp_path: Path):
    install_method(tmp_path, "'''Red \\x1b[31m.'''\n")

    assert "Red \\x1b[31m." in pfh("list-plugins", path=tmp_path).stdout


def test_a_character_that_the_encoding_lacks_is_shown_as_its_escape(tmp_path: Path):
    install_method(tmp_path, "'''Größer.'''\n")

    listed = pfh("list-plugins", path=tmp_path, PYTHONIOENCODING="ascii")

    assert "Gr\\xf6\\xdfer." in listed.stdout


def test_a_reader_that_goes_away_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "pfh_cli.main", "list-plugins"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.close()

    assert writer.stderr.read() == b""
    assert writer.wait() == 141


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?"),
        (("run", "--methd", "x"), "No such option: --methd (Possible options: --method"),
        (("run", "--limit", "0"), "Invalid value for '--limit'"),
        (("run", "--dtype", "float31"), "'float31' is not one of 'auto', 'float32', 'bfloat16', 'float16'"),
        (("list-plugins", "--kind", "method"), "'method' is not one of 'methods', 'evals'"),
        (("new-plugin", "metod", "x"), "'metod' is not one of 'method', 'eval'"),
        (("report",), "Missing argument 'RUN'"),
        (("run",), "Name a method with --method (installed: dpo, third) and what to measure with --eval (installed: "),
        (("run", "--method", "third"), "Name what to measure with --eval (installed: "),
        (("run", "--method", "thrid", "--eval", "third-eval"), "No method named 'thrid'. Did you mean 'third'? "),
        (
            ("run", "--method", "third", "--eval", "third-evla"),
            "No eval named 'third-evla'. Did you mean 'third-eval'? ",
        ),
        ((*RUN, "--domain", "reasonign"), "No domain named 'reasonign'. Did you mean 'reasoning'? Installed: "),
        ((*RUN, "--backend", "fh"), "No backend named 'fh'. Did you mean 'hf'? Installed: hf."),
        ((*RUN, "--launcher", "lokal"), "No launcher named 'lokal'. Did you mean 'local'? Installed: local, pretend."),
        ((*RUN, "-o", "third-eval.shot=1"), "evals:third-eval has no option 'shot'. Did you mean 'shots'? "),
        ((*RUN, "-o", "third-eval.shots=few"), "option shots got 'few': input should be a valid integer"),
        ((*RUN, "-o", "shots=1"), "shots is an option of evals:third-eval"),
        ((*RUN, "-o", "beta=1"), "methods:third has no option 'beta'. Options: none."),
        ((*RUN, "-o", "beta"), "-o 'beta' is no option; write key=value"),
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


# run


def test_a_dry_run_prints_the_plan_with_every_option(call):
    printed = call(*RUN, "--seed", "3", "-o", "third-eval.shots=2", "--base", "--dry-run")

    plan = json.loads(printed.stdout)
    assert plan["methods"] == ["third"]
    assert plan["evals"] == [{"family": "third-eval", "benchmarks": []}]
    assert plan["options"]["evals:third-eval"] == {"shots": 2}
    assert (plan["seed"], plan["start"], plan["domain"], plan["launcher"]) == (3, "base", "reasoning", "local")


def test_results_go_to_stdout_and_the_rest_to_stderr(pretend, folder: Path):
    table = pretend("print('a library speaks')")
    as_json = pretend("print('a library speaks')", "--json")

    assert table.returncode == as_json.returncode == 0
    assert "Nothing changed." in table.stdout
    assert table.stdout.endswith(f"report: {folder / 'report.html'}\n")
    assert json.loads(as_json.stdout)["headline"] == "Nothing changed."
    assert "a library speaks" in table.stderr
    assert "a library speaks" in as_json.stderr


def test_the_exit_code_is_the_runs(pretend):
    assert pretend(code=2).returncode == 2


def test_an_interrupted_run_says_how_to_go_on(pretend):
    ended = pretend("raise KeyboardInterrupt")

    assert (ended.returncode, ended.stderr) == (130, "pfh: interrupted; the same command resumes\n")


def test_an_unforeseen_failure_in_a_plugin_leaves_its_traceback_in_the_store(pretend, tmp_path: Path):
    ended = pretend("{}['weights']")

    assert ended.returncode == 3
    line = re.fullmatch(
        r"pfh: launchers:pretend \(from pretend 1\.0\) failed in launch: KeyError: 'weights'\. \(traceback: (.*)\)\n",
        ended.stderr,
    )
    assert line
    kept = Path(line[1])
    assert kept.parent == tmp_path / "store" / "logs"
    assert "KeyError: 'weights'" in kept.read_text()
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback(pretend):
    ended = pretend("{}['weights']", "--debug")

    assert "Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("pfh: launchers:pretend")


def test_a_failure_that_the_step_explained_leaves_no_traceback(pretend):
    ended = pretend("from pfh.errors import StepFailedError; raise StepFailedError('No pairs; draw more.')")

    assert (ended.returncode, ended.stderr) == (3, "pfh: No pairs; draw more.\n")


def test_a_store_that_cannot_be_written_is_the_users_to_mend(pretend, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()

    ended = pretend("", "--store", str(file))

    assert ended.returncode == 2
    assert f"The store {file} cannot be written" in ended.stderr


# the boundary


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("mend this"), 2, "mend this"),
        (StepFailedError("gave up"), 3, "gave up"),
        (MemoryError(), 3, "Out of memory; "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 3, "Out of memory; "),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "The disk is full; "),
        (ValueError("first line\nsecond line"), 3, "unexpected ValueError: first line (traceback: "),
        (UserError("two\nlines and \x1b[31m colour"), 2, "two lines and \\x1b[31m colour"),
    ],
)
def test_every_error_is_one_line_with_its_exit_code(error, code, message, capsys, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PFH_STORE", str(tmp_path))

    def fail(called):
        raise error

    assert guarded(fail) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"pfh: {message}")
    assert printed.count("\n") == 1


def test_a_gpu_out_of_memory_is_told_from_other_errors(capsys, monkeypatch):
    class OutOfMemoryError(RuntimeError):
        pass

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(OutOfMemoryError=OutOfMemoryError))

    def fail(called):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    assert guarded(fail) == 3
    assert "The accelerator ran out of memory" in capsys.readouterr().err


def test_where_no_traceback_can_be_kept_the_line_says_how_to_see_it(capsys, monkeypatch, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("PFH_STORE", str(file))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(file))

    def fail(called):
        raise ValueError("odd")

    assert guarded(fail) == 3
    assert capsys.readouterr().err == "pfh: unexpected ValueError: odd (--debug shows the traceback)\n"


# report


def test_results_are_shown_again(call, folder: Path):
    table = call("report", str(folder))
    as_json = call("report", str(folder / "results.json"), "--json")

    assert "Nothing changed." in table.stdout
    assert json.loads(as_json.stdout) == json.loads((folder / "results.json").read_text())


def test_the_html_is_written_anew_and_lost_samples_are_told(call, folder: Path, tmp_path: Path):
    page = tmp_path / "pages" / "again.html"

    written = call("report", str(folder), "--html", str(page), "--store", str(tmp_path / "store"))

    assert written.returncode == 0, written.stderr
    assert written.stdout == f"report: {page}\n"
    assert "no longer holds the samples of safety" in written.stderr
    assert "Nothing changed." in page.read_text()


def test_the_html_holds_the_samples_that_the_store_still_has(call, tmp_path: Path):
    spec = fakes.analysis_spec()
    store = Store(tmp_path / "store")
    before, after = (
        store.make("evaluation", {"which": name}, lambda work, made, it=evaluation: write_evaluation(made, it)).key
        for name, evaluation in (("before", spec.before), ("after", spec.after))
    )
    family = FamilyRecord(family="fake", comparisons=spec.comparisons, before_artifact=before, after_artifact=after)
    stage = results().stages[0].model_copy(update={"families": (family,)})
    write_results(tmp_path / "results.json", results().model_copy(update={"stages": (stage,)}))

    written = call("report", str(tmp_path), "--html", str(tmp_path / "again.html"), "--store", str(store.root))

    assert (written.returncode, written.stderr) == (0, "")
    assert "fallen-7" in (tmp_path / "again.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "name a folder that pfh run wrote"),
        ("{}", "holds no results that this pfh can read"),
        ("no json", "holds no results that this pfh can read"),
    ],
)
def test_what_holds_no_results_is_told(call, tmp_path: Path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)

    ended = call("report", str(tmp_path))

    assert ended.returncode == 2
    assert re.fullmatch(r"pfh: [^\n]*\n", ended.stderr)
    assert message in ended.stderr


def test_one_html_file_is_for_one_run(call, folder: Path, tmp_path: Path):
    ended = call("report", str(folder), str(folder), "--html", str(tmp_path / "x.html"))

    assert ended.returncode == 2
    assert "--html writes the report of one run, but 2 were given" in ended.stderr


# new-plugin

NEW = {
    "method": "methods",
    "eval": "evals",
    "domain": "domains",
    "judge": "judges",
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
        ("dpo", "pfh 0.1.0 provides methods:dpo already"),
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


# doctor


def test_the_doctor_looks_at_everything_that_a_run_may_need_and_exits_2_where_it_is_broken(tmp_path: Path):
    ended = pfh("doctor", "--json", HF_HUB_OFFLINE="1", PFH_DATA_MIRROR=str(tmp_path / "gone"))

    findings = {finding["subject"]: finding for finding in json.loads(ended.stdout)}
    assert {"python", "pfh", "plugins", "store", "data mirror", "hub", "bubblewrap", "vllm", "cpu"} <= set(findings)
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


# progress


def test_where_no_terminal_is_there_are_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(cli_progress, "WORTH_A_LINE", 0.0)

    with cli_progress.open_progress() as progress, progress.task("evaluation", total=4, done=1) as bar:
        bar.advance()
        bar.note("loss 0.5")
        bar.advance()
        progress.say("a log line \x1b[31m")
        bar.advance()

    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"evaluation: 2/4 \(50%\), \d+ s left", lines[0])
    assert re.fullmatch(r"evaluation: 3/4 \(75%\), \d+ s left, loss 0\.5", lines[1])
    assert lines[2] == "a log line \\x1b[31m"
    assert re.fullmatch(r"evaluation: 4 done in \d+ s", lines[3])


def test_quick_tasks_leave_no_line(capsys):
    with cli_progress.open_progress() as progress, progress.task("quick", total=1) as bar:
        bar.advance()

    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(capsys):
    with cli_progress.open_progress(quiet=True) as progress, progress.task("evaluation", total=1) as bar:
        bar.advance()
        progress.say("line")

    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_there_are_bars_and_lines_above_them():
    script = """
import time
from pfh_cli.progress import open_progress
with open_progress() as progress, progress.task("train [bold]", total=3) as bar:
    for step in range(3):
        bar.advance()
        bar.note(f"loss {step}")
        progress.say(f"line {step} [red]")
        print("from a library")
        time.sleep(0.15)
"""
    shown = on_a_terminal([sys.executable, "-c", script])

    assert "train [bold]" in shown
    assert "3/3" in shown
    assert "loss 2" in shown
    for step in range(3):
        assert re.search(rf"^line {step} \[red\]\r?$", shown, re.MULTILINE), shown
    assert len(re.findall(r"^from a library\r?$", shown, re.MULTILINE)) == 3


def on_a_terminal(command: list[str]) -> str:
    """Return what `command` wrote to a terminal, a line for each rewriting of a line, without escape sequences."""
    import pty

    parent, child = pty.openpty()
    settings = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=settings)
    os.close(child)
    written = b""
    with contextlib.suppress(OSError):  # Linux says EIO where others say end of file
        while chunk := os.read(parent, 4096):
            written += chunk
    os.close(parent)
    assert process.wait() == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", written).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")


# completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pfh ru", "run"),
        ("pfh run --method thi", "third"),
        ("pfh run --method third --eval third", "third-eval"),
        ("pfh run --backend ", "hf"),
        ("pfh list-plugins --kind ju", "judges"),
        ("pfh new-plugin la", "launcher"),
    ],
)
def test_the_shell_completes_commands_and_plugin_names(site: Path, words: str, offered: str):
    settings = {"_PFH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    assert offered in pfh(path=site, **settings).stdout.split()


# the reference


def test_the_reference_shows_the_help_of_every_command(monkeypatch):
    text = (DOCS / "commands.md").read_text()
    monkeypatch.setenv("COLUMNS", "100")

    for name in ["", *typer.main.get_command(app).commands]:
        help_text = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="pfh").stdout
        assert f"```text\n{help_text.rstrip()}\n```" in text, f"run python docs/make_commands.py: pfh {name} changed"


def test_the_reference_has_every_exit_code():
    from pfh import errors
    from pfh_cli import boundary

    codes = {value for module in (errors, boundary) for name, value in vars(module).items() if name.startswith("EXIT_")}
    documented = re.findall(r"^\| (\d+) \|", (DOCS / "commands.md").read_text(), re.MULTILINE)

    assert {int(code) for code in documented} == {0, *codes}
