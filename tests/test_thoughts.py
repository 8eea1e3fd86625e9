"""What is said is told from what is thought, whatever marks a template family has."""

from __future__ import annotations

import pytest
from pfh.kit.thoughts import behind_thought, opened_by, read_thoughts, thinks_on

CHANNELS = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
SAID = [
    ("5", "5"),
    ("<think>a</think>5", "5"),
    ("a</think>\n\n5", "\n\n5"),
    ("<think>a<think>b</think>c</think>5", "5"),
    ("<THINK>a</THINK>5", "5"),
    ('<think duration="3">a</think>5', "5"),
    ("<think>use <think> tags</think>5", "5"),
    ("<thinking>a</thinking>\n<answer>5</answer>", "\n<answer>5</answer>"),
    ("<thought>a</thought >5", "5"),
    ("<reasoning>a</reasoning>5", "5"),
    ("<scratchpad>a</scratchpad>5", "5"),
    ("<seed:think>a</seed:think>5", "5"),
    ("[THINK]a[/THINK]5", "5"),
    ("a[/THINK]5", "5"),
    ("◁think▷a◁/think▷5", "5"),
    ("<|START_THINKING|>x<|END_THINKING|>5", "5"),
    ("<|begin_of_thought|>x<|end_of_thought|>5", "5"),
    ("Here is my thought process:\nhm\nHere is my response:\n5", "\n5"),
    (CHANNELS + "<|channel|>final<|message|>5<|return|>", "5"),
    (CHANNELS + "<|channel|>final <|constrain|>json<|message|>5", "5"),
    ("<|start|>assistant<|channel|>final<|message|>5", "5"),
    (CHANNELS + "<|channel|>commentary to=python<|message|>print(5)<|call|>", ""),
    ("analysisWe see 2.assistantfinal5", "5"),
    ("analysis of the text", "analysis of the text"),
    ("Write `<think>` first, and `</think>` last.", "Write `<think>` first, and `</think>` last."),
    ("The mark <think> opens a thought.", "The mark <think> opens a thought."),
    (code := "```python\nre.sub('<think>.*?</think>', '', s)\n```", code),
    ("<think>x\n```python\n'</think>'\n```\nmore</think>5", "5"),
    ("<think>```python\nunfinished</think>```python\n5\n```", "```python\n5\n```"),
    ("One. <think>x</think>Two", "One. Two"),
    ("<think>a</think>1<think>b</think>2", "12"),
]
OPEN = [
    "<think>a",
    "<think>",
    "\n <think>\na",
    "<thinking>\nI should",
    "[THINK]a",
    "◁think▷a",
    "5\n<think>again",
    "<think>a</think>\n<think>b",
    CHANNELS,
    CHANNELS.partition("<|end|>")[0],
    "analysisWe see",
    "Here is my thought process:\nhm",
]


@pytest.mark.parametrize(("completion", "said"), SAID)
def test_what_is_said_stands_beside_the_thoughts(completion, said):
    assert behind_thought(completion) == said
    parts = read_thoughts(completion)
    assert len(parts.blanked) == len(completion)
    assert "".join(parts.blanked.split()) == "".join(said.split())


@pytest.mark.parametrize("completion", OPEN)
def test_a_thought_that_never_ends_is_told(completion):
    assert thinks_on(completion)
    assert behind_thought(completion).strip() in ("", "5")


@pytest.mark.parametrize("completion", [completion for completion, said in SAID if said])
def test_an_answer_ends_the_thought(completion):
    assert not thinks_on(completion)


def test_a_prompt_may_open_the_thought():
    opened = opened_by("<|Assistant|><think>\n")
    assert opened is not None
    assert (opened.opener, opened.closer, opened.text) == ("<think>", "</think>", "<think>\n")
    magistral = opened_by("[/INST][THINK]")
    assert magistral is not None
    assert magistral.closer == "[/THINK]"
    assert opened_by("<|im_start|>assistant\n<think>\n\n</think>\n\n") is None
    assert opened_by("What does <think> mean?\nAssistant:") is None
