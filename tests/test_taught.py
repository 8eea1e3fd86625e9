"""What a training shows a model is what it reads and writes when it is measured, over the kinds of chat templates."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pfh.errors import UserError
from pfh.kit.tokens import chat_templates
from pfh.kit.tokens.encoding import encode_text
from pfh.kit.tokens.taught import encode_completion, encode_prompt, end_of_turn, end_tokens

from tests.tiny import CHATML, tiny_tokenizer

ASKED = ({"role": "user", "content": "2+3?"},)

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}{% else %}"
    "<|Assistant|>{{ m['content'].split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and '</think>' not in m['content'] %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3_OFF = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
MAGISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST]{{ m['content'] }}[/INST]"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
COMMAND = (
    "{% for m in messages %}<|START_OF_TURN_TOKEN|>{{ m['role'] }}{{ m['content'] }}<|END_OF_TURN_TOKEN|>{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|>assistant<|START_THINKING|>{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|start|>assistant<|channel|>final<|message|>"
    "{{ m['content'] }}{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}"
    "{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
HARMONY = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"]
ALPACA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}### Instruction:\n{{ m['content'] }}\n\n{% else %}"
    "### Response:\n{{ m['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} {% else %}ASSISTANT: "
    "{{ m['content'] }}{% if not loop.last %}</s>{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
KINDS = {
    "chatml": (CHATML, [], "<|im_end|>", ["<|im_end|>"]),
    "llama 3": (LLAMA3, ["<|start|>", "<|end|>", "<|eot|>"], "<|im_end|>", ["<|eot|>"]),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"], "<|im_end|>", ["<end_of_turn>"]),
    "gemma, base's ends": (GEMMA, ["<start_of_turn>", "<end_of_turn>"], "<|im_end|>", []),
    "mistral": (MISTRAL, ["[INST]", "[/INST]"], "<|im_end|>", []),
    "phi": (PHI, ["<|user|>", "<|assistant|>", "<|end|>"], "<|im_end|>", ["<|end|>"]),
    "r1": (R1, ["<|User|>", "<|Assistant|>"], "<|im_end|>", []),
    "qwen 3": (QWEN3, [], "<|im_end|>", []),
    "qwen 3, thinking off": (QWEN3_OFF, [], "<|im_end|>", []),
    "magistral": (MAGISTRAL, ["[INST]", "[/INST]", "[THINK]", "[/THINK]"], "<|im_end|>", []),
    "command a reasoning": (
        COMMAND,
        ["<|START_OF_TURN_TOKEN|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|END_OF_TURN_TOKEN|>"],
        "<|END_OF_TURN_TOKEN|>",
        [],
    ),
    "gpt-oss": (GPT_OSS, HARMONY, "<|return|>", ["<|return|>", "<|call|>"]),
    "qwen base": (CHATML, ["<|endoftext|>"], "<|endoftext|>", []),
    "alpaca": (ALPACA, [], "<|im_end|>", []),
    "vicuna": (VICUNA, [], "<|im_end|>", []),
    "plain": (None, [], "<|im_end|>", []),
}


OPENING = {
    "r1": "</think>\n\n",
    "command a reasoning": "<|END_THINKING|>\n\n",
    "gpt-oss": "<|channel|>final<|message|>",
}
"""What stands before an answer: the end of the thought that the prompt opens, or a channel."""


def kind(name):
    template, specials, eos, stated = KINDS[name]
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.eos_token = eos
    listed = tokenizer.convert_tokens_to_ids(stated) or None
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=listed))
    return tokenizer, end_tokens(model, tokenizer)


@pytest.mark.parametrize("name", KINDS)
def test_the_prompt_is_the_measured_one_and_the_taught_end_ends_generation(name):
    tokenizer, ends = kind(name)
    end = end_of_turn(tokenizer, ends)
    assert end[-1] in ends
    assert not set(end[:-1]) & ends
    assert encode_prompt(tokenizer, ASKED) == encode_text(tokenizer, chat_templates.render(tokenizer, ASKED))
    written = OPENING.get(name, "") + "5"
    taught = encode_completion(tokenizer, ASKED, "5", end)
    assert encode_completion(tokenizer, ASKED, written, end) == taught
    space = " " if name == "plain" else ""
    assert taught == [*encode_text(tokenizer, space + written), *end]


def test_what_a_reasoning_model_wrote_is_taught_as_it_wrote_it():
    tokenizer, ends = kind("r1")
    end = end_of_turn(tokenizer, ends)
    thought = "two and three make five\n</think>\n\n5"

    def taught(text, end=end):
        return tokenizer.decode(encode_completion(tokenizer, ASKED, text, end))

    assert taught(thought) == thought + "<|im_end|>"
    assert taught("<think>\n" + thought) == thought + "<|im_end|>"  # of a teacher whose prompt opens no thought
    assert taught("5") == "</think>\n\n5<|im_end|>"
    assert taught("two and", []) == "two and"  # cut while it thought
    tokenizer, ends = kind("qwen 3")
    assert tokenizer.decode(encode_completion(tokenizer, ASKED, "5", end)) == "5<|im_end|>"


def test_a_template_without_an_end_needs_a_token_that_ends():
    tokenizer, _ = kind("alpaca")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"writes no end of turn, .* would never stop writing\. Set eos_token"):
        end_of_turn(tokenizer, frozenset())
