"""`pfh matrix`, `pfh task`, `pfh status` and `pfh cancel`: a study executed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pfh_cli.boundary import invocation
from pfh_cli.completion import plugin_names
from pfh_cli.flags import Debug, Quiet, StoreFolder
from pfh_cli.plan import PhaseName, StudyBudget, StudyFile, StudyLimit, StudyProblems
from pfh_cli.progress import open_progress
from pfh_cli.quiet import libraries_quiet


def matrix(
    context: typer.Context,
    study: StudyFile,
    launcher: Annotated[
        str, typer.Option(metavar="NAME", help="Where tasks are executed.", autocompletion=plugin_names("launchers"))
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Tasks at once.", show_default="one a device; 1 without one"),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until what is handed to a cluster has ended, and report.")
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The cluster of the launcher ray.", show_default="one is started here"),
    ] = None,
    phase: PhaseName = None,
    limit: StudyLimit = None,
    problems: StudyProblems = None,
    budget: StudyBudget = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the runs and the report.", show_default="pfh-results/NAME"),
    ] = None,
    store: StoreFolder = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make what is missing of a study, and report on all of it.

    A task that fails takes down only what needs it. Run the same command again and it goes on where it was stopped.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.study.matrix import run_matrix
    from pfh.errors import UserError
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    if ray_address is not None and launcher != "ray":
        raise UserError(f"--ray-address is for --launcher ray, and this is {launcher}.")
    with open_progress(quiet=quiet) as progress, libraries_quiet(debug):
        outcome = run_matrix(
            study,
            plugins=Plugins(),
            store=Store(store or default_root(), progress),
            progress=progress,
            launcher=launcher,
            workers=workers,
            phase=phase,
            output=output,
            wait=wait,
            launcher_settings=None if ray_address is None else {"address": ray_address},
            limit=limit,
            problems=problems,
            budget=budget,
        )
    from pfh.text import printable

    for label, said in outcome.failed.items():
        print(printable(f"failed: {label}: {said}"))
    if outcome.failed:
        print(f"pfh status {study} shows their logs, and how to repeat each alone")
    if outcome.submitted:
        jobs = len({job.partition("_")[0] for job in outcome.submitted})
        print(f"{len(outcome.submitted)} tasks are with {launcher} in {jobs} jobs; pfh status {study} shows them, and")
        print("the same command makes the report when they have ended")
    else:
        print(f"{len(outcome.results)} of {len(outcome.planned.runs) + len(outcome.planned.refused)} runs are finished")
    if outcome.report is not None:
        print(f"report: {outcome.report}")
    raise typer.Exit(outcome.exit_code)


def task(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A task that pfh matrix wrote.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Execute the tasks whose files are read from stdin, a line each.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Execute one task of a study, on any machine that sees its store."""
    called = invocation(context)
    called.debug = debug
    from pfh.commands.study.performing import perform_file, serve_tasks
    from pfh.errors import UserError

    if serve:
        with libraries_quiet(debug):
            serve_tasks()
        return
    if file is None:
        raise UserError("Name a task's file, as pfh matrix wrote it, or give --serve.")
    with libraries_quiet(debug):
        code, said = perform_file(file)
    if code:
        print(f"pfh: {said}", file=sys.stderr)
    raise typer.Exit(code)


def status(
    context: typer.Context,
    study: StudyFile,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds, until it ends.")] = False,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Show where a study stands: what is done, what runs, what waits and what failed, by phase."""
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.study.status import study_status
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    root, plugins = Store(store or default_root()), Plugins()
    while True:
        said = study_status(study, root, plugins)
        if as_json:
            print(json.dumps(said, indent=1))
        else:
            if watch and sys.stdout.isatty():
                os.write(1, b"\x1b[2J\x1b[H")
            _show_status(said)
        if not watch or not (said["launcher"] or (said["cluster"] and said["cluster"]["tasks"])):
            return
        time.sleep(WATCHED_EVERY)


WATCHED_EVERY = 3.0
"""Seconds between two looks."""


def cancel(context: typer.Context, study: StudyFile, store: StoreFolder = None, debug: Debug = False) -> None:
    """End a study that runs; what is done stays in the store."""
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.study.status import cancel_study
    from pfh.registry.plugins import Plugins
    from pfh.store.store import Store, default_root

    print(cancel_study(study, Store(store or default_root()), Plugins()))


def _show_status(said: Mapping[str, Any]) -> None:
    from pfh.text import printable

    launcher, cluster = said["launcher"], said["cluster"]
    state = f"runs (process {launcher['pid']} on {launcher['host']})" if launcher else "does not run now"
    if cluster and cluster["tasks"]:
        count = Counter(task["state"] for task in cluster["tasks"])
        state = f"has {' and '.join(f'{n} {name}' for name, n in count.items())} tasks with {cluster['launcher']}"
    print(f"{said['study']} {state}; about {said['device_hours_left']:.2f} device-hours are left")
    for row in said["phases"]:
        runs, steps = (", ".join(f"{count} {name}" for name, count in row[of].items()) for of in ("runs", "steps"))
        print(printable(f"{row['phase']}: runs {runs}; steps {steps}"))
    for each in said["running"]:
        share = f" {each['done']} of {each['total']}" if each["total"] else ""
        print(printable(f"running for {each['minutes']:.0f} min: {each['label']}: {each['doing']}{share}"))
    if cluster and cluster["unknown"]:
        print(printable(f"what {cluster['launcher']} has is not known here: {cluster['unknown']}"))
    for task in cluster["tasks"] if cluster else ():
        print(printable(f"{task['state']} as job {task['job']}: {task['label']} {task['said']}".rstrip()))
    for each in said["failed"]:
        print(printable(f"failed: {each['label']}: {each['said']}"))
        for line in each["last_lines"]:
            print(printable(f"    {line}"))
        print(printable(f"    again: {each['again']}"))
    for name, reason in said["refused"].items():
        print(printable(f"cannot be run: {name}: {reason}"))
