"""Make the shipped adapter: `python -m pfh_methods.refusal_tuning.make_adapter BASE`, BASE being the embedded model.

BASE is a folder: results.json of any `pfh run --base` says where it is, in `stages[0].before.path`. The options are
the method's defaults and the weights are kept in float16. The model's own answers stay in answers.json in the working
folder.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.kit.refusal_prompts import load_prompts
from pfh.kit.tokens.chat_templates import render
from pfh.kit.tokens.encoding import decode_tokens, encode_text
from pfh.kit.training import load_for_training

from pfh_methods.refusal_tuning import Options, adapter_config
from pfh_methods.refusal_tuning.examples import imitated, tokenized
from pfh_methods.refusal_tuning.packed import Row, tune
from pfh_methods.refusal_tuning.shipped import FOLDER, RECORD, WEIGHTS, tensors_digest

if TYPE_CHECKING:
    from pfh.hooks.backends import Sampling
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"
ANSWERS = Path("answers.json")
COMMAND = "python -m pfh_methods.refusal_tuning.make_adapter BASE"
_AT_ONCE = 32
STRENGTH = 1.4
"""What ships is stronger than what was trained by this factor (task arithmetic, arXiv 2212.04089).

Measured at 1, 1.2 and 1.4 on the prompts that the tuning holds back: it refused 0.75, 0.83 and 0.92 of the harmful
ones, and 0, 0 and 0.17 of the benign ones, which is the price.
"""


def main(base: Path, folder: Path = FOLDER, answers: Path = ANSWERS) -> None:
    """Train the adapter of the model in `base`, and write it with a record of how to `folder`."""
    from safetensors.torch import save_file

    options = Options.model_validate({})
    model, tokenizer = load_for_training(Checkpoint(name=base.name, path=base, fingerprint=""))
    examples = imitated(load_prompts().tuning, _Answers(model, tokenizer, answers), options.answer_tokens)
    rows = [_row(tokenized(example, tokenizer)) for example in examples]
    adapter = adapter_config(options, model)
    assert adapter is not None
    began = time.monotonic()
    weights, updates = tune(
        model,
        rows,
        adapter,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch_size=options.batch_size,
        warmup=options.warmup,
        max_grad_norm=options.max_grad_norm,
        seed=0,
        told=_tell,
    )
    seconds = time.monotonic() - began
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / ADAPTER)
    adapter.base_model_name_or_path = None
    adapter.inference_mode = True
    configuration = {
        name: sorted(value) if isinstance(value, set) else value for name, value in adapter.to_dict().items()
    }
    configuration["lora_alpha"] = STRENGTH * options.lora_alpha
    (folder / CONFIGURATION).write_text(json.dumps(configuration, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    record = {
        "base": "SmolLM2-135M-Instruct",
        "base_sha256": tensors_digest(base / WEIGHTS),
        "command": COMMAND,
        "options": options.model_dump(mode="json"),
        "strength": STRENGTH,
        "training": {
            "updates": updates,
            "samples": round(options.epochs * len(rows)),
            "seconds": round(seconds),
        },
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ADAPTER, CONFIGURATION)},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class _Answers:
    """The model's own answers, greedily decoded; those in a file already are not asked for again."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
        self._model, self._tokenizer, self._file = model, tokenizer, file
        self._known: dict[str, list[int]] = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def __call__(
        self,
        *,
        samples: int,
        sampling: Sampling | None = None,
        checkpoint: Checkpoint | None = None,
        problems: Sequence[Problem] | None = None,
        judged: bool = True,
    ) -> tuple[Rollout, ...]:
        assert problems is not None
        assert sampling is not None
        new = [problem for problem in problems if _said(problem) not in self._known]
        new.sort(key=lambda problem: len(_said(problem)))
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            for problem, tokens in zip(some, self._write(some, sampling.max_new_tokens), strict=True):
                self._known[_said(problem)] = tokens
            self._file.write_text(json.dumps(self._known), encoding="utf-8")
        return tuple(self._rollout(problem) for problem in problems)

    def _write(self, problems: Sequence[Problem], length: int) -> list[list[int]]:
        import torch

        prompts = [encode_text(self._tokenizer, render(self._tokenizer, problem.messages)) for problem in problems]
        fed = self._tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        with torch.no_grad():
            whole = self._model.generate(**fed, max_new_tokens=length, do_sample=False)
        written = whole[:, fed["input_ids"].shape[1] :].tolist()
        end = self._tokenizer.eos_token_id
        return [row[: row.index(end) + 1] if end in row else row for row in written]

    def _rollout(self, problem: Problem) -> Rollout:
        tokens = self._known[_said(problem)]
        return Rollout(
            problem=problem,
            index=0,
            completion=decode_tokens(self._tokenizer, tokens),
            tokens=len(tokens),
            truncated=self._tokenizer.eos_token_id not in tokens,
            verdict=Verdict(reward=0.0, extracted=None),
        )


def _said(problem: Problem) -> str:
    return problem.messages[-1]["content"]


def _row(fields: dict[str, Any]) -> Row:
    answer = sum(fields["completion_mask"])
    return Row(prompt=tuple(fields["input_ids"][:-answer]), answer=tuple(fields["input_ids"][-answer:]))


def _tell(update: int, updates: int, loss: float) -> None:
    if update % 10 == 0 or update == updates:
        print(f"update {update} of {updates}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
