"""Untrusted text cannot act on what shows it."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pfh.text import json_ready, printable, script_json

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
JOINERS = {"\u200c", "\u200d"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("a\x00b\x07", r"a\x00b\x07"),
        ("a\rb", r"a\rb"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("\u2066x\u2069\u200f", r"\u2066x\u2069\u200f"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("\ufeffzero\u200bwidth", r"\ufeffzero\u200bwidth"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_its_escape(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["naïve café", "日本語", "می‌خواهم", "👩‍🔬 ✓", "שלום", "[bold]x[/bold] <b> &amp;", ""])
def test_plain_text_of_any_script_is_left_alone(text):
    assert printable(text) == text


def test_newlines_and_tabs_are_kept_or_shown():
    assert printable("a\n\tb") == "a\n\tb"
    assert printable("a\n\tb", lines=False) == r"a\n\tb"


@given(ANY_TEXT)
def test_printable_text_holds_no_control_no_surrogate_and_no_reordering(text):
    shown = printable(text, lines=False)
    shown.encode("utf-8")
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in shown)
    assert not any(
        unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI"} for char in shown
    )
    assert printable(shown, lines=False) == shown


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | ANY_TEXT, lambda x: st.lists(x) | st.dictionaries(ANY_TEXT, x)
    )
)
def test_json_in_a_script_element_is_the_same_json_and_cannot_leave_it(value):
    text = script_json(value)
    assert json.loads(text) == json_ready(value)
    assert text.isascii()
    assert not set(text) & set("<>&")


def test_json_holds_neither_surrogates_nor_numbers_without_end():
    assert json_ready({"a": [float("nan"), float("-inf"), 1.5], "b": "x\ud800"}) == {
        "a": [None, None, 1.5],
        "b": "x\\ud800",
    }
