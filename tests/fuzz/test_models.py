"""Models and what lies beside them, fuzzed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.soft_thoughts import SoftThoughts, save_soft_thoughts

from tests.fuzz.files import answer, put
from tests.fuzzing import damaged, json_file
from tests.tiny import CHATML, tiny_adapter


def header_changed(file: bytes) -> st.SearchStrategy[bytes]:
    """Return safetensors files whose header is near to the one of `file`."""
    length = int.from_bytes(file[:8], "little")
    header, tensors = json.loads(file[8 : 8 + length]), file[8 + length :]
    texts = json_file(header)
    sound = texts.map(lambda text: len(text).to_bytes(8, "little") + text + tensors)
    lying = st.sampled_from((0, 1, 2**31, 2**63, 2**64 - 1)).map(lambda size: size.to_bytes(8, "little") + file[8:])
    return st.one_of(sound, sound, lying, damaged(file))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json", "model.safetensors"]
)
def test_models(name: str, tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    valid = (tiny_llama_path / name).read_bytes()
    strategy = header_changed(valid) if name == "model.safetensors" else json_file(json.loads(valid))
    fuzzed(lambda content: answer(put(tmp_path / "m", tiny_llama_path, name, content)), valid, strategy)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapters(name: str, tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    valid = (adapter / name).read_bytes()
    strategy = json_file(json.loads(valid)) if name.endswith(".json") else header_changed(valid)
    fuzzed(lambda content: answer(put(tmp_path / "a", adapter, name, content)), valid, strategy)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_soft_thoughts(name: str, tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    base = Checkpoint(name="base", path=tiny_llama_path, fingerprint="base")
    thoughts = SoftThoughts(assistant=base, count=2)
    save_soft_thoughts(torch.nn.Linear(32, 32), base, thoughts, tmp_path / "thoughts")
    valid = (tmp_path / "thoughts" / name).read_bytes()
    strategy = json_file(json.loads(valid)) if name.endswith(".json") else header_changed(valid)
    fuzzed(lambda content: answer(put(tmp_path / "t", tmp_path / "thoughts", name, content)), valid, strategy)


PIECES = (
    *("{{", "}}", "{%", "%}", "{#", "#}", "{% for m in messages %}", "{% endfor %}", "{% if true %}", "{% endif %}"),
    *("{{ 1/0 }}", "{{ 'a' * 10**9 }}", "{{ 9**9**9 }}", "{% for i in range(99999) %}", "{% macro f() %}{{ f() }}"),
    *(
        "{% endmacro %}",
        "{{ f() }}",
        "{{ messages[0]['content'][0] }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('x') }}",
    ),
    *(
        "{% include 'x' %}",
        "{{ x.y.z }}",
        "{{ ''.__class__ }}",
        "{% set ns = namespace(a=1) %}",
        "{{ messages | tojson }}",
    ),
    *(
        "{{ '%s' % messages }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ bos_token }}",
        "{{ nothing() }}",
        "|",
        "{% break %}",
    ),
)


def test_templates(tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    name = "chat_template.jinja"

    def spliced(place: int, piece: str) -> bytes:
        return (CHATML[:place] + piece + CHATML[place:]).encode()

    pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
    strategy = st.one_of(
        st.builds(spliced, st.integers(0, len(CHATML)), pieces),
        pieces.map(str.encode),
        damaged(CHATML.encode()),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
    )
    fuzzed(lambda content: answer(put(tmp_path / "m", tiny_llama_path, name, content)), CHATML.encode(), strategy)


def test_gguf(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    import numpy as np
    from gguf import GGUFWriter

    (tmp_path / "m").mkdir()
    writer = GGUFWriter(tmp_path / "m" / "m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *"abcdefg"])
    writer.add_token_scores([0.0] * 10)
    writer.add_token_types([1] * 10)
    writer.add_tensor("token_embd.weight", np.zeros((10, 32), "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    valid = (tmp_path / "m" / "m.gguf").read_bytes()

    def read(content: bytes) -> None:
        (tmp_path / "m" / "m.gguf").write_bytes(content)
        try:
            answer(tmp_path / "m")
        except UserError:
            if content == valid:
                return  # it lacks most weights, which is said
            raise

    head = st.integers(0, 400).flatmap(
        lambda place: st.sampled_from((b"\xff" * 8, b"\0" * 8, (2**40).to_bytes(8, "little"), b"\x09\0\0\0")).map(
            lambda piece: valid[:place] + piece + valid[place + len(piece) :]
        )
    )
    fuzzed(read, valid, st.one_of(damaged(valid), head))
