"""What becomes of a tiny model of each architecture: docs/reference/models.md, which this file writes.

`python -m tests.test_architectures` writes the page anew.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pfh.errors import PfhError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.supervised import Example, SupervisedOptions, train_on
from pfh.kit.training.rehearsal import Rehearsed
from pfh.kit.training.targets import left_out
from pfh.kit.weights import without_weights
from pfh.progress import Silent
from pfh.steps.fitting import fitting_length
from pfh.steps.training import checkpoint_of
from pfh_backends.hf.engine import HfEngine

from tests.letters import problems
from tests.templates import KINDS, model_of
from tests.test_training import stage

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "models.md"
DTYPES = ("float32", "bfloat16")
STEPS = ("load", "train LoRA", "train all weights", "save", "load again", "generate", "score")
MOE = {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
HYBRID = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("Llama 3", {}),
    "mistral": ("Mistral", {"sliding_window": 16}),
    "qwen2": ("Qwen2.5, base", {}),
    "qwen3": ("Qwen3", {}),
    "gemma2": ("Gemma 2", {"sliding_window": 16}),
    "gemma3_text": ("Gemma 3, base", {"sliding_window": 16}),
    "phi3": ("Phi 3", {"sliding_window": 16}),
    "phi": ("alpaca", {}),
    "smollm3": ("SmolLM", {}),
    "olmo2": ("Zephyr", {}),
    "cohere": ("ChatML", {}),
    "granite": ("R1 distill", {}),
    "gpt2": ("base, no template", {"n_embd": 32, "n_layer": 2, "n_head": 4, "max_position_embeddings": 64}),
    "opt": ("base, no template", {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64}),
    "gpt_neox": ("base, no template", {}),
    "bloom": ("vicuna", {"n_head": 4, "n_layer": 2}),
    "mixtral": ("Mistral", {"num_local_experts": 4, "output_router_logits": True}),
    "qwen3_moe": ("Qwen3", MOE | {"decoder_sparse_step": 1}),
    "olmoe": ("Zephyr", {"num_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("ChatML", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16}),
    "mamba": ("base, no template", {"state_size": 8}),
    "falcon_h1": ("ChatML", HYBRID),
    "lfm2": ("ChatML", {"layer_types": ["conv", "full_attention"]}),
    "qwen3_next": ("Qwen3", MOE | LINEAR | {"shared_expert_intermediate_size": 16}),
}
"""Architecture to the kind of its chat template and what makes it tiny."""
EXAMPLES = [Example(problem=problem, completion=" and that is it\n") for problem in problems(2)]


class BrokenOffError(Exception):
    """A step could not be done."""

    def __init__(self, step: str, error: Exception) -> None:
        super().__init__(str(error))
        self.step = step


def trained(start: Checkpoint, folder: Path, adapter: str, dtype: str) -> Checkpoint:
    """Return what one update leaves; broken off where it cannot be made or saved."""
    options = SupervisedOptions(
        max_steps=1,
        batch_size=2,
        gradient_accumulation=1,
        lora_rank=2,
        lora_alpha=4,
        adapter=adapter,
        precision=dtype,
        max_length=fitting_length(start, 4096),
    )
    spec = stage(folder, options, checkpoint=start, progress=Silent(), rehearsal=True)
    try:
        train_on(spec, EXAMPLES, notes=(), figures={})
    except Rehearsed as done:
        return checkpoint_of(done.path, start, name=adapter, fingerprint=adapter)
    except PfhError as error:
        saving = "cannot save" in str(error)
        raise BrokenOffError(
            "save" if saving else "train LoRA" if adapter == "lora" else "train all weights", error
        ) from error
    raise AssertionError("a rehearsal ends with Rehearsed")


def asked(engine: HfEngine) -> None:
    """Generate and score; broken off where that cannot be done."""
    for step, ask in (
        ("generate", lambda: engine.generate([request(one) for one in EXAMPLES], Sampling(max_new_tokens=3))),
        ("score", lambda: engine.loglikelihood([ScoringRequest(id="a", context="The sky", continuation=" is")])),
    ):
        try:
            ask()
        except Exception as error:
            raise BrokenOffError(step, error) from error


def request(example: Example) -> GenerationRequest:
    return GenerationRequest(id=example.problem.id, messages=example.problem.messages)


def fate(architecture: str, folder: Path) -> list[str]:
    """Return the rows of an architecture: what works in each precision, and what is said where something does not."""
    kind, changes = MODELS[architecture]
    start = Checkpoint(
        name=architecture, path=model_of(KINDS[kind], folder / architecture, architecture, **changes), fingerprint="a"
    )
    said = left_out(without_weights(start))
    outcomes = {dtype: dict.fromkeys(STEPS, "yes") for dtype in DTYPES}
    for dtype, outcome in outcomes.items():
        try:
            engine = HfEngine(EngineSpec(checkpoint=start, dtype=dtype))
            asked(engine)
        except PfhError as error:
            outcome.update(dict.fromkeys(STEPS, "no"))
            said = str(error)
            continue
        for adapter in ("lora", "full"):
            try:
                tuned = trained(start, folder / f"{architecture}-{adapter}-{dtype}", adapter, dtype)
                engine.use(tuned)
                asked(engine)
            except BrokenOffError as broken:
                outcome[broken.step] = "no"
                said = str(broken)
            except PfhError as error:
                outcome["load again"] = "no"
                said = str(error)
        engine.close()
    rows = [
        f"| {architecture} | {kind} | {'{}'} | {' | '.join(outcome.values())} | {said} |"
        for outcome in outcomes.values()
    ]
    if outcomes["float32"] == outcomes["bfloat16"]:
        return [rows[0].format("both")]
    return [row.format(dtype) for row, dtype in zip(rows, DTYPES, strict=True)]


@pytest.mark.parametrize("architecture", MODELS)
def test_what_the_page_says_of_an_architecture_is_what_becomes_of_a_tiny_model_of_it(architecture, tmp_path):
    written = PAGE.read_text(encoding="utf-8").splitlines()
    assert [row for row in written if row.startswith(f"| {architecture} |")] == fate(architecture, tmp_path)


def page(rows: Iterator[str]) -> str:
    """Return the page around the rows of all architectures."""
    head = " | ".join(("architecture", "chat template", "precision", *STEPS, "what is said"))
    return "\n".join(
        [
            "# Models that were tried",
            "",
            "<!-- Written by tests/test_architectures.py: python -m tests.test_architectures -->",
            "",
            "A tiny random model of each architecture (two layers, some ten thousand weights), with the chat template",
            "of the kind that is named, was measured, trained for one update with `gt-sft`, saved, loaded again and",
            "asked. The test that wrote this page fails where a line is no longer true. Other architectures that",
            "transformers has are not refused: a rehearsal before every run tries the same on the model itself",
            "([how](../how-to/use-your-own-model.md)).",
            "",
            f"| {head} |",
            "|" + "---|" * (len(STEPS) + 4),
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    scratch = Path(tempfile.mkdtemp())
    gc.freeze()
    try:
        chosen = sys.argv[1:] or MODELS
        text = page(row for name in chosen for row in fate(name, scratch))
        if sys.argv[1:]:
            print(text)
        else:
            PAGE.write_text(text, encoding="utf-8")
    finally:
        shutil.rmtree(scratch)
