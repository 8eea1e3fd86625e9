"""Checkpoints: what `--model` may name, resolved to files that exist, and told apart by their content."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pfh.errors import UserError, content_of, did_you_mean, reading
from pfh.hooks.checkpoint import Checkpoint, Endpoint
from pfh.sources.fingerprints import fingerprint
from pfh.sources.weights import check_ranks, check_weights

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


_TRAINER_STATE = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
)


_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "*.tiktoken")


_HUB_FILES = ("*.safetensors", "*.json", *_TOKENIZER_FILES)


_REMOTE = re.compile(r"([a-z][a-z0-9_-]*):(.*)@(https?://.*)")


_LARGEST_SETTINGS = 1 << 28
"""Bytes of a JSON file beside weights; the longest are indexes of thousands of tensors."""


_OPENAI = "openai:"
"""The one interface that has a place of its own, for a model without one."""


OPENAI_URL = "https://api.openai.com/v1"
"""Where OpenAI's own models answer, which have no template arguments."""


UNKNOWN = "unknown"
"""The family of a model that does not tell it."""


def resolve(
    text: str, *, revision: str | None = None, allow_pickle: bool = False, cache_dir: Path, download: bool = True
) -> Checkpoint:
    """Return the checkpoint that `text` names: a hub id, a model folder, a GGUF file or its folder, an adapter folder.

    A remote model is named BACKEND:MODEL@URL; openai:MODEL alone is at OPENAI_BASE_URL, or with OpenAI.
    `revision` is a branch, tag or commit of a hub id. Hashes of large files are remembered in `cache_dir`. Without
    `download` a hub id is looked for in the hub's cache alone.

    Raises:
        UserError: it is none of these, cannot be had here, or lacks something; the message says which.
    """
    with reading(f"The model {text}", "give a folder, a GGUF file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct"):
        if text.startswith(_OPENAI) or _REMOTE.fullmatch(text):
            return _remote(text)
        return _with_weights(text, revision, allow_pickle, cache_dir, download)


def _with_weights(
    text: str, revision: str | None, allow_pickle: bool, cache_dir: Path, download: bool = True
) -> Checkpoint:
    """Resolve local weights or a hub id: all that a file may name, too."""
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return _from_folder(path, text, allow_pickle, cache_dir)
    if path.is_file():
        return _from_file(path, text, cache_dir)
    if not _HUB_ID.fullmatch(text):
        raise UserError(
            f"There is no model at {text}.{_neighbour(path)} "
            "Give a folder, a GGUF file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct."
        )
    return _from_hub(text, revision, allow_pickle, cache_dir, download)


def family(checkpoint: Checkpoint) -> str:
    """Return the architecture that `checkpoint` belongs to, such as "llama" or "qwen2"; a remote one's is "unknown"."""
    if checkpoint.endpoint is not None:
        return UNKNOWN
    if checkpoint.gguf_file is None:
        return str(_read_json(checkpoint.path / "config.json", checkpoint.name).get("model_type", UNKNOWN))
    return _family_of_gguf(checkpoint.path / checkpoint.gguf_file, checkpoint.name)


def family_here(text: str, revision: str | None = None) -> str | None:
    """Return the family of what `text` names, read without its weights; None where no configuration is here.

    Raises:
        UserError: its configuration cannot be read.
    """
    if text.startswith(_OPENAI) or _REMOTE.fullmatch(text):
        return UNKNOWN
    with reading(f"The model {text}", "give a folder, a GGUF file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct"):
        path = Path(text).expanduser().absolute()
        if path.is_file() and path.suffix == ".gguf":
            return _family_of_gguf(path, text)
        adapter = _setting_file(path, text, "adapter_config.json", revision)
        if adapter is not None:
            named = _read_json(adapter, text).get("base_model_name_or_path")
            if not isinstance(named, str) or _REMOTE.fullmatch(named):
                return None
            beside = path / named
            path, text, revision = (beside if beside.is_dir() else Path(named).expanduser().absolute()), named, None
        configuration = _setting_file(path, text, "config.json", revision)
        return None if configuration is None else str(_read_json(configuration, text).get("model_type", UNKNOWN))


