"""A method, an eval and a launcher that only pretends to run; and results that it may pretend to have."""

from pfh.hooks.comparison import Comparison
from pfh.results.records import FamilyRecord, ModelRecord, RunResults, StageRecord

RUN = ("run", "--method", "third", "--eval", "third-eval")

EVAL = """\
from pfh import hookimpl
from pydantic import BaseModel

class Options(BaseModel):
    shots: int = 0

@hookimpl
def options():
    return Options

@hookimpl
def evaluate(spec):
    raise NotImplementedError
"""
LAUNCHER = """\
'''Pretends to have run; PRETEND is what it does instead of running.'''
import os
from pathlib import Path
from pfh import hookimpl
from pfh.results.records import read_results
from pfh.commands.outcomes import RunOutcome
from pfh.hooks.launchers import LaunchResult

@hookimpl
def launch(spec):
    exec(os.environ.get("PRETEND", ""))
    folder = Path(os.environ["PRETEND_FOLDER"])
    code = int(os.environ.get("PRETEND_CODE", "0"))
    results = read_results(folder / "results.json")
    return LaunchResult(outcomes=(RunOutcome(results=results, folder=folder, exit_code=code),))
"""


def results(**fields) -> RunResults:
    row = Comparison(
        benchmark="probes",
        version="1",
        metric="refusal_rate",
        higher_is_better=True,
        **{"status": "NOT_RUN", "reason": "no data"} | fields,
    )
    model = ModelRecord(name="start", fingerprint="f")
    family = FamilyRecord(family="safety", comparisons=(row,), before_artifact="b", after_artifact="a")
    stage = StageRecord(method="dpo", before=model, after=model, families=(family,))
    return RunResults(title="t", headline="Nothing changed.", start="custom", provenance={}, stages=(stage,))
