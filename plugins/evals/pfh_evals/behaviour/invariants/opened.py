"""A file of invariants, read and found to be without fault before a model is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pfh.errors import UserError, content_of, did_you_mean, reading
from pfh.kit.yaml_files import LARGEST, PlainLoader, read_yaml
from pfh.sources.datasets import read_jsonl
from pydantic import BaseModel, ValidationError

from pfh_evals.behaviour.invariants.checks import OF_BOTH, OF_JUDGE
from pfh_evals.behaviour.invariants.faults import fault_of, fault_of_way, schema_fault
from pfh_evals.behaviour.invariants.judging import verdicts
from pfh_evals.behaviour.invariants.written import (
    Defaults,
    Hold,
    Invariant,
    OfDataset,
    OfFile,
    Prompt,
    Turn,
    Vary,
    Written,
    names_in,
    put_in,
)

if TYPE_CHECKING:
    from pfh.hooks.datasets import DataSource

_MODELS: Sequence[type[BaseModel]] = (Written, Defaults, Hold, Vary, Turn, Prompt, OfFile, OfDataset, Invariant)
_KNOWN = sorted({name for model in _MODELS for name in model.model_fields})


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file of invariants with what it names."""

    file: Path
    written: Written
    tools: tuple[Mapping[str, Any], ...]
    listed: Mapping[str, tuple[Prompt, ...]]
    """Prompts by the invariant's id; those of datasets are not among them."""
    digest: str
    """Hash of all files."""

    def hold(self, invariant: Invariant) -> Hold:
        """Return the rates that an invariant must hold at: its own, else the defaults'."""
        own = invariant.hold.model_dump(exclude_none=True)
        return Hold.model_validate({**self.written.defaults.hold.model_dump(exclude_none=True), **own})

    def prompts(self, invariant: Invariant, data: DataSource) -> tuple[tuple[Prompt, ...], str]:
        """Return the prompts of an invariant, and where they come from.

        Raises:
            DataUnavailableError: their dataset cannot be had.
            UserError: it has no such column.
        """
        asked = invariant.prompts
        if not isinstance(asked, OfDataset):
            return self.listed[invariant.id], self.file.name
        organisation, name, config, split = asked.dataset.split("/")
        found = data.load(f"{organisation}/{name}", config, split)
        if found.rows and asked.field not in found.rows[0]:
            raise UserError(
                f"{asked.dataset} has no column {asked.field!r}.{did_you_mean(asked.field, found.rows[0])} It has "
                f"{', '.join(found.rows[0])}."
            )
        texts = [str(row[asked.field]) for row in found.rows if str(row.get(asked.field, "")).strip()]
        return tuple(Prompt(ask=text) for text in dict.fromkeys(texts)), f"{asked.dataset} ({found.origin})"


def open_invariants(file: str) -> Opened:
    """Read a file of invariants, check it, and put its own passing and failing texts to its checks.

    Raises:
        UserError: something is at fault; the message says at which line.
    """
    path = Path(file).expanduser()
    return _opened(path, tuple((each, _digest(each, path)) for each in _files(path)))


