"""Load the plugins that a run names, and call their hooks; whatever a plugin does wrong is named, never a crash."""

from __future__ import annotations

import types
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

import pluggy

from pfh import hookspecs
from pfh.catalogue import Catalogue, Kind, Plugin
from pfh.errors import PfhError, PluginError, StepFailedError, did_you_mean
from pfh.options import fill

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pfh.domain import Domain
    from pfh.engine import Engine
    from pfh.evaluation import Evaluation
    from pfh.judging import Judge
    from pfh.specs import (
        Analysis,
        AnalysisSpec,
        DomainSpec,
        EngineSpec,
        EvaluationSpec,
        Generation,
        GenerationSpec,
        JudgeSpec,
        LaunchResult,
        LaunchSpec,
        TrainingResult,
        TrainingSpec,
    )

REQUIRED_HOOK: Mapping[Kind, str] = {
    "methods": "train",
    "evals": "evaluate",
    "domains": "open_domain",
    "backends": "open_engine",
    "judges": "open_judge",
    "launchers": "launch",
}
EXTRAS = {"vllm": "vllm", "ray": "ray", "submitit": "slurm"}


class Plugins:
    """The plugins of one run: found by metadata, imported when named."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
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
        except PluginError as error:
            return str(error)
        return ""

    def options(self, kind: Kind, name: str, given: Mapping[str, Any]) -> BaseModel | None:
        """Return the plugin's options, filled from `given` and its defaults.

        Raises:
            UserError: an unknown option, or a value that does not fit.
        """
        plugin = self.load(kind, name)
        model = self._call(plugin, "options", {}, required=False)
        return fill(model, given, plugin.key)

    def train(self, name: str, spec: TrainingSpec) -> TrainingResult:
        """Run a method."""
        result: TrainingResult = self._call(self.load("methods", name), "train", {"spec": spec})
        return result

    def open_domain(self, name: str, spec: DomainSpec) -> Domain:
        """Open a domain."""
        result: Domain = self._call(self.load("domains", name), "open_domain", {"spec": spec})
        return result

    def generate(self, name: str, spec: GenerationSpec) -> Generation:
        """Roll out in a domain: its own way where it has one, else single-turn."""
        from pfh.rollouts import single_turn

        result: Generation | None = self._call(self.load("domains", name), "generate", {"spec": spec}, required=False)
        return single_turn(spec) if result is None else result

    def evaluate(self, name: str, spec: EvaluationSpec) -> Evaluation:
        """Run a benchmark family."""
        result: Evaluation = self._call(self.load("evals", name), "evaluate", {"spec": spec})
        return result

    def analyze(self, name: str, spec: AnalysisSpec) -> Analysis:
        """Let a family say more than the paired figures; nothing where it has no more to say."""
        from pfh.specs import Analysis

        result: Analysis | None = self._call(self.load("evals", name), "analyze", {"spec": spec}, required=False)
        return Analysis() if result is None else result

    def open_engine(self, name: str, spec: EngineSpec) -> Engine:
        """Make a model resident."""
        result: Engine = self._call(self.load("backends", name), "open_engine", {"spec": spec})
        return result

    def open_judge(self, name: str, spec: JudgeSpec) -> Judge:
        """Open a judge."""
        result: Judge = self._call(self.load("judges", name), "open_judge", {"spec": spec})
        return result

    def launch(self, name: str, spec: LaunchSpec) -> LaunchResult:
        """Execute runs."""
        result: LaunchResult = self._call(self.load("launchers", name), "launch", {"spec": spec})
        return result

    def _register(self, plugin: Plugin) -> None:
        try:
            loaded = plugin.entry_point.load()
            hooks = {name: hook for name in dir(loaded) if hasattr(hook := getattr(loaded, name), "pfh_impl")}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything at import, SystemExit too
            raise PluginError(
                f"{_named(plugin)} cannot be imported: {_cause(error)}. {_remedy(plugin, error)}"
            ) from error
        for hook in hooks:
            if not hasattr(hookspecs, hook):
                raise PluginError(
                    f"{_named(plugin)} implements an unknown hook {hook!r}.{did_you_mean(hook, _hook_names())}"
                )
        required = REQUIRED_HOOK.get(plugin.kind)
        if required and required not in hooks:
            raise PluginError(f"{_named(plugin)} does not implement the hook {required!r} that {plugin.kind} need.")
        try:
            # The namespace lets one module serve under several names, which pluggy refuses for the module itself.
            self._manager.register(types.SimpleNamespace(**hooks), plugin.key)
        except pluggy.PluginValidationError as error:
            if self._manager.has_plugin(plugin.key):
                self._manager.unregister(name=plugin.key)
            message = str(error).splitlines()[-1]
            raise PluginError(f"{_named(plugin)} has a hook of the wrong form: {message}") from error

    def _call(self, plugin: Plugin, hook: str, arguments: Mapping[str, Any], *, required: bool = True) -> Any:  # noqa: ANN401
        others = [
            other
            for key, other in self._manager.list_name_plugin()
            if key != plugin.key and not key.startswith("wrappers:")
        ]
        try:
            result = self._manager.subset_hook_caller(hook, others)(**arguments)
        except PfhError:
            raise
        except Exception as error:
            raise StepFailedError(f"{_named(plugin)} failed in {hook}: {_cause(error)}.") from error
        if result is None and required:
            raise PluginError(f"{_named(plugin)} returned nothing from the hook {hook!r}.")
        return result


def _hook_names() -> list[str]:
    return [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "pfh_spec")]


def _named(plugin: Plugin) -> str:
    return f"{plugin.key} (from {plugin.source})"


def _cause(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _remedy(plugin: Plugin, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        if module in EXTRAS:
            return f"Install it with: pip install 'pfh[{EXTRAS[module]}]'"
        if module not in packages_distributions():
            return f"Install the package that provides {module!r}."
    return f"Update it (pip install -U {plugin.distribution}) or remove it (pip uninstall {plugin.distribution})."
