"""What an option means is declared by its type: whatever it is called, the core finds it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pfh.hooks.backends import BackendSpec
from pfh.hooks.meanings import Draws, Learns, Names, Wants, declares, has_variable, name_of, values
from pfh.registry.plugins import Plugins
from pydantic import BaseModel, Field

from tests.plugin_dists import install


class Options(BaseModel):
    tutor: Annotated[str, Names.MODEL] = Field("", description="under a name of its own")
    referee: Annotated[str, Names.JUDGE] = "strict"
    compared: Annotated[bool, Wants.REFERENCE] = False
    heat: Annotated[float | None, Draws.COMPLETIONS] = None
    learns: ClassVar[Learns] = Learns.CONVERSATIONS


class Inherited(Options):
    pass


def test_an_option_is_found_by_what_it_means():
    options = Inherited(tutor="org/model", heat=0.7)
    assert name_of(options, Names.MODEL) == "org/model"
    assert name_of(options, Names.JUDGE) == "strict"
    assert values(options, Draws.COMPLETIONS) == (0.7,)
    assert declares(options, Learns.CONVERSATIONS)
    assert has_variable(Inherited, Learns.CONVERSATIONS)


def test_an_option_that_is_not_set_asks_for_nothing():
    assert name_of(Options(), Names.MODEL) == ""
    assert not declares(Options(), Wants.REFERENCE)
    assert declares(Options(compared=True), Wants.REFERENCE)
    assert not declares(Options(), Wants.DOMAIN)
    assert values(Options(), Draws.COMPLETIONS) == ()


def test_a_plugin_without_options_means_nothing():
    assert not declares(None, Wants.DOMAIN)
    assert name_of(None, Names.JUDGE) == ""
    assert not has_variable(None, Learns.CONVERSATIONS)


BACKEND = """
from pfh import hookimpl

@hookimpl
def answers_through(spec):
    return ("hf", "a-backend-that-is-not-installed")

@hookimpl
def open_engine(spec):
    raise NotImplementedError
"""


def test_a_backend_names_those_that_it_answers_through(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path, "mixed", {"mixed": BACKEND}, {"pfh.backends": {"mix": "mixed"}}))
    plugins = Plugins()
    assert plugins.answers_through("mix", BackendSpec()) == ("mix", "hf")
    assert plugins.answers_through("hf", BackendSpec()) == ("hf",)
    assert plugins.answers_through("auto", BackendSpec()) == ("auto", "hf", "vllm")
