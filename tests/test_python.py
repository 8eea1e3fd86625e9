"""`pfh.run`, `pfh.evaluate`, `pfh.compare`, `pfh.recover` and `pfh.load`: what the command line does, from Python."""

import inspect
import subprocess
import sys

import pfh
import pytest
from pfh.errors import UserError
from pfh_cli.main import app
from typer.main import get_command

from tests.plugin_dists import install
from tests.test_compare import BACKEND, QUIZ
from tests.tiny import tiny_llama

COMMANDS = {"run": pfh.run, "eval": pfh.evaluate, "compare": pfh.compare, "recover": pfh.recover}
OF_A_TERMINAL = {"json", "dry_run", "devices", "quiet", "debug", "help"}
"""What Python has other means for: the results themselves, `progress`, and tracebacks."""

RENAMED = {"try": "ways"}
"""A word that Python keeps for itself."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [tiny_llama(folder / "base"), tiny_llama(folder / "tuned", seed=1)]


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "hash-dist", {"hash_backend": BACKEND}, {"pfh.backends": {"hash": "hash_backend"}})
    install(folder, "quiz-dist", {"quiz_eval": QUIZ}, {"pfh.evals": {"quiz": "quiz_eval"}})
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def compared(plugins, models, tmp_path):
    return pfh.compare(*models, eval="quiz", backend="hash", output=tmp_path / "out", store=tmp_path / "store")


def test_importing_pfh_loads_neither_torch_nor_pydantic():
    heavy = "import sys, pfh; print(sorted({'torch', 'pydantic', 'numpy', 'transformers'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", heavy], text=True) == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_are_named_and_filled_as_the_options_of_the_command_line(name):
    options = {
        max(option.opts, key=len).lstrip("-").replace("-", "_"): option
        for option in get_command(app).commands[name].params
    }
    options = {RENAMED.get(name, name): option for name, option in options.items()}
    taken = inspect.signature(COMMANDS[name]).parameters
    assert taken.keys() - {"progress"} == options.keys() - OF_A_TERMINAL
    same = {name for name in taken if taken[name].default not in ((), inspect.Parameter.empty)}
    for name in same - {"progress"}:
        assert (taken[name].default or None) == (options[name].default or None), name


def test_results_are_typed_and_know_their_folder(compared, models, tmp_path):
    assert compared.stages[0].families[0].comparisons[0].n == 40
    assert compared.folder == tmp_path / "out"
    assert pfh.load(tmp_path / "out") == pfh.load(tmp_path / "out" / "results.json") == compared


def test_a_comparison_is_a_data_frame_with_a_row_a_benchmark(compared):
    frame = compared.to_pandas()
    assert list(frame[["stage", "family", "benchmark", "status"]].itertuples(index=False, name=None)) == [
        (1, "quiz", "letters", "MEASURED"),
        (1, "quiz", "far", "NOT_RUN"),
    ]
    row = compared.stages[0].families[0].comparisons[0]
    assert frame.loc[0, "delta"] == row.delta
    categories = compared.to_pandas(categories=True)
    assert list(categories["category"]) == ["even", "odd"]
    assert list(categories["n"]) == [20, 20]


def test_one_model_is_measured_and_its_scores_are_a_data_frame(plugins, models, tmp_path):
    found = pfh.evaluate(
        models[0],
        "quiz:letters",
        limit=12,
        option={"quiz.temperature": 1.0},
        backend="hash",
        output=tmp_path / "out",
        store=tmp_path / "store",
    )
    assert (tmp_path / "out" / "report.html").is_file()
    frame = found.to_pandas()
    assert list(frame["benchmark"]) == ["letters"]
    assert frame.loc[0, "n"] == 12
    assert frame.loc[0, "score"] == found.measured[0].families[0].benchmarks[0].score


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pfh.compare("one"), "Name two models or more"),
        (lambda: pfh.run("dpoo", "safety"), "dpo"),
        (lambda: pfh.run("dpo", []), "what to measure"),
        (lambda: pfh.run("dpo", "safety", option={"beta2": 1}), "no option 'beta2'"),
        (lambda: pfh.run("dpo", "safety", option=["beta"]), "write key=value"),
        (lambda: pfh.evaluate("safe"), "Name what to measure"),
        (lambda: pfh.evaluate("safe", "safety", limit=0), "limit must be at least 1"),
        (lambda: pfh.load("nowhere"), "no nowhere"),
        (lambda: pfh.recover("nowhere"), "no nowhere"),
        (lambda: pfh.recover("nowhere", ways="wise"), "Did you mean .wise-ft"),
        (lambda: pfh.recover("nowhere", alphas=[1.5]), "between 0"),
    ],
)
def test_what_is_asked_wrongly_is_an_error_of_the_user(call, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PFH_STORE", str(tmp_path))
    with pytest.raises(UserError, match=said):
        call()


def test_progress_is_shown_where_it_is_wanted(plugins, models, tmp_path, capsys):
    common = {"eval": "quiz:letters", "backend": "hash", "store": tmp_path / "store"}
    pfh.evaluate(models[0], **common, output=tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    pfh.evaluate(models[0], **common, output=tmp_path / "told", progress=True)
    assert "reusing the stored evaluation of quiz" in capsys.readouterr().err


def test_what_pfh_has_not_is_said_as_python_says_it():
    with pytest.raises(AttributeError, match="module 'pfh' has no attribute 'runn'"):
        pfh.runn  # noqa: B018
    assert {"run", "evaluate", "compare", "load", "recover"} <= set(dir(pfh))
