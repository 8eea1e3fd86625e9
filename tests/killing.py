"""Commands killed with SIGKILL at any moment, in forks of this process, and what is left of them afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.confined import Ended, command
from tests.plugin_dists import install
from tests.tiny import tiny_llama

ALL_THE_TIME = 600.0
ATTACK = ("safety.attacks=direct,gcg", "gcg.steps=8", "gcg.width=8", "gcg.suffix=6")
TRAINING = ("batch_size=2", "gradient_accumulation=1", "save_steps=1", "samples=4", "max_steps=4")
_SPENT = ("made", "date", "wall", "tokens_per_second", "ledger", "budget_spent")
"""What a kill may change: times, and what was done twice for it."""


def commands(folder: Path) -> dict[str, list[str]]:
    """Make two tiny models and a domain below `folder`; return the commands that are killed, by name."""
    from tests.test_run import COIN

    models = [str(tiny_llama(folder / f"model-{number}", seed=number)) for number in range(2)]
    plugins = install(folder / "plugins", "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    sys.path.insert(0, str(plugins))
    trained, searched = ([part for option in named for part in ("-o", option)] for named in (TRAINING, ATTACK))
    on_coins = ["--domain", "coin", "--model", models[0], "--problems", "8", "--limit", "8"]
    probes = ["--eval", "safety:probes"]
    return {
        "run": ["run", "--method", "dpo", *probes, *trained, *on_coins],
        "eval": ["eval", models[1], *probes, "--limit", "24"],
        "compare": ["compare", *models, *probes, "--limit", "16"],
        "attack": ["eval", models[0], "--eval", "safety:probes-harmful", *searched, "--limit", "4"],
        "report": ["report", "{folder}/out", "--html", "{folder}/again.html"],
    }


@dataclass(frozen=True)
class Whole:
    """What a command leaves that nobody killed."""

    folder: Path
    seconds: float
    state: Mapping[str, Any]


def called(words: list[str], folder: Path, seconds: float = ALL_THE_TIME) -> Ended:
    """Run a command on the store and the output of `folder`, and kill it after so many seconds."""
    own = [word.format(folder=folder) for word in words]
    output = [] if own[0] == "report" else ["--output", str(folder / "out")]
    return command(*own, "--store", str(folder / "store"), *output, seconds=seconds, memory=8 << 30)


def whole(words: list[str], folder: Path, begun: Path | None = None) -> Whole:
    """Run a command to its end; `begun` is a folder that it goes on from."""
    if begun is not None:
        shutil.copytree(begun, folder)
    began = time.monotonic()
    ended = called(words, folder)
    assert ended.code == 0, ended.stderr
    return Whole(folder, time.monotonic() - began, state(folder))


def trial(
    name: str, words: list[str], uninterrupted: Whole, folder: Path, kills: int, draw: random.Random, begun: Path | None
) -> Iterator[str]:
    """Kill a command `kills` times, run it to its end, and yield what is then otherwise than it should be."""
    if begun is not None:
        shutil.copytree(begun, folder)
    for _ in range(kills):
        before = artifacts(folder)
        ended = called(words, folder, seconds=draw.uniform(0, uninterrupted.seconds))
        if ended.code not in (0, -9):
            yield f"{name}: ended with {ended.code}: {ended.stderr[-300:]}"
        yield from (f"{name}: the artifact {moved} moved" for moved in before.items() - artifacts(folder).items())
    ended = called(words, folder)
    if ended.code:
        yield f"{name}: at last ended with {ended.code}: {ended.stderr[-300:]}"
    elif (found := state(folder)) != uninterrupted.state:
        yield f"{name}: differs in {', '.join(_differences(found, uninterrupted.state))}"
    if (folder / "store" / "set-aside").exists():
        yield f"{name}: something was set aside"


def artifacts(folder: Path) -> dict[str, int]:
    """Return every artifact of the store with its inode."""
    return {str(each.relative_to(folder)): each.stat().st_ino for each in folder.glob("store/artifacts/*/*")}


def state(folder: Path) -> dict[str, Any]:
    """Return the figures, the samples and the weights that a command left, and which artifacts there are."""
    import pyarrow.parquet as pq

    tables = {file.relative_to(folder): pq.read_table(file).to_pylist() for file in _files(folder, "parquet")}
    weights = {file.relative_to(folder): _hash(file) for file in _files(folder, "safetensors")}
    told = (folder / "out" / "results.json").read_text(encoding="utf-8").replace(str(folder), "")
    results = _figures(json.loads(told))
    return {"artifacts": sorted(artifacts(folder)), "results": results, "samples": tables, "weights": weights}


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"store/artifacts/*/*/**/*.{suffix}"))


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _figures(inner) for key, inner in value.items() if "second" not in key and key not in _SPENT}
    return [_figures(inner) for inner in value] if isinstance(value, list) else value


def _differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        return [each for key in found for each in _differences(found[key], wanted[key], f"{place}.{key}")]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = zip(found, wanted, strict=True)
        return [each for i, pair in enumerate(pairs) for each in _differences(*pair, f"{place}[{i}]")]
    return [] if found == wanted else [place]


def kill_everything(
    folder: Path, plan: Mapping[str, int], draw: random.Random, say: Callable[[str], object] = lambda line: None
) -> list[str]:
    """Kill every command of `plan` as often as it says, three times a trial at most; return what went wrong."""
    os.environ["COLUMNS"] = "100"
    named, wrong = commands(folder), []
    reported = whole(named["eval"], folder / "reported").folder
    for name, kills in plan.items():
        begun = reported if name == "report" else None
        reference = whole(named[name], folder / f"{name}-whole", begun)
        say(f"{name}: {reference.seconds:.1f} s without a kill")
        left, number = kills, 0
        while left > 0:
            now = min(left, 3)
            place = folder / f"{name}-{number}"
            found = list(trial(name, named[name], reference, place, now, draw, begun))
            say(f"  trial {number}, {now} kills: {'; '.join(found) or 'as without a kill'}")
            shutil.rmtree(place)
            wrong, left, number = wrong + found, left - now, number + 1
    return wrong
