"""What every backend loads a model with: the device, the precision, the tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from pfh.errors import UserError, boundary
from pfh.kit.tokens.chat_templates import chat_template, set_arguments, template_arguments
from pfh.kit.tokens.rehearsal import rehearse

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedTokenizerBase

    from pfh.hooks.checkpoint import Checkpoint


_SPACE, _WORDS = "\u2581", 8
"""How SentencePiece writes a space, and how many of its words tell whether a tokenizer is read as it is meant."""
DTYPES = ("auto", "float32", "bfloat16", "float16")


def pick_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype called `name`; "auto" is bfloat16 where the device computes in it, else float32.

    Raises:
        UserError: there is no such dtype.
    """
    import torch

    if name not in DTYPES:
        raise UserError(f"There is no dtype {name}: use one of {', '.join(DTYPES)}.")
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return torch.bfloat16 if native else torch.float32


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `checkpoint`: the adapter's own if it brought one, else its base's.

    It renders chats under the checkpoint's `chat_template_kwargs`.

    Raises:
        UserError: it cannot be loaded, or its template lacks an argument that the checkpoint is used with.
    """
    from transformers import AutoTokenizer

    own = checkpoint.adapter is not None and (checkpoint.adapter / "tokenizer_config.json").exists()
    folder = checkpoint.adapter if own else checkpoint.path
    options = {"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file and not own else {}
    with loading(f"The tokenizer of {checkpoint.name} cannot be loaded from {folder}"), quiet():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
        if folder is not None:
            _check_pieces(folder, tokenizer, checkpoint.name)
        if checkpoint.chat_template_kwargs:
            set_arguments(tokenizer, checkpoint.chat_template_kwargs)
        rehearse(tokenizer, checkpoint)
        tokenizer.encode("?")  # settings of the wrong kind, such as a length that is a text, fail here
        return tokenizer


def _check_pieces(folder: Path, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Check that a tokenizer that comes as a SentencePiece model alone is read as that model splits text.

    Raises:
        UserError: it is not, as where tokenizer_config.json does not say of which class it is.
    """
    file = folder / "tokenizer.model"
    if not file.exists() or (folder / "tokenizer.json").exists():
        return
    from sentencepiece import SentencePieceProcessor

    try:
        pieces = SentencePieceProcessor(model_file=str(file))
    except (RuntimeError, OSError):  # tiktoken's files have that name too
        return
    known = (pieces.id_to_piece(token) for token in range(pieces.get_piece_size()))
    text = " ".join(islice((each[1:] for each in known if each[:1] == _SPACE and each[1:].isalpha()), _WORDS))
    read = tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))
    if read != pieces.encode(text, out_type=str):
        raise UserError(
            f"The tokenizer of {name} is a tokenizer.model that transformers does not read as it is meant: name its "
            "tokenizer_class in tokenizer_config.json, or add the tokenizer.json of the model that it was made from."
        )


def loading(sentence: str, remedy: str = "") -> AbstractContextManager[None]:
    """Turn whatever a library raises about the files of a model into one line from `sentence` to a `remedy`.

    Raises:
        UserError: anything but what pfh itself said, or what ran out on this machine.
    """
    return boundary(lambda error: f"{sentence}: {reason(error)}{remedy and f' {remedy}'}")


def arguments_of(checkpoint: Checkpoint) -> set[str]:
    """Return the names of the arguments that the chat template of `checkpoint` has.

    Raises:
        UserError: its tokenizer cannot be loaded.
    """
    tokenizer = load_tokenizer(dataclasses.replace(checkpoint, chat_template_kwargs={}))
    return template_arguments(chat_template(tokenizer))


def reason(error: Exception) -> str:
    """Return what `error` says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and logging warnings."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
