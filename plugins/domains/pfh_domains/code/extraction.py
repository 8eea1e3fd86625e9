"""The program in a completion. Plain line reading: nothing that a model wrote is parsed or run here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent

PYTHON_TAGS = {"python", "python3", "py", "py3", "{.python}"}
_CODE_LINE = re.compile(r"(def|class|import|from|for|while|if|try|with|print\(|@|#|[A-Za-z_][\w, .\[\]]*\s*=[^=])")
_PROGRAM_LINE = re.compile(r"(def|async|class|import|from|for|while|if|try|with|@|#|[A-Za-z_][\w.\[\]]*\s*=[^=])")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([^`]*)$")
_DEFINED = re.compile(r"^(?:(?:async\s+)?def|class)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=[^=]", re.MULTILINE)


@dataclass(frozen=True)
class _Block:
    tag: str
    text: str


def extract_program(completion: str, prompt: str = "", entry_point: str = "") -> str | None:
    """Return the program that `completion` offers, or None where it offers none.

    The last fenced Python block counts, and one that says so before one without a tag, which may be an output. Where a
    function is asked for, the last block that defines it counts, after earlier blocks that define what it uses. Without
    a fence, a completion that begins with code is taken whole. An indented beginning goes on with the body of the
    function in `prompt`, up to the first line that is no code.
    """
    fenced = _fenced(completion)
    blocks = [block for block in fenced if block.tag in PYTHON_TAGS and block.text.strip()]
    if not blocks:
        untagged = [block for block in fenced if not block.tag and block.text.strip()]
        blocks = [block for block in untagged if _looks_like_code(block.text, prompt)] or untagged
    if blocks:
        defining = [place for place, block in enumerate(blocks) if entry_point and _defines(block.text, entry_point)]
        place = defining[-1] if defining else len(blocks) - 1
        code = _with_helpers([block.text for block in blocks[:place]], blocks[place].text)
    elif not fenced and _begins_with_code(completion, prompt):
        code = completion
    else:
        return None
    first = _first_line(code)
    if not first.startswith((" ", "\t")):
        return code
    if _CODE_LINE.match(first.strip()) and re.match(r"\s*(?:def|class|import|from|@)", first):
        return dedent(code)
    return prompt + _body(code) if prompt else dedent(code)


def _fenced(text: str) -> list[_Block]:
    """Return every fenced block, moved to the left margin; one that is never closed reaches to the end."""
    blocks: list[tuple[str, list[str]]] = []
    closing = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and not closing:
            closing = mark[1]
            blocks.append((mark[2].strip().lower().partition(" ")[0], []))
        elif mark and not mark[2] and mark[1].startswith(closing[0] * 3) and len(mark[1]) >= len(closing):
            closing = ""
        elif closing:
            blocks[-1][1].append(line)
    return [_Block(tag, _at_the_margin(lines)) for tag, lines in blocks]


def _at_the_margin(lines: list[str]) -> str:
    """Join the lines of a block; the body of a function keeps its indentation."""
    text = "\n".join(lines) + "\n"
    first = _first_line(text).strip()
    return dedent(text) if re.match(r"(?:def|class|import|from|@)\b", first) else text


def _with_helpers(earlier: list[str], code: str) -> str:
    """Put those earlier blocks before `code` that define a name which it uses and does not define."""
    needed: list[str] = []
    for block in reversed(earlier):
        names = {found[1] or found[2] for found in _DEFINED.finditer(block)}
        later = code + "".join(needed)
        missing = names - {found[1] or found[2] for found in _DEFINED.finditer(later)}
        if any(re.search(rf"\b{re.escape(name)}\b", later) for name in missing):
            needed.insert(0, block)
    return "".join([*needed, code])


def _body(code: str) -> str:
    """Return the body of a function, and the code behind it: what begins at the margin and is no code ends it."""
    kept = []
    for line in code.splitlines(keepends=True):
        if line.strip() and not line.startswith((" ", "\t")) and not _PROGRAM_LINE.match(line):
            break
        kept.append(line)
    return "".join(kept)


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^\s*(async\s+)?(def|class)\s+{re.escape(name)}\b", code, re.MULTILINE) is not None


def _looks_like_code(text: str, prompt: str) -> bool:
    return (
        _begins_with_code(text, prompt) or re.search(r"^\s*(?:def|class|import|from)\s", text, re.MULTILINE) is not None
    )


def _begins_with_code(text: str, prompt: str) -> bool:
    first = _first_line(text)
    if first.startswith((" ", "\t")):
        return bool(prompt) or _CODE_LINE.match(first.strip()) is not None
    return _CODE_LINE.match(first) is not None


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")
