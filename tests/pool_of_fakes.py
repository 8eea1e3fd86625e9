"""A study of fake steps in the real pool and store, whose processes are killed: `python -m tests.pool_of_fakes FOLDER`.

Each task makes an artifact out of what the tasks before it made, in batches; a batch is written down in a journal as
engines do it. `computed` tells of every batch that was begun, also of those that a kill threw away.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from pfh.hooks.launchers import LaunchSpec, TaskSpec
from pfh.store.store import Store, artifact_key
from pfh_launchers.pool import Pool

LAYERS, WIDTH, BATCHES = 4, 3, 8
SECONDS = 0.05
"""Of a batch."""
KIND = "rollouts"


def names() -> dict[str, tuple[str, ...]]:
    """Return the tasks with what each needs: every layer needs two of the one before."""
    return {
        f"task-{layer}-{place}": tuple(
            f"task-{layer - 1}-{(place + step) % WIDTH}" for step in range(2 if layer else 0)
        )
        for layer in range(LAYERS)
        for place in range(WIDTH)
    }


def make(folder: Path, name: str) -> None:
    """Execute one task."""
    store = Store(folder / "store")

    def build(work: Path, fresh: Path) -> None:
        journal = work / "journal"
        done = journal.read_text().splitlines() if journal.exists() else []
        before = "".join(content(store, need) for need in names()[name])
        for batch in range(len(done), BATCHES):
            with (folder / "computed").open("a") as log:
                log.write(f"{name} {batch}\n")
            time.sleep(SECONDS)
            done.append(hashlib.sha256(f"{name} {batch} {before}".encode()).hexdigest())
            with journal.open("a") as stream:
                stream.write(done[-1] + "\n")
        (fresh / "value").write_text("\n".join(done))

    store.make(KIND, {"name": name}, build)


def content(store: Store, name: str) -> str:
    """Return what a task made."""
    artifact = store.get(KIND, artifact_key(KIND, {"name": name}))
    assert artifact is not None, name
    return (artifact.path / "value").read_text()


def contents(folder: Path) -> dict[str, str]:
    """Return what all tasks made."""
    return {name: content(Store(folder / "store"), name) for name in names()}


def serve(folder: Path) -> None:
    """Execute the tasks whose files are read from standard input, as `pfh task --serve` does."""
    for line in sys.stdin:
        name = Path(line.strip()).stem
        make(folder, name)
        print(json.dumps({"task": name, "code": 0}), flush=True)


def launch(folder: Path) -> bool:
    """Execute what is not stored in two workers; say whether all is done."""
    store = Store(folder / "store")
    missing = [name for name in names() if not store.has(KIND, artifact_key(KIND, {"name": name}))]
    (folder / "logs").mkdir(exist_ok=True)
    tasks = tuple(
        TaskSpec(
            id=name, label=name, file=folder / f"{name}.json", needs=tuple(n for n in names()[name] if n in missing)
        )
        for name in missing
    )
    command = (sys.executable, "-m", "tests.pool_of_fakes", str(folder))
    spec = LaunchSpec(tasks=tasks, command=command, folder=folder, workers=2)
    return all(each.state == "done" for each in Pool(spec).run())


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if "--serve" in sys.argv:
        serve(place)
    else:
        sys.exit(0 if launch(place) else 3)
