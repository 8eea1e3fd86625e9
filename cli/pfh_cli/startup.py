"""A quick start: Typer imports pydantic to coerce even the options that nobody gave."""

from __future__ import annotations

from typing import Any

import typer


def coerce_only_what_is_given(command: Any, parent: typer.Context | None = None) -> None:  # noqa: ANN401
    """Make `command`, as `typer.main.get_command` returns it, leave an option as it is that has no value or default."""
    context = typer.Context(command, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):  # with --help, which no list of parameters holds
        if not parameter.multiple and not parameter.required:
            _leave_unset(parameter)
    for subcommand in getattr(command, "commands", {}).values():
        coerce_only_what_is_given(subcommand, context)


def _leave_unset(parameter: Any) -> None:  # noqa: ANN401 - Typer does not export the classes of its parameters
    process = parameter.process_value

    def process_value(context: Any, value: Any) -> Any:  # noqa: ANN401
        if value is not None:
            return process(context, value)
        return parameter.callback(context, parameter, None) if parameter.callback else None

    parameter.process_value = process_value
