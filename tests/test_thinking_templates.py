"""Reasoning models: template arguments reach all that renders a chat, and thoughts are told from answers."""

from __future__ import annotations

import dataclasses

import pytest
from pfh.commands.template_arguments import check_taken, parse_arguments, under_arguments
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.kit.tokens import chat_templates
from pfh.kit.tokens.encoding import encode_completed, encode_text, read_completion
from pfh.kit.tokens.loading import load_tokenizer
from pfh.kit.tokens.taught import encode_completion, encode_prompt
from pfh.kit.training import load_for_training
from pfh.kit.training.models import save_tokenizer
from pfh_backends.hf.engine import HfEngine
from transformers import AutoTokenizer

from tests.tiny import tiny_llama, tiny_tokenizer

ASKED = ({"role": "user", "content": "2+3?"},)
QWEN3 = (
    "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m['role'] == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{%- for m in messages %}"
    "{%- set c = m['content'] %}{%- if m['role'] == 'assistant' and '</think>' in c and loop.index0 < ns.last %}"
    "{%- set c = c.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' and loop.last and '</think>' not in c %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{{- c + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
R1 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}{% else %}"
    "<|Assistant|>{{ m['content'].split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
MAGISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST]{{ m['content'] }}[/INST]"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
HARMONY = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if '<|channel|>' in m['content'] %}{{ raise_exception('channels in the content') }}{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|end|>"
    "{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
CHANNELS = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>"]


def tokenizer_of(template, specials=(), **arguments):
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(specials)})
    chat_templates.set_arguments(tokenizer, arguments)
    return tokenizer


def completed(tokenizer, text, **changes):
    request = GenerationRequest(id="a", messages=ASKED)
    settings = {"prompt_tokens": 1, "end_tokens": {2}, "stops": (), "truncated": False}
    return read_completion(tokenizer, request, tokenizer.encode(text, add_special_tokens=False), **settings | changes)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("qwen3"), chat_template=QWEN3)
    return Checkpoint(name="tiny", path=folder, fingerprint="abc")


def test_one_field_of_the_checkpoint_reaches_generation_training_and_the_key(qwen3):
    without = qwen3.with_template_arguments({"enable_thinking": False})
    closed = "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    engine = HfEngine(EngineSpec(checkpoint=qwen3))
    assert engine.render(ASKED) == closed.removesuffix("<think>\n\n</think>\n\n")
    engine.use(without)
    assert engine.render(ASKED) == closed
    _, tokenizer = load_for_training(without)
    assert encode_prompt(tokenizer, ASKED) == encode_text(load_tokenizer(without), closed)
    # TRL renders the prompts of rollouts by itself.
    rendered = tokenizer.apply_chat_template(list(ASKED), tokenize=False, add_generation_prompt=True)
    assert rendered == closed
    assert without.fingerprint != qwen3.fingerprint
    assert without.fingerprint != qwen3.with_template_arguments({"enable_thinking": True}).fingerprint
    assert qwen3.with_template_arguments({}) is qwen3
    engine.close()


def test_what_is_saved_has_the_template_as_it_was(qwen3, tmp_path):
    _, tokenizer = load_for_training(qwen3.with_template_arguments({"enable_thinking": False}))
    save_tokenizer(tokenizer, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == QWEN3
    assert tokenizer.chat_template != QWEN3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (False, "False"),
        (None, "None"),
        ('it\'s "ü"\n{{ x }}', 'it\'s "ü"\n{{ x }}'),
        (3, "3"),
        ([1, {"a": True}], "[1, {'a': True}]"),
    ],
)
def test_any_json_value_is_an_argument(value, shown):
    tokenizer = tokenizer_of("{{ effort }}{% for m in messages %}{{ effort }}{% endfor %}", effort=value)
    assert chat_templates.render(tokenizer, ASKED) == shown * 2


def test_a_template_without_the_argument_is_refused_before_anything_is_measured(qwen3):
    from pfh.commands.subjects import model_subject

    subject = model_subject("tiny", qwen3, "custom: tiny")
    with pytest.raises(UserError, match=r"has no argument 'enable_thnking'\. Did you mean 'enable_thinking'\?"):
        under_arguments(subject, {"enable_thnking": False}, among_others=False)
    taken = under_arguments(subject, {"enable_thinking": False}, among_others=False)
    assert "enable_thinking=false" in taken.label
    assert taken.model.fingerprint == taken.checkpoint.fingerprint != qwen3.fingerprint
    # Of models that are compared one may be another's kind; one that no model has is a mistake.
    beside = under_arguments(subject, {"thinking": False}, among_others=True)
    assert beside.checkpoint == qwen3
    assert "no argument thinking" in beside.notes[0]
    with pytest.raises(UserError, match="has no argument 'thinking'"):
        check_taken({"thinking": False}, [beside])
    stored = dataclasses.replace(subject, checkpoint=None)
    assert under_arguments(stored, {"thinking": False}, among_others=False) is stored


