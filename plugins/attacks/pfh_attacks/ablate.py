"""Removes the direction along which the model refuses from all it computes (Arditi et al. 2024, arXiv 2406.11717).

The direction is each model's own: the difference of the mean streams of harmful and benign requests at the last token,
at the layer before 0.8 of the depth where its ablation lowers the refusal margin of other harmful requests most. The
requests are those of pfh's refusal tuning, or yours; what else the ablation changes is no matter here, so that an
answer may suffer too. The family `representation` measures the direction itself, with all of the paper's filters.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pfh import hookimpl
from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec
from pfh.hooks.backends import Intervention
from pfh.hooks.meanings import Names
from pfh.kit import refusal_margin
from pfh.kit.refusal_prompts import load_prompts
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.searching import kept
from pfh_attacks.sending import Sent, asking, by_behaviour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEEPEST = 0.8


class Options(BaseModel):
    """What the direction is found on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: int = Field(32, ge=4, description="harmful and as many benign requests that the direction is found on")
    tried: int = Field(8, ge=1, description="other harmful requests that the layer is chosen by")
    file: Annotated[str, Names.FILE] = Field("", description="a file of requests of your own, as of the refusal tuning")
    layer_step: int = Field(2, ge=1, description="every so many-th layer is tried")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Find the direction, and send every behaviour as it is to the model without it.

    Raises:
        UserError: the backend shows no hidden states or cannot intervene.
    """
    import numpy as np

    chosen = spec.options or Options.model_validate({})
    if spec.engine.checkpoint.endpoint is not None:
        raise UserError("ablate needs activations; use --backend hf or auto")
    name = f"ablate {chosen.model_dump_json()}"
    direction = np.array(kept(spec, name, lambda: _direction(spec, chosen).tolist()), dtype=np.float32)
    with spec.engine.intervened([Intervention(kind="ablate", direction=direction)]):
        found = by_behaviour(spec, [Sent(behaviour, asking(behaviour.prompt)) for behaviour in spec.behaviours])
    return AttackResult(outcomes=found.outcomes, access="white-box")


def _direction(spec: AttackSpec, chosen: Options) -> NDArray[np.float32]:
    """Return the direction, shape (width,)."""
    import numpy as np

    engine = spec.engine
    prompts = (load_prompts(Path(chosen.file).expanduser()) if chosen.file else load_prompts()).tuning
    of_kind = {}
    for kind in ("harmful", "benign"):
        own = [each.text for each in prompts if each.kind == kind]
        random.Random(0).shuffle(own)  # noqa: S311 - nothing secret
        of_kind[kind] = [engine.render(asking(text)) for text in own]
    layers = list(range(1, max(2, int(DEEPEST * engine.depth)), chosen.layer_step))
    means = {
        kind: np.mean([stream[:, -1] for stream in engine.hidden_states(texts[: chosen.requests], layers)], axis=0)
        for kind, texts in of_kind.items()
    }
    tried = of_kind["harmful"][chosen.requests : chosen.requests + chosen.tried] or of_kind["harmful"]
    openings = refusal_margin.writable(engine, refusal_margin.OPENINGS)
    found: list[tuple[float, NDArray[np.float32]]] = []
    for difference in means["harmful"] - means["benign"]:
        with contextlib.suppress(UserError), engine.intervened([Intervention(kind="ablate", direction=difference)]):
            found.append((float(refusal_margin.refusal_margins(engine, tried, openings).mean()), difference))
    if not found:
        raise UserError("ablate found no direction: harmful and benign requests leave the same activations")
    return min(found, key=lambda each: each[0])[1]
