"""Loading and calling plugins: whatever one does wrong is named, and the others do not notice."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest
from pfh import testing as fakes
from pfh.errors import PluginError, StepFailedError, UserError
from pfh.hooks import hookspecs
from pfh.hooks.launchers import LaunchSpec
from pfh.registry.assignments import assign_options
from pfh.registry.checking import check_apart
from pfh.registry.plugins import Plugins

from tests.plugin_dists import METHOD, install, install_method

IMPLEMENT = "from pfh import hookimpl\n"
HOOKS = [name for name, hook in vars(hookspecs).items() if hasattr(hook, "pfh_spec")]
SPARE = """\
from pathlib import Path
from pfh import hookimpl
from pfh.hooks.methods import TrainingResult

@hookimpl
def train(spec):
    return TrainingResult(path=Path("weights"), phases=())
"""
WITH_OPTIONS = """\
from pydantic import BaseModel, Field
from pfh import hookimpl

class Options(BaseModel):
    beta: float = Field(0.1, gt=0)
    steps: int | None = None
    tasks: tuple[str, ...] = ("a",)
    layers: list[int] | None = None

@hookimpl
def options():
    return Options

@hookimpl
def train(spec):
    return None
"""


@pytest.fixture
def install_here(tmp_path: Path, monkeypatch):
    """Return a function that installs a method of the name given; its modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def install_named(source: str, name: str = "third", distribution: str = "third-party") -> Plugins:
        install_method(tmp_path, source, name, distribution)
        return Plugins()

    yield install_named
    for module in set(sys.modules) - before:
        if module.startswith("third_party"):
            del sys.modules[module]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_runs(hook: str):
    examples = doctest.DocTestFinder().find(getattr(hookspecs, hook), hook, globs={"fakes": fakes})
    failures = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)

    assert examples[0].examples, f"{hook} has no example"
    for example in examples:
        assert failures.run(example).failed == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_takes_one_spec_and_says_whose_it_is(hook: str):
    function = getattr(hookspecs, hook)

    assert list(inspect.signature(function).parameters) == ([] if hook == "options" else ["spec"])
    assert re.search(r"\(group `pfh\.\w+`\)|Any kind of plugin", function.__doc__)


BROKEN = {
    "raises": ("raise RuntimeError('no weights here')", "cannot be imported: RuntimeError: no weights here"),
    "exits": ("import sys\nsys.exit(7)", "cannot be imported: SystemExit: 7"),
    "no python": ("def (", "cannot be imported: SyntaxError"),
    "misspelt": (f"{IMPLEMENT}@hookimpl\ndef trian(spec): ...", "unknown hook 'trian'. Did you mean 'train'?"),
    "arguments": (
        f"{IMPLEMENT}@hookimpl\ndef train(spec, model): ...",
        "declares the hook train(spec, model), but pfh calls train(spec)",
    ),
    "undecorated": ("def train(spec): ...", "does not implement the hook 'train'"),
    "hint": ("def train(spec): ...", "lacks the decorator @hookimpl"),
    "no generator": (f"{IMPLEMENT}@hookimpl(wrapper=True)\ndef train(spec): ...", "has a hook of the wrong form"),
    "no such module": ("import surely_not_installed", "Install the package that provides 'surely_not_installed'"),
    "extra": ("import submitit", "Install it with: pip install 'pfh[slurm]'"),
}


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_with_its_distribution_and_the_cause(install_here, monkeypatch, source, message):
    monkeypatch.setitem(sys.modules, "submitit", None)  # as if it were not installed
    plugins = install_here(source)

    with pytest.raises(PluginError, match=re.escape(message)) as caught:
        plugins.load("methods", "third")

    assert str(caught.value).startswith("methods:third (from third-party 1.0) ")
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_told_by_the_import_that_failed(install_here):
    with pytest.raises(PluginError, match=r"pip install 'pfh\[ray\]'"):
        install_here("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray.util')").load("methods", "third")


def test_a_broken_plugin_stays_broken_and_the_others_load(install_here):
    plugins = install_here(f"{IMPLEMENT}@hookimpl\ndef train(spec, model): ...")

    for _ in range(2):
        with pytest.raises(PluginError):
            plugins.load("methods", "third")
    assert plugins.load("judges", "rule").name == "rule"


def test_a_malformed_entry_point_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path, "malformed", {}, {"pfh.methods": {"odd": "not a module!"}}))

    with pytest.raises(PluginError, match="malformed entry point 'not a module!'"):
        Plugins().load("methods", "odd")


