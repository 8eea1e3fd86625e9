"""Read a study file: strictly, and every mistake with its line, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pfh.commands.study.schema import Chosers, Device, Phase, StartEntry, StopEarly, Study
from pfh.commands.study.yaml_lines import Document, read_yaml
from pfh.errors import UserError, did_you_mean

_PARTS: dict[str, type[BaseModel]] = {
    "starts": StartEntry,
    "phases": Phase,
    "where": Chosers,
    "exclude": Chosers,
    "device": Device,
    "stop_early": StopEarly,
}
_TWINS = {"starts": "start", "scales": "scale", "methods": "method", "domains": "domain", "seeds": "seed"}


def read_study(file: Path) -> tuple[Study, Document]:
    """Read a study file, and where everything stands in it.

    Raises:
        UserError: it cannot be read, or says what no study says; names file, line and the nearest name.
    """
    document = read_yaml(file, "The study")
    if not isinstance(document.content, dict):
        raise document.error((), "a study is a mapping that begins with name: (docs/how-to/run-a-study.md).")
    try:
        study = Study.model_validate(document.content)
    except ValidationError as error:
        raise _explained(error, document) from None
    names = [start.name for start in study.starts]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error(("starts", index, "name"), f"two starts are called {name!r}.")
    for index, phase in enumerate(study.phases):
        _check_one_of_twins(phase.where, document, ("phases", index, "where"))
    for index, chosers in enumerate(study.exclude):
        _check_one_of_twins(chosers, document, ("exclude", index))
    return study, document


def chosen_values(chosers: Chosers) -> dict[str, list[Any]]:
    """Return what is chosen by, under the singular name, as lists."""
    given = {_TWINS.get(name, name): value for name, value in chosers if value is not None}
    return {name: value if isinstance(value, list) else [value] for name, value in given.items()}


def _check_one_of_twins(chosers: Chosers, document: Document, place: Sequence[str | int]) -> None:
    given = [name for name, value in chosers if value is not None]
    if not given:
        raise document.error(place, "it chooses by nothing: give start, scale, method, domain or seed.")
    for plural, singular in _TWINS.items():
        if plural in given and singular in given:
            raise document.error((*place, plural), f"{singular} and {plural} are one thing: give one of them.")


def _explained(error: ValidationError, document: Document) -> UserError:
    """Return the first mistake as one line; of a union the branch that got furthest is told."""
    found = max(error.errors(), key=lambda detail: (detail["type"] == "extra_forbidden", len(_place(detail))))
    place = _place(found)
    if found["type"] == "extra_forbidden":
        known = _known(place)
        return document.error(
            place, f"no study says this here.{did_you_mean(str(place[-1]), known)} Known are {', '.join(known)}."
        )
    if found["type"] == "missing":
        return document.error(place[:-1], f"{place[-1]} is missing.")
    if found["type"] == "too_short":
        return document.error(place, "it is empty: an axis without values makes no run.")
    return document.error(place, f"{found['msg']}, got {_short(found['input'])}.")


def _place(detail: Any) -> tuple[str | int, ...]:  # noqa: ANN401 - pydantic's details
    """Return where a detail is, without pydantic's names of union branches."""
    return tuple(part for part in detail["loc"] if isinstance(part, int) or ("[" not in part and part not in _BRANCHES))


_BRANCHES = {"str", "bool", "int", "float", "none", "constrained-float"}


def _known(place: Sequence[str | int]) -> list[str]:
    named = [part for part in place[:-1] if isinstance(part, str)]
    model = _PARTS.get(named[-1], Study) if named else Study
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(names: Iterable[object]) -> str:
    """Return names in one line."""
    return ", ".join(map(str, names)) or "none"
