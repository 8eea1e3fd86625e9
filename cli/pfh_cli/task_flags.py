"""`--tasks`, `--num-fewshot` and `--apply-chat-template`: what users of lm-eval know, for every family that has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from pfh.errors import UserError

if TYPE_CHECKING:
    from pfh.hooks.launchers import EvalChoice
    from pfh.registry.plugins import Plugins

Tasks = Annotated[
    str | None,
    typer.Option(metavar="TASK,...", help="lm-eval tasks, groups, tags or YAML files, in place of a preset."),
]
NumFewshot = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Worked examples in a prompt.", show_default="as each task says")
]
ApplyChatTemplate = Annotated[
    bool, typer.Option("--apply-chat-template", help="Put prompts as chats, in the model's own template.")
]


def as_options(
    evals: Sequence[EvalChoice],
    plugins: Plugins,
    tasks: str | None,
    num_fewshot: int | None,
    apply_chat_template: bool,
) -> list[str]:
    """Return the flags as `-o` would say them, for each family of `evals` that has the option.

    Raises:
        UserError: no family of `evals` has an option that was given.
    """
    readers = plugins.catalogue.names("readers")
    families = [choice.family for choice in evals if choice.family not in readers]
    given = {
        "tasks": tasks,
        "num_fewshot": None if num_fewshot is None else str(num_fewshot),
        "apply_chat_template": "true" if apply_chat_template else None,
    }
    written: list[str] = []
    for option, value in given.items():
        if value is None:
            continue
        owners = [name for name in families if _has(name, option, plugins)]
        if not owners:
            able = [name for name in plugins.catalogue.names("evals") if _has(name, option, plugins)]
            raise UserError(
                f"--{option.replace('_', '-')} needs a family that puts tasks to the model: add "
                f"{' or '.join(f'--eval {name}' for name in able) or 'a plugin that has one'}."
            )
        written += [f"evals:{name}.{option}={value}" for name in owners]
    return written


def _has(family: str, option: str, plugins: Plugins) -> bool:
    model = plugins.options_model("evals", family)
    return model is not None and option in model.model_fields