def test_an_object_that_answers_to_any_attribute_is_no_hook(install_here):
    source = "class Anything:\n    def __getattr__(self, name):\n        return name\nanything = Anything()\n"

    install_here(source + METHOD).load("methods", "third")


def test_one_module_may_serve_under_several_names(tmp_path: Path, monkeypatch):
    groups = {"pfh.methods": {"first": "served_twice", "second": "served_twice"}}
    monkeypatch.syspath_prepend(install(tmp_path, "twice", {"served_twice": SPARE}, groups))
    plugins = Plugins()

    results = [plugins.train(name, fakes.training_spec(tmp_path)) for name in ("first", "second")]

    assert results[0] == results[1]


def test_only_the_plugin_that_was_named_is_called(install_here, tmp_path: Path):
    install_here("from pfh import hookimpl\n@hookimpl\ndef train(spec): raise ValueError", "loud", "third-party-loud")
    plugins = install_here(SPARE)
    plugins.load("methods", "loud")

    assert plugins.train("third", fakes.training_spec(tmp_path)).path == Path("weights")


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("raise KeyError('reward')", StepFailedError, r"third-party 1\.0\) failed in train: KeyError: 'reward'"),
        ("raise MemoryError", StepFailedError, "Out of memory"),
        ("import errno; raise OSError(errno.ENOSPC, 'full')", StepFailedError, "The disk is full"),
        ("return None", PluginError, "returned nothing from the hook 'train'"),
        ("return {'path': 'x'}", PluginError, "returned a dict from the hook 'train'; it needs a TrainingResult"),
        ("from pfh.errors import UserError; raise UserError('mend this')", UserError, "^mend this$"),
    ],
)
def test_what_a_hook_does_wrong_is_one_clear_error(install_here, tmp_path, body, error, message):
    plugins = install_here(f"{IMPLEMENT}@hookimpl\ndef train(spec):\n    {body}\n")

    with pytest.raises(error, match=message):
        plugins.train("third", fakes.training_spec(tmp_path))


def test_a_keyboard_interrupt_passes_through_a_hook(install_here, tmp_path: Path):
    plugins = install_here(f"{IMPLEMENT}@hookimpl\ndef train(spec):\n    raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        plugins.train("third", fakes.training_spec(tmp_path))


WRAPPER = """\
import dataclasses
from pfh import hookimpl

@hookimpl(wrapper=True)
def train(spec):
    result = yield
    return dataclasses.replace(result, notes=(*result.notes, "wrapped"))
"""


def install_wrapper(folder: Path, source: str) -> None:
    install(
        folder,
        "third-party-tracker",
        {"third_party_tracker": source},
        {"pfh.wrappers": {"tracker": "third_party_tracker"}},
    )


def test_a_wrapper_wraps_the_method_that_was_named(install_here, tmp_path: Path):
    install_wrapper(tmp_path, WRAPPER)
    plugins = install_here(SPARE)
    assert plugins.train("third", fakes.training_spec(tmp_path)).notes == ()

    plugins.load_wrappers()

    assert plugins.train("third", fakes.training_spec(tmp_path)).notes == ("wrapped",)


def test_a_wrapper_that_would_replace_a_method_is_refused(install_here, tmp_path: Path):
    install_wrapper(tmp_path, SPARE)

    with pytest.raises(PluginError, match=r"must wrap the hook 'train', not replace it"):
        install_here(SPARE).load_wrappers()


def test_the_local_launcher_executes_the_runs_in_their_order():
    result = Plugins().launch("local", LaunchSpec(runs=(3, 1, 2), execute=lambda run: run * 10))

    assert result.outcomes == (30, 10, 20)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"beta": "0.5"}, "beta", 0.5),
        ({"beta": 2}, "beta", 2.0),
        ({"tasks": "gcd, lcm"}, "tasks", ("gcd", "lcm")),
        ({"layers": "1,2"}, "layers", [1, 2]),
        ({}, "steps", None),
    ],
)
def test_options_are_filled_from_text_and_from_values(install_here, given, field, value):
    assert getattr(install_here(WITH_OPTIONS).options("methods", "third", given), field) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"bata": "1"},
            "methods:third has no option 'bata'. Did you mean 'beta'? Options: beta, steps, tasks, layers.",
        ),
        ({"beta": "high"}, "methods:third: option beta got 'high': input should be a valid number"),
        ({"beta": "-1"}, "methods:third: option beta got '-1': input should be greater than 0"),
    ],
)
def test_options_that_do_not_fit_are_told_with_the_option_and_its_type(install_here, given, message):
    with pytest.raises(UserError, match=re.escape(message)):
        install_here(WITH_OPTIONS).options("methods", "third", given)


