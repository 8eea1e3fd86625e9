"""Model folders made to do harm: each works or is refused in one line, soon, and no code of it is run."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pfh.errors import NotNumbersError, UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling
from pfh.kit import trials
from pfh.progress import Silent
from pfh.sources.models import resolve
from pfh_backends.hf.engine import HfEngine
from safetensors.numpy import load_file, save_file

from tests.confined import forked

WORKS = ""
REFUSED = "refused in whatever words"


def answer(model: Path) -> str:
    """Load a model and let it write two tokens; return what was said instead, if it was refused."""
    try:
        checkpoint = resolve(str(model), cache_dir=model.parent / "cache")
        engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32", progress=Silent()))
        request = GenerationRequest(id="0", messages=({"role": "user", "content": "Hi there"},))
        engine.generate([request], Sampling(max_new_tokens=2))
        engine.close()
    except UserError as error:
        return str(error)
    return WORKS


@pytest.fixture(scope="module")
def imported(tiny_llama_path: Path) -> None:
    """Load a model, so that the forks need not import anything."""
    answer(tiny_llama_path)


@pytest.fixture
def ends(tmp_path: Path, imported: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Return a function that loads a model within limits and holds what is said against what is wanted."""
    monkeypatch.setattr(trials, "SECONDS", 1)

    def run(model: Path, wanted: str) -> None:
        ended = forked(lambda: print(answer(model)) or 0)
        assert ended.code == 0, ended.stderr[-3000:]
        assert ended.grown < 1 << 30
        said = ended.stdout.strip()
        assert said if wanted == REFUSED else wanted in said if wanted else not said, said
        assert not (tmp_path / "OWNED").exists()

    return run


@pytest.fixture
def model(tmp_path: Path, tiny_llama_path: Path) -> Path:
    return shutil.copytree(tiny_llama_path, tmp_path / "model")


def edit(file: Path, **changes: Any) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | changes))


TEMPLATES = {
    "{{ 1/0 }}": "division by zero",
    "{% for i in range(10**9) %}x{% endfor %}": "Range too big",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x": "more than 1 s",
    "{{ 'a' * 10**10 }}": "more than 1 GiB",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}": "recursion",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "unsafe",
    "{{ cycler.__init__.__globals__.os.system('touch OWNED') }}": "unsafe",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}": "unsafe",
    "{{ (''|attr('__class__'))|attr('__base__') }}": "make no token",
    "{% include '/etc/passwd' %}": "no loader",
    "{% set _ = messages.append({'role': 'x', 'content': 'y'}) %}x": "unsafe",
    "{{ raise_exception('\x1b[2Jno') }}": "refuses a chat",
    "{% for %}": "refuses a chat",
    "{{ nothing() }}": "undefined",
    "hello": WORKS,
    "{{ strftime_now('%H') }}{% for m in messages %}{{ m['content'] }}{% endfor %}": WORKS,
}


@pytest.mark.parametrize("text", TEMPLATES)
def test_templates(text: str, model: Path, ends: Callable[[Path, str], None]) -> None:
    (model / "chat_template.jinja").write_text(text)
    ends(model, TEMPLATES[text])


EVIL = "open('OWNED', 'a').write('x')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M\n"


def _strange_code(folder: Path) -> None:
    (folder / "evil.py").write_text(EVIL)
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})


def _code_over_a_known_type(folder: Path) -> None:
    (folder / "evil.py").write_text(EVIL)
    edit(folder / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})


def _own_generate(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(EVIL + "def generate(*a, **k): pass\n")
    edit(folder / "generation_config.json", custom_generate=".")


def _header(length: int, header: bytes, rest: bytes = b"") -> Callable[[Path], Any]:
    return lambda folder: (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + header + rest)


LONG = b'{"__metadata__":{' + b",".join(b'"k%d":"v"' % i for i in range(1_200_000)) + b"}}"
OVERFLOW = b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}'


def _pickled(folder: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return (open, ("OWNED", "a"))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Command()))


