"""The contamination check: what overlaps, what is a template, and the figures without the overlapping documents."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pfh.hooks.domains import Problem
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Quantity
from pfh.progress import Silent
from pfh.results.contamination import check_stages
from pfh.results.overlap import GRAM, find_overlaps, index_prompts, normalised
from pfh.results.records import FamilyRecord, ModelRecord, StageRecord
from pfh.statistics.paired import compare_evaluations

WORDS = [a + b for a, b in itertools.product(("ka", "lo", "mi", "nu", "pe"), ("ra", "so", "ti", "vu", "xe", "zo"))]


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def problem(text: str, number: int = 0, environment: str = "tasks") -> Problem:
    return Problem(
        id=f"problem-{number}",
        environment=environment,
        messages=({"role": "user", "content": "A worked example."}, {"role": "user", "content": text}),
        answer="",
    )


def problems(*texts: str, environment: str = "tasks") -> list[Problem]:
    return [problem(text, number, environment) for number, text in enumerate(texts)]


def overlaps(prompts: list[Problem], *documents: str) -> dict[str, str]:
    found = find_overlaps(index_prompts(prompts), {str(place): text for place, text in enumerate(documents)})
    return {key: f"{overlap.kind} {overlap.problem}" for key, overlap in found.items()}


def test_case_spaces_and_punctuation_do_not_matter() -> None:
    assert normalised("  What is “Ｘ” +\n 1, really?") == ["what", "is", "x", "+", "1", "really"]
    assert overlaps(problems("What is X + 1, really?"), "what is\tx + 1; REALLY") == {"0": "exact problem-0"}


def test_another_operator_is_another_document() -> None:
    assert overlaps(problems("What is 3 + 5?"), "What is 3 - 5?") == {}


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    shared = words(GRAM, seed=1)
    prompts = problems(f"{words(40, seed=2)} {shared} {words(9, seed=3)}")

    assert overlaps(prompts, f"entirely other words before {shared} and after") == {"0": "13-gram problem-0"}
    shorter = shared.rpartition(" ")[0]
    assert overlaps(prompts, f"entirely other words before {shorter} and after") == {}


def test_the_problem_that_shares_the_words_is_named() -> None:
    texts = [words(30, seed) for seed in range(8)]

    assert overlaps(problems(*texts), f"quoted: {texts[5]}") == {"0": "13-gram problem-5"}


def test_what_all_begin_and_end_with_is_a_template() -> None:
    questions = [words(6, seed) for seed in range(6)]
    prompts = problems(*(f"Answer in a few words. Question: {question}? Answer:" for question in questions))
    documents = ["Q: who was it\nA:", f"Q: {questions[3]}\nA:", "Q: when was it\nA:"]

    assert overlaps(prompts, *documents) == {"1": "exact problem-3"}


def test_long_instructions_that_many_share_do_not_count() -> None:
    order = words(25, seed=1)
    prompts = problems(*(f"{words(5, seed)} {order} {words(5, seed + 50)}" for seed in range(30)))
    documents = [f"{words(5, seed + 100)} {order} {words(5, seed + 150)}" for seed in range(30)]

    assert overlaps(prompts, *documents) == {}


def test_instructions_of_the_prompts_do_not_count_in_a_single_document() -> None:
    order = words(25, seed=1)
    prompts = problems(*(f"{words(5, seed)} {order} {words(5, seed + 50)}" for seed in range(30)))

    assert overlaps(prompts, f"{order} {words(5, seed=99)}") == {}


def test_environments_have_templates_of_their_own() -> None:
    orders = [words(20, seed=1000 + number) for number in range(20)]
    prompts = [
        problem(f"{orders[number % 20]} {words(6, number)}", number, f"task {number % 20}") for number in range(60)
    ]

    assert overlaps(prompts, f"{words(3, 500)} {orders[7]} {words(3, 600)}") == {}


def test_the_last_turn_is_what_is_asked() -> None:
    assert overlaps(problems(words(20, seed=1)), "A worked example.") == {}


def conversation(number: int, *turns: str) -> Problem:
    said = tuple({"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns))
    cluster = turns[0]
    return Problem(
        id=f"{number}", environment="chats", messages=said, answer="", cluster=cluster, own_turns=len(turns) > 1
    )


def test_of_a_conversation_every_turn_counts_and_a_thanks_alone_does_not() -> None:
    asked = [words(20, seed=seed) for seed in range(8)]
    talks = [conversation(seed, text, words(20, seed=50 + seed), "Thanks, go on.") for seed, text in enumerate(asked)]
    openings = [conversation(10 + seed, text) for seed, text in enumerate(asked)]
    held = conversation(99, words(20, seed=99), words(20, seed=98), "Thanks, go on.")

    assert overlaps(talks, held.asked) == {}
    assert overlaps(talks, talks[3].asked) == {"0": "exact 3"}
    index = index_prompts([*talks, *openings, *(conversation(20, *["again " + asked[5], "a", "b"]) for _ in range(3))])
    assert find_overlaps(index, {"quoted": f"as one says: {asked[3]}"})["quoted"].kind == "13-gram"


def test_turns_of_one_conversation_make_no_template() -> None:
    text = words(20, seed=1)
    prompts = [conversation(number, text, *["a", "b"] * number) for number in range(4)]
    prompts += [conversation(10 + seed, words(20, seed=seed)) for seed in range(20, 24)]
    documents = {str(number): f"{text} {number} {'and more' * number}" for number in range(4)}

    assert find_overlaps(index_prompts(prompts), documents, dict.fromkeys(documents, "one")).keys() == documents.keys()


def test_nothing_overlaps_with_nothing() -> None:
    assert overlaps([], words(20, seed=1), "") == {}
    assert overlaps(problems("", "short"), "", "other") == {}


Gram = tuple[str, ...]


def plain_search(prompts: list[list[str]], documents: list[list[str]]) -> set[int]:
    """Return the documents that share a 13-gram, as one would find them by hand."""
    found, templates = untouched(prompts, set(), lambda gram: True)
    known = {gram for grams in found for gram in grams}
    hits, _ = untouched(documents, templates, lambda gram: gram in known | templates)
    return {place for place, grams in enumerate(hits) if grams & known}


def untouched(texts: list[list[str]], templates: set[Gram], known) -> tuple[list[set[Gram]], set[Gram]]:
    """Return each text's 13-grams without a word of a template, and the templates."""
    runs = [[tuple(text[at : at + GRAM]) for at in range(len(text) - GRAM + 1)] for text in texts]
    holders = Counter(gram for grams in runs for gram in set(grams) if known(gram))
    templates = templates | {gram for gram, count in holders.items() if count > max(1, 0.1 * len(texts))}
    covered = [{at + i for at, gram in enumerate(grams) if gram in templates for i in range(GRAM)} for grams in runs]
    return [
        {gram for at, gram in enumerate(grams) if not cover & set(range(at, at + GRAM))}
        for grams, cover in zip(runs, covered, strict=True)
    ], templates


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_grams_are_those_of_a_plain_search(data: st.DataObject) -> None:
    pieces = [list(words(count, seed).split()) for seed, count in enumerate((1, 2, 9, 13, 14, 20))]
    texts = st.lists(
        st.lists(st.sampled_from(pieces), max_size=4).map(lambda parts: list(itertools.chain(*parts))),
        min_size=1,
        max_size=4,
    )
    prompts, documents = data.draw(texts), data.draw(texts)
    found = overlaps(problems(*map(" ".join, prompts)), *map(" ".join, documents))
    wanted = {str(place) for place in plain_search(prompts, documents)}

    assert wanted <= found.keys()
    assert all(found[key].startswith("exact") for key in found.keys() - wanted)


