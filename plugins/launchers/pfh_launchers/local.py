"""Runs one after the other, in this process."""

from __future__ import annotations

from pfh import hookimpl
from pfh.hooks.launchers import LaunchResult, LaunchSpec


@hookimpl
def launch(spec: LaunchSpec) -> LaunchResult:
    """Execute the runs in their order."""
    return LaunchResult(outcomes=tuple(spec.execute(run) for run in spec.runs))
