"""Free vectors behind the request, in place of tokens, that make the wanted answer likely (embedding attack).

Schwinn et al. 2024 (arXiv 2402.09063). Nobody can type such a prompt: it bounds from above what any suffix of that
length could do, and a small model always gives in. Look at the loss and at the steps it took, not at the success.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pfh import hookimpl
from pfh.hooks.attacks import AttackResult, AttackSpec, Attempt, Behaviour, Outcome
from pydantic import BaseModel, ConfigDict, Field

from pfh_attacks.searching import gradients, kept, placed
from pfh_attacks.sending import asking

START = " !"


class Options(BaseModel):
    """How many vectors, and how long they are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vectors: int = Field(4, ge=1, description="free vectors behind the request")
    steps: int = Field(20, ge=1, description="steps of Adam for each behaviour, at most")
    rate: float = Field(0.01, gt=0, description="learning rate")
    target_tokens: int = Field(12, ge=1, description="tokens of the wanted answer that are made likelier")
    enough: float = Field(0.2, ge=0, description="mean loss a token at which a behaviour is done, in nats")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the attack."""
    return Options


@hookimpl
def attack(spec: AttackSpec) -> AttackResult:
    """Train vectors for every behaviour, and let the model answer behind them.

    Raises:
        UserError: the backend has no gradients.
    """
    chosen = spec.options or Options.model_validate({})
    outcomes = []
    with (
        gradients(spec, "soft-prompt") as (model, tokenizer),
        spec.progress.task("training vectors", len(spec.behaviours)) as bar,
    ):
        for behaviour in sorted(spec.behaviours, key=lambda each: each.id):
            name = f"soft-prompt {chosen.model_dump_json()} {spec.seed} {spec.max_new_tokens} {behaviour.id}"
            found = kept(spec, name, lambda: _trained(spec, chosen, model, tokenizer, behaviour))  # noqa: B023 - at once
            outcomes.append(_outcome(behaviour, found))
            bar.advance(1)
    return AttackResult(outcomes=tuple(outcomes), access="white-box")


def _trained(spec: AttackSpec, chosen: Options, model: Any, tokenizer: Any, behaviour: Behaviour) -> dict[str, Any]:  # noqa: ANN401 - transformers' own
    import torch

    place = placed(spec, behaviour, chosen.target_tokens)
    table = model.get_input_embeddings().weight
    before, after, wanted, start = (
        torch.tensor(spec.engine.encode(text), device=table.device)
        for text in (place.before, place.after, place.wanted, START * chosen.vectors)
    )
    vectors = table[start[: chosen.vectors]].detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([vectors], lr=chosen.rate)
    steps, loss = 0, float("inf")
    with torch.enable_grad():
        for _ in range(chosen.steps):
            inputs = torch.cat([table[before], vectors, table[after], table[wanted]])[None]
            logits = model(inputs_embeds=inputs, use_cache=False).logits[0, -len(wanted) - 1 : -1].float()
            step_loss = torch.nn.functional.cross_entropy(logits, wanted)
            steps, loss = steps + 1, float(step_loss.detach())
            if loss <= chosen.enough:
                break
            optimiser.zero_grad()
            step_loss.backward()
            optimiser.step()
    prompt = torch.cat([table[before], vectors.detach(), table[after]])[None]
    with torch.no_grad():
        answer = model.generate(
            inputs_embeds=prompt,
            attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long, device=table.device),
            max_new_tokens=spec.max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )[0]
    text = str(tokenizer.decode(answer, skip_special_tokens=True))
    return {"completion": text, "loss": loss, "steps": steps, "prompt": prompt.shape[1], "written": len(answer)}


def _outcome(behaviour: Behaviour, found: Mapping[str, Any]) -> Outcome:
    attempt = Attempt(
        messages=asking(behaviour.prompt),
        completion=found["completion"],
        tokens_in=found["prompt"],
        tokens_out=found["written"],
        loss=found["loss"],
    )
    queries = found["steps"] + 1
    return Outcome(
        id=behaviour.id, attempts=(attempt,), final=0, queries=queries, tokens=found["steps"] * found["prompt"]
    )
