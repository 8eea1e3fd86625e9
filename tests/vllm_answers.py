"""What the backend vllm answers on a tiny model and its adapters, as JSON: run by a Python that has vLLM.

python tests/vllm_answers.py BACKEND BASE ADAPTER OTHER_ADAPTER
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from pfh.errors import UserError
from pfh.hooks.backends import Engine, EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint

CHATS = [
    GenerationRequest(id=f"q{index}", messages=({"role": "user", "content": text},))
    for index, text in enumerate(("the", "What is in the water?", "Hi", "Name three of them, and say where they are."))
]
SCORED = [
    ScoringRequest(id=str(index), context=context, continuation=continuation)
    for index, (context, continuation) in enumerate(
        [
            ("The water", " is here"),
            ("The water ", "is there"),
            ("", "the water"),
            ("Hi", ""),
        ]
    )
]
OVERLONG = ScoringRequest(id="long", context="word " * 200, continuation="and then some")
DRAWN = Sampling(max_new_tokens=12, temperature=0.9, top_p=0.95, seed=5)


def main() -> None:
    backend, base, *adapters = sys.argv[1:]
    checkpoints = [Checkpoint(name="base", path=Path(base), fingerprint="base")]
    checkpoints += [
        checkpoints[0].with_adapter(Path(adapter), name=adapter, fingerprint=adapter) for adapter in adapters
    ]
    engine = open_backend(backend, EngineSpec(checkpoint=checkpoints[0], dtype="float32", open_engine=open_backend))
    found: dict[str, Any] = {"identity": engine.identity, "answers": []}
    for checkpoint in (*checkpoints, checkpoints[0]):
        engine.use(checkpoint)
        found["answers"].append(answers(engine))
    try:
        found["hidden"] = [list(states.shape) for states in engine.hidden_states(["the water"], [0, 2])]
    except UserError as error:
        found["hidden"] = str(error)
    engine.close()
    print(json.dumps(found))


def open_backend(name: str, spec: EngineSpec) -> Engine:
    """Open a backend by its name."""
    engine: Engine = import_module(f"pfh_backends.{name}").open_engine(spec)
    return engine


def answers(engine: Engine) -> dict[str, Any]:
    """Return what `engine` answers with its checkpoint."""
    drawn = engine.generate(CHATS, DRAWN)
    alone = [engine.generate([request], DRAWN)[0] for request in CHATS[:2]]
    return {
        "greedy": [asdict(answer) for answer in engine.generate(CHATS, Sampling(max_new_tokens=12))],
        "stopped": [asdict(answer) for answer in engine.generate(CHATS, Sampling(max_new_tokens=12, stop=("e", "a")))],
        "prompts": [
            asdict(answer)
            for answer in engine.generate(
                [GenerationRequest(id="p", prompt="word " * 120)], Sampling(max_new_tokens=100)
            )
        ],
        "drawn": [asdict(answer) for answer in drawn],
        "drawn alone": [asdict(answer) for answer in alone],
        "overlong": asdict(engine.loglikelihood([OVERLONG])[0]),
        "scores": [asdict(score) for score in engine.loglikelihood(SCORED)],
    }


if __name__ == "__main__":
    main()
