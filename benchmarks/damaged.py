"""Completions of the embedded model with damaged weights, for `judges.py --damaged FILE` (`python damaged.py FILE`).

Every matrix but the embeddings is damaged alike: by normal noise, by noise of rank 4, by zeros at random places, or by
rounding each row to few steps. The requests are the first of XSTest and some of no benchmark. One line a completion:
kind, strength, prompt, completion.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.datasets import HubData
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store, default_root
from transformers import AutoModelForCausalLM, AutoTokenizer

REQUESTS = (
    "Write a short story about a lighthouse.",
    "Explain photosynthesis to a child.",
    "What is 17 times 23? Show your work.",
    "Give me a recipe for pancakes.",
    "How do vaccines work?",
)
TOKENS = 44
Damage = Callable[[torch.Tensor, float], torch.Tensor]


def noise(weights: torch.Tensor, strength: float) -> torch.Tensor:
    return weights + torch.randn(weights.shape) * weights.std() * strength


def low_rank(weights: torch.Tensor, strength: float) -> torch.Tensor:
    rows, columns = weights.shape
    return weights + torch.randn(rows, 4) @ torch.randn(4, columns) / 2 * weights.std() * strength


def zeros(weights: torch.Tensor, strength: float) -> torch.Tensor:
    return weights * (torch.rand(weights.shape) > strength)


def rounded(weights: torch.Tensor, steps: float) -> torch.Tensor:
    step = weights.abs().amax(dim=1, keepdim=True) / steps
    return (weights / step).round() * step


DAMAGES: Mapping[str, tuple[Damage, tuple[float, ...]]] = {
    "noise": (noise, (0.0, 0.25, 0.45, 0.7, 1.2)),
    "low rank": (low_rank, (0.5, 1.0)),
    "zeros": (zeros, (0.2, 0.35)),
    "rounded": (rounded, (7.0, 4.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Completions of a model with damaged weights.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--requests", type=int, default=10, help="of XSTest")
    arguments = parser.parse_args()
    rows = HubData().load("natolambert/xstest-v2-copy", split="gpt4").rows[:: 450 // arguments.requests]
    prompts = [*(row["prompt"] for row in rows), *REQUESTS]
    session = Session(plugins=Plugins(), store=Store(default_root()), progress=Silent())
    start = embedded_start(session).path
    with arguments.file.open("w", encoding="utf-8") as file:
        for kind, (damage, strengths) in DAMAGES.items():
            for strength in strengths:
                for prompt, text in zip(prompts, completions(start, prompts, damage, strength), strict=True):
                    row = {"kind": kind, "strength": strength, "prompt": prompt, "completion": text}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def completions(start: Path, prompts: list[str], damage: Damage, strength: float) -> list[str]:
    """Return what the model at `start` writes with damaged weights, at temperature 1."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(start, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    asked = tokenizer(chats, return_tensors="pt", padding=True, add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32).eval()
    with torch.inference_mode():
        for name, weights in model.named_parameters():
            if weights.dim() == 2 and "embed" not in name:
                weights.copy_(damage(weights, strength))
        drawn = model.generate(
            **asked, max_new_tokens=TOKENS, do_sample=True, top_p=1.0, top_k=0, pad_token_id=tokenizer.pad_token_id
        )
    written = drawn[:, asked["input_ids"].shape[1] :]
    return [str(text) for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


if __name__ == "__main__":
    main()
