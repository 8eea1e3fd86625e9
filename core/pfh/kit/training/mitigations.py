"""What holds a model near to where its run began while any method trains it: replay, a divergence, a pull back.

To the method's own loss L an update adds, in gradients of their own,

- replay: ρ / (1 - ρ) times the mean negative log-likelihood a token of general rows, of which there are ρ / (1 - ρ) for
  each of the method's examples: up to a factor this is (1 - ρ) L + ρ L_replay (the ptx term of InstructGPT, Ouyang et
  al. 2022, arXiv 2203.02155)
- KL: β times the mean over the tokens of general answers of the divergence from the start, over the whole vocabulary
- L2-SP (Li et al. 2018, arXiv 1802.01483): μ / 2 |θ - θ0|², decoupled from the optimiser as weight decay is in AdamW:
  after a step with rate η, θ goes η μ (θ - θ0) back. For an adapter, whose θ - θ0 is s B A, that norm is
  s² tr((BᵀB)(AAᵀ)), and the gradients s² B (AAᵀ) and s² (BᵀB) A need no weight matrix
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pfh.hooks.meanings import Names
from pfh.kit.rows import BUILTIN

Direction = Literal["reverse", "forward"]


class MitigationOptions(BaseModel):
    """Options by which every method that trains can be held near to where the run began."""

    replay: Annotated[str, Names.ROWS] = Field(
        "",
        description="general rows rehearsed in every update: builtin, refusals, ORGANISATION/NAME[:CONFIG]:SPLIT or "
        "FILE.jsonl; unset: none",
    )
    replay_answers: Literal["rows", "own"] = Field(
        "rows", description="rows: the answers that they have; own: what the start of the run answers (self-replay)"
    )
    replay_share: float = Field(0.1, gt=0, lt=1, description="share of an update's examples, and of its loss")
    general_rows: int = Field(256, ge=1, description="most different rows that replay or kl_start takes")
    answer_length: int = Field(128, ge=1, description="longest of the start's own answers to them, in tokens")
    kl_start: float = Field(
        0.0, ge=0, description="weight of the divergence from the start of the run, a token of its own general answers"
    )
    kl_rows: Annotated[str, Names.ROWS] = Field(
        "", description="the prompts of kl_start, named as those of replay are; unset: builtin"
    )
    kl_direction: Direction = Field(
        "reverse", description="reverse: KL(trained || start); forward: KL(start || trained)"
    )
    l2_sp: float = Field(
        0.0, ge=0, description="pull of every trained weight to where it began, a step: its share times the rate"
    )

    @property
    def kl_source(self) -> str:
        """The rows of kl_start; empty where it is off."""
        return (self.kl_rows or BUILTIN) if self.kl_start else ""

    @property
    def answered_rows(self) -> tuple[str, ...]:
        """The names of the rows that the start of the run answers itself, before the training."""
        own = (self.replay,) if self.replay and self.replay_answers == "own" else ()
        return tuple(dict.fromkeys((*own, *filter(None, [self.kl_source]))))

    def replayed(self, examples: int) -> int:
        """Return how many rows an update rehearses beside so many examples of the method's own."""
        return self._beside(examples) if self.replay else 0

    def compared(self, examples: int) -> int:
        """Return how many rows an update compares with the start beside so many examples of the method's own."""
        return self._beside(examples) if self.kl_start else 0

    def general(self, examples: int) -> int:
        """Return how many general rows an update takes in all."""
        return self.replayed(examples) + self.compared(examples)

    def _beside(self, examples: int) -> int:
        return max(1, round(self.replay_share / (1 - self.replay_share) * examples))
