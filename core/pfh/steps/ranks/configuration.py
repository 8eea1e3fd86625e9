"""The configuration of accelerate that says how many processes train, and how they share the work."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import UserError, reading
from pfh.kit.yaml_files import read_yaml

if TYPE_CHECKING:
    from accelerate.commands.config.config_args import ClusterConfig


KINDS = ("MULTI_GPU", "MULTI_CPU", "FSDP", "DEEPSPEED")
"""What `distributed_type` may be."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A configuration of accelerate that was read and checked."""

    path: Path
    kind: str
    """One of `KINDS`."""
    processes: int
    digest: str
    """Of what the file says, whatever its comments and order."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What a step's key says of the processes."""
        return {"count": self.processes, "kind": self.kind, "configuration": self.digest}

    def __str__(self) -> str:
        """Return the processes as a reader says them."""
        return f"{self.processes} processes, {self.kind}"


def read_configuration(path: Path) -> Configuration:
    """Read what `accelerate config --config_file PATH` writes.

    Raises:
        UserError: there is no such file, it is none of accelerate's, or its processes cannot run here.
    """
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    what = f"--accelerate {path}, as a configuration of accelerate,"
    remedy = f"write one with accelerate config --config_file {path}"
    content = read_yaml(path, what, remedy)
    with reading(what, remedy):
        config = load_config_from_file(str(path))
    if not isinstance(config, ClusterConfig):
        raise UserError(f"{path} is a configuration for SageMaker: pfh trains on the GPUs of this machine.")
    _check(path, config)
    return Configuration(
        path=path.absolute(),
        kind=_kind(config),
        processes=config.num_processes,
        digest=hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:20],
    )


def _check(path: Path, config: ClusterConfig) -> None:
    kind, processes = _kind(config), config.num_processes
    if kind not in (*KINDS, "NO"):
        raise UserError(f"{path} has distributed_type {kind}: pfh trains with {', '.join(KINDS)}.")
    if not isinstance(processes, int) or processes < 2 or kind == "NO":
        raise UserError(
            f"{path} has num_processes {processes} and distributed_type {kind}: a training in several processes needs "
            f"two or more of them and one of {', '.join(KINDS)}; for a single one leave --accelerate out."
        )
    if config.num_machines != 1:
        raise UserError(f"{path} asks for {config.num_machines} machines: pfh trains on the GPUs of one.")
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise UserError(f"{path} asks for DeepSpeed, which is not installed: pip install deepspeed.")
    available = devices()
    if kind in ("FSDP", "DEEPSPEED") and not available:
        raise UserError(f"{path} asks for {kind}, which needs GPUs, and torch sees none here: choose MULTI_CPU.")
    if kind != "MULTI_CPU" and available and processes > available:
        raise UserError(f"{path} asks for {processes} processes, and torch sees {available} GPUs here.")


def _kind(config: ClusterConfig) -> str:
    """Return the distributed_type; NO without quotes is YAML's word for false."""
    return str(getattr(config.distributed_type, "value", "NO"))


def devices() -> int:
    """Return how many GPUs torch sees."""
    import torch

    return int(torch.cuda.device_count())


def check_not_launched() -> None:
    """Check that a whole run is not started in several processes: each of them would go through all of its steps.

    Raises:
        UserError: this process is one of several.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count not in ("", "1"):
        raise UserError(
            f"This is one of {count} processes of a launcher, each of which would do the whole run: start pfh once, "
            "and name the configuration of accelerate with --accelerate."
        )
