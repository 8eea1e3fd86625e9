"""A model as it crosses a hook: weights on this machine, or an endpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a remote model answers, and one of its models."""

    backend: str
    """Name of the backend that speaks with it, such as "openai" for an OpenAI-compatible interface."""
    url: str
    """Up to and with the version, such as "http://localhost:8000/v1", without what the user wrote of secrets in it."""
    model: str
    """As the endpoint names it."""
    login: str = field(default="", repr=False, compare=False)
    """NAME:PASSWORD that stood in the URL; never shown, never stored."""
    query: str = field(default="", repr=False, compare=False)
    """What stood behind the question mark of the URL, which may hold a key; never shown, never stored."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights that can be loaded, and what tells them from any others."""

    name: str
    """What the user called it; shown in reports, never used to find files."""
    path: Path
    """A folder with config.json and safetensors, or with a GGUF file; for an adapter, the folder of its base."""
    fingerprint: str
    """Hash of everything that decides the model's answers: weights, adapter, configuration, tokenizer."""
    adapter: Path | None = None
    """What stands over `path`: a LoRA adapter, or soft thoughts (`pfh.kit.soft_thoughts`); None for nothing."""
    gguf_file: str | None = None
    """File name inside `path` when the weights are GGUF."""
    allow_pickle: bool = False
    """The user allowed weights that are not safetensors."""
    endpoint: Endpoint | None = None
    """Where a remote model answers; it has no files, and `path` means nothing."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of the chat template, such as enable_thinking: whatever renders a chat for this model passes them."""

    def with_adapter(self, adapter: Path, *, name: str, fingerprint: str) -> Checkpoint:
        """Return this checkpoint's base under another adapter."""
        return dataclasses.replace(self, name=name, adapter=adapter, fingerprint=fingerprint)

    def with_template_arguments(self, arguments: Mapping[str, Any]) -> Checkpoint:
        """Return this checkpoint under arguments of its chat template, as another model: it answers otherwise."""
        if not arguments:
            return self
        told = f"{self.fingerprint} {json.dumps(dict(arguments), sort_keys=True)}"
        fingerprint = f"{self.fingerprint[:20]}-{hashlib.sha256(told.encode()).hexdigest()[:20]}"
        return dataclasses.replace(self, chat_template_kwargs=dict(arguments), fingerprint=fingerprint)
