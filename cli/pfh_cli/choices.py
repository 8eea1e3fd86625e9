"""Benchmark families and options as the command line names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfh.hooks.launchers import EvalChoice
    from pfh.registry.plugins import Plugins


def read_evals(given: list[str] | None) -> tuple[EvalChoice, ...]:
    """Return the choices behind `--eval`."""
    from pfh.hooks.launchers import EvalChoice

    return tuple(EvalChoice.parse(text) for text in given or ())


def assigned(
    given: list[str] | None, evals: tuple[EvalChoice, ...], domain: str, plugins: Plugins
) -> dict[str, dict[str, str]]:
    """Share `-o` out to the chosen families, the domain, and the readers of logs that it names.

    Raises:
        UserError: no plugin of these has such an option, or there is no such family.
    """
    from pfh.registry.assignments import assign_options

    readers = plugins.catalogue.names("readers")
    installed = [choice.family for choice in evals if choice.family not in readers]
    chosen = [plugins.catalogue.find("evals", name) for name in installed]
    if given:
        chosen.append(plugins.catalogue.find("domains", domain))
    owners = {text.partition("=")[0].strip().rpartition(".")[0].removeprefix("readers:") for text in given or ()}
    chosen += [plugins.catalogue.find("readers", name) for name in readers if name in owners]
    return assign_options(given or [], chosen, plugins)
