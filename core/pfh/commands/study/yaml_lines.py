"""YAML with the line of everything in it, and no key twice: what a reader's mistakes are found by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pfh.errors import UserError, reading
from pfh.kit.yaml_files import PlainLoader

MOST_VALUES = 100_000
"""Of a file, each alias counted as what it stands for: a few lines of them make more than any memory holds."""

Place = tuple[str | int, ...]
"""Where a value stands: keys and numbers from the top."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a YAML file says, and where."""

    file: Path
    content: Any
    lines: dict[Place, int]

    def error(self, place: Sequence[str | int], message: str) -> UserError:
        """Return the error of what stands at `place`, or at the nearest place above it that the file has."""
        found = tuple(place)
        while found and found not in self.lines:
            found = found[:-1]
        named = ".".join(map(str, place))
        return UserError(f"{self.file}:{self.lines.get(found, 1)}: {f'{named}: ' if named else ''}{message}")


def read_yaml(file: Path, what: str) -> Document:
    """Read a YAML file.

    Raises:
        UserError: it cannot be read, is no YAML, has a key twice, or more values than any file that people write.
    """
    with reading(f"{what} {file}", "give a YAML file"):
        text = file.read_text(encoding="utf-8")
        loader = PlainLoader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Place, int] = {}
            if node is not None:
                _walk(node, (), lines, file)
            content = None if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{file}:{line}: this is no YAML: {error.problem or error.context}.") from error
        finally:
            loader.dispose()
    return Document(file=file, content=content, lines=lines)


def _walk(
    node: Any,  # noqa: ANN401 - PyYAML's
    place: Place,
    lines: dict[Place, int],
    file: Path,
    around: tuple[Any, ...] = (),
) -> None:
    lines[place] = node.start_mark.line + 1
    if any(node is each for each in around):
        where = ".".join(map(str, place))
        raise UserError(f"{file}:{lines[place]}: {where}: an alias stands within what it is an alias of: a cycle.")
    around = (*around, node)
    if len(lines) > MOST_VALUES:
        raise UserError(f"{file}:{lines[place]}: it holds more than {MOST_VALUES:,} values by here: use fewer aliases.")
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*place, index), lines, file, around)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inside = (*place, str(key.value))
            if inside in lines:
                raise UserError(f"{file}:{key.start_mark.line + 1}: {key.value} is given twice here.")
            _walk(value, inside, lines, file, around)
            lines[inside] = key.start_mark.line + 1
