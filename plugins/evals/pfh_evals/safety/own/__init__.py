"""Benchmarks that score answers their own way, measured where they are asked for by name."""

from __future__ import annotations

from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.tables import Table

from pfh_evals.safety.own.base import OwnBenchmark
from pfh_evals.safety.own.copyright import COPYRIGHT
from pfh_evals.safety.own.do_not_answer import HARMLESS, action_table
from pfh_evals.safety.own.misalignment import PROBES, misalignment_table
from pfh_evals.safety.own.salad_mcq import MCQ, mcq_table
from pfh_evals.safety.own.truthfulqa import GENERATED, SIMILAR, truth_table
from pfh_evals.safety.own.win_rate import ALPACA, win_rate_table

OWN: tuple[OwnBenchmark, ...] = (COPYRIGHT, MCQ, HARMLESS, GENERATED, SIMILAR, PROBES, ALPACA)
OWN_BY_NAME = {benchmark.name: benchmark for benchmark in OWN}


def own_tables(spec: AnalysisSpec) -> tuple[Table, ...]:
    """Return what these benchmarks add to a report, those with rows alone."""
    tables = (mcq_table(spec), action_table(spec), truth_table(spec), misalignment_table(spec), win_rate_table(spec))
    return tuple(table for table in tables if table.rows)