def evaluation(*benchmarks: Benchmark) -> Evaluation:
    return Evaluation(family="quiz", benchmarks=benchmarks)


def benchmark(name: str, texts: list[str], scores: list[float]) -> Benchmark:
    samples = tuple(
        Sample(
            id=f"{name}-{place}",
            benchmark=name,
            prompt=f"<user>{text}<assistant>",
            completion="",
            score=score,
            extra={"user_prompt": text},
        )
        for place, (text, score) in enumerate(zip(texts, scores, strict=True))
    )
    return Benchmark(name=name, version="1", metric="accuracy", higher_is_better=True, samples=samples)


def stage(before: Evaluation, after: Evaluation) -> StageRecord:
    model = ModelRecord(name="m", fingerprint="0")
    record = FamilyRecord(
        family="quiz", comparisons=compare_evaluations(before, after), before_artifact="0", after_artifact="1"
    )
    return StageRecord(method="dpo", before=model, after=model, families=(record,))


@pytest.fixture
def quiz() -> tuple[StageRecord, list[tuple[Benchmark, Benchmark]], list[str]]:
    """Return a stage in which only the first four of twenty documents were learned, and the texts of these."""
    texts = [words(20, seed) for seed in range(20)]
    before = evaluation(
        benchmark("seen", texts, [0.0] * 20), benchmark("fresh", [words(20, 90 + i) for i in range(20)], [0.0] * 20)
    )
    after = evaluation(
        benchmark("seen", texts, [1.0] * 4 + [0.0] * 16),
        dataclasses.replace(before.benchmarks[1]),
    )  # fmt: skip
    return stage(before, after), list(zip(before.benchmarks, after.benchmarks, strict=True)), texts[:4]


