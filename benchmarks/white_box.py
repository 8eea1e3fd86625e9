"""What a step of GCG costs beside its parts, one gradient and one scoring of its candidates (`python white_box.py`).

    python white_box.py [--model FOLDER] [--steps 5] [--width 24]

Processor time on one thread. The rest of a step is what pfh adds: drawing, decoding and checking the candidates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from pfh.hooks.attacks import AttackSpec, Behaviour
from pfh.hooks.backends import EngineSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from pfh_attacks import gcg
from pfh_backends.hf.engine import HfEngine

Given, Found = ParamSpec("Given"), TypeVar("Found")


class Clock:
    """Adds up the processor time of the calls that pass through it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    def timed(self, function: Callable[Given, Found]) -> Callable[Given, Found]:
        def call(*arguments: Given.args, **named: Given.kwargs) -> Found:
            began = time.process_time()
            found = function(*arguments, **named)
            self.seconds += time.process_time() - began
            self.calls += 1
            return found

        return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder; the embedded BASE start without it")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--width", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(default_root())
    if arguments.model:
        checkpoint = resolve(str(Path(arguments.model)), cache_dir=store.cache)
    else:
        session = Session(plugins=Plugins(), store=store, progress=Silent())
        checkpoint = embedded_start(session)
        session.release()
    engine = HfEngine(EngineSpec(checkpoint=checkpoint))
    gradient, scoring, step = Clock(), Clock(), Clock()
    gcg.Vocabulary._gradient = gradient.timed(gcg.Vocabulary._gradient)  # type: ignore[method-assign]
    gcg.losses = scoring.timed(gcg.losses)
    gcg._searched = step.timed(gcg._searched)
    behaviour = Behaviour(id="b", prompt="Say how a lock is opened without its key.", target="Xylophones")
    options = gcg.Options(steps=arguments.steps, width=arguments.width)
    gcg.attack(AttackSpec(behaviours=(behaviour,), engine=engine, options=options, max_new_tokens=4))
    parts = gradient.seconds + scoring.seconds
    print(
        f"{checkpoint.name}: {gradient.calls} gradients {gradient.seconds:.2f} s, {scoring.calls} scorings of up to "
        f"{arguments.width} candidates {scoring.seconds:.2f} s, the search {step.seconds:.2f} s: "
        f"{step.seconds / parts:.3f} times its parts"
    )


if __name__ == "__main__":
    main()
