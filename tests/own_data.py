"""A user's own rows in the forms that people have them, and the domain opened on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pfh.hooks.domains import DomainSpec
from pfh.registry.plugins import Plugins
from pfh.testing import NoData

PLUGINS = Plugins()


def open_data(dataset: Path | str, data: Any = None, **options: Any) -> Any:
    """Return the domain, opened on a file or a dataset."""
    chosen = PLUGINS.options("domains", "data", {"dataset": str(dataset), **options})
    return PLUGINS.open_domain("data", DomainSpec(options=chosen, data=data or NoData()))


def write(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    """Write JSON lines; a text is a line as it stands."""
    file = folder / name
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return file


def chat(*said: str) -> list[dict[str, str]]:
    """Return turns of user and assistant, one after the other."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


def sharegpt(*said: str) -> list[dict[str, str]]:
    """Return the same as ShareGPT has it."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]


ROWS: dict[str, Any] = {
    "messages": lambda ask, good, bad: {"messages": chat(ask, good)},
    "sharegpt": lambda ask, good, bad: {"conversations": sharegpt(ask, good)},
    "completion": lambda ask, good, bad: {"prompt": ask, "completion": good},
    "query and response": lambda ask, good, bad: {"Query": ask, "Response": good},
    "problem and solution": lambda ask, good, bad: {"problem": ask, "solution": good},
    "chats of both": lambda ask, good, bad: {
        "prompt": chat(ask),
        "completion": [{"role": "assistant", "content": good}],
    },
    "instruction": lambda ask, good, bad: {"instruction": ask, "input": "", "output": good},
    "preference": lambda ask, good, bad: {"prompt": ask, "chosen": good, "rejected": bad},
    "preference of chats": lambda ask, good, bad: {"chosen": chat(ask, good), "rejected": chat(ask, bad)},
    "chats with a prompt": lambda ask, good, bad: {
        "prompt": ask,
        "chosen": chat(ask, good),
        "rejected": chat(ask, bad),
    },
    "answers of the assistant": lambda ask, good, bad: {
        "prompt": chat(ask),
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
    },
    "common beginning": lambda ask, good, bad: {"chosen": f"{ask} {good}", "rejected": f"{ask} {bad}"},
    "transcripts": lambda ask, good, bad: {
        "chosen": f"\n\nHuman: {ask}\n\nAssistant: {good}",
        "rejected": f"\n\nHuman: {ask}\n\nAssistant: {bad}",
    },
    "answer": lambda ask, good, bad: {"prompt": ask, "answer": good},
    "question and answer": lambda ask, good, bad: {"question": ask, "answer": good},
}
"""Form to a row of it, from a prompt, a completion, and a worse one."""


def rows_of(form: str, count: int = 100) -> list[dict[str, Any]]:
    """Return rows of a form."""
    return [ROWS[form](f"What comes after {n}?", f"It is {n + 1}.", f"No idea, {n}.") for n in range(count)]
