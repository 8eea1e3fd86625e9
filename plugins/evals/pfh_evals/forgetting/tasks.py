"""lm-eval's tasks by name: found without indexing all of them, and fed with rows from pfh's data sources."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfh.errors import PfhError, UserError, did_you_mean
from pfh.hooks.datasets import DataSource
from pfh.sandbox import available as sandbox_refusal

from pfh_evals.forgetting.battery import BY_NAME
from pfh_evals.forgetting.code_eval import code_eval_from_sandbox
from pfh_evals.forgetting.own_code import refuse_code, sandbox_templates, tags_in
from pfh_evals.forgetting.rows import Rows, reads_files

RANDOM_SEED, NUMPY_SEED, FEWSHOT_SEED = 0, 1234, 1234
"""Seeds that lm-eval sets before it loads tasks, and those of its few-shot examples."""
SANDBOXED = ("humaneval", "mbpp")
"""Folders of tasks that run what a model wrote by nothing but `code_eval`, which pfh's sandbox stands in for."""


class CannotRunError(PfhError):
    """A benchmark cannot be run here; it becomes NOT_RUN with this message as the reason."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A benchmark whose tasks are ready to be put to a model."""

    tasks: Mapping[str, Any]
    """Name to lm-eval task; several for a group or tag."""
    source: str
    """Where the rows come from."""


