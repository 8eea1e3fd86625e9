"""Load the plugins that a run names, and call their hooks; whatever a plugin does wrong is named, never a crash."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pfh.errors import PfhError, PluginError, StepFailedError, did_you_mean, out_of_resources
from pfh.hooks import hookspecs
from pfh.hooks.attacks import AttackResult
from pfh.hooks.domains import Generation
from pfh.hooks.evals import Analysis, CategorySpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.launchers import LaunchResult
from pfh.hooks.methods import TrainingResult
from pfh.hooks.readers import Log
from pfh.hooks.tables import Table
from pfh.registry.catalogue import Catalogue, Kind, Plugin
from pfh.registry.moved import new_imports, undeclared
from pfh.registry.options import fill

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.hooks.attacks import AttackSpec
    from pfh.hooks.backends import BackendSpec, Engine, EngineSpec
    from pfh.hooks.domains import Domain, DomainSpec, GenerationSpec
    from pfh.hooks.evals import AnalysisSpec, EvaluationSpec, PlanSpec
    from pfh.hooks.judges import Judge, JudgeSpec
    from pfh.hooks.launchers import LaunchSpec, SubmittedSpec, SubmittedTask
    from pfh.hooks.methods import Draw, StageSpec, TrainingSpec
    from pfh.hooks.readers import LogSpec, WriteSpec


REQUIRED_HOOK: Mapping[Kind, str] = {
    "methods": "train",
    "evals": "evaluate",
    "domains": "open_domain",
    "backends": "open_engine",
    "judges": "open_judge",
    "attacks": "attack",
    "readers": "read_log",
    "launchers": "launch",
}


EXTRAS = {"vllm": "vllm", "ray": "ray", "submitit": "slurm"}


class _Hooks:
    """A plugin's hooks: an object of its own for each name, as pluggy refuses one module under two names."""

    def __init__(self, hooks: Mapping[str, Any]) -> None:
        self.__dict__.update(hooks)


