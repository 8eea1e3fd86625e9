"""Stored results opened again: the results of a run's folder, and from the store the samples that they rest on."""

from __future__ import annotations

from pathlib import Path

from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.results.records import RunResults, read_results
from pfh.statistics.paired import paired_benchmarks
from pfh.store.evaluations import read_evaluation
from pfh.store.store import Store


def open_results(run: Path) -> RunResults:
    """Read the results of a run: its folder, or the results.json itself.

    Raises:
        UserError: there are none, or they are no results of this schema version.
    """
    from pydantic import ValidationError

    file = run / "results.json" if run.is_dir() else run
    try:
        return read_results(file)
    except FileNotFoundError:
        raise UserError(f"There is no {file}; name a folder that pfh run wrote (it says which, at its end).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{file} holds no results that this pfh can read{f' ({place}: ' if place else ' ('}{first['msg']})."
        ) from error


def stored_pairs(results: RunResults, store: Store) -> dict[tuple[int, str], list[tuple[Benchmark, Benchmark]]]:
    """Return (stage, family) to its benchmarks before and after, for those whose samples the store still has."""
    pairs = {}
    for number, stage in enumerate(results.stages):
        for family in stage.families:
            before = stored_evaluation(family.before_artifact, store)
            after = stored_evaluation(family.after_artifact, store)
            if before and after:
                pairs[number, family.family] = paired_benchmarks(before, after)
    return pairs


def stored_evaluation(key: str, store: Store) -> Evaluation | None:
    """Return the evaluation of that key; None where the store no longer has it."""
    artifact = store.get("evaluation", key)
    return read_evaluation(artifact.path) if artifact else None