class TaskFinder:
    """Definitions of lm-eval's tasks, groups and tags, read only as far as names ask for them."""

    def __init__(self, files: Sequence[Path] = (), *, own_code: bool = False) -> None:
        """Take the user's own YAML files into the index; `own_code` allows them to run code of their own.

        Raises:
            UserError: a file is no definition of a task.
        """
        sandbox_templates()
        self._root = _tasks_root()
        self._own_code = own_code
        self._index: dict[str, Any] = {}
        self._read: set[Path] = set()
        self._looked_up: set[str] = set()
        self._own_members: set[str] = set()
        self.named: tuple[str, ...] = tuple(self._add_file(file) for file in files)
        """What the files define, in their order."""

    def check(self, name: str) -> None:
        """Look a name up.

        Raises:
            UserError: there is no such name.
        """
        self._entry(name)

    def configurations(self, name: str) -> list[dict[str, Any]]:
        """Return the configuration of every task that `name` stands for, functions resolved.

        Raises:
            UserError: there is no such name.
            CannotRunError: a definition needs what is not installed here, or is no configuration.
        """
        try:
            return self._expand(name, {})
        except PfhError:
            raise
        except Exception as error:  # a definition of the user's may hold anything
            raise CannotRunError(f"lm-eval cannot read the definition of {name}: {_cause(error)}") from error

    def _expand(self, name: str, overrides: Mapping[str, Any], *, member: bool = False) -> list[dict[str, Any]]:
        from lm_eval.tasks._index import Kind

        entry = self._index[name] if member and name in self._own_members else self._entry(name)
        if entry.kind is Kind.TAG:
            return [found for member in sorted(entry.tags) for found in self._expand(member, overrides)]
        if entry.kind is Kind.PY_TASK:
            raise CannotRunError(f"the task {name} is a Python class of lm-eval, which loads its own data")
        configuration = self._load(entry.yaml_path)
        if entry.kind is Kind.GROUP:
            return self._members(name, configuration, overrides)
        return [{key: value for key, value in {**configuration, **overrides}.items() if key not in ("tag", "group")}]

    def _members(self, group: str, configuration: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[Any]:
        """Expand a group as lm-eval does: what it says beyond its own settings holds for all its members."""
        from lm_eval.tasks._factory import GROUP_FIELD_NAMES

        shared = {key: value for key, value in configuration.items() if key not in GROUP_FIELD_NAMES} | dict(overrides)
        found: list[dict[str, Any]] = []
        for member in configuration["task"]:
            if isinstance(member, str):
                found += self._expand(member, shared, member=True)
            elif isinstance(member.get("task"), list):
                found += self._members(member["group"], member, shared)
            else:
                name = member.get("task") or member["group"]
                own = shared | {key: value for key, value in member.items() if key not in ("task", "group")}
                found += self._expand(name, own) if self._knows(name) else [{**own, "task": f"{group}::{name}"}]
        return found

    def _entry(self, name: str) -> Any:  # noqa: ANN401 - lm-eval's own
        if not self._knows(name):
            known = {*BY_NAME, *self._index, *_names(self._root).defined}
            raise UserError(f"lm-eval has no task, group or tag {name!r}.{did_you_mean(name, known)}")
        return self._index[name]

    def _knows(self, name: str) -> bool:
        if name in self._looked_up:
            return True
        entry = BY_NAME.get(name)
        if entry:
            self._read_folders([self._root / entry.folder])
            self._own_members.update(self._index)  # the battery's groups have their members in their own folders
        elif name not in self._index or _is_tag(self._index[name]):  # a tag may be set in several folders
            self._read_folders(sorted(_names(self._root).folders.get(name, ())))
        if name in self._index:
            self._looked_up.add(name)
        return name in self._index

    def _read_folders(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if folder not in self._read:
                self._read.add(folder)
                self._take_in(_folder_index(folder))

    def _take_in(self, found: Mapping[str, Any]) -> None:
        for name, entry in found.items():
            known = self._index.setdefault(name, entry)
            if _is_tag(known) and _is_tag(entry):
                self._index[name] = dataclasses.replace(known, tags=known.tags | entry.tags)

    def _add_file(self, file: Path) -> str:
        from lm_eval.tasks._index import TaskIndex
        from lm_eval.tasks._yaml_loader import load_yaml

        found: dict[str, Any] = {}
        try:
            tags_in(file)
            configuration = load_yaml(file, resolve_func=False)
            TaskIndex.process_cfg(configuration, file.resolve(), found)
            name = str(configuration.get("group") or configuration["task"])
            self._index[name] = found[name]
        except Exception as error:  # it may be missing, no YAML, or YAML of something else
            raise UserError(f"{file} is no task definition of lm-eval: {' '.join(str(error).split())}") from error
        self._looked_up.add(name)
        self._take_in(_folder_index(file.resolve().parent))  # what a group's members are
        return name

    def _load(self, path: Path) -> dict[str, Any]:
        from lm_eval.tasks._yaml_loader import load_yaml

        if not self._own_code:
            refuse_code(path, self._root)
        if path.is_relative_to(self._root / "ifeval"):
            _require_sentence_splitter()
        refusal = sandbox_refusal() if self._runs_code(path) else ""
        if refusal:
            raise CannotRunError(refusal)
        try:
            with code_eval_from_sandbox() if self._runs_code(path) else contextlib.nullcontext():
                configuration: dict[str, Any] = load_yaml(path, resolve_func=True)
        except ImportError as error:
            raise CannotRunError(f"lm-eval's definition {path.name} needs what is not installed: {error}") from error
        if configuration.get("unsafe_code") and not self._runs_code(path):
            raise CannotRunError("it runs what the model writes, outside of pfh's sandbox")
        return configuration

    def _runs_code(self, path: Path) -> bool:
        return any(path.is_relative_to(self._root / folder) for folder in SANDBOXED)


def load_tasks(configurations: Sequence[dict[str, Any]], data: DataSource, shots: int | None) -> Loaded:
    """Build the tasks of a benchmark over rows from `data`.

    Args:
        configurations: of the tasks.
        data: where rows come from; a task that names files of its own reads these.
        shots: few-shot examples; None is what a task says, or 0. As in lm-eval, a task that says 0 stays at 0.

    Raises:
        DataUnavailableError: a split that is needed cannot be had here.
        CannotRunError: lm-eval cannot build a task.
    """
    from lm_eval.api.task import ConfigurableTask

    tasks = {}
    origins: list[str] = []
    for configuration in configurations:
        rows = None
        try:
            prepared = {**configuration, "num_fewshot": _shots(configuration, shots)}
            if callable(prepared.get("process_docs")):  # some shuffle: every look must see the same
                prepared["process_docs"] = functools.cache(prepared["process_docs"])
            if not callable(prepared.get("custom_dataset")) and not reads_files(prepared):
                rows = Rows(prepared, data)
                prepared = rows.configuration
            with lm_eval_seeds():
                task = ConfigurableTask(config=prepared)
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        except PfhError:
            raise
        except Exception as error:  # a definition is somebody else's code over somebody else's data
            raise CannotRunError(f"lm-eval cannot build the task {configuration['task']}: {_cause(error)}") from error
        tasks[task.config.task] = task
        origins += rows.origins if rows else [_own_source(configuration)]
    return Loaded(tasks=tasks, source=_joined(origins))


@contextlib.contextmanager
def lm_eval_seeds() -> Iterator[None]:
    """Seed the global generators as lm-eval does, and give them back as they were."""
    import numpy as np

    state, numpy_state = random.getstate(), np.random.get_state()  # what task definitions draw from
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


@functools.cache
def _folder_index(folder: Path) -> Mapping[str, Any]:
    from lm_eval.tasks import TaskManager

    index: Mapping[str, Any] = TaskManager(include_path=str(folder), include_defaults=False).task_index
    return index


def _is_tag(entry: Any) -> bool:  # noqa: ANN401 - lm-eval's own
    return bool(entry.tags) and entry.yaml_path is None


def _shots(configuration: Mapping[str, Any], asked: int | None) -> int:
    own = configuration.get("num_fewshot")
    return int(own or 0) if asked is None or own == 0 else asked


def _own_source(configuration: Mapping[str, Any]) -> str:
    return f"the task's own data ({configuration.get('dataset_path') or 'custom dataset'})"


def _joined(origins: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(origins))
    return distinct[0] + (f" and {len(distinct) - 1} more" if len(distinct) > 1 else "")


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _tasks_root() -> Path:
    found = importlib.util.find_spec("lm_eval")
    assert found is not None  # a dependency
    assert found.origin is not None
    return Path(found.origin).parent / "tasks"


@dataclass(frozen=True, kw_only=True)
class _Names:
    defined: frozenset[str]
    """Names of all tasks, groups and tags."""
    folders: Mapping[str, set[Path]]
    """Name to the folders of all files that define it, set it as a tag, or list it."""


@functools.cache
def _names(root: Path) -> _Names:
    """Look for names in all of lm-eval's definitions, unparsed: two seconds where parsing takes ten."""
    line = rb"""^[ \t]*(-[ \t]*|["']?(?:task|group|tag)["']?[ \t]*:[ \t]*)["']?([\w.+-]+)["']?[ \t]*$"""
    pattern = re.compile(line, re.MULTILINE)
    defined: set[str] = set()
    folders: dict[str, set[Path]] = {}
    for file in root.rglob("*yaml"):
        for key, found in pattern.findall(file.read_bytes()):
            name = found.decode()
            folders.setdefault(name, set()).add(file.parent)
            if not key.startswith(b"-"):
                defined.add(name)
    return _Names(defined=frozenset(defined), folders=folders)


def _require_sentence_splitter() -> None:
    """Look for what IFEval's checks need before they try to fetch it.

    Raises:
        CannotRunError: it is not there; says how to get it.
    """
    missing = [name for name in ("langdetect", "immutabledict", "nltk") if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRunError(f"its checks need the packages {', '.join(missing)}: pip install 'lm-eval[ifeval]'")
    import nltk  # type: ignore[import-untyped]

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise CannotRunError(
            "its checks need nltk's sentence splitter: python -m nltk.downloader punkt_tab, or put the folder "
            "tokenizers/punkt_tab where NLTK_DATA points"
        ) from None