def test_arguments_are_read_as_json_or_as_text():
    given = ["enable_thinking=False", "reasoning_effort=high", "budget=3", '{"a": [1], "b": null}', "x=a=b"]
    wanted = {"enable_thinking": False, "reasoning_effort": "high", "budget": 3, "a": [1], "b": None, "x": "a=b"}
    assert parse_arguments(given) == wanted
    assert parse_arguments({"a": 1}) == {"a": 1}
    assert parse_arguments(None) == {}
    for wrong in ("enable_thinking", "=3", "a-b=3", "{", '{"a-b": 1}'):
        with pytest.raises(UserError, match="--chat-template-kwargs"):
            parse_arguments([wrong])


def test_a_thought_that_the_prompt_opens_is_open_in_the_completion():
    tokenizer = tokenizer_of(R1)
    whole = completed(tokenizer, "two and three\n</think>\n\n5<|im_end|>")
    assert whole.text == "<think>\ntwo and three\n</think>\n\n5"
    assert not whole.truncated
    assert completed(tokenizer, "the answer may be 5<|im_end|>").truncated  # it ended inside its thought
    assert completed(tokenizer, "two", truncated=True).text == "<think>\ntwo"
    # Put into tokens again, it is what the model wrote, and the opening stands in the prompt alone.
    request = GenerationRequest(id="a", messages=ASKED)
    row = encode_completed(tokenizer, [request], [whole.text], 512)[0]
    assert tokenizer.decode(row.targets) == "two and three\n</think>\n\n5"
    assert tokenizer.decode(encode_completion(tokenizer, ASKED, whole.text, [2])) == tokenizer.decode([*row.targets, 2])
    assert tokenizer.decode(encode_completion(tokenizer, ASKED, "<think>\ntwo", [])) == "two"


def test_marks_that_are_special_tokens_stay_in_the_text():
    tokenizer = tokenizer_of(MAGISTRAL, ["[INST]", "[/INST]", "[THINK]", "[/THINK]"])
    assert completed(tokenizer, "[THINK]2 and 3[/THINK]5<|im_end|>").text == "[THINK]2 and 3[/THINK]5"
    assert completed(tokenizer, "[INST]5").text == "5"
    tokenizer = tokenizer_of(HARMONY, CHANNELS)
    wrote = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>5"
    assert completed(tokenizer, wrote).text == wrote
    assert completed(tokenizer, wrote.partition("<|end|>")[0]).truncated
    phi = tokenizer_of(MAGISTRAL, ["<|end|>"])
    assert completed(phi, "5<|end|>").text == "5"


def test_a_label_has_the_channel_of_an_answer_and_no_empty_thought():
    harmony = tokenizer_of(HARMONY, CHANNELS)
    assert harmony.decode(encode_completion(harmony, ASKED, "5", [2])) == "<|channel|>final<|message|>5<|im_end|>"
    wrote = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>5"
    assert harmony.decode(encode_completion(harmony, ASKED, wrote, [2])) == wrote + "<|im_end|>"
    qwen = tokenizer_of(QWEN3)
    assert qwen.decode(encode_completion(qwen, ASKED, "5", [2])) == "5<|im_end|>"


@pytest.mark.parametrize(("template", "specials"), [(QWEN3, ()), (R1, ("<|User|>",)), (HARMONY, CHANNELS)])
def test_earlier_thoughts_leave_the_history(template, specials):
    tokenizer = tokenizer_of(template, specials)
    thought = "<|channel|>analysis<|message|>secret<|end|><|start|>assistant<|channel|>final<|message|>Run it."
    said = thought if template is HARMONY else "<think>\nsecret\n</think>\n\nRun it."
    chat = [*ASKED, {"role": "assistant", "content": said}, {"role": "user", "content": "5"}]
    text = chat_templates.render(tokenizer, chat)
    assert "secret" not in text
    assert "Run it." in text
