"""pfh in Python: run, evaluate, compare, recover and load, with arguments named as the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.commands import compare as comparing
from pfh.commands import evaluate as evaluating
from pfh.commands import recover as recovering
from pfh.commands.bars import Bars
from pfh.commands.run import launch
from pfh.commands.specs import Asked, OptionsGiven, compare_spec, measure_spec, run_spec
from pfh.errors import UserError
from pfh.progress import Progress, Silent
from pfh.registry.plugins import Plugins
from pfh.results.stored import open_results
from pfh.store.places import default_root, store_folder
from pfh.store.store import Store

if TYPE_CHECKING:
    from pfh.commands.outcomes import RunOutcome
    from pfh.hooks.budget import Budget
    from pfh.results.records import RunResults


def run(
    method: str | Sequence[str],
    eval: str | Sequence[str],  # noqa: A002 - as the command line calls it
    *,
    domain: str = "reasoning",
    model: str | Path | None = None,
    base: bool | None = None,
    option: OptionsGiven | None = None,
    tasks: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    margin: float | None = None,
    divergence_prompts: int = 16,
    stop_early: bool = False,
    alpha: float | None = None,
    problems: int | None = None,
    budget: str | Budget | None = None,
    match: str | None = None,
    match_every: int = 10,
    stop_when: str | None = None,
    stop_every: int = 10,
    stop_documents: int = 64,
    accelerate: str | Path | None = None,
    contract: str | Path | Sequence[str | Path] | None = None,
    rehearsal: bool = True,
    backend: str = "hf",
    dtype: str = "auto",
    revision: str | None = None,
    allow_pickle: bool = False,
    unsafe_local_code: bool = False,
    launcher: str = "local",
    output: str | Path | None = None,
    store: str | Path | None = None,
    progress: bool | Progress = False,
) -> RunResults:
    """Measure a model, post-train it, measure it again, and return what changed, as `pfh run` does.

    Args:
        method: how to post-train; of several, each goes on from the one before.
        eval: what to measure before and after, FAMILY or "FAMILY:BENCHMARK,...".
        domain: where training problems come from.
        model: hub id or path of the start; None is the embedded model.
        base: start unaligned (True) or aligned (False); None is aligned, for the embedded model.
        option: of the plugins, such as {"beta": 0.3} for the method and {"safety.judge": "rule"} for another.
        tasks: lm-eval tasks, groups, tags or YAML files, in place of a preset.
        num_fewshot: worked examples in a prompt; None is as each task says.
        apply_chat_template: put prompts as chats, in the model's own template.
        chat_template_kwargs: arguments of that template wherever it is used, such as {"enable_thinking": False}.
        seed: of problems, rollouts, training and bootstrap.
        limit: at most this many documents a benchmark.
        margin: the largest change that counts as none, in percentage points, of scores between 0 and 1; None is 5.
        divergence_prompts: held-out prompts along which the divergence from the start is measured; 0: none.
        stop_early: end the comparison of a benchmark as soon as its samples decide it; at most `limit` of them.
        alpha: chance of a false stop, over all looks and benchmarks; None is 0.05.
        problems: training problems, the same for every method; 2048 unless given, 48 for the embedded model.
        budget: what each method may spend: "20m", "100updates", "50000tokens" or "500samples".
        match: "target=+5" compares the first checkpoint along the way that gained 5 points on that family; "target"
            measures all of them and compares the model as it ended.
        match_every: updates between these checkpoints.
        stop_when: "forgetting>2pp" stops a training that certainly lost more of that family.
        stop_every: updates between two looks at it.
        stop_documents: documents a benchmark that are looked at; they are not reported.
        accelerate: train in several processes, as this configuration of accelerate says.
        contract: YAML files of what a stage, or the run, may and must not change; `gates` of the results say how the
            run stands to them.
        rehearsal: try each method on two examples before anything is measured.
        backend: what runs the model.
        dtype: precision of generation and scoring.
        revision: branch, tag or commit of a hub model.
        allow_pickle: load weights that are not safetensors; they can run any code.
        unsafe_local_code: where no sandbox works, run code that a model wrote unconfined on this machine.
        launcher: where the run is executed.
        output: folder for results.json, report.html and the models; None is a folder in pfh-results.
        store: folder of what runs share and resume from; None is $PFH_STORE or ~/.cache/pfh.
        progress: True shows bars and log lines on stderr; or what is to show them.

    Raises:
        UserError: the input or the environment is at fault; or the launcher has only submitted the run.
        StepFailedError: a step could not finish; what was stored is kept, and the same call goes on from there.
    """
    plugins = Plugins()
    asked = Asked(
        eval=eval,
        option=option,
        tasks=tasks,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=chat_template_kwargs,
        domain=domain,
        seed=seed,
        limit=limit,
        margin=margin,
        divergence_prompts=divergence_prompts,
        stop_early=stop_early,
        alpha=alpha,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    spec = run_spec(
        asked,
        plugins,
        method=method,
        model=model,
        base=base,
        problems=problems,
        budget=budget,
        accelerate=accelerate,
        contract=contract,
        match=match,
        match_every=match_every,
        stop_when=stop_when,
        stop_every=stop_every,
        stop_documents=stop_documents,
        rehearsal=rehearsal,
    )
    shown = _shown(progress)
    held = _opened(store, shown)
    launched = launch(
        spec,
        launcher,
        plugins=plugins,
        store=held,
        progress=shown,
        output=_folder(output),
        unsafe_local_code=unsafe_local_code,
    )
    if launched.state == "submitted":
        said = "; ".join(str(outcome) for outcome in launched.outcomes)
        raise UserError(f"{launcher} submitted the run and has no results yet ({said}): open them with pfh.load.")
    return _results(launched.outcomes[0])


def evaluate(
    model: str | Path,
    eval: str | Sequence[str] = (),  # noqa: A002
    *,
    option: OptionsGiven | None = None,
    tasks: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    domain: str = "reasoning",
    seed: int = 0,
    limit: int | None = None,
    backend: str = "hf",
    dtype: str = "auto",
    revision: str | None = None,
    allow_pickle: bool = False,
    output: str | Path | None = None,
    store: str | Path | None = None,
    progress: bool | Progress = False,
) -> RunResults:
    """Measure one model, as `pfh eval` does: scores with their intervals, by benchmark and category.

    Args:
        model: hub id, folder, GGUF file or adapter; "safe" or "base"; the folder of an earlier run; or the log of
            another tool, such as "lm-eval:FOLDER".
        eval: what to measure, FAMILY or "FAMILY:BENCHMARK,..."; empty is what stored results or a log hold.
        domain: for families that put a domain's problems to the model.
        option, tasks, num_fewshot, apply_chat_template, chat_template_kwargs, seed, limit, backend, dtype, revision,
            allow_pickle, output, store, progress: as in `run`.

    Raises:
        UserError: the input or the environment is at fault.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    plugins = Plugins()
    asked = Asked(
        eval=eval,
        option=option,
        tasks=tasks,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=chat_template_kwargs,
        domain=domain,
        seed=seed,
        limit=limit,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    spec, shown = measure_spec(asked, plugins, model), _shown(progress)
    held = _opened(store, shown)
    outcome = evaluating.evaluate(spec, plugins=plugins, store=held, progress=shown, output=_folder(output))
    return _results(outcome)


def compare(
    *models: str | Path,
    eval: str | Sequence[str] = (),  # noqa: A002
    option: OptionsGiven | None = None,
    tasks: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    apply_chat_template: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    domain: str = "reasoning",
    seed: int = 0,
    seeds: str | Sequence[int] | None = None,
    noise_floor: bool = False,
    allow_mismatch: bool | Sequence[str] = False,
    limit: int | None = None,
    margin: float | None = None,
    divergence_prompts: int = 16,
    stop_early: bool = False,
    alpha: float | None = None,
    backend: str = "hf",
    dtype: str = "auto",
    revision: str | None = None,
    allow_pickle: bool = False,
    output: str | Path | None = None,
    store: str | Path | None = None,
    progress: bool | Progress = False,
) -> RunResults:
    """Compare a model with one or more later ones, sample by sample, as `pfh compare` does.

    Args:
        models: the one before, then those after; each as `evaluate` takes one.
        eval: what to measure; empty is what stored results or logs have in common.
        domain: for families that put a domain's problems to the model.
        divergence_prompts: as in `run`.
        seeds: measure every model under each of these seeds.
        noise_floor: measure the first model twice, and mark changes that are not above its own.
        allow_mismatch: compare what was measured differently, on common documents; or the names of the differences
            that are allowed.
        option, tasks, num_fewshot, apply_chat_template, chat_template_kwargs, seed, limit, margin, backend, dtype,
            revision, allow_pickle, output, store, progress: as in `run`.

    Raises:
        UserError: the input or the environment is at fault, or the models were measured differently.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    plugins = Plugins()
    asked = Asked(
        eval=eval,
        option=option,
        tasks=tasks,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=chat_template_kwargs,
        domain=domain,
        seed=seed,
        limit=limit,
        margin=margin,
        divergence_prompts=divergence_prompts,
        stop_early=stop_early,
        alpha=alpha,
        backend=backend,
        dtype=dtype,
        revision=revision,
        allow_pickle=allow_pickle,
    )
    spec = compare_spec(asked, plugins, models, seeds=seeds, noise_floor=noise_floor, allow_mismatch=allow_mismatch)
    shown = _shown(progress)
    held = _opened(store, shown)
    return _results(comparing.compare(spec, plugins=plugins, store=held, progress=shown, output=_folder(output)))


def recover(
    run: str | Path,
    *,
    ways: str | Sequence[str] = "wise-ft,ties,dare",
    alphas: str | Sequence[float] | None = None,
    gain: str | None = None,
    tolerance: float = 2.0,
    share: float = 0.3,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    store: str | Path | None = None,
    progress: bool | Progress = False,
) -> RunResults:
    """Measure models between a finished run's start and the one it trained, as `pfh recover` does, and choose one.

    What was found is `recovery` of the results, and `recovery.variants` has the models' paths.

    Args:
        run: folder that a run wrote, or its results.json.
        ways: what to try, as `--try` of the command line: wise-ft, task-arithmetic, ties, dare, dare-ties, slerp, soup.
        alphas: points of wise-ft's curve between the start (0) and the trained model (1); None is 0.1 to 0.9.
        gain: the family whose gain is to be kept; None is target, where that was measured.
        tolerance: what any other family may lose for a variant to be chosen, in percentage points.
        share: part of the samples to choose by; the others are reported.
        chat_template_kwargs: arguments of the chat template that the run was made with.
        output: folder for results.json and report.html; None is the run's.
        store, progress: as in `run`.

    Raises:
        UserError: the run has no trained model, its weights or answers are gone, or what was asked for makes no sense.
        StepFailedError: a step could not finish; what was stored is kept.
    """
    spec = recovering.recover_spec(
        run,
        ways=ways,
        alphas=alphas,
        gain=gain,
        tolerance=tolerance,
        share=share,
        chat_template_kwargs=chat_template_kwargs,
    )
    shown = _shown(progress)
    held = _opened(store, shown)
    return recovering.recover(spec, plugins=Plugins(), store=held, progress=shown, output=_folder(output))


def load(run: str | Path) -> RunResults:
    """Read the results of an earlier run, evaluation or comparison: its folder, or the results.json itself.

    Raises:
        UserError: there are none, or they are no results that this pfh can read.
    """
    path = Path(run).expanduser()
    return open_results(path).kept_in(path if path.is_dir() else path.parent)


def _results(outcome: RunOutcome) -> RunResults:
    return outcome.results.kept_in(outcome.folder)


def _shown(progress: bool | Progress) -> Progress:
    if isinstance(progress, bool):
        return Bars() if progress else Silent()
    return progress


def _opened(store: str | Path | None, progress: Progress) -> Store:
    return Store(default_root() if store is None else store_folder(str(store)), progress)


def _folder(output: str | Path | None) -> Path | None:
    return None if output is None else Path(output).expanduser()
