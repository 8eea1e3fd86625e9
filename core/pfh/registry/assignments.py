"""`-o key=value` as a user writes it, shared out to the plugins of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError, did_you_mean
from pfh.hooks.meanings import Names

if TYPE_CHECKING:
    from pfh.registry.catalogue import Plugin
    from pfh.registry.plugins import Plugins


def assign_options(
    given: Sequence[str | tuple[str, Any]], chosen: Sequence[Plugin], plugins: Plugins
) -> dict[str, dict[str, Any]]:
    """Return plugin keys, such as "methods:dpo", to the options given for them.

    Of two values for one option the last counts; an option that names judges takes both.

    Args:
        given: "key=value" is for every chosen method that has such an option (without a method: for every chosen
            eval, without either: for whatever was chosen), "NAME.key=value" for the chosen plugin of that name, and
            "KIND:NAME.key=value" for one of two plugins of one name; or what is left and right of the "=", the value
            as a script has it.
        chosen: the plugins of the run; any installed judge or attack may be named beside them.
        plugins: to ask the plugins for their options.

    Raises:
        UserError: there is no "=", no chosen plugin of that name, more than one, or no method with that option.
    """
    chosen = list({plugin.key: plugin for plugin in chosen}.values())  # one method may be two stages of a run
    shared: dict[str, dict[str, Any]] = {}
    for each in given:
        target, value = each if isinstance(each, tuple) else _split(each)
        owner, _, key = target.strip().rpartition(".")
        if not key:
            raise UserError(f"-o {target!r} is no option; write key=value, or NAME.key=value for one plugin.")
        owners = [_named(owner, key, chosen, plugins)] if owner else _methods_with(key, value, chosen, plugins)
        for plugin in owners:
            held = shared.setdefault(plugin.key, {})
            held[key] = f"{held[key]},{value}" if key in held and _names_judges(plugin, key, plugins) else value
    return shared


def _split(text: str) -> tuple[str, str]:
    target, equals, value = text.partition("=")
    if not equals or not target.strip():
        raise UserError(f"-o {text!r} is no option; write key=value, or NAME.key=value for one plugin.")
    return target, value.strip()


def _named(owner: str, key: str, chosen: Sequence[Plugin], plugins: Plugins) -> Plugin:
    found = [plugin for plugin in chosen if owner in (plugin.name, plugin.key)]
    if not found:  # A judge or an attack is chosen by an option of a family, which is not filled yet.
        named = [plugin for plugin in plugins.catalogue if plugin.kind in ("judges", "attacks")]
        found = [plugin for plugin in named if owner in (plugin.name, plugin.key)]
    if len(found) > 1:
        keys = " or ".join(f"{plugin.key}.{key}" for plugin in found)
        raise UserError(f"{owner}.{key} could mean {keys}; write one of these.")
    if not found:
        names = list(dict.fromkeys(plugin.name for plugin in chosen))
        raise UserError(
            f"{owner}.{key}: this run uses no plugin named {owner!r}.{did_you_mean(owner, names)} "
            f"It uses {', '.join(names)}."
        )
    return found[0]


def _methods_with(key: str, value: object, chosen: Sequence[Plugin], plugins: Plugins) -> list[Plugin]:
    fields = {plugin.key: _fields(plugin, plugins) for plugin in chosen}
    methods = (
        [plugin for plugin in chosen if plugin.kind == "methods"]
        or [plugin for plugin in chosen if plugin.kind == "evals"]
        or list(chosen)
    )
    found = [plugin for plugin in methods if key in fields[plugin.key]]
    if found:
        return found
    for plugin in chosen:
        if key in fields[plugin.key]:
            raise UserError(
                f"{key} is an option of {plugin.key}, and an option without a name goes to the method: "
                f"write -o {plugin.name}.{key}={value}."
            )
    known = list(dict.fromkeys(name for plugin in methods for name in fields[plugin.key]))
    owners = " and ".join(plugin.key for plugin in methods)
    raise UserError(
        f"{owners} {'has' if len(methods) == 1 else 'have'} no option {key!r}.{did_you_mean(key, known)} "
        f"Options: {', '.join(known) or 'none'}."
    )


def _names_judges(plugin: Plugin, key: str, plugins: Plugins) -> bool:
    model = plugins.options_model(plugin.kind, plugin.name)
    if model is None or key not in model.model_fields:
        return False
    return any(meaning in model.model_fields[key].metadata for meaning in (Names.JUDGE, Names.ATTACK))


def _fields(plugin: Plugin, plugins: Plugins) -> list[str]:
    model = plugins.options_model(plugin.kind, plugin.name)
    return [] if model is None else list(model.model_fields)
