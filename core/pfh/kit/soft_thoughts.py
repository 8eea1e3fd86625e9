"""Soft thoughts over frozen weights: vectors in every prompt, which a small model's hidden states are projected to.

SoftCoT (Xu et al. 2025, arXiv 2502.12134): an assistant g reads the question and N placeholders; the last layer's
states h at these go through a linear map P into the embeddings of the model f, whose weights stay as they are. In f's
prompt they stand where the user's turn closes, and at the end of a text that is no chat.

Inside an engine or a trainer each of them is a token beyond the vocabulary, so that whatever batches, cuts or caches
rows of tokens need not know of them; where the model looks its tokens up, the vectors are put in place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.tokens.chat_templates import render
from pfh.kit.tokens.encoding import encode_text
from pfh.kit.tokens.loading import load_tokenizer
from pfh.kit.weights import load_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KIND = "SOFT_THOUGHTS"
_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MARK = "\ue000"
MOST = 256
"""Thoughts in a prompt."""
KEPT = 1024
"""Questions whose thoughts are kept at most."""

Vectors = Callable[["torch.Tensor"], "torch.Tensor"]
"""(places (n,), counted from the vocabulary's end) -> vectors (n, width)."""


@dataclass(frozen=True, kw_only=True)
class SoftThoughts:
    """What a folder with soft thoughts holds beside the projection."""

    assistant: Checkpoint
    count: int
    """Of the vectors in a prompt; 0: none, so that the model answers as its base does."""


def are_soft_thoughts(checkpoint: Checkpoint) -> bool:
    """Say whether what stands over the weights of `checkpoint` is soft thoughts, and no LoRA adapter."""
    return checkpoint.adapter is not None and _settings(checkpoint.adapter).get("peft_type") == KIND


def read_soft_thoughts(checkpoint: Checkpoint) -> SoftThoughts:
    """Return what the soft thoughts of `checkpoint` are made with.

    Raises:
        UserError: the files do not say, or the assistant is no longer where it was.
    """
    assert checkpoint.adapter is not None
    told = _settings(checkpoint.adapter)
    count, path = told.get("thoughts"), told.get("assistant_path")
    if not isinstance(count, int) or not 0 <= count <= MOST or not isinstance(path, str):
        raise UserError(
            f"{checkpoint.adapter / _SETTINGS} does not say which assistant gives the soft thoughts, and how many (0 "
            f"to {MOST})."
        )
    fingerprint = str(told.get("assistant_fingerprint", ""))
    assistant = Checkpoint(name=str(told.get("assistant", path)), path=Path(path), fingerprint=fingerprint)
    if not os.path.isdir(assistant.path):  # noqa: PTH112 - which a path that cannot be one is not, and does not raise
        raise UserError(
            f"The soft thoughts of {checkpoint.name} come from the model {assistant.name}, which is no longer in "
            f"{assistant.path}: put it there, or correct assistant_path in {checkpoint.adapter / _SETTINGS}."
        )
    return SoftThoughts(assistant=assistant, count=count)


def save_soft_thoughts(projection: torch.nn.Module, base: Checkpoint, thoughts: SoftThoughts, folder: Path) -> None:
    """Write the projection and what it is used with to `folder`, as something that stands over `base`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().float().cpu().contiguous() for name, value in projection.state_dict().items()}
    save_file(state, folder / _WEIGHTS)
    told = {
        "peft_type": KIND,
        "base_model_name_or_path": str(base.path),
        "assistant": thoughts.assistant.name,
        "assistant_path": str(thoughts.assistant.path.resolve()),
        "assistant_fingerprint": thoughts.assistant.fingerprint,
        "thoughts": thoughts.count,
    }
    (folder / _SETTINGS).write_text(json.dumps(told, indent=1), encoding="utf-8")


def load_projection(folder: Path) -> torch.nn.Linear:
    """Return the projection in `folder`, in float32.

    Raises:
        UserError: there is none.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / _WEIGHTS)
        wide, narrow = state["weight"].shape
        projection = torch.nn.Linear(narrow, wide)
        projection.load_state_dict(state)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder / _WEIGHTS} holds no projection of soft thoughts: train them anew.") from error
    return projection.requires_grad_(False)


class Assistant:
    """The model whose hidden states become thoughts."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self.model = load_weights(checkpoint, dtype).to(device).eval().requires_grad_(False)
        self._tokenizer = load_tokenizer(checkpoint)
        self.tokens = 0
        """That it has read."""

    @property
    def width(self) -> int:
        """Of its hidden states."""
        return int(self.model.config.get_text_config().hidden_size)

    def states(self, question: str, count: int) -> torch.Tensor:
        """Return the last layer's states at `count` placeholders behind the question, float32, shape (count, width)."""
        import torch

        ids = self._ids(question, count)
        self.tokens += len(ids)
        with torch.inference_mode():
            output = self.model(
                input_ids=torch.tensor([ids], device=self.model.device), output_hidden_states=True, logits_to_keep=1
            )
            states: torch.Tensor = output.hidden_states[-1][0, -count:].float()
        return states.clone()

    def _ids(self, question: str, count: int) -> list[int]:
        """Return a chat whose open answer ends with the placeholders; of a long question the beginning is left out."""
        asked = (
            f"Give {count} tokens that help another language model to solve the problem below. Begin with what matters "
            "most, such as the numbers and the operations that are needed; write no sentences and no numbering.\n\n"
        )
        head, _, tail = render(
            self._tokenizer, [{"role": "user", "content": f"{asked}Here is the problem: {_MARK}"}]
        ).rpartition(_MARK)
        before = encode_text(self._tokenizer, head)
        behind = encode_text(self._tokenizer, f"{tail}Here are {count} tokens that help: ")
        room = self._window - len(before) - len(behind) - count
        read = encode_text(self._tokenizer, question)[-max(room, 1) :]
        return [*before, *read, *behind, *[self._placeholder] * count]

    @property
    def _placeholder(self) -> int:
        ends = (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id)
        return next((token for token in ends if token is not None), 0)

    @property
    def _window(self) -> int:
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2048)


