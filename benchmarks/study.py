"""What a study costs beside its steps, and what two workers gain.

`python benchmarks/study.py [--with-models]`: the overhead of the launcher `local` a step; the time in which a study of
a thousand runs is planned and its status shown, of fake steps and of real methods; the time in which the graph of one
run is made; with models, one worker against two on a small study of tiny models whose evaluations are of equal size
(needs two cores that are free).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from pfh.commands.planning import Planner
from pfh.commands.study.plan import plan_study
from pfh.commands.study.state import study_folder, write_plan
from pfh.commands.study.status import study_status
from pfh.commands.study.tasks import tasks_of
from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh.registry.plugins import Plugins
from pfh.store.store import Store
from pfh_launchers.pool import Pool

STEPS = 500
WORKER = """
import json, sys
from pathlib import Path
for line in sys.stdin:
    print(json.dumps({"task": Path(line.strip()).stem, "code": 0}), flush=True)
"""
MODELS = """
name: two-workers
starts: [{{name: one, model: {0}, start: base}}, {{name: two, model: {1}, start: base}}]
methods:
  - gt-sft: {{batch_size: 4, gradient_accumulation: 1, max_steps: 150, learning_rate: [0.0001, 0.0002, 0.0004]}}
domains: [coin]
evals: ["safety:probes"]
problems: 600
"""


def overhead(folder: Path) -> float:
    """Return the seconds that the pool takes for a step which does nothing."""
    (folder / "logs").mkdir()
    names = [f"task-{number}" for number in range(STEPS)]
    tasks = tuple(
        TaskSpec(id=name, label=name, file=folder / f"{name}.json", needs=tuple(names[max(0, place - 3) : place]))
        for place, name in enumerate(names)
    )
    spec = LaunchSpec(tasks=tasks, command=(sys.executable, "-c", WORKER), folder=folder, workers=2)
    began = time.perf_counter()
    Pool(spec).run()
    return (time.perf_counter() - began) / STEPS


def thousand(folder: Path) -> tuple[float, float, int]:
    """Return the processor seconds in which a thousand runs of fake steps are planned and shown, and their steps."""
    from tests.plugin_dists import install
    from tests.test_run import COIN, PICKY

    site = install(folder / "fakes", "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    install(site, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})
    sys.path.insert(0, str(site))
    file = folder / "thousand.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "thousand",
                "starts": [
                    {"name": f"m{number}", "model": f"org/model-{number}b", "start": "base"} for number in range(10)
                ],
                "methods": ["none", "dpo", "grpo", "gt-sft", "sdft"],
                "domains": ["coin"],
                "seeds": list(range(20)),
                "evals": ["picky"],
                "problems": 8,
            }
        )
    )
    store, plugins = Store(folder / "store"), Plugins()
    plan_study(file, plugins=plugins, store=store, phase="rest")  # imports
    began = time.process_time()
    planned = plan_study(file, plugins=plugins, store=store)
    planning = time.process_time() - began
    assert len(planned.runs) == 1000
    write_plan(study_folder(store, "thousand"), planned, {task.id: task for task in tasks_of(planned)})
    began = time.process_time()
    study_status(file, store, plugins)
    return planning, time.process_time() - began, len(planned.graph)


def thousand_real(folder: Path) -> tuple[float, float, int]:
    """Return the processor seconds in which 1,008 runs of real methods are planned, those of one run, and the steps."""
    text = (Path(__file__).parents[1] / "examples" / "studies" / "qwen2.5-3b.yaml").read_text()
    file = folder / "real.yaml"
    file.write_text(text.replace("evals:", f"seeds: [{', '.join(map(str, range(12)))}]\nevals:"))
    store = Store(folder / "real")
    began = time.process_time()
    planned = plan_study(file, plugins=Plugins(), store=store)
    took = time.process_time() - began
    assert len(planned.runs) == 84 * 12
    planner = Planner(Plugins(), store)
    planner.plan(planned.runs[1].spec)  # opens what a run opens anyway
    began = time.process_time()
    planner.plan(planned.runs[1].spec)
    return took, time.process_time() - began, len(planned.graph)


def two_workers(folder: Path) -> tuple[float, float]:
    """Return the seconds that a small study takes with one worker, and with two."""
    from tests.plugin_dists import install
    from tests.test_matrix import GOLD
    from tests.tiny import tiny_llama

    sys.path.insert(
        0, str(install(folder / "site", "coin-dist", {"coin_domain": GOLD}, {"pfh.domains": {"coin": "coin_domain"}}))
    )
    models = [
        tiny_llama(folder / f"model-{seed}", seed=seed, hidden_size=256, num_hidden_layers=6) for seed in range(2)
    ]
    file = folder / "study.yaml"
    file.write_text(MODELS.format(*models))
    took = []
    for workers in (1, 2):
        command = [sys.executable, "-m", "pfh_cli.main", "matrix", str(file), "--workers", str(workers), "--quiet"]
        place = folder / f"workers-{workers}"
        began = time.perf_counter()
        subprocess.run(
            [*command, "--store", str(place / "store"), "--output", str(place / "out")],
            check=True,
            env=os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"},
        )
        took.append(time.perf_counter() - began)
    return took[0], took[1]


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--with-models", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pool").mkdir()
        print(f"launcher local: {1000 * overhead(Path(folder) / 'pool'):.1f} ms a step, over {STEPS} steps")
        planning, showing, steps = thousand(Path(folder))
        print(f"a thousand runs of {steps} fake steps: planned in {planning:.1f} s, status in {showing:.2f} s of CPU")
        planning, one_run, steps = thousand_real(Path(folder))
        print(f"1,008 runs of {steps} steps of real methods: planned in {planning:.1f} s of CPU, imports among them")
        print(f"the graph of one run, once its data is open: {1000 * one_run:.0f} ms of CPU")
        if asked.with_models:
            one, two = two_workers(Path(folder))
            print(f"small study: one worker {one:.0f} s, two workers {two:.0f} s: {one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
