"""What a judge reads of a completion: the answer without thoughts and special tokens, in plain letters."""

from __future__ import annotations

import re
import unicodedata
import zlib
from itertools import pairwise

from pfh.kit.thoughts import behind_thought

SPECIAL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|</?s>|<(pad|eos|bos|unk|end_of_turn|start_of_turn|end_of_text)>|\[/?INST\]|<<?/?SYS>>?"
    r"|<[|｜][^<>]{1,40}[|｜]>"
)
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´′＇‛", "'"))
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\0]"
)
SPACED = re.compile(r"(?<!\S)\w(?: {1,3}[\w'.,!?;:]){7,}(?!\S)")
"""Letters that stand apart, with the words told from each other by wider gaps or not at all."""

REPEATED_WORDS = 12
"""Fewer words than these may repeat, as in a song."""
COMPRESSES_TO = 0.16
"""A text that zlib makes smaller than this share of its length says one thing over and over."""


def answer(completion: str, most: int | None = None) -> str:
    """Return what a completion says to its reader: without thoughts and special tokens, `most` characters of it.

    A thought that the length limit cut has no answer behind it: nothing is left of it.
    """
    return SPECIAL.sub(" ", behind_thought(completion)[:most]).strip()


def readable(text: str) -> str:
    """Return `text` with compatible letters made one, straight apostrophes, nothing invisible, letters joined."""
    text = unicodedata.normalize("NFKC", INVISIBLE.sub("", text.translate(APOSTROPHES))).translate(APOSTROPHES)
    return SPACED.sub(lambda found: _joined(found.group()), text)


def is_broken(text: str) -> bool:
    """Say whether an answer is no language that anybody could read: a loop, or noise of signs."""
    visible = "".join(text.split())
    if not visible:
        return True
    letters = sum(unicodedata.category(letter)[0] in "LN" for letter in visible)
    marks = sum(unicodedata.category(letter)[0] == "M" for letter in visible)  # vowels of Thai, Hindi and others
    if letters == 0 or (len(visible) >= 20 and letters + marks < 15 and (letters + marks) / len(visible) < 0.35):
        return True
    spoken = " ".join(word for word in text.split() if any(letter.isalnum() for letter in word))
    return _loops(spoken) or _mixed_up(spoken)


def _joined(spaced: str) -> str:
    if "  " in spaced:
        return " ".join(word.replace(" ", "") for word in re.split(r" {2,}", spaced))
    return _SERVED.sub(r" \1 ", spaced.replace(" ", "").lower())


_SERVED = re.compile(r"(i'?m|sorry|i(?=can|won|will)|cannot|can't|can not|won't|help|assist|with|this|that|you)")


def _loops(text: str) -> bool:
    """Say whether the text says one thing over and over, from its start on."""
    words = text.lower().split()
    if len(words) >= REPEATED_WORDS and len(set(words)) <= max(2, len(words) // 8):
        return True
    data = text.encode("utf-8", "replace")
    if len(data) >= 160 and len(zlib.compress(data, 9)) / len(data) < COMPRESSES_TO + 12 / len(data):
        return True
    run = re.search(r"(\S{1,12}?)\1{11,}", text)
    return run is not None and len(run.group()) > len("".join(text.split())) / 2 and run.group(1).strip("-=_*.") != ""


def _mixed_up(text: str) -> bool:
    """Say whether words of many scripts, or of letters that make no word, follow each other."""
    scripts = [_script(word) for word in text.split()]
    known = [script for script in scripts if script]
    if len(known) >= 8:
        changes = sum(first != second for first, second in pairwise(known))
        if len(set(known)) >= 3 and changes > len(known) / 3:
            return True
    words = re.findall(r"[a-z]+", text.lower())
    if len(words) < 6 or len(words) < len(text.split()) / 2:
        return False
    unsayable = sum((len(word) > 3 and not re.search(r"[aeiouy]", word)) or len(word) > 28 for word in words)
    return unsayable > len(words) / 3


def _script(word: str) -> str:
    for letter in word:
        if letter.isalpha():
            return unicodedata.name(letter, "").split(" ")[0]
    return ""