def _index(content: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def _regex(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": r"^(\S+\s*)+\x00$"}, "behavior": "Isolated", "invert": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, content["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _far_token(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    about = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"].append({"id": 5000, "content": "Hi", "special": True, **about})
    (folder / "tokenizer.json").write_text(json.dumps(content))


DEEP = "[" * 100_000 + "]" * 100_000
FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "code of its own": (_strange_code, REFUSED),
    "code over a known type": (_code_over_a_known_type, WORKS),
    "a generate of its own": (_own_generate, WORKS),
    "attention from the hub": (lambda folder: edit(folder / "config.json", attn_implementation="evil/kernel"), REFUSED),
    "a quantization": (
        lambda folder: edit(folder / "config.json", quantization_config={"quant_method": "gptq"}),
        REFUSED,
    ),
    "wide": (lambda folder: edit(folder / "config.json", hidden_size=10**9, head_dim=8), REFUSED),
    "a million layers": (lambda folder: edit(folder / "config.json", num_hidden_layers=10**6), "1000000"),
    "a type that is a path": (lambda folder: edit(folder / "config.json", model_type="../../etc"), REFUSED),
    "a negative vocabulary": (lambda folder: edit(folder / "config.json", vocab_size=-1), REFUSED),
    "a deep configuration": (lambda folder: (folder / "config.json").write_text(DEEP), "is no JSON"),
    "a header of 2^63 bytes": (_header(2**63, b"{}"), "longer than"),
    "a long header": (_header(len(LONG), LONG), "longer than"),
    "a shape that overflows": (_header(len(OVERFLOW), OVERFLOW, b"0000"), "cannot be read"),
    "no tensors": (_header(2, b"{}"), "lacks weights"),
    "a pickle": (_pickled, "--allow-pickle"),
    "an index that leaves the folder": (_index({"weight_map": {"a": "../other/model.safetensors"}}), "incomplete"),
    "an index of no files": (_index({"weight_map": [1, 2]}), REFUSED),
    "a tokenizer's endless expression": (_regex, WORKS),
    "a deep tokenizer": (lambda folder: (folder / "tokenizer.json").write_text(DEEP), REFUSED),
    "a tokenizer's class that is a path": (
        lambda folder: edit(folder / "tokenizer_config.json", tokenizer_class="../../evil"),
        WORKS,
    ),
    "a token without a row": (_far_token, "rows of embeddings"),
    "generation in 400 beams": (lambda folder: edit(folder / "generation_config.json", num_beams=400), WORKS),
    "generation by nonsense": (
        lambda folder: edit(folder / "generation_config.json", repetition_penalty=-1, suppress_tokens="abc"),
        WORKS,
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str, model: Path, ends: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    change, wanted = FOLDERS[case]
    change(model)
    ends(model, wanted)


LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
ADAPTERS: dict[str, tuple[dict[str, Any], str]] = {
    "names itself": ({"base_model_name_or_path": "."}, "over another adapter"),
    "an unknown kind": ({"peft_type": "EVIL"}, REFUSED),
    "a module to import": ({"auto_mapping": {"base_model_class": "X", "parent_library": "os"}}, REFUSED),
    "a rank of 10^9": ({"r": 10**9}, "says r = 1000000000"),
    "a rank of 10^9 by a pattern": ({"rank_pattern": {"q_proj": 10**9}}, "says r = 1000000000"),
    "an endless expression": ({"target_modules": "(([a-z_.0-9])+)+!"}, "more than 1 s"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_adapters(case: str, tiny_llama_path: Path, tmp_path: Path, ends: Callable[[Path, str], None]) -> None:
    change, wanted = ADAPTERS[case]
    (tmp_path / "adapter").mkdir()
    save_file({"x": np.zeros(2, "float32")}, tmp_path / "adapter" / "adapter_model.safetensors")
    edit(
        tmp_path / "adapter" / "adapter_config.json",
        **({"base_model_name_or_path": str(tiny_llama_path)} | LORA | change),
    )
    ends(tmp_path / "adapter", wanted)


def test_two_adapters_that_name_each_other(tmp_path: Path, ends: Callable[[Path, str], None]) -> None:
    for own, other in (("a", "b"), ("b", "a")):
        (tmp_path / own).mkdir()
        save_file({"x": np.zeros(2, "float32")}, tmp_path / own / "adapter_model.safetensors")
        edit(tmp_path / own / "adapter_config.json", base_model_name_or_path=f"../{other}", **LORA)
    ends(tmp_path / "a", "over another adapter")


KEY = struct.pack("<Q", 1) + b"a"
GGUF = {
    "nothing but the magic": b"",
    "2^63 keys": struct.pack("<IQQ", 3, 0, 2**63),
    "a string of 2^60": struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60) + b"a" * 100,
    "an array of 2^40": struct.pack("<IQQ", 3, 0, 1) + KEY + struct.pack("<IIQ", 9, 0, 2**40) + b"a" * 100,
    "arrays in arrays": struct.pack("<IQQ", 3, 0, 1) + KEY + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000,
    "2^40 tensors": struct.pack("<IQQ", 3, 2**40, 0) + b"\0" * 64,
}


@pytest.mark.parametrize("case", GGUF)
def test_gguf(case: str, tmp_path: Path, ends: Callable[[Path, str], None]) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + GGUF[case])
    ends(tmp_path / "m.gguf", REFUSED)


def test_weights_that_are_no_numbers_are_an_error_of_the_measurement(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    save_file({name: np.full_like(value, np.nan) for name, value in weights.items()}, model / "model.safetensors")
    with pytest.raises(NotNumbersError):
        answer(model)
