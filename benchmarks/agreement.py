"""Does pfh give the figures of lm-eval's own `hf` backend? Item by item, on the tasks of the mirror folder.

    PFH_DATA_MIRROR=/data/mirror python benchmarks/agreement.py [--limit 8] [--model FOLDER] [--batch-size 8]

Both run a task with the same model in float32: pfh as `pfh eval --eval forgetting:TASK` would, lm-eval by itself, from
its own definition of the task with nothing changed but where the rows are read from. For each task this prints how many
predictions and scores differ and by how much log-likelihoods do, and at the end how many tasks agree in full: the same
prediction on every item, all scores and log-likelihoods within 1e-3. It ends with 1 where one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from pfh.hooks.backends import Engine, EngineSpec
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.samples import Sample
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh.testing import evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import forgetting

os.environ.setdefault("TQDM_DISABLE", "1")
TOLERANCE = 1e-3
"""By which log-likelihoods, in nats, and scores that are computed from them may differ."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of lm-eval, and the files of the mirror that hold its rows."""

    name: str
    definition: str
    """Its file below lm-eval's folder of tasks."""
    rows: str
    """Folder of its splits below the mirror."""
    splits: tuple[str, ...]
    """Those that it needs."""
    shots: int | None = None


TASKS = (
    Task(
        name="arc_challenge",
        definition="arc/arc_challenge.yaml",
        rows="allenai/ai2_arc/ARC-Challenge",
        splits=("test",),
    ),
    Task(name="arc_easy", definition="arc/arc_easy.yaml", rows="allenai/ai2_arc/ARC-Easy", splits=("test",)),
    Task(
        name="hellaswag",
        definition="hellaswag/hellaswag.yaml",
        rows="Rowan/hellaswag/default",
        splits=("validation",),
    ),
    Task(
        name="winogrande",
        definition="winogrande/default.yaml",
        rows="allenai/winogrande/winogrande_xl",
        splits=("validation",),
    ),
    Task(name="piqa", definition="piqa/piqa.yaml", rows="ybisk/piqa/plain_text", splits=("validation",)),
    Task(
        name="truthfulqa_mc1",
        definition="truthfulqa/truthfulqa_mc1.yaml",
        rows="truthfulqa/truthful_qa/multiple_choice",
        splits=("validation",),
    ),
    Task(
        name="truthfulqa_mc2",
        definition="truthfulqa/truthfulqa_mc2.yaml",
        rows="truthfulqa/truthful_qa/multiple_choice",
        splits=("validation",),
    ),
    Task(
        name="xwinograd_en",
        definition="xwinograd/xwinograd_en.yaml",
        rows="Muennighoff/xwinograd/en",
        splits=("test",),
    ),
    Task(
        name="mmlu_anatomy",
        definition="mmlu/default/mmlu_anatomy.yaml",
        rows="cais/mmlu/anatomy",
        splits=("test", "dev"),
        shots=5,
    ),
    Task(
        name="triviaqa",
        definition="triviaqa/default.yaml",
        rows="mandarjoshi/trivia_qa/rc.nocontext",
        splits=("validation",),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """How far two runs of a task agree."""

    items: int
    predictions: int
    """Items on which another option is the best, or another text was written."""
    scores: int
    """Items that were given another score."""
    apart: float
    """Largest difference of a log-likelihood, in nats."""

    @property
    def agrees(self) -> bool:
        """Whether every prediction is the same, and every score and log-likelihood within the tolerance."""
        return self.items > 0 and not self.predictions and not self.scores and self.apart <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description="pfh's figures against those of lm-eval's hf backend.")
    parser.add_argument("--limit", type=int, default=8, help="documents a task")
    parser.add_argument("--model", type=Path, help="folder of a model; without it the embedded one")
    parser.add_argument("--batch-size", type=int, default=8, help="lm-eval's batch, in sequences")
    arguments = parser.parse_args()
    mirror = os.environ.get("PFH_DATA_MIRROR")
    if not mirror:
        raise SystemExit("NOT_RUN: PFH_DATA_MIRROR names no folder of datasets")

    checkpoint = named(arguments.model) if arguments.model else embedded()
    agreeing = 0
    for task, found in measure(checkpoint, Path(mirror), limit=arguments.limit, batch_size=arguments.batch_size):
        agreeing += found.agrees
        print(
            f"{task.name:15} {found.items:4} items: {found.predictions} predictions and {found.scores} scores differ, "
            f"log-likelihoods by up to {found.apart:.1e}",
            flush=True,
        )
    print(f"{agreeing} of {len(TASKS)} tasks agree in full")
    sys.exit(agreeing != len(TASKS))


def measure(
    checkpoint: Checkpoint, mirror: Path, *, limit: int, batch_size: int = 8, tasks: Sequence[Task] = TASKS
) -> Iterator[tuple[Task, Found]]:
    """Run every task under both, one after the other, over the first `limit` documents."""
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32"))
    reference = HFLM(pretrained=str(checkpoint.path), device="cpu", dtype="float32", batch_size=batch_size)
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            ours = by_pfh(task, engine, mirror, limit)
            yield task, compared(ours, by_lm_eval(task, reference, mirror, Path(folder), limit))


def by_pfh(task: Task, engine: Engine, mirror: Path, limit: int) -> Sequence[Sample]:
    """Return the samples of a task as the family `forgetting` measures it."""
    spec = evaluation_spec([""], options=forgetting.Options(num_fewshot=task.shots))
    asked = replace(spec, engine=engine, data=HubData(mirror), benchmarks=(task.name,), limit=limit)
    (benchmark,) = forgetting.evaluate(asked).benchmarks
    if benchmark.status != "MEASURED":
        raise SystemExit(f"{task.name}: {benchmark.status}: {benchmark.reason}")
    return benchmark.samples


def by_lm_eval(task: Task, model: HFLM, mirror: Path, work: Path, limit: int) -> Sequence[Mapping[str, Any]]:
    """Return lm-eval's log of a task under its own definition, which reads the mirror's files."""
    folder = work / task.name
    folder.mkdir()
    definition = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / task.definition),
        "task": task.name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {split: str(mirror / task.rows / f"{split}.jsonl") for split in task.splits},
            "cache_dir": str(folder),
        },
        **{
            key: None
            for key, split in (("training_split", "train"), ("validation_split", "validation"))
            if split not in task.splits
        },
    }
    (folder / f"{task.name}.yaml").write_text(json.dumps(definition))  # JSON is YAML
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[task.name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=task.shots,
        limit=limit,
        bootstrap_iters=0,
        log_samples=True,
    )
    return list(found["samples"][task.name])