def _digest(each: Path, path: Path) -> str:
    """Return the hash of the file of invariants or of one that it names."""
    named = f"The file of invariants {path}" if each == path else f"{each}, which {path} names,"
    with reading(named, "name one that is there" if each != path else "give a YAML file"):
        return hashlib.sha256(content_of(each, LARGEST)).hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the file and those that it names, as far as it can be read at all."""
    found = [path]
    content = read_yaml(path, f"The file of invariants {path}", "give a YAML file as docs/how-to/invariants.md shows")
    if isinstance(content, dict):
        named = [content.get("tools")]
        rows = content.get("invariants")
        for row in rows if isinstance(rows, list) else ():
            prompts = row.get("prompts") if isinstance(row, dict) else None
            named.append(prompts.get("file") if isinstance(prompts, dict) else None)
        found += [path.parent / name for name in named if isinstance(name, str) and name]
    return found


@cache
def _opened(path: Path, stamp: tuple[tuple[Path, str], ...]) -> Opened:
    at = _Places(path)
    content = read_yaml(path, f"The file of invariants {path}", "mend it")
    if not isinstance(content, dict):
        raise at.error((), "it holds no invariants: it is a YAML mapping that begins with version: 1")
    try:
        written = Written.model_validate(content)
    except ValidationError as error:
        first = _plainest(error)
        place = tuple(part for part in first["loc"] if part in _KNOWN or isinstance(part, int))
        extra = first["type"] == "extra_forbidden"
        hint = did_you_mean(str(first["loc"][-1]), _KNOWN) if extra else ""
        raise at.error(
            place if not extra else first["loc"], first["msg"].removeprefix("Value error, ") + hint
        ) from None
    tools = _tools(path, written.tools, at)
    listed = {each.id: prompts for each in written.invariants if (prompts := _listed(path, each))}
    opened = Opened(
        file=path,
        written=written,
        tools=tools,
        listed=listed,
        digest=hashlib.sha256(json.dumps([each for _, each in stamp]).encode()).hexdigest()[:16],
    )
    for number, invariant in enumerate(written.invariants):
        for key, said in _faults(opened, invariant):
            raise at.error(("invariants", number, *key), f"the invariant {invariant.id}: {said}")
    twice = [each.id for each in written.invariants]
    if repeated := next((name for name in twice if twice.count(name) > 1), ""):
        raise at.error(("invariants",), f"two invariants are called {repeated}")
    return opened


def _plainest(error: ValidationError) -> Mapping[str, Any]:
    """Return the error that says most: of several forms of prompts the one that goes deepest."""
    return max(error.errors(), key=lambda each: (len(each["loc"]), each["type"] == "extra_forbidden"))


def _listed(path: Path, invariant: Invariant) -> tuple[Prompt, ...]:
    if isinstance(invariant.prompts, OfDataset):
        return ()
    if isinstance(invariant.prompts, list):
        return tuple(invariant.prompts)
    file = path.parent / invariant.prompts.file
    found = []
    for number, row in enumerate(read_jsonl(file), start=1):
        given = dict(row)
        if "prompt" in given:
            given["ask"] = given.pop("prompt")
        try:
            found.append(Prompt.model_validate(given))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"{file}, row {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}. A row has ask (or prompt), "
                "and may have vars, sources and against."
            ) from None
    return tuple(found)


def _tools(path: Path, name: str, at: _Places) -> tuple[Mapping[str, Any], ...]:
    if not name:
        return ()
    file = path.parent / name
    with reading(f"The file of tools {file}", "give a JSON list of tools with name, description and parameters"):
        found = json.loads(content_of(file, LARGEST))
    if not isinstance(found, list) or not found:
        raise UserError(f"The file of tools {file} is no JSON list of tools.")
    tools = [each["function"] if isinstance(each, dict) and "function" in each else each for each in found]
    for place, tool in enumerate(tools, start=1):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise UserError(f"{file}: tool {place} has no name.")
        if said := schema_fault(tool.get("parameters", {})):
            raise UserError(f"{file}: the parameters of {tool['name']}: {said}.")
    return tuple({"description": "", "parameters": {"type": "object"}, **tool} for tool in tools)


def _faults(opened: Opened, invariant: Invariant) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Say what is wrong with an invariant beyond the form of its fields."""
    hold, defaults = opened.hold(invariant), opened.written.defaults
    listed = opened.listed.get(invariant.id, ())
    if not listed and not isinstance(invariant.prompts, OfDataset):
        yield ("prompts",), "it has no prompt"
    if hold.is_empty:
        yield (), "it has no hold: say at_least, not_worse_by or each, there or in the defaults"
    if not invariant.checks and invariant.kind == "function":
        yield (), "it has no check, and a test without one passes whatever is said"
    if invariant.kind != "function" and invariant.extract is None:
        yield (), f"a {invariant.kind} says by `extract` what is compared"
    if invariant.extract is not None and (said := fault_of_way(invariant.extract)):
        yield ("extract",), said
    if invariant.kind == "invariance" and not (invariant.vary.typos or invariant.vary.wording or invariant.repeats > 1):
        yield (), "an invariance needs variants: say `vary`"
    if invariant.kind == "direction":
        if not invariant.extract or next(iter(invariant.extract)) not in ("number", "words"):
            yield ("extract",), "a direction compares {number: true} or {words: true}"
        if any(not prompt.against for prompt in listed) or isinstance(invariant.prompts, OfDataset):
            yield ("prompts",), "each prompt of a direction has an `against`"
    warm = defaults.temperature if invariant.temperature is None else invariant.temperature
    if invariant.repeats > 1 and not warm:
        yield ("repeats",), "repeats need a temperature above 0, as greedy replies are all the same"
    if invariant.messages and invariant.messages[-1].role == "user":
        yield ("messages",), "the turns before a prompt end with one of the assistant or the system"
    for number, template in enumerate(invariant.vary.wording):
        if "{ask}" not in template:
            yield ("vary", "wording", number), f"{template!r} has no {{ask}} in it"
    names = [tool["name"] for tool in opened.tools]
    for number, check in enumerate(invariant.checks):
        if said := fault_of(check, names):
            yield ("checks", number), said
    for number, prompt in enumerate(listed):
        known = prompt.vars
        for name in names_in([prompt.ask, prompt.against, invariant.system, list(invariant.checks)]):
            if name not in known:
                yield ("prompts", number), f"{{vars.{name}}} has no value.{did_you_mean(name, known)}"
        if any("cites_only" in check for check in invariant.checks) and not prompt.sources:
            yield ("prompts", number), "cites_only needs `sources`"
    yield from _tried(opened, invariant)


