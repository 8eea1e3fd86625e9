"""Chat templates as public models have them, in words of our own: what each does with turns, thoughts and ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny import CHATML, tiny_config, tiny_tokenizer

_TURNS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
_ASKED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
QWEN25 = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}" + _TURNS + _ASKED
)
QWEN3 = (
    "{%- set ns = namespace(last=-1) %}"
    "{%- for m in messages %}{%- if m['role'] == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}"
    "{%- if m['role'] != 'assistant' %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{%- else %}{%- set said = m['content'] %}{%- set thought = '' %}"
    "{%- if '</think>' in said %}{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{%- set said = said.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last and (loop.last or thought) %}{{- '<think>\n' + thought + '\n</think>\n\n' }}"
    "{%- endif %}{{- said + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
LLAMA3 = (
    "{{- bos_token }}"
    "{%- if strftime_now is defined %}{%- set day = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set day = '26 Jul 2024' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + day + '\n\n<|eot_id|>' }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{- m['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
GEMMA2 = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% set ns = namespace(first='', turns=messages) %}"
    "{% if messages[0]['role'] == 'system' %}{% set ns.first = messages[0]['content'] + '\n\n' %}"
    "{% set ns.turns = messages[1:] %}{% endif %}"
    "{% for m in ns.turns %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (ns.first if loop.first else '') + m['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% else %}{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
SMOLLM = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}" + _ASKED
)
QWEN3_OFF = "{% set enable_thinking = false %}" + QWEN3
MAGISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
COMMAND = (
    "{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|>' + m['role'] + m['content'] + '<|END_OF_TURN_TOKEN|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|>assistant<|START_THINKING|>' }}{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if '<|channel|>' in m['content'] %}{{ raise_exception('a channel in a turn') }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
ALPACA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '### Instruction:\n' + m['content'] + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + m['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% else %}"
    "{{ 'ASSISTANT: ' + m['content'] }}{% if not loop.last %}{{ '</s>' }}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A template and the tokens that stand for it in a tokenizer and a generation_config."""

    template: str | None
    ends: str
    """The token that ends an answer."""
    eos: str
    specials: tuple[str, ...] = ()
    stated: tuple[str, ...] = ()
    """What generation_config.json names; empty: the tokenizer's end of sequence."""


_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")
_TURN = ("<start_of_turn>", "<end_of_turn>", "<eos>")
KINDS = {
    "Qwen2.5": Kind(template=QWEN25, ends="<|im_end|>", eos="<|im_end|>", specials=("<|endoftext|>",)),
    "Qwen2.5, base": Kind(template=QWEN25, ends="<|im_end|>", eos="<|endoftext|>", specials=("<|endoftext|>",)),
    "Qwen3": Kind(template=QWEN3, ends="<|im_end|>", eos="<|im_end|>"),
    "Llama 3": Kind(
        template=LLAMA3,
        ends="<|eot_id|>",
        eos="<|eot_id|>",
        specials=_HEADERS,
        stated=("<|end_of_text|>", "<|eot_id|>"),
    ),
    "Llama 3, base": Kind(template=LLAMA3, ends="<|eot_id|>", eos="<|end_of_text|>", specials=_HEADERS),
    "Gemma 2": Kind(
        template=GEMMA2, ends="<end_of_turn>", eos="<eos>", specials=_TURN, stated=("<eos>", "<end_of_turn>")
    ),
    "Gemma 3, base": Kind(template=GEMMA3, ends="<end_of_turn>", eos="<eos>", specials=_TURN),
    "Phi 3": Kind(
        template=PHI3,
        ends="<|end|>",
        eos="<|endoftext|>",
        specials=("<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    ),
    "Mistral": Kind(template=MISTRAL, ends="</s>", eos="</s>", specials=("[INST]", "[/INST]", "</s>")),
    "R1 distill": Kind(template=R1, ends="<|end|>", eos="<|end|>", specials=("<|User|>", "<|Assistant|>", "<|end|>")),
    "Qwen3, thinking off": Kind(template=QWEN3_OFF, ends="<|im_end|>", eos="<|im_end|>"),
    "Magistral": Kind(
        template=MAGISTRAL, ends="</s>", eos="</s>", specials=("[INST]", "[/INST]", "[THINK]", "[/THINK]", "</s>")
    ),
    "Command A Reasoning": Kind(
        template=COMMAND,
        ends="<|END_OF_TURN_TOKEN|>",
        eos="<|END_OF_TURN_TOKEN|>",
        specials=("<|START_OF_TURN_TOKEN|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|END_OF_TURN_TOKEN|>"),
    ),
    "gpt-oss": Kind(
        template=GPT_OSS,
        ends="<|return|>",
        eos="<|return|>",
        specials=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
        stated=("<|return|>", "<|call|>"),
    ),
    "SmolLM": Kind(template=SMOLLM, ends="<|im_end|>", eos="<|im_end|>"),
    "Zephyr": Kind(template=ZEPHYR, ends="</s>", eos="</s>", specials=("</s>",)),
    "alpaca": Kind(template=ALPACA, ends="</s>", eos="</s>", specials=("</s>",)),
    "vicuna": Kind(template=VICUNA, ends="</s>", eos="</s>", specials=("</s>",)),
    "ChatML": Kind(template=CHATML, ends="<|im_end|>", eos="<|im_end|>"),
    "base, no template": Kind(template=None, ends="<|end|>", eos="<|end|>", specials=("<|end|>",)),
}
"""The kinds, by whose they are."""


def tokenizer_of(kind: Kind) -> Any:
    """Return a tokenizer with the template and the tokens of `kind`."""
    tokenizer = tiny_tokenizer(kind.template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(kind.specials)})
    tokenizer.eos_token = kind.eos
    return tokenizer


def model_of(kind: Kind, folder: Path, model_type: str = "llama", **changes: Any) -> Path:
    """Save a random model of `model_type` with the tokenizer and the ends of `kind`, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tokenizer_of(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(model_type, **{"vocab_size": len(tokenizer)} | changes))
    stated = tokenizer.convert_tokens_to_ids(list(kind.stated) or [kind.eos])
    model.generation_config.eos_token_id = stated if len(stated) > 1 else stated[0]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