class ThoughtTokens:
    """Gives each question tokens beyond the vocabulary, and puts them into its prompt."""

    def __init__(self, vocabulary: int, count: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vocabulary, self.count = vocabulary, count
        self.questions: list[str] = []
        self._numbers: dict[str, int] = {}
        self._closing = closing(tokenizer)

    def into(self, row: Sequence[int], question: str, answered: int = 0) -> tuple[int, ...]:
        """Return `row` with the question's tokens at the prompt's end; its last `answered` tokens are the answer's."""
        if question not in self._numbers:
            self._numbers[question] = len(self.questions)
            self.questions.append(question)
        return self.numbered(row, self._numbers[question], answered)

    def numbered(self, row: Sequence[int], number: int, answered: int = 0) -> tuple[int, ...]:
        """Return `row` with the tokens of the question of that number."""
        first = self.vocabulary + number * self.count
        end = max(len(row) - answered, 0)
        closed = len(self._closing) if self._closing and tuple(row[:end][-len(self._closing) :]) == self._closing else 0
        place = end - closed
        return (*row[:place], *range(first, first + self.count), *row[place:])


def closing(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens by which a chat template closes the user's turn and opens the model's.

    None where they do not begin with a special token: what comes before might then change them.
    """
    behind = render(tokenizer, [{"role": "user", "content": _MARK}]).rpartition(_MARK)[2]
    tokens = tuple(encode_text(tokenizer, behind))
    return tokens if tokens and tokens[0] in tokenizer.added_tokens_decoder else ()


@contextmanager
def seeing(model: PreTrainedModel, vectors: Vectors) -> Iterator[None]:
    """Let `model` take the vectors of tokens beyond its vocabulary until the context is left.

    Rows without such tokens are looked up as ever.
    """
    handles = see(model, vectors)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def see(model: PreTrainedModel, vectors: Vectors) -> list[torch.utils.hooks.RemovableHandle]:
    """Do so until the handles are removed."""
    embeddings = model.get_input_embeddings()
    size = embeddings.weight.shape[0]
    places: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        places.clear()
        ids: torch.Tensor = arguments[0]
        beyond = ids >= size
        if not bool(beyond.any()):
            return None
        places.append((beyond, ids[beyond] - size))
        return (ids.masked_fill(beyond, 0), *arguments[1:])

    def after(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor | None:
        if not places:
            return None
        beyond, wanted = places.pop()
        filled = output.clone()
        filled[beyond] = vectors(wanted).to(output.dtype)
        return filled

    return [embeddings.register_forward_pre_hook(before), embeddings.register_forward_hook(after)]


class ThinkingModel:
    """A resident model with the soft thoughts of a checkpoint."""

    def __init__(self, model: PreTrainedModel, checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase) -> None:
        assert checkpoint.adapter is not None
        told = read_soft_thoughts(checkpoint)
        size = model.get_input_embeddings().weight.shape[0]
        self._assistant = Assistant(told.assistant, model.dtype, model.device)
        self._projection = load_projection(checkpoint.adapter).to(model.device)
        wide = model.config.get_text_config().hidden_size
        if (self._assistant.width, wide) != (self._projection.in_features, self._projection.out_features):
            raise UserError(
                f"The soft thoughts of {checkpoint.name} lead from {self._projection.in_features} to "
                f"{self._projection.out_features}, and the assistant is {self._assistant.width} wide, the model "
                f"{wide}: take the models that they were trained with."
            )
        self.tokens = ThoughtTokens(size, told.count, tokenizer)
        self._found: dict[int, torch.Tensor] = {}
        self._handles = see(model, self._vectors)

    @property
    def count(self) -> int:
        """Of the vectors in a prompt."""
        return self.tokens.count

    def leave(self) -> None:
        """Let the model be as it was."""
        for handle in self._handles:
            handle.remove()

    def _vectors(self, places: torch.Tensor) -> torch.Tensor:
        import torch

        asked = [divmod(place, self.count) for place in places.tolist()]
        wanted = dict.fromkeys(number for number, _ in asked)
        if len(self._found) + len(wanted) > KEPT:
            self._found = {number: found for number, found in self._found.items() if number in wanted}
        for number in wanted:
            if number not in self._found:
                states = self._assistant.states(self.tokens.questions[number], self.count)
                with torch.inference_mode():
                    self._found[number] = self._projection(states)
        return torch.stack([self._found[number][place] for number, place in asked])


def _settings(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