def test_a_plugin_without_options_takes_none(install_here):
    plugins = install_here(SPARE)

    assert plugins.options("methods", "third", {}) is None
    with pytest.raises(UserError, match="methods:third takes no options, but got beta"):
        plugins.options("methods", "third", {"beta": "1"})


def test_options_must_be_a_pydantic_model(install_here):
    plugins = install_here(f"{IMPLEMENT}@hookimpl\ndef options(): return dict\n{SPARE}")

    with pytest.raises(PluginError, match=r"returned <class 'dict'> from the hook 'options'"):
        plugins.options("methods", "third", {})
    assert "pydantic model" in plugins.check(plugins.catalogue.find("methods", "third"))


@pytest.fixture
def chosen(install_here, tmp_path: Path):
    """Two methods with an option beta, one of them alone with gamma, and an eval with an option of its own."""
    install_here(WITH_OPTIONS, "one", "third-party-one")
    install_here(WITH_OPTIONS.replace("steps", "gamma"), "two", "third-party-two")
    evaluation = WITH_OPTIONS.replace("beta", "shots").replace("train", "evaluate")
    groups = {"pfh.evals": {"one": "third_party_eval"}}
    install(tmp_path, "third-party-eval", {"third_party_eval": evaluation}, groups)
    plugins = Plugins()
    keys = (("methods", "one"), ("methods", "two"), ("evals", "one"))
    return plugins, [plugins.catalogue.find(kind, name) for kind, name in keys]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["beta=0.2"], {"methods:one": {"beta": "0.2"}, "methods:two": {"beta": "0.2"}}),
        (["gamma=3"], {"methods:two": {"gamma": "3"}}),
        (["two.beta=1"], {"methods:two": {"beta": "1"}}),
        (["evals:one.shots=1", "methods:one.beta=2"], {"evals:one": {"shots": "1"}, "methods:one": {"beta": "2"}}),
        (["gamma=a=b"], {"methods:two": {"gamma": "a=b"}}),
        (["gamma=1", "gamma=2"], {"methods:two": {"gamma": "2"}}),
        ([], {}),
    ],
)
def test_options_reach_the_plugins_they_are_for(chosen, given, expected):
    plugins, methods = chosen

    assert assign_options(given, methods, plugins) == expected


@pytest.mark.parametrize("option", ["beta=1", "two.beta=1"])
def test_an_option_of_a_method_that_is_two_stages_is_theirs_together(chosen, option):
    plugins, methods = chosen
    twice = [plugin for plugin in methods if plugin.name == "two" and plugin.kind == "methods"] * 2

    assert assign_options([option], twice, plugins) == {"methods:two": {"beta": "1"}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("beta", "-o 'beta' is no option; write key=value"),
        ("=1", "is no option; write key=value"),
        ("one.beta=1", "one.beta could mean methods:one.beta or evals:one.beta; write one of these"),
        ("tow.beta=1", "this run uses no plugin named 'tow'. Did you mean 'two'? It uses one, two."),
        (
            "shots=1",
            "shots is an option of evals:one, and an option without a name goes to the method: write -o one.shots",
        ),
        ("bata=1", "methods:one and methods:two have no option 'bata'. Did you mean 'beta'?"),
    ],
)
def test_an_option_for_nobody_is_told(chosen, given, message):
    plugins, methods = chosen

    with pytest.raises(UserError, match=re.escape(message)):
        assign_options([given], methods, plugins)


def test_a_plugin_is_checked_in_a_process_of_its_own(install_here, tmp_path: Path):
    install_here("import os\nos._exit(5)\n", "deadly", "third-party-deadly")
    install_here("print('noise')\nraise ValueError('broken')\n", "loud", "third-party-loud")
    catalogue = install_here(SPARE).catalogue

    problems = {name: check_apart(catalogue.find("methods", name)) for name in ("third", "loud", "deadly")}

    assert problems["third"] == ""
    assert "third-party-loud 1.0) cannot be imported: ValueError: broken" in problems["loud"]
    assert "ended its process at import with exit code 5" in problems["deadly"]
