"""In this process, runs one after the other; a study's tasks in a pool of processes, one a device or --workers."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.launchers import LaunchResult, LaunchSpec

from pfh_launchers.pool import Pool


@hookimpl
def launch(spec: LaunchSpec) -> LaunchResult:
    """Execute the runs in their order, or the tasks as their needs allow."""
    if spec.tasks:
        return LaunchResult(outcomes=Pool(spec).run())
    assert spec.execute is not None
    return LaunchResult(outcomes=tuple(spec.execute(run) for run in spec.runs))