def compared(ours: Sequence[Sample], theirs: Sequence[Mapping[str, Any]]) -> Found:
    """Count what differs, item by item."""
    predictions = scores = 0
    apart = 0.0
    first = theirs[0]["filter"]
    rows = [row for row in theirs if row["filter"] == first]
    for sample, row in zip(ours, rows, strict=True):
        metrics = {f"{metric},{first}": row[metric] for metric in row["metrics"]}
        given = sample.extra["metrics"]
        scores += any(abs(given[name] - float(value)) > TOLERANCE for name, value in metrics.items())
        if "logprobs" not in sample.extra:
            predictions += sample.completion != row["resps"][0][0]
            continue
        expected = [float(answer[0]) for answer in row["filtered_resps"]]
        found = sample.extra["logprobs"]
        predictions += best(found) != best(expected)
        apart = max(apart, *(abs(one - other) for one, other in zip(found, expected, strict=True)))
    return Found(items=len(ours), predictions=predictions, scores=scores, apart=apart)


def best(values: Sequence[float]) -> int:
    """Return the place of the highest value, the first of equal ones."""
    return max(range(len(values)), key=values.__getitem__)


def named(folder: Path) -> Checkpoint:
    return Checkpoint(name=folder.name, path=folder, fingerprint=folder.name)


def embedded() -> Checkpoint:
    return embedded_start(Session(plugins=Plugins(), store=Store(default_root()), progress=Silent()))


if __name__ == "__main__":
    main()