def _setting_file(folder: Path, text: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a model's folder, or of a hub id in the hub's cache."""
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if not _HUB_ID.fullmatch(text):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(text, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _family_of_gguf(file: Path, name: str) -> str:
    from gguf import GGUFReader

    with reading(f"The GGUF file of {name}", "it is damaged or was not downloaded whole: get it again"):
        architecture = GGUFReader(file).get_field("general.architecture")
    return str(architecture.contents()) if architecture else UNKNOWN


def _remote(text: str) -> Checkpoint:
    """Return the model behind an endpoint: its name and place are all that tells it from others."""
    if named := _REMOTE.fullmatch(text):
        backend, model, url = named.groups()
    else:
        backend, _, model = text.partition(":")
        url = os.environ.get("OPENAI_BASE_URL", OPENAI_URL)
    if not model:
        raise UserError(
            f"{text} names no model: write openai:MODEL@URL, such as openai:llama@http://localhost:8000/v1."
        )
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    shown = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    endpoint = Endpoint(backend=backend, url=shown, model=model, login=unquote(login), query=parts.query)
    digest = hashlib.sha256(f"{endpoint.url} {endpoint.model}".encode()).hexdigest()
    name = f"{backend}:{model}@{shown}" if named else text
    return Checkpoint(name=name, path=Path(), fingerprint=f"remote-{digest[:20]}", endpoint=endpoint)


def _from_folder(folder: Path, name: str, allow_pickle: bool, cache_dir: Path, commit: str = "") -> Checkpoint:
    """Resolve a model or adapter folder; a hub snapshot's `commit` tells its content without reading it."""
    if (folder / "adapter_config.json").exists():
        return _from_adapter(folder, name, allow_pickle, cache_dir, commit)
    ggufs = sorted(folder.glob("*.gguf"))
    if ggufs and not any(folder.glob("*.safetensors")):
        if len(ggufs) > 1:
            raise UserError(f"{name} holds several GGUF files ({_names(ggufs)}): give the path of one.")
        return _from_gguf(ggufs[0], name, cache_dir)
    weights = _weight_files(folder, name, allow_pickle)
    tokenizer = _matching(folder, _TOKENIZER_FILES)
    if not _matching(folder, _VOCABULARIES):
        raise UserError(f"{name} has no tokenizer: copy tokenizer.json and the like from the model it was made from.")
    settings = [folder / "config.json", *_matching(folder, ("generation_config.json",))]
    return Checkpoint(
        name=name,
        path=folder,
        fingerprint=_tell_apart([*settings, *tokenizer, *weights], cache_dir, commit),
        allow_pickle=allow_pickle,
    )


def _weight_files(folder: Path, name: str, allow_pickle: bool) -> list[Path]:
    weights, pickles = _matching(folder, ("*.safetensors",)), _matching(folder, _PICKLES)
    if not weights and not pickles:
        if not (folder / "config.json").exists():
            raise UserError(
                f"{name} is no model folder: it has neither config.json nor weights (*.safetensors, *.gguf)."
            )
        raise UserError(f"{name} has a config.json but no weights: *.safetensors or *.gguf was expected beside it.")
    if not (folder / "config.json").exists():
        raise UserError(f"{name} has weights but no config.json: copy the one of the model it was made from.")
    configuration = _read_json(folder / "config.json", name)
    if not weights:
        if not allow_pickle:
            raise UserError(
                f"{name} holds its weights as pickle only ({_names(pickles)}), which can run code when loaded: "
                "convert them to safetensors, or pass --allow-pickle if you trust their source."
            )
        return pickles
    check_weights(name, weights, configuration)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return weights
    shards = {str(shard) for shard in dict(_read_json(index, name).get("weight_map", {})).values()}
    if missing := sorted(shards - {file.name for file in weights}):
        raise UserError(
            f"{name} is incomplete: {missing[0]} and {len(missing) - 1} more of its weight files are missing."
        )
    return [*weights, index]


def _from_file(file: Path, name: str, cache_dir: Path) -> Checkpoint:
    if file.suffix == ".gguf":
        return _from_gguf(file, name, cache_dir)
    if file.suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise UserError(
            f"{name} is a pickle file: give the folder of a model with config.json and safetensors instead."
        )
    raise UserError(f"{name} is a file, but no GGUF file: give the model's folder ({file.parent}) or a .gguf file.")


def _from_gguf(file: Path, name: str, cache_dir: Path) -> Checkpoint:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(f"{name} is no GGUF file, whatever its name says: it does not begin with GGUF.")
    if re.search(r"-\d{5}-of-\d{5}$", file.stem):
        raise UserError(f"{name} is one part of a split GGUF: join the parts first (llama-gguf-split --merge).")
    return Checkpoint(name=name, path=file.parent, fingerprint=fingerprint([file], cache_dir), gguf_file=file.name)


def _from_adapter(folder: Path, name: str, allow_pickle: bool, cache_dir: Path, commit: str) -> Checkpoint:
    configuration = _read_json(folder / "adapter_config.json", name)
    weights = _matching(folder, ("adapter_model.safetensors",))
    if not weights:
        if _matching(folder, ("adapter_model.bin",)):
            raise UserError(f"{name} holds its adapter as pickle only (adapter_model.bin): convert it to safetensors.")
        raise UserError(f"{name} has an adapter_config.json but no adapter_model.safetensors.")
    base = _adapter_base(folder, name, configuration, allow_pickle, cache_dir)
    if base.adapter is not None:
        raise UserError(f"{name} is an adapter over another adapter ({base.name}): merge that one into its base first.")
    check_weights(name, weights, {})
    if configuration.get("peft_type") == "LORA":
        check_ranks(name, weights[0], configuration)
    files = [folder / "adapter_config.json", *weights, *_matching(folder, _TOKENIZER_FILES)]
    own = _tell_apart(files, cache_dir, commit)
    return base.with_adapter(folder, name=name, fingerprint=fingerprint([], cache_dir, also=(base.fingerprint, own)))


def _adapter_base(
    folder: Path, name: str, configuration: dict[str, Any], allow_pickle: bool, cache_dir: Path
) -> Checkpoint:
    """Resolve the base that the adapter's configuration names: weights here or on the hub, and nothing else.

    What a file says is not the user's word: an endpoint named there would be sent her prompts and her key.
    """
    named, revision = configuration.get("base_model_name_or_path"), configuration.get("revision")
    if not named:
        raise UserError(
            f"{name} is an adapter that names no base: set base_model_name_or_path in its adapter_config.json."
        )
    if not isinstance(named, str) or not isinstance(revision, str | None):
        raise UserError(f"The adapter_config.json of {name} names its base by what is no text: {named!r}.")
    remedy = "Put it there, or correct base_model_name_or_path in its adapter_config.json."
    reasons = []
    for candidate in dict.fromkeys((str(folder / named), named)):
        if candidate != named and not Path(candidate).is_dir():
            continue
        if (Path(candidate).expanduser() / "adapter_config.json").exists():
            raise UserError(f"{name} is an adapter over another adapter ({named}): merge that one into its base first.")
        try:
            return _with_weights(candidate, revision, allow_pickle, cache_dir)
        except UserError as error:
            reasons.append(str(error))
    raise UserError(f"The base of the adapter {name} cannot be had: {' '.join(reasons)} {remedy}")


def _from_hub(
    hub_id: str, revision: str | None, allow_pickle: bool, cache_dir: Path, download: bool = True
) -> Checkpoint:
    folder = _download(hub_id, revision, _HUB_FILES, download)
    if allow_pickle and not any(folder.glob("*.safetensors")):
        folder = _download(hub_id, revision, (*_HUB_FILES, *_PICKLES), download)
    if not any(folder.glob("*.safetensors")) and not _matching(folder, _PICKLES):
        raise UserError(
            f"{hub_id} offers no safetensors on the hub: pass --allow-pickle if it has pickle weights that you trust; "
            "for a GGUF repository download the file and give its path."
        )
    return _from_folder(folder, hub_id, allow_pickle, cache_dir, commit=folder.name)


def _download(hub_id: str, revision: str | None, patterns: tuple[str, ...], download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*", "consolidated*"],
            local_files_only=not download,
        )
    except GatedRepoError as error:
        raise UserError(
            f"{hub_id} is gated: accept its terms on the hub, then log in with `hf auth login` (or set HF_TOKEN)."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"The hub knows no model {hub_id} that you may see, and there is no such folder here: check the spelling; "
            "for a private one log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{hub_id} has no revision {revision}: see its branches and commits on the hub.") from error
    except IncompleteSnapshotError as error:
        raise UserError(
            f"Only a part of {hub_id} is in the hub cache and the hub cannot be reached: get online."
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"There is no folder {hub_id} here, and as a hub id it is not in the local hub cache and the hub cannot be "
            "reached (no network, or HF_HUB_OFFLINE is set): get online once, or give a local folder."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"The hub did not give {hub_id}: {first_line}") from error
    return Path(folder)


def _tell_apart(files: list[Path], cache_dir: Path, commit: str) -> str:
    if commit:
        return fingerprint([], cache_dir, also=(commit, *(file.name for file in files)))
    return fingerprint(files, cache_dir)


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {file for pattern in patterns for file in folder.glob(pattern) if not _is_trainer_state(file)}
    for file in found:
        if not file.is_file():
            raise UserError(f"{file} is no file: a model is made of files that can be read from start to end.")
    return sorted(found)


def _is_trainer_state(file: Path) -> bool:
    return any(file.match(pattern) for pattern in _TRAINER_STATE)


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(content_of(file, _LARGEST_SETTINGS))
    except (ValueError, RecursionError) as error:
        raise UserError(f"The {file.name} of {name} is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"The {file.name} of {name} is no JSON object.")
    return content


def _names(files: list[Path]) -> str:
    shown = ", ".join(file.name for file in files[:3])
    return shown if len(files) <= 3 else f"{shown} and {len(files) - 3} more"


def _neighbour(path: Path) -> str:
    return did_you_mean(path.name, (file.name for file in path.parent.iterdir())) if path.parent.is_dir() else ""