def _tried(opened: Opened, invariant: Invariant) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Put the invariant's own texts to its checks."""
    own = [check for check in invariant.checks if not names_of(check) & {*OF_JUDGE, OF_BOTH}]
    if any("regex" in names_of(check) for check in own) and not (invariant.passes and invariant.fails):
        yield (), "a check by regex needs one reply under `passes` and one under `fails`, which show what it means"
    listed = opened.listed.get(invariant.id, ())
    first = listed[0] if listed else Prompt(ask="?")
    whole = len(own) == len(invariant.checks)
    texts = [("passes", place, text) for place, text in enumerate(invariant.passes)]
    texts += [("fails", place, text) for place, text in enumerate(invariant.fails)]
    context = {"asked": first.ask, "sources": first.sources, "tools": list(opened.tools), "label": "complied"}
    checks = put_in(own, first.vars) if first.vars else own
    found = verdicts([(checks, text, context, None) for _, _, text in texts])
    for (kind, place, text), verdict in zip(texts, found, strict=True):
        if verdict is None:
            yield (kind, place), f"a check did not end on {text[:60]!r} within its time: simplify the pattern or schema"
        elif kind == "passes" and not all(verdict.held):
            lost = next(iter(own[verdict.held.index(False)]))
            yield (kind, place), f"{text[:60]!r} should pass, and {lost} does not hold of it"
        elif kind == "fails" and whole and all(verdict.held):
            yield (kind, place), f"{text[:60]!r} should fail, and every check holds of it"


def names_of(check: object) -> set[str]:
    """Return the names of a check and of those inside it."""
    if not isinstance(check, dict):
        return set()
    inside = [*check.get("any_of", ()), check.get("not")]
    return set(check) | {name for each in inside for name in names_of(each)}


class _Places:
    """Says where in a YAML file something stands."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def error(self, loc: Sequence[str | int], said: str) -> UserError:
        """Return the error of what stands at `loc`."""
        node = yaml.compose(content_of(self._path, LARGEST), PlainLoader)
        line = node.start_mark.line + 1 if node else 1
        for part in loc:
            key, node = _inside(node, part)
            if node is None:
                break
            line = (key or node).start_mark.line + 1
        ended = said if said.endswith((".", "?")) else f"{said}."
        return UserError(f"{self._path}, line {line}: {ended}")


def _inside(node: Any, part: str | int) -> tuple[Any, Any]:  # noqa: ANN401 - PyYAML has no types
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None
