"""What a reasoning model thinks and what it says: the marks of every template family, read in one place.

A judge, a verifier and a measure of style look at what is said. Known marks: <think> and its kin (DeepSeek-R1, Qwen3,
GLM, SmolLM3, EXAONE, with attributes or in capitals), [THINK] (Magistral), <|START_THINKING|> (Command A),
<|begin_of_thought|> (Sky-T1), <seed:think> (Seed-OSS), the triangles of Kimi, Granite's sentences, and the channels of
gpt-oss (harmony), also as they look without their special tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = "think|thinking|thought|thoughts|reasoning|scratchpad|reflection|seed:think"
_OPENS = re.compile(
    rf"<(?P<tag>{_NAMES})(?:\s[^<>]{{0,200}})?>|\[(?P<caps>THINK)\]|<\|(?P<cohere>START_THINKING)\|>"
    r"|<\|(?P<sky>begin_of_thought)\|>|(?P<kimi>◁think▷)",
    re.IGNORECASE,
)
_CLOSES = re.compile(rf"</(?:{_NAMES})\s*>|\[/THINK\]|<\|END_THINKING\|>|<\|end_of_thought\|>|◁/think▷", re.IGNORECASE)
_CLOSERS = {"caps": "[/THINK]", "cohere": "<|END_THINKING|>", "sky": "<|end_of_thought|>", "kimi": "◁/think▷"}
_FENCE = re.compile(r"^[ \t]*```(.*)$", re.MULTILINE)
_INLINE = re.compile(r"`[^`\n]{1,80}`")
_LINE = 64
"""Characters before a mark that tell whether it begins a line."""
_GRANITE = re.compile(
    r"\A\s*Here(?:'s| is) my (?:thought process|reasoning):.*?(?:Here(?:'s| is) my response:|\Z)", re.DOTALL
)

CHANNEL = "<|channel|>"
_CHANNEL = re.compile(
    r"<\|channel\|>(?P<name>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<text>.*?)"
    r"(?P<end><\|end\|>|<\|return\|>|<\|call\|>|<\|start\|>|(?=<\|channel\|>)|\Z)",
    re.DOTALL,
)
_BARE_CHANNELS = re.compile(r"\A\s*analysis(?=[A-Z\d\"'(*])")
"""How a thought begins where the special tokens of harmony were left out."""
_BARE_FINAL = "assistantfinal"

SPECIAL_MARKS = frozenset(
    {
        "<think>", "</think>", "<thinking>", "</thinking>", "<thought>", "</thought>", "[THINK]", "[/THINK]",
        "<|START_THINKING|>", "<|END_THINKING|>", "<|begin_of_thought|>", "<|end_of_thought|>", "<seed:think>",
        "</seed:think>", "◁think▷", "◁/think▷",
    }
)  # fmt: skip
"""Marks that a tokenizer may hold as special tokens; a text that is decoded without them runs thought and answer
together."""
HARMONY_MARKS = frozenset({CHANNEL, "<|message|>", "<|start|>", "<|end|>", "<|constrain|>"})
"""The same for a tokenizer that has `CHANNEL`; others use <|end|> for something else."""


Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A completion taken apart."""

    text: str
    spans: tuple[Span, ...]
    """Where what is said stands in it."""
    open: bool
    """The completion ends inside a thought."""

    @property
    def said(self) -> str:
        """What the reader is told; a completion without a thought is all said, unchanged."""
        between = "\n" if CHANNEL in self.text else ""
        return between.join(self.text[start:end] for start, end in self.spans)

    @property
    def blanked(self) -> str:
        """The completion with spaces in place of thoughts and marks, so that every place in it is as it was."""
        blank = [" "] * len(self.text)
        for start, end in self.spans:
            blank[start:end] = self.text[start:end]
        return "".join(blank)


def read_thoughts(completion: str) -> Parts:
    """Take `completion` apart.

    A mark that closes ends all that are open. One that closes nothing ends a thought that the prompt opened. One that
    is never closed counts where it begins a line. Marks in code that was said are quoted.
    """
    if CHANNEL in completion:
        spans, is_open = _of_channels(completion)
    elif _BARE_CHANNELS.match(completion):
        final = completion.rfind(_BARE_FINAL)
        spans, is_open = ([(final + len(_BARE_FINAL), len(completion))], False) if final >= 0 else ([], True)
    elif found := _GRANITE.match(completion):
        spans, is_open = [(found.end(), len(completion))], not found.group().endswith("response:")
    else:
        spans, is_open = _of_marks(completion)
    return Parts(text=completion, spans=tuple(spans), open=is_open)


def behind_thought(completion: str) -> str:
    """Return what a reasoning model says beside its thoughts; nothing where its one thought never ends."""
    return read_thoughts(completion).said


def thinks_on(completion: str) -> bool:
    """Say whether the completion ends inside a thought, so that there is no answer to be right or wrong."""
    return read_thoughts(completion).open


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A thought that a prompt opens for the model."""

    opener: str
    closer: str
    text: str
    """The opener and what the prompt has behind it."""


def opened_by(prompt: str) -> Opened | None:
    """Return the thought that stands open at the end of `prompt`, or None."""
    bare = prompt.rstrip()
    for found in _OPENS.finditer(bare, max(0, len(bare) - 300)):
        if found.end() == len(bare):
            closer = f"</{found['tag']}>" if found["tag"] else _CLOSERS[str(found.lastgroup)]
            return Opened(opener=found.group(), closer=closer, text=prompt[found.start() :])
    return None


def _of_marks(text: str) -> tuple[list[Span], bool]:
    marks = sorted(
        [(*found.span(), True) for found in _OPENS.finditer(text)]
        + [(*found.span(), False) for found in _CLOSES.finditer(text)]
    )
    if not marks:
        return [(0, len(text))], False
    last_close = max((start for start, _, opens in marks if not opens), default=-1)
    quoted = _quoted(text)
    said: list[Span] = []
    place, thinking = 0, False
    for start, end, opens in marks:
        while quoted and quoted[-1][1] <= start:
            quoted.pop()
        if thinking:
            place, thinking = (place, True) if opens else (end, False)
        elif quoted and place <= quoted[-1][0] <= start:
            continue
        elif not opens:
            said, place = [], end
        elif start < last_close:
            said.append((place, start))
            thinking = True
        elif not text[max(0, start - _LINE) : start].rpartition("\n")[2].strip():
            return [*said, (place, start)], True  # in the middle of a line somebody writes about the mark
    return [*said, (place, len(text))], False


def _quoted(text: str) -> list[Span]:
    """Return where code stands, the last first: blocks that are closed, and backticks in a line."""
    blocks: list[Span] = []
    began = -1
    for fence in _FENCE.finditer(text):
        if began < 0:
            began = fence.start()
        elif not fence[1].strip():
            blocks.append((began, fence.end()))
            began = -1
    spans: list[Span] = []
    for start, end in sorted([*blocks, *(found.span() for found in _INLINE.finditer(text))]):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans[::-1]


def _of_channels(text: str) -> tuple[list[Span], bool]:
    """Read harmony (OpenAI, 2025): the channel `final` is said, and `commentary` that calls no tool."""
    before = text[: text.index(CHANNEL)].removesuffix("assistant").removesuffix("<|start|>")
    said = [(0, len(before))] if before.strip() else []
    said += [
        found.span("text") for found in _CHANNEL.finditer(text) if found["name"].strip() in ("final", "commentary")
    ]
    return said, not said
