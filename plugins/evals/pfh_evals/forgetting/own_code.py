"""Task definitions from strangers: what in them would run code of theirs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pfh.errors import UserError, content_of, reading

LARGEST = 1 << 24
"""Bytes of a definition."""
DEEPEST = 100


def refuse_code(file: Path, root: Path) -> None:
    """Refuse a definition that names Python functions, or metrics that are fetched and run.

    Args:
        file: of the user's; what it includes is looked at too.
        root: lm-eval's own definitions, which may.

    Raises:
        UserError: it does, or cannot be read.
    """
    from lm_eval.api import metrics  # noqa: F401 - fills the registry
    from lm_eval.api.registry import metric_registry

    for path, content, tags in _definitions(file.resolve(), root, set()):
        if "!function" in tags:
            raise _refusal(path, "names Python functions (!function)")
        for metric in _metrics(content):
            name = metric.get("metric") if isinstance(metric, dict) else None
            if not isinstance(name, str) or name not in metric_registry or metric.get("hf_evaluate"):
                raise _refusal(path, f"asks for a metric that lm-eval has not got ({name!r})")


def tags_in(file: Path) -> set[str]:
    """Return the tags of a YAML file, nothing of which is built.

    Raises:
        UserError: it cannot be read, or is nested so deeply that lm-eval's parser would take the process with it.
    """
    import yaml

    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tags, depth = set(), 0
    with reading(f"The task definition {file}", "give a YAML file as lm-eval's documentation shows"):
        for event in yaml.parse(content_of(file, LARGEST), Loader=fast):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} deep")
            tags.add(str(getattr(event, "tag", "")))
    return tags


def sandbox_templates() -> None:
    """Let lm-eval's templates do what templates do, and no more: they too come with definitions."""
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    if isinstance(utils.env, SandboxedEnvironment):
        return
    confined = SandboxedEnvironment(undefined=utils.env.undefined, keep_trailing_newline=True)
    confined.filters.update(utils.env.filters)
    compiled = functools.lru_cache(1024)(confined.from_string)  # lm-eval compiles a template for every document
    confined.from_string = compiled  # type: ignore[assignment, method-assign]
    utils.env = confined


def _definitions(file: Path, root: Path, seen: set[Path]) -> Iterator[tuple[Path, dict[str, Any], set[str]]]:
    """Yield each file that makes up a definition with what it holds and the tags in it, lm-eval's own left out."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if file in seen or file.is_relative_to(root):
        return
    seen.add(file)
    tags = tags_in(file)
    with reading(f"The task definition {file}", "give a YAML file as lm-eval's documentation shows"):
        content = load_yaml(file, resolve_func=False, recursive=False)
        included = content.get("include") or []
        included = [(file.parent / each).resolve() for each in (included if isinstance(included, list) else [included])]
    yield file, content, tags
    for each in included:
        yield from _definitions(each, root, seen)


def _metrics(content: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever YAML holds
    """Yield the metrics of a definition and of those in it."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == "metric_list":
            yield from value if isinstance(value, list) else [value]
        yield from _metrics(value)
    for each in content if isinstance(content, list) else ():
        yield from _metrics(each)


def _refusal(file: Path, what: str) -> UserError:
    return UserError(f"{file} {what}, which is code to run: read it, and allow it with -o forgetting.own_code=true.")
