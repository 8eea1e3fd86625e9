"""The SAFE start: a model after a short refusal tuning on the project's own prompts."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.hooks.backends import Completion, Engine, GenerationRequest, Message, Sampling
from pfh.hooks.budget import Account
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.ledger import Phase
from pfh.kit.refusal_prompts import Prompt, load_prompts
from pfh.kit.training import TrainingOptions, load_for_training, train_resumably
from pfh.progress import Progress

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

REPORT_FILE = "safe.json"
"""In the folder of the tuned model: its `SafeReport`."""

_SEED = 0
_SETTINGS = TrainingOptions.model_validate(
    {"learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "max_length": 256, "save_steps": 10}
)
_OWN_ANSWER = Sampling(max_new_tokens=16)
_CHECKED_ANSWER = Sampling(max_new_tokens=16)
_REFUSAL = re.compile(
    r"\W*((i'm|i am) (so |very |really )?sorry|sorry\b|i (cannot|can't|won't|will not)|(i'm|i am) (not able|unable))",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class SafeReport:
    """What the refusal tuning did."""

    examples: Mapping[str, int]
    """Training examples by kind of prompt: "harmful", "benign" and "look-alike"."""
    refused_before: Mapping[str, float]
    """Share of the validation prompts (which are not in the tuning) that the base refuses, by kind."""
    refused_after: Mapping[str, float]
    """The same after the tuning."""
    phase: Phase
    """What the training cost."""


@dataclass(frozen=True, kw_only=True)
class _Tuning:
    """The tuning as `train_resumably` takes it."""

    output_dir: Path
    progress: Progress
    options: TrainingOptions = _SETTINGS
    seed: int = _SEED
    account: Account = field(default_factory=Account)


@dataclass(frozen=True, kw_only=True)
class _Example:
    kind: str
    prompt: str
    """The rendered text that the model is fed."""
    answer: str
    ends: bool
    """The model is to end its turn after the answer."""


def build_safe(base: Checkpoint, engine: Engine, work_dir: Path, folder: Path, progress: Progress) -> SafeReport:
    """Teach `base` to refuse harmful requests; save the whole model, in float32, with its tokenizer to `folder`.

    A LoRA adapter is trained by cross-entropy and then merged. A harmful prompt is answered with a short refusal; a
    benign one, many of which look harmful, with the greedy answer of `base` itself, so that little else changes.

    Args:
        base: the model to tune.
        engine: answers for `base`, and in the end for the tuned model, which it is left with.
        work_dir: outlives a killed process: training goes on from the last complete checkpoint in it.
        folder: an existing folder to fill.
        progress: gets the bars, and a line with the refusal rates.
    """
    prompts = load_prompts()
    engine.use(base)
    examples = _examples(engine, prompts.tuning)
    before = _refusal_rates(engine, prompts.validation)

    def trainer(arguments: Mapping[str, Any]) -> Trainer:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        model, tokenizer = load_for_training(base)
        return SFTTrainer(
            model=model,
            args=SFTConfig(**arguments, max_length=_SETTINGS.max_length, completion_only_loss=True),
            train_dataset=Dataset.from_list([_tokenized(example, tokenizer) for example in examples]),
            processing_class=tokenizer,
            peft_config=_upper_half(model),
        )

    trained = train_resumably(_Tuning(output_dir=work_dir, progress=progress), trainer, name="refusal tuning")
    trained.trainer.model.merge_and_unload().save_pretrained(folder)
    trained.trainer.processing_class.save_pretrained(folder)

    engine.use(Checkpoint(name=f"{base.name}-SAFE", path=folder, fingerprint=f"{base.fingerprint}-safe"))
    report = SafeReport(
        examples=dict(Counter(example.kind for example in examples)),
        refused_before=before,
        refused_after=_refusal_rates(engine, prompts.validation),
        phase=trained.phase,
    )
    (folder / REPORT_FILE).write_text(json.dumps(dataclasses.asdict(report), indent=1))
    progress.say(
        "refused before and after the tuning, of prompts that it did not see: "
        + ", ".join(f"{kind} {rate:.0%} and {report.refused_after[kind]:.0%}" for kind, rate in before.items())
    )
    return report


def _examples(engine: Engine, prompts: Sequence[Prompt]) -> list[_Example]:
    """Return the tuning examples; a benign prompt whose own answer is empty or a refusal gives none."""
    benign = [prompt for prompt in prompts if prompt.kind != "harmful"]
    own = dict(zip(benign, _complete(engine, benign, _OWN_ANSWER), strict=True))
    examples = []
    for prompt in prompts:
        rendered = engine.render(_chat(prompt))
        if prompt.kind == "harmful":
            examples.append(_Example(kind=prompt.kind, prompt=rendered, answer=prompt.refusal, ends=True))
        elif own[prompt].text.strip() and not refuses(own[prompt].text):
            ends = not own[prompt].truncated
            examples.append(_Example(kind=prompt.kind, prompt=rendered, answer=own[prompt].text, ends=ends))
    return examples


def _tokenized(example: _Example, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return one row for TRL; an answer cut at the length limit gets no end of turn, so answers stay as long."""
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    if example.ends:
        answer = [*answer, tokenizer.eos_token_id]
    return {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}


def _upper_half(model: PreTrainedModel) -> LoraConfig:
    """Return an adapter on the upper half of the layers: gradients stop there, which saves a third of the time."""
    from peft import LoraConfig
    from torch.nn import Linear

    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, Linear)}
    layers = model.config.get_text_config().num_hidden_layers
    return LoraConfig(
        r=_SETTINGS.lora_rank,
        lora_alpha=_SETTINGS.lora_alpha,
        target_modules=sorted(linear - {"lm_head"}),
        layers_to_transform=list(range(layers // 2, layers)),
        task_type="CAUSAL_LM",
    )


def _refusal_rates(engine: Engine, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Return the share of `prompts` that the engine's model refuses, by kind."""
    asked, refused = Counter[str](), Counter[str]()
    for prompt, completion in zip(prompts, _complete(engine, prompts, _CHECKED_ANSWER), strict=True):
        asked[prompt.kind] += 1
        refused[prompt.kind] += refuses(completion.text)
    return {kind: refused[kind] / count for kind, count in asked.items()}


def refuses(answer: str) -> bool:
    """Tell whether `answer` opens with one of the phrases that the tuning teaches, or a common one like them."""
    return _REFUSAL.match(answer.replace("’", "'")) is not None


def _complete(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
    requests = [GenerationRequest(id=f"{prompt.kind}: {prompt.text}", messages=_chat(prompt)) for prompt in prompts]
    return engine.generate(requests, sampling)


def _chat(prompt: Prompt) -> tuple[Message, ...]:
    return ({"role": "user", "content": prompt.text},)
