"""The program in a completion. Plain line reading: nothing that a model wrote is parsed or run here."""

from __future__ import annotations

import re

PYTHON_TAGS = {"", "python", "python3", "py", "py3"}
_CODE_LINE = re.compile(r"(def|class|import|from|for|while|if|try|with|print\(|@|#|[A-Za-z_][\w, .\[\]]*\s*=[^=])")


def extract_program(completion: str, prompt: str = "", entry_point: str = "") -> str | None:
    """Return the program that `completion` offers, or None where it offers none.

    The last fenced Python block counts; where a function is asked for, the last block that defines it, before any
    other. Without a fence, a completion that begins with code is taken whole. An indented beginning goes on with the
    body of the function in `prompt`.
    """
    blocks = [text for tag, text in _fenced(completion) if tag in PYTHON_TAGS and text.strip()]
    if blocks:
        defining = [text for text in blocks if entry_point and _defines(text, entry_point)]
        code = (defining or blocks)[-1]
    elif "```" not in completion and _begins_with_code(completion, prompt):
        code = completion
    else:
        return None
    return prompt + code if prompt and _first_line(code).startswith((" ", "\t")) else code


def _fenced(text: str) -> list[tuple[str, str]]:
    """Return (tag, text) of every fenced block; one that is never closed reaches to the end."""
    blocks: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.splitlines():
        mark = line.strip()
        if mark.startswith("```") and not (inside and mark != "```"):
            inside = not inside
            if inside:
                blocks.append((mark[3:].strip().lower(), []))
        elif inside:
            blocks[-1][1].append(line)
    return [(tag, "\n".join(lines) + "\n") for tag, lines in blocks]


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^(async\s+)?(def|class)\s+{re.escape(name)}\b", code, re.MULTILINE) is not None


def _begins_with_code(text: str, prompt: str) -> bool:
    first = _first_line(text)
    if first.startswith((" ", "\t")):
        return bool(prompt)
    return _CODE_LINE.match(first) is not None


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")
