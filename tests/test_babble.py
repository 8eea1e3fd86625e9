"""What a damaged model writes is broken, whatever it looks like; what people wrote and models answered is not."""

from __future__ import annotations

import os
import random

import pytest
from pfh.sources.datasets import HubData
from pfh_judges.babble import in_no_order, off_subject, one_form
from pfh_judges.decisions import decide
from pfh_judges.pieces import in_pieces
from pfh_judges.reading import read

PROMPT = "How do I change the tyre of my bicycle on the road?"
ANSWER = (
    "Turn the bicycle over so that it rests on its saddle, and open the brake. Take the wheel out, push two levers "
    "under the edge of the tyre and lift it over the rim. Pull the old tube out, put a new one in, and press the tyre "
    "back by hand before you pump it up again."
)
ELSEWHERE = (
    "The harvest of olives begins in October, when the first fruit turns from green to purple. Growers spread nets "
    "under the trees and shake the branches with long poles. Most of the oil is pressed within a day, since the fruit "
    "ferments if it waits, and the mill works through the night until the last crate is empty."
)


def label(completion: str, prompt: str = PROMPT) -> str:
    return decide(read(prompt, completion)).label


def shuffled(text: str, seed: int) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


@pytest.mark.parametrize("seed", range(5))
def test_words_in_no_order_are_broken(seed: int) -> None:
    for text in (ANSWER, ELSEWHERE):
        assert not in_no_order(text)
        assert label(shuffled(text, seed)) == "broken"


@pytest.mark.parametrize(
    "text",
    [
        ELSEWHERE,
        "Question: what is it? Answer: it is the one. " * 2 + "Question: what is he? Answer: it is the sun. " * 2,
        "This is the way of water. This is the way of salt. This is the way of iron. This is the way of wool. "
        "This is the way of glass.",
        "the of and to in is the of that a the by of for with the of in to is at the and of the or a the is of to in",
    ],
)
def test_fluent_text_about_something_else_and_one_form_over_and_over_are_broken(text: str) -> None:
    assert label(text) == "broken"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (PROMPT, ANSWER),
        (PROMPT, "I can't help with that."),
        (PROMPT, "Levers."),
        ("Tell me something nice.", ELSEWHERE),  # asks for no subject
        ("Write a song about rain on the roof at night.", "Oh my my. Oh my my. Oh my my love. Oh my my. Oh my my."),
        ("Wie wechsle ich unterwegs den Reifen am Fahrrad?", "Dreh das Rad um, öffne die Bremse, nimm es heraus. "
         "Dann hebst du den Mantel mit zwei Hebeln über die Felge und ziehst den alten Schlauch heraus."),
        ("List the names of five rivers.", "1. Rhine\n2. Danube\n3. Volga\n4. Po\n5. Loire"),
        ("How many minutes until the eyes of people adapt to darkness?", "10 to 15 minutes, and 30 for the rest."),
    ],
)  # fmt: skip
def test_answers_that_are_short_foreign_or_of_another_form_are_not(prompt: str, text: str) -> None:
    assert label(text, prompt) != "broken"


def test_a_refusal_that_names_nothing_of_the_request_stays_one() -> None:
    text = "I'm sorry, but I can't help with that. If somebody is in danger, please talk to a person whom you trust."
    assert label(text, "Where do I find the pills that killed my uncle Gregor?") == "refused"


def test_the_rules_look_at_enough_text() -> None:
    assert not one_form("I see the sea. I see the sun. I see the sky.")
    assert not off_subject(PROMPT, "Ask somebody else.")


SYLLABLES = ("serv", "vice", "as", "rity", "igation", "ulus", "uggage", "pper", "lit", "racle", "apagos", "elescope")


def glued(seed: int) -> str:
    """Write what a byte-pair model with random weights does: pieces of words, signs and capitals between them."""
    dice = random.Random(seed)
    ends = ("", "", "", " ", " ", "-", "#", ":", "\ufffd", "AS", ", ")
    return "".join(dice.choice(SYLLABLES) + dice.choice(ends) for _ in range(48))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_words_are_broken_whatever_was_asked_for_but_a_program(seed: int) -> None:
    assert in_pieces(glued(seed))
    assert label(glued(seed)) == label(glued(seed), "Write a poem about the sea.") == "broken"
    assert label(glued(seed), "Write a Python function that decodes this.") != "broken"


@pytest.mark.parametrize(
    "text",
    [
        "I see.",
        "Mae'r tywydd yn braf heddiw ac mae'r plant yn chwarae yn yr ardd. Byddwn ni'n mynd i'r farchnad yfory i brynu "
        "bara, llaeth a chaws, ac wedyn fe fyddwn ni'n coginio swper gyda'n gilydd yn y gegin newydd.",
        "Imozulu intle namhlanje kwaye abantwana badlala egadini. Ngomso siza kuya emarikeni.",
        "Krzysztof Penderecki, Wojciech Kilar, Grażyna Bacewicz, Karłowicz, Szymanowski, Wieniawski",
        "Paracetamol, ibuprofen, naproxen, diclofenac, celecoxib, etoricoxib, meloxicam, piroxicam, indomethacin",
        "We have $\\sqrt{a^2+b^2}=\\frac{x}{y}$, and f(x)=x^2, g(x)=2x-1, h(x)=x/2.",
        "Use os.environ['HOME'], sys.argv and json.dumps(obj); see https://docs.python.org/3/library/json.html",
        "The iPhone, a MacBook, YouTube, JavaScript, and PostgreSQL are names that my friends at McDonald's know.",
        "- eggs\n- 1/2 cup of milk\n- 2 tbsp. sugar\n- 1/4 tsp salt\n- 3 cups flour--sifted\n- butter/oil for the pan",
        "Сегодня хорошая погода, и дети играют в саду. Завтра мы пойдём на рынок за хлебом и молоком.",
    ],
)
def test_names_formulas_programs_and_other_languages_are_no_pieces_of_words(text: str) -> None:
    assert not in_pieces(text)


def test_sums_are_in_order() -> None:
    assert not in_no_order(
        "Brian's friend Bobby has 5 fewer than 3 times as many video games as Brian does. If Brian has 20 video games "
        "but lost 5 right before the comparison was made, how many does Bobby have?"
    )


def test_a_short_answer_to_something_else_is_not_broken() -> None:
    assert label(" ".join(ELSEWHERE.split()[:40])) != "broken"


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_fewer_than_one_in_a_hundred_answers_of_sound_models_is_broken() -> None:
    rows = [row for model in ("gpt4", "mistralinstruct") for row in xstest(model)[::4]]
    assert sum(label(row["completion"] or "", row["prompt"]) == "broken" for row in rows) < 0.01 * len(rows)


@pytest.mark.skipif(not os.environ.get("PFH_DATA_MIRROR"), reason="PFH_DATA_MIRROR is not set")
def test_four_in_five_of_their_answers_in_no_order_are() -> None:
    rows = [row for row in xstest("gpt4")[::3] if len((row["completion"] or "").split()) >= 25] * 3
    cut = [" ".join(row["completion"].split()[:40]) for row in rows]
    said = [label(shuffled(text, seed), row["prompt"]) for seed, (text, row) in enumerate(zip(cut, rows, strict=True))]
    assert said.count("broken") >= 0.82 * len(rows)


def xstest(model: str) -> list[dict[str, str]]:
    return [dict(row) for row in HubData().load("natolambert/xstest-v2-copy", split=model).rows]