class Plugins:
    """The plugins of one run: found by metadata, imported when named."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self._options_models: dict[str, type[BaseModel] | None] = {}
        self._manager = pluggy.PluginManager("pfh")
        self._manager.add_hookspecs(hookspecs)

    def load(self, kind: Kind, name: str) -> Plugin:
        """Import one plugin and check its hooks.

        Raises:
            PluginError: there is no such plugin, or it cannot be used; names it, its distribution and the cause.
        """
        plugin = self.catalogue.find(kind, name)
        if not self._manager.has_plugin(plugin.key):
            self._register(plugin)
        return plugin

    def load_wrappers(self) -> None:
        """Import every plugin of the group `pfh.wrappers`."""
        for name in self.catalogue.names("wrappers"):
            self.load("wrappers", name)

    def check(self, plugin: Plugin) -> str:
        """Return what is wrong with an installed plugin, or an empty string."""
        try:
            self.load(plugin.kind, plugin.name)
            if plugin.kind != "wrappers":
                self.options_model(plugin.kind, plugin.name)
        except PfhError as error:
            return str(error)
        return ""

    def implements(self, kind: Kind, name: str, hook: str) -> bool:
        """Say whether a plugin has a hook that it need not have."""
        plugin = self.load(kind, name)
        return hasattr(self._manager.get_plugin(plugin.key), hook)

    def options_model(self, kind: Kind, name: str) -> type[BaseModel] | None:
        """Return the pydantic model of the plugin's options; None when it takes none.

        Raises:
            PluginError: what the plugin names is no pydantic model.
        """
        from pydantic import BaseModel

        plugin = self.load(kind, name)
        if plugin.key in self._options_models:
            return self._options_models[plugin.key]
        model: type[BaseModel] | None = self._call(plugin, "options", {})
        if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise PluginError(
                f"{_named(plugin)} returned {model!r} from the hook 'options'; it needs a pydantic model."
            )
        if model is not None and (declaration := undeclared(plugin, model)):
            raise PluginError(f"{_named(plugin)} was written for an earlier pfh: {declaration}.")
        self._options_models[plugin.key] = model
        return model

    def options(self, kind: Kind, name: str, given: Mapping[str, Any]) -> BaseModel | None:
        """Return the plugin's options, filled from `given` and its defaults.

        Raises:
            UserError: an unknown option, or a value that does not fit.
        """
        return fill(self.options_model(kind, name), given, f"{kind}:{name}")

    def train(self, name: str, spec: TrainingSpec) -> TrainingResult:
        """Run a method."""
        result: TrainingResult = self._need(TrainingResult, "methods", name, "train", spec)
        return result

    def check_stage(self, name: str, spec: StageSpec) -> None:
        """Let a method check that it can train a stage.

        Raises:
            UserError: it does.
        """
        self._call(self.load("methods", name), "check", {"spec": spec})

    def draws(self, name: str, spec: StageSpec) -> tuple[Draw, ...] | None:
        """Return the rollouts that a method will ask for; None where it does not say."""
        drawn = self._may(Sequence, "methods", name, "draws", spec)
        return None if drawn is None else tuple(drawn)

    def open_domain(self, name: str, spec: DomainSpec) -> Domain:
        """Open a domain."""
        domain: Domain = self._need(object, "domains", name, "open_domain", spec)
        return domain

    def generate(self, name: str, spec: GenerationSpec) -> Generation | None:
        """Roll out by a domain's own hook; None where it has none."""
        own: Generation | None = self._may(Generation, "domains", name, "generate", spec)
        return own

    def evaluate(self, name: str, spec: EvaluationSpec) -> Evaluation:
        """Run a benchmark family."""
        result: Evaluation = self._need(Evaluation, "evals", name, "evaluate", spec)
        return result

    def plan(self, name: str, spec: PlanSpec) -> Table | None:
        """Return what a family would put to a model; None where it does not say."""
        table: Table | None = self._may(Table, "evals", name, "plan", spec)
        return table

    def analyze(self, name: str, spec: AnalysisSpec) -> Analysis:
        """Let a family say more than the paired figures; nothing where it has no more to say."""
        own: Analysis | None = self._may(Analysis, "evals", name, "analyze", spec)
        return Analysis() if own is None else own

    def category(self, name: str, benchmark: str) -> str:
        """Return the category of a family's benchmark; empty where the family has none, or is not installed."""
        if name not in self.catalogue.names("evals"):
            return ""
        found: str | None = self._may(str, "evals", name, "category", CategorySpec(benchmark=benchmark))
        return found or ""

    def open_engine(self, name: str, spec: EngineSpec) -> Engine:
        """Make a model resident."""
        engine: Engine = self._need(object, "backends", name, "open_engine", spec)
        return engine

    def answers_through(self, name: str, spec: BackendSpec) -> tuple[str, ...]:
        """Return the backends that answer for the one called `name`: itself, and those that it names."""
        others = self._may(Sequence, "backends", name, "answers_through", spec) or ()
        return (name, *(other for other in others if other in self.catalogue.names("backends")))

    def open_judge(self, name: str, spec: JudgeSpec) -> Judge:
        """Open a judge."""
        judge: Judge = self._need(object, "judges", name, "open_judge", spec)
        return judge

    def attack(self, name: str, spec: AttackSpec) -> AttackResult:
        """Run an attack."""
        result: AttackResult = self._need(AttackResult, "attacks", name, "attack", spec)
        return result

    def read_log(self, name: str, spec: LogSpec) -> Log | None:
        """Read another tool's log; None where it is none that this reader knows."""
        log: Log | None = self._may(Log, "readers", name, "read_log", spec)
        return log

    def write_log(self, name: str, spec: WriteSpec) -> Path | None:
        """Write evaluations in the format of a reader; None where it only reads."""
        folder: Path | None = self._may(Path, "readers", name, "write_log", spec)
        return folder

    def launch(self, name: str, spec: LaunchSpec) -> LaunchResult:
        """Execute runs."""
        result: LaunchResult = self._need(LaunchResult, "launchers", name, "launch", spec)
        return result

    def submitted_tasks(self, name: str, spec: SubmittedSpec) -> tuple[SubmittedTask, ...]:
        """Return the tasks of a study that a launcher has submitted and that have not ended."""
        return tuple(self._may(Sequence, "launchers", name, "submitted_tasks", spec) or ())

    def cancel_tasks(self, name: str, spec: SubmittedSpec) -> tuple[SubmittedTask, ...]:
        """Let a launcher end what it has submitted of a study; return that."""
        return tuple(self._may(Sequence, "launchers", name, "cancel_tasks", spec) or ())

    def _register(self, plugin: Plugin) -> None:
        if not plugin.module:
            raise PluginError(
                f"{_named(plugin)} has a malformed entry point {plugin.entry_point.value!r}; "
                "it must read module or module:attribute."
            )
        try:
            loaded = plugin.entry_point.load()
            hooks = {name: hook for name in dir(loaded) if _is_hook(hook := getattr(loaded, name))}
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if moved := _moved(plugin, error):
                raise PluginError(moved) from error
            raise PluginError(
                f"{_named(plugin)} cannot be imported: {_cause(error)}. {_remedy(plugin, error)}"
            ) from error
        _check_hooks(plugin, loaded, hooks)
        try:
            self._manager.register(_Hooks(hooks), plugin.key)
        except pluggy.PluginValidationError as error:
            if self._manager.has_plugin(plugin.key):
                self._manager.unregister(name=plugin.key)
            message = str(error).splitlines()[-1]
            raise PluginError(f"{_named(plugin)} has a hook of the wrong form: {message}") from error

    def _need(self, form: type, kind: Kind, name: str, hook: str, spec: object) -> Any:  # noqa: ANN401
        result = self._may(form, kind, name, hook, spec)
        if result is None:
            raise PluginError(f"{_named(self.load(kind, name))} returned nothing from the hook {hook!r}.")
        return result

    def _may(self, form: type, kind: Kind, name: str, hook: str, spec: object) -> Any:  # noqa: ANN401
        plugin = self.load(kind, name)
        result = self._call(plugin, hook, {"spec": spec})
        if result is not None and not isinstance(result, form):
            raise PluginError(
                f"{_named(plugin)} returned a {type(result).__name__} from the hook {hook!r}; "
                f"it needs a {form.__name__}."
            )
        return result

    def _call(self, plugin: Plugin, hook: str, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401
        """Call one plugin's hook, inside every wrapper that is loaded."""
        others = [
            other
            for key, other in self._manager.list_name_plugin()
            if key != plugin.key and not key.startswith("wrappers:")
        ]
        try:
            return self._manager.subset_hook_caller(hook, others)(**arguments)
        except PfhError:
            raise
        except Exception as error:
            if moved := _moved(plugin, error):
                raise PluginError(moved) from error
            if line := out_of_resources(error):
                raise StepFailedError(f"{plugin.key}: {line}") from error
            raise StepFailedError(f"{_named(plugin)} failed in {hook}: {_cause(error)}.") from error


def _is_hook(value: object) -> bool:
    return isinstance(getattr(value, "pfh_impl", None), dict)  # a dict: some objects answer to any attribute


def _check_hooks(plugin: Plugin, loaded: object, hooks: Mapping[str, Any]) -> None:
    specs = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "pfh_spec")}
    for name, hook in hooks.items():
        if name not in specs:
            raise PluginError(f"{_named(plugin)} implements an unknown hook {name!r}.{did_you_mean(name, specs)}")
        wanted, given = (list(inspect.signature(function).parameters) for function in (specs[name], hook))
        if not set(given) <= set(wanted):
            raise PluginError(
                f"{_named(plugin)} declares the hook {name}({', '.join(given)}), "
                f"but pfh calls {name}({', '.join(wanted)})."
            )
        if plugin.kind == "wrappers" and not (hook.pfh_impl["wrapper"] or hook.pfh_impl["hookwrapper"]):
            raise PluginError(
                f"{_named(plugin)} must wrap the hook {name!r}, not replace it: write @hookimpl(wrapper=True)."
            )
    required = REQUIRED_HOOK.get(plugin.kind)
    if required and required not in hooks:
        bare = callable(getattr(loaded, required, None))
        hint = f" Its function {required} lacks the decorator @hookimpl." if bare else ""
        raise PluginError(f"{_named(plugin)} does not implement the hook {required!r} that {plugin.kind} need.{hint}")


def _named(plugin: Plugin) -> str:
    return f"{plugin.key} (from {plugin.source})"


def _cause(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _moved(plugin: Plugin, error: BaseException) -> str:
    """Say what to import, where a plugin failed for an import of pfh that no longer leads anywhere."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("pfh"):
        return ""
    imports = new_imports(plugin)
    return f"{_named(plugin)} was written for an earlier pfh ({_cause(error)}). Write: {imports}." if imports else ""


def _remedy(plugin: Plugin, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        if module in EXTRAS:
            return f"Install it with: pip install 'pfh[{EXTRAS[module]}]'"
        if module not in {plugin.module.partition(".")[0], *packages_distributions()}:
            return f"Install the package that provides {module!r}."
    return f"Update it (pip install -U {plugin.distribution}) or remove it (pip uninstall {plugin.distribution})."
