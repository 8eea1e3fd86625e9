"""What did it forget? lm-eval's tasks by category, and built-in problems that need no data, through pfh's engine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError, PfhError, out_of_resources
from pfh.hooks.evals import Analysis, AnalysisSpec, CategorySpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, BenchmarkStatus, Evaluation
from pfh.hooks.tables import Table
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from pfh_evals.forgetting.analysis import analyze_forgetting
from pfh_evals.forgetting.battery import BUILTIN, Preset, category_of, preset_limit, preset_names
from pfh_evals.forgetting.builtin import GENERATORS, builtin_configurations
from pfh_evals.forgetting.plan import planned
from pfh_evals.forgetting.scoring import quiet_lm_eval, run
from pfh_evals.forgetting.tasks import CannotRunError, Loaded, TaskFinder, load_tasks


class Options(BaseModel):
    """What is put to a model, and how its prompts are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field(
        "quick",
        description="how much is asked where no benchmark is named: quick (minutes on two cores with a small model), "
        "standard (all benchmarks, some of their documents) or full",
    )
    tasks: tuple[str, ...] = Field(
        (), description="names or YAML files of lm-eval tasks, groups or tags, in place of the preset"
    )
    own_code: bool = Field(False, description="let YAML files among `tasks` run the Python functions that they name")
    num_fewshot: int | None = Field(
        None, ge=0, description="worked examples in a prompt; unset: as each task says. A task that says 0 stays at 0"
    )
    problems_seed: int = Field(
        0, description="seed of the built-in problems; another seed of a run samples other answers to the same problems"
    )
    apply_chat_template: bool = Field(False, description="put prompts as chats, in the model's own template")

    @field_validator("tasks")
    @classmethod
    def _there(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for name in tasks:
            if _is_file(name) and not Path(name).expanduser().is_file():
                raise ValueError(f"there is no file {name}")
        return tasks

    @computed_field  # type: ignore[prop-decorator]  # a file that changed is another benchmark
    @property
    def task_files(self) -> dict[str, str]:
        """Hash of every YAML file among `tasks`."""
        files = [name for name in self.tasks if _is_file(name)]
        return {name: hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest()[:12] for name in files}


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put every benchmark to the model, one after the other.

    Raises:
        UserError: a benchmark was asked for that there is not.
    """
    finder = _finder(spec.options)
    names = _names(spec, finder)
    return Evaluation(
        family="forgetting",
        benchmarks=tuple(_measured(spec, finder, name, _limit(spec, name)) for name in names),
    )


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say what `evaluate` would put to a model: documents, requests and the length of prompts.

    Raises:
        UserError: a benchmark was asked for that there is not.
    """
    finder = _finder(spec.options)
    names = _names(spec, finder)
    with quiet_lm_eval():
        return planned([(name, _limit(spec, name), partial(_load, spec, finder, name)) for name in names])


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say what was forgotten and what was gained, by category."""
    return analyze_forgetting(spec)


@hookimpl
def category(spec: CategorySpec) -> str:
    """Name the category of the battery that a benchmark is in."""
    return category_of(spec.benchmark)


def _finder(chosen: Options) -> TaskFinder:
    files = [Path(name).expanduser() for name in chosen.tasks if _is_file(name)]
    return TaskFinder(files, own_code=chosen.own_code)


def _names(spec: EvaluationSpec | PlanSpec, finder: TaskFinder) -> tuple[str, ...]:
    """Return the benchmarks to run, in their order.

    Raises:
        UserError: one of them is not known; said before any of them runs.
    """
    files = iter(finder.named)
    tasks = [next(files) if _is_file(name) else name for name in spec.options.tasks]
    asked: Sequence[str] = spec.benchmarks or tasks or preset_names(spec.options.preset)
    names = [member for name in asked for member in (GENERATORS if name == BUILTIN else (name,))]
    for name in names:
        if name not in GENERATORS:
            finder.check(name)
    return tuple(dict.fromkeys(names))


def _limit(spec: EvaluationSpec | PlanSpec, name: str) -> int | None:
    """Return how many documents of each task are asked: a preset's share holds for what nobody named."""
    chosen = spec.options
    named = chosen.tasks or (spec.benchmarks and not spec.default_set)
    share = None if named else preset_limit(name, chosen.preset)
    return min((limit for limit in (spec.limit, share) if limit is not None), default=None)


def _load(spec: EvaluationSpec | PlanSpec, finder: TaskFinder, name: str) -> Loaded:
    chosen = spec.options
    if name in GENERATORS:
        loaded = load_tasks(builtin_configurations(name, chosen.problems_seed), spec.data, chosen.num_fewshot)
        return Loaded(tasks=loaded.tasks, source="built in")
    return load_tasks(finder.configurations(name), spec.data, chosen.num_fewshot)


def _measured(spec: EvaluationSpec, finder: TaskFinder, name: str, limit: int | None) -> Benchmark:
    """Return one benchmark, whatever became of it: a task is somebody else's code, and must not end the others."""
    try:
        with quiet_lm_eval():
            loaded = _load(spec, finder, name)
        return run(
            name,
            loaded,
            spec.engine,
            limit=limit,
            part=spec.part,
            apply_chat_template=spec.options.apply_chat_template,
            seed=spec.seed,
        )
    except (CannotRunError, DataUnavailableError) as error:
        return _absent(name, "NOT_RUN", str(error))
    except NotNumbersError as error:
        return _absent(name, "ERROR", str(error))
    except PfhError:
        raise
    except Exception as error:
        if out_of_resources(error):  # no fault of the task
            raise
        return _absent(name, "ERROR", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _absent(name: str, status: BenchmarkStatus, reason: str) -> Benchmark:
    return Benchmark(name=name, version="", metric="", higher_is_better=None, status=status, reason=reason)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))