def test_the_report_gets_figures_with_and_without_what_overlaps(quiz) -> None:
    record, pairs, learned = quiz
    prompts = problems(*learned[:2], *(f"{words(20, 200 + i)} {text}" for i, text in enumerate(learned[2:])))
    checked, notes = check_stages([record], {(0, "quiz"): pairs}, prompts, Silent())
    summary, listing = checked[0].families[0].tables

    assert summary.title == "Contamination"
    seen, fresh = (dict(zip(summary.columns, row, strict=True)) for row in summary.rows)
    assert summary.rows[0][:5] == ("seen", 20, 2, 2, Quantity(value=0.2, unit="share"))
    figures = [Quantity(value=value, unit="share") for value in (0.0, 0.2)]
    assert [seen["before, all"], seen["after, all"]] == figures
    assert (seen["change, all"].value, seen["change, all"].unit) == (pytest.approx(0.2), "points")
    assert seen["change, all"].low < 0.2 < seen["change, all"].high
    assert [seen[f"{name}, without them"] for name in ("after", "n", "verdict")] == [figures[0], 16, "undecided"]
    assert summary.rows[1][:4] == ("fresh", 20, 0, 0)
    for name in ("before", "after", "change", "n", "verdict"):
        assert fresh[f"{name}, all"] == fresh[f"{name}, without them"]
    assert listing.rows[0] == ("seen", "seen-0", "exact", "problem-0")
    assert [row[2] for row in listing.rows] == ["exact", "exact", "13-gram", "13-gram"]
    assert notes[0].startswith(
        "Contamination: 4 of 40 evaluated documents overlap with training prompts (in quiz:seen)"
    )


def test_a_clean_run_has_the_table_and_no_note(quiz) -> None:
    record, pairs, _ = quiz
    checked, notes = check_stages([record], {(0, "quiz"): pairs}, problems(words(30, 300)), Silent())

    assert [table.title for table in checked[0].families[0].tables] == ["Contamination"]
    assert notes == ()


def test_a_document_without_its_own_text_is_looked_up_by_its_prompt(quiz) -> None:
    record, pairs, learned = quiz
    bare = [
        tuple(
            dataclasses.replace(side, samples=tuple(dataclasses.replace(sample, extra={}) for sample in side.samples))
            for side in pair
        )
        for pair in pairs
    ]
    checked, _ = check_stages([record], {(0, "quiz"): bare}, problems(*learned), Silent())

    assert checked[0].families[0].tables[0].rows[0][2:4] == (4, 0)


def test_every_stage_gets_its_own_figures(quiz) -> None:
    record, pairs, learned = quiz
    unchanged = [(before, before) for before, _ in pairs]
    second = stage(evaluation(*(x for x, _ in unchanged)), evaluation(*(x for x, _ in unchanged)))
    checked, _ = check_stages(
        [record, second], {(0, "quiz"): pairs, (1, "quiz"): unchanged}, problems(*learned), Silent()
    )

    shown = [each.families[0].tables[0].rows[0][5:7] for each in checked]
    assert [[cell.value for cell in cells] for cells in shown] == [[0, 0.2], [0, 0]]


def test_too_few_documents_may_be_left(quiz) -> None:
    record, pairs, _ = quiz
    texts = [sample.extra["user_prompt"] for sample in pairs[0][0].samples]
    checked, _ = check_stages([record], {(0, "quiz"): pairs}, problems(*texts), Silent())

    assert (
        checked[0].families[0].tables[0].rows[0][-1]
        == "0 of 0 samples were scored both times, and a comparison takes 2"
    )


def test_a_family_without_samples_gets_no_table(quiz) -> None:
    record, pairs, _ = quiz
    empty = [tuple(dataclasses.replace(side, samples=()) for side in pair) for pair in pairs]
    checked, _ = check_stages([record], {(0, "quiz"): empty}, problems(words(20, 1)), Silent())

    assert checked[0].families[0].tables == ()
