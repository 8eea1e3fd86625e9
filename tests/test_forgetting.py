"""The forgetting family: the same figures as lm-eval, data from pfh's sources, and what it says of before and after."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from pfh.errors import DataUnavailableError, StepFailedError, UserError
from pfh.hooks.backends import Completion, EngineSpec, GenerationRequest, Sampling, Score, ScoringRequest
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.datasets import Dataset
from pfh.hooks.evals import AnalysisSpec, EvaluationSpec, Part, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.sandbox import available
from pfh.statistics.paired import compare_evaluations
from pfh.testing import FakeEngine, NoData, evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import forgetting
from pfh_evals.forgetting.battery import BATTERY, CATEGORIES, category_of, preset_limit, preset_names
from pfh_evals.forgetting.builtin import EXAMPLES, GENERATORS, PROBLEMS, builtin_configurations
from pfh_evals.forgetting.code_eval import SandboxedCodeEval
from pydantic import ValidationError

from tests.tiny import tiny_llama

needs_sandbox = pytest.mark.skipif(bool(available()), reason="programs cannot be confined here")


class Tables:
    """A data source over tables in memory."""

    def __init__(self, tables: dict[tuple[str, str, str], list[dict[str, Any]]]) -> None:
        self.tables = tables

    def load(self, hub_id: str, config: str = "default", split: str = "test") -> Dataset:
        rows = self.tables.get((hub_id, config, split))
        if rows is None:
            raise DataUnavailableError(f"no {hub_id} ({config}/{split}) here")
        return Dataset(rows=tuple(rows), fingerprint="0", origin=f"memory, {hub_id} ({config}/{split})")


class Chooser(FakeEngine):
    """Likes continuations that end in `liked`, and keeps what it was asked."""

    def __init__(self, liked: str = "", answers: Sequence[str] = ("",)) -> None:
        super().__init__(answers)
        self.liked = liked
        self.scored: list[ScoringRequest] = []
        self.asked: list[GenerationRequest] = []
        self.samplings: list[Sampling] = []

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
        self.scored += requests
        liked = [bool(self.liked) and request.continuation.endswith(self.liked) for request in requests]
        return [
            Score(logprob=-1.0 if likes else -float(len(request.continuation)) - 2.0, greedy=likes, tokens=1)
            for likes, request in zip(liked, requests, strict=True)
        ]

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
        self.asked += requests
        self.samplings.append(sampling)
        return super().generate(requests, sampling)


ARC = [
    {
        "question": f"Which of these is number {number}?",
        "choices": {"text": [f"the {word} one" for word in ("red", "blue", "green")], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[number % 3],
    }
    for number in range(6)
]
MMLU = [
    {"question": f"Anatomy question {number}", "choices": ["w", "x", "y", "z"], "answer": number % 4}
    for number in range(8)
]
DATA = {
    ("allenai/ai2_arc", "ARC-Challenge", "test"): ARC,
    ("cais/mmlu", "anatomy", "test"): MMLU,
    ("cais/mmlu", "anatomy", "dev"): [dict(row, question=f"Example {row['question']}") for row in MMLU[:5]],
    ("ybisk/piqa", "plain_text", "validation"): [
        {"goal": f"open door {number}", "sol1": "pull it", "sol2": "eat it", "label": 0} for number in range(3)
    ],
    ("allenai/winogrande", "winogrande_xl", "validation"): [
        {"sentence": "The cat saw the dog because _ was big.", "option1": "cat", "option2": "dog", "answer": "2"}
    ],
    ("Rowan/hellaswag", "default", "validation"): [
        {
            "activity_label": "Cooking",
            "ctx_a": "She cuts an onion.",
            "ctx_b": "she",
            "endings": ["fries it.", "sleeps.", "flies.", "sings [loudly]."],
            "label": "0",
        }
    ],
}


def spec_for(
    *benchmarks: str, engine: Any = None, tables: Any = None, options: dict[str, Any] | None = None, **changes: Any
) -> EvaluationSpec:
    chosen = forgetting.Options(**(options or {}))
    return dataclasses.replace(
        evaluation_spec([""], options=chosen),
        engine=engine or Chooser(),
        data=Tables(DATA if tables is None else tables),
        benchmarks=benchmarks,
        **changes,
    )


def evaluate(*benchmarks: str, **changes: Any) -> dict[str, Benchmark]:
    found = forgetting.evaluate(spec_for(*benchmarks, **changes))
    assert found.family == "forgetting"
    return {benchmark.name: benchmark for benchmark in found.benchmarks}


# --- lm-eval's tasks over pfh's data


@pytest.mark.parametrize("name", ["arc_challenge", "builtin-arithmetic"])
def test_a_part_is_asked_what_the_whole_is_asked_and_nothing_else(name: str) -> None:
    """Worked examples are drawn one document after the other: a part must not change those of its documents."""
    options = {"num_fewshot": 2} if name == "arc_challenge" else {}
    tables = {**DATA, ("allenai/ai2_arc", "ARC-Challenge", "validation"): ARC[::-1]}
    tables[("allenai/ai2_arc", "ARC-Challenge", "train")] = ARC[::-1]
    asked: dict[bool, Chooser] = {}
    found = {}
    for part in (None, Part(seed=0, count=3)):
        asked[part is None] = engine = Chooser("the blue one", answers=("7",))
        found[part is None] = evaluate(name, engine=engine, tables=tables, options=options, limit=6, part=part)[name]
    whole = {sample.id: sample for sample in found[True].samples}
    assert len(whole) >= 6
    assert len(found[False].samples) == 3
    assert all(sample == whole[sample.id] for sample in found[False].samples)
    few, all_ = (asked[which].scored + asked[which].asked for which in (False, True))
    assert 0 < len(few) < len(all_)
    assert all(request in all_ for request in few)


def test_a_task_of_lm_eval_runs_on_rows_from_the_data_source() -> None:
    engine = Chooser("the blue one")
    found = evaluate("arc_challenge", engine=engine)["arc_challenge"]
    assert (found.status, found.metric, found.higher_is_better, found.version) == ("MEASURED", "acc", True, "1.0")
    assert found.source == "memory, allenai/ai2_arc (ARC-Challenge/test)"
    assert [sample.score for sample in found.samples] == [0, 1, 0, 0, 1, 0]
    first = found.samples[0]
    assert first.prompt == "Question: Which of these is number 0?\nAnswer:"
    assert (first.completion, first.extracted, first.target) == ("the blue one", "the blue one", "the red one")
    assert (first.choices, first.status, first.category) == (3, "ok", "")
    assert first.extra["logprobs"][1] == -1.0
    assert first.extra["metrics"].keys() == {"acc,none", "acc_norm,none"}
    assert {request.continuation for request in engine.scored} == {" the red one", " the blue one", " the green one"}


def test_the_first_documents_are_asked_as_lm_eval_does() -> None:
    whole, part = evaluate("arc_challenge"), evaluate("arc_challenge", limit=2)
    assert part["arc_challenge"].samples == whole["arc_challenge"].samples[:2]


def test_a_dataset_is_found_under_its_other_name() -> None:
    assert evaluate("piqa")["piqa"].source == "memory, ybisk/piqa (plain_text/validation)"


def test_documents_are_processed_as_the_task_says() -> None:
    sample = evaluate("hellaswag")["hellaswag"].samples[0]
    assert sample.prompt == "Cooking: She cuts an onion. She"
    assert sample.extra["options"] == ["fries it.", "sleeps.", "flies.", "sings ."]


def test_options_that_stand_in_the_prompt() -> None:
    sample = evaluate("winogrande")["winogrande"].samples[0]
    assert sample.choices == 2
    assert sample.target == "The cat saw the dog because dog"
    assert sample.completion in sample.extra["options"]
    assert sample.prompt == sample.completion


def test_few_shot_examples_come_from_their_split() -> None:
    engine = Chooser()
    sample = evaluate("mmlu_anatomy", engine=engine, options={"num_fewshot": 2}, limit=1)["mmlu_anatomy"].samples[0]
    prompt = engine.scored[0].context
    assert prompt.count("Example Anatomy question") == 2
    assert prompt.endswith("Anatomy question 0\nA. w\nB. x\nC. y\nD. z\nAnswer:")
    assert sample.extra["user_prompt"] == "Anatomy question 0\nA. w\nB. x\nC. y\nD. z\nAnswer:"


def test_only_splits_that_are_needed_are_asked_for() -> None:
    found = evaluate("arc_challenge", options={"num_fewshot": 3})["arc_challenge"]
    assert (found.status, found.samples) == ("NOT_RUN", ())
    assert found.reason == "no allenai/ai2_arc (ARC-Challenge/train) here"
    assert evaluate("arc_challenge")["arc_challenge"].status == "MEASURED"


def test_a_group_with_a_missing_task_is_not_run() -> None:
    tables = {
        ("Muennighoff/xwinograd", "en", "test"): [{"sentence": "a _ b", "option1": "c", "option2": "d", "answer": "1"}]
    }
    found = evaluate("xwinograd", tables=tables)["xwinograd"]
    assert (found.status, found.reason) == ("NOT_RUN", "no Muennighoff/xwinograd (fr/test) here")


def test_a_group_is_one_benchmark_with_its_tasks_as_categories(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_task(tmp_path, name, rows=choice_rows(3, name))
    (tmp_path / "both.yaml").write_text("group: both\ntask:\n  - first\n  - task: second\n    num_fewshot: 1\n")
    engine = Chooser()
    found = evaluate(engine=engine, options={"tasks": (str(tmp_path / "both.yaml"),)})["both"]
    assert [sample.category for sample in found.samples] == ["first"] * 3 + ["second"] * 3
    assert len({sample.id for sample in found.samples}) == 6
    shots = {request.id.split("/")[0]: request.context.count("Q:") - 1 for request in engine.scored}
    assert shots == {"first": 0, "second": 1}


def test_several_benchmarks_and_one_that_is_broken(tmp_path: Path) -> None:
    broken = write_task(tmp_path, "broken", rows=choice_rows(2), doc_to_text="{{question / 0}}")
    late = write_task(tmp_path, "late", rows=choice_rows(4)[::-1], doc_to_text="Q{{1 // (gold - 1)}}")
    found = evaluate("arc_challenge", "broken", "late", options={"tasks": (str(broken), str(late))})
    assert [found[name].status for name in ("arc_challenge", "broken", "late")] == ["MEASURED", "NOT_RUN", "ERROR"]
    assert found["broken"].reason.startswith("lm-eval cannot build the task broken: TypeError")
    assert found["late"].reason.startswith("ZeroDivisionError")


def test_what_the_engine_runs_out_of_ends_the_evaluation() -> None:
    class Exhausted(Chooser):
        def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
            raise MemoryError

    class Stuck(Chooser):
        def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[Score]:
            raise StepFailedError("the engine is gone")

    with pytest.raises(MemoryError):
        evaluate("arc_challenge", engine=Exhausted())
    with pytest.raises(StepFailedError, match="gone"):
        evaluate("arc_challenge", engine=Stuck())


@pytest.mark.parametrize(("name", "near"), [("arc_chalenge", "arc_challenge"), ("mmlu_anatomi", "mmlu_anatomy")])
def test_an_unknown_task_is_named_with_a_near_one(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"no task, group or tag '{name}'. Did you mean '{near}'"):
        evaluate("arc_challenge", name)


def test_a_tag_stands_for_all_its_tasks_wherever_they_are() -> None:
    finder = forgetting.TaskFinder()
    finder.check("gsm8k")
    names = {configuration["task"] for configuration in finder.configurations("ai2_arc")}
    assert names == {"arc_easy", "arc_challenge"}


def test_the_groups_of_the_battery_have_all_members_that_lm_eval_gives_them() -> None:
    finder = forgetting.TaskFinder()
    assert len(finder.configurations("mmlu")) == 57
    assert len(finder.configurations("mgsm_direct")) == 11
    for tag in ("mmlu_stem_tasks", "mmlu_other_tasks", "mmlu_social_sciences_tasks", "mmlu_humanities_tasks"):
        members = {configuration["task"] for configuration in finder.configurations(tag)}
        assert members < {configuration["task"] for configuration in finder.configurations("mmlu")}


def test_documents_that_occur_twice_are_told_apart(tmp_path: Path) -> None:
    file = write_task(tmp_path, "twice", rows=[*choice_rows(2), *choice_rows(1)])
    ids = [sample.id for sample in evaluate(options={"tasks": (str(file),)})["twice"].samples]
    assert ids == [ids[0], ids[1], f"{ids[0]}-2"]


# --- free answers


def test_free_answers_and_the_settings_of_a_task(tmp_path: Path) -> None:
    file = write_generation(tmp_path, "sums", rows=[{"question": f"{n} + 1", "answer": str(n + 1)} for n in range(4)])
    engine = Chooser(answers=["The answer is 1.", "none at all", "The answer is 9.", "one two three four five six"])
    found = evaluate(engine=engine, options={"tasks": (str(file),)})["sums"]
    assert engine.samplings == [Sampling(max_new_tokens=5, stop=("\n\n",))]
    assert engine.asked[0].prompt == "Q: 0 + 1\nA:"
    assert [sample.score for sample in found.samples] == [1, 0, 0, 0]
    assert [sample.status for sample in found.samples] == ["ok", "format_failure", "ok", "format_failure"]
    assert [sample.extracted for sample in found.samples] == ["1", None, "9", None]
    assert found.samples[0].completion == "The answer is 1."
    assert found.samples[0].choices is None
    assert found.samples[0].tokens == 4


def test_a_completion_that_was_cut_short_says_so(tmp_path: Path) -> None:
    file = write_generation(tmp_path, "cut", rows=[{"question": "1", "answer": "2"}])
    found = evaluate(engine=Chooser(answers=["answer is 2 and so on and on"]), options={"tasks": (str(file),)})["cut"]
    assert [sample.status for sample in found.samples] == ["truncated"]


def test_settings_that_pfh_lacks_are_no_silent_default(tmp_path: Path) -> None:
    settings = {"until": ["\n"], "num_beams": 4}
    file = write_generation(tmp_path, "beams", rows=[{"question": "1", "answer": "2"}], generation_kwargs=settings)
    found = evaluate(options={"tasks": (str(file),)})["beams"]
    assert (found.status, found.reason[-9:]) == ("NOT_RUN", "num_beams")


def test_perplexity_over_whole_documents_is_not_run(tmp_path: Path) -> None:
    file = write_task(tmp_path, "rolling", rows=choice_rows(1), output_type="loglikelihood_rolling", metric_list=None)
    assert evaluate(options={"tasks": (str(file),)})["rolling"].status == "NOT_RUN"


@needs_sandbox
def test_programs_are_scored_in_the_sandbox() -> None:
    problem = {
        "task_id": "x/0",
        "prompt": "def double(x):\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "double",
        "canonical_solution": "",
    }
    tables = {("openai/openai_humaneval", "openai_humaneval", "test"): [problem] * 3}
    right, wrong, leaves = "    return 2 * x", "    return x", "    pass\nraise SystemExit(0)"

    class Programmer(Chooser):
        def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Completion]:
            texts = (right, wrong, leaves)
            return [Completion(text=text, tokens=1, prompt_tokens=1, truncated=False) for text in texts]

    found = evaluate("humaneval", engine=Programmer(), tables=tables)["humaneval"]
    assert (found.status, found.metric) == ("MEASURED", "pass@1")
    assert [sample.score for sample in found.samples] == [1, 0, 0]
    assert found.samples[0].extracted == problem["prompt"] + right


@needs_sandbox
def test_pass_at_k_is_the_unbiased_estimate() -> None:
    candidates = [f"def one():\n    return {number}" for number in (1, 2, 2, 2)]
    passed, _ = SandboxedCodeEval().compute(references=["assert one() == 1"], predictions=[candidates], k=[1, 2, 9])
    assert passed == {"pass@1": pytest.approx(1 / 4), "pass@2": pytest.approx(1 / 2)}  # 1 - C(3, 2) / C(4, 2)


# --- what is asked by default


def test_presets_hold_all_eight_categories() -> None:
    assert {category_of(name) for name in preset_names("full")} == set(CATEGORIES)
    assert set(preset_names("quick")) < set(preset_names("standard")) == {entry.name for entry in BATTERY}
    assert preset_limit("hellaswag", "quick") < preset_limit("hellaswag", "standard")
    assert preset_limit("hellaswag", "full") is None
    assert [category_of(name) for name in ("mmlu_anatomy", "bbh_zeroshot", "lambada")] == [
        "knowledge",
        "reasoning",
        "other",
    ]


def test_the_default_is_the_quick_battery_and_what_is_missing_is_not_run() -> None:
    found = evaluate(limit=1)
    assert tuple(found) == preset_names("quick")
    measured = {name for name, benchmark in found.items() if benchmark.status == "MEASURED"}
    assert measured == {"arc_challenge", "hellaswag", "winogrande", "piqa", *GENERATORS}
    assert all(found[name].reason for name in found if name not in measured)


def test_a_preset_limits_what_nobody_named() -> None:
    rows = {("allenai/ai2_arc", "ARC-Challenge", "test"): ARC * 11}

    def asked(*names: str, **changes: Any) -> int:
        return len(evaluate(*names, tables=rows, **changes)["arc_challenge"].samples)

    assert asked("arc_challenge") == 66
    assert asked("arc_challenge", default_set=True) == 60  # could not be run the last time, among the default set
    assert asked("arc_challenge", default_set=True, limit=7) == 7
    assert asked("arc_challenge", default_set=True, limit=65) == 60
    assert asked("arc_challenge", limit=65) == 65
    assert asked("arc_challenge", default_set=True, options={"preset": "full"}) == 66
    assert asked("arc_challenge", default_set=True, options={"tasks": ("arc_challenge",)}) == 66


def test_a_file_that_changes_is_another_benchmark(tmp_path: Path) -> None:
    file = write_task(tmp_path, "mine", rows=choice_rows(1))
    before = forgetting.Options(tasks=(str(file),)).model_dump(mode="json")
    file.write_text(file.read_text() + "\n")
    assert forgetting.Options(tasks=(str(file),)).model_dump(mode="json") != before
    with pytest.raises(ValidationError, match="no file"):
        forgetting.Options(tasks=(str(tmp_path / "none.yaml"),))
    broken = tmp_path / "broken.yaml"
    broken.write_text("- a\n- list\n")
    with pytest.raises(UserError, match="no task definition"):
        evaluate(options={"tasks": (str(broken),)})


def test_a_plan_counts_documents_requests_and_what_cannot_be_run() -> None:
    chosen = forgetting.Options()
    names = ("arc_challenge", "mmlu_anatomy", "gsm8k")
    table = forgetting.plan(PlanSpec(options=chosen, data=Tables(DATA), benchmarks=names, limit=6))
    columns = [row[:5] for row in table.rows]
    assert columns == [
        ("arc_challenge", "reasoning", 1, 6, 18),
        ("mmlu_anatomy", "knowledge", 1, 6, 24),
        ("gsm8k", "mathematics", None, None, None),
        ("all", "", None, 12, 42),
    ]
    assert str(table.rows[2][-1]).startswith("cannot be run: no openai/gsm8k")


# --- built-in problems


@pytest.mark.parametrize("name", GENERATORS)
def test_built_in_problems_are_different_and_follow_from_the_seed(name: str) -> None:
    for configuration, again, other in zip(
        builtin_configurations(name, 0), builtin_configurations(name, 0), builtin_configurations(name, 1), strict=True
    ):
        drawn = configuration["custom_dataset"]()
        examples, problems = (drawn[split].to_list() for split in ("examples", "test"))
        assert (len(examples), len(problems)) == (EXAMPLES, PROBLEMS)
        assert len({row["question"] for row in [*examples, *problems]}) == EXAMPLES + PROBLEMS
        assert all(len(set(row["options"])) == len(row["options"]) for row in problems)
        assert all(row["answer"] in row["options"] for row in problems if row["options"])
        assert again["custom_dataset"]()["test"].to_list() == problems
        assert other["custom_dataset"]()["test"].to_list() != problems


def test_built_in_benchmarks_need_no_data() -> None:
    engine = Chooser(answers=["2"])
    found = evaluate("builtin", engine=engine, tables={}, limit=4)
    assert tuple(found) == tuple(GENERATORS)
    assert {benchmark.status for benchmark in found.values()} == {"MEASURED"}
    assert {benchmark.source for benchmark in found.values()} == {"built in"}
    logic = found["builtin-logic"]
    assert {(sample.category, sample.choices) for sample in logic.samples} == {
        ("syllogism", 2),
        ("family_relationships", 6),
    }
    assert engine.asked[0].prompt.count("Question:") == EXAMPLES + 1
    assert {sample.extracted for sample in found["builtin-language"].samples} == {"2"}


# --- against lm-eval itself


def test_samples_and_accuracies_are_those_of_lm_eval(tiny_llama_path: Path, tmp_path: Path) -> None:
    choice = write_task(tmp_path, "choice", rows=choice_rows(12), num_fewshot=2, fewshot_split="test")
    written = write_generation(tmp_path, "written", rows=[{"question": f"{n}", "answer": "e"} for n in range(5)])
    for chat in (False, True):
        engine = HfEngine(EngineSpec(checkpoint=checkpoint(tiny_llama_path), dtype="float32"))
        ours = evaluate(engine=engine, options={"tasks": (str(choice), str(written)), "apply_chat_template": chat})
        theirs = lm_eval_results(f"pretrained={tiny_llama_path},dtype=float32", [str(choice), str(written)], chat)
        for name in ("choice", "written"):
            assert_same(ours[name], theirs, name)
        pairs = zip(ours["choice"].samples, theirs["samples"]["choice"], strict=True)
        for sample, row in pairs:
            expected = [answer[0] for answer in row["filtered_resps"]]
            assert sample.extra["logprobs"] == pytest.approx(expected, abs=1e-3)
        texts = [row["resps"][0][0] for row in theirs["samples"]["written"]]
        assert [sample.completion for sample in ours["written"].samples] == texts
        assert any(texts)


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark that compares both item by item."""
    if not os.environ.get("PFH_DATA_MIRROR"):
        pytest.skip("PFH_DATA_MIRROR is not set")
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    return importlib.import_module("agreement")


def test_ten_tasks_of_the_mirror_agree_with_lm_eval_item_by_item(agreement: Any, tmp_path: Path) -> None:
    model = agreement.named(tiny_llama(tmp_path / "tiny", max_position_embeddings=1024))  # MMLU's prompts are longer
    measured = list(agreement.measure(model, Path(os.environ["PFH_DATA_MIRROR"]), limit=3))
    assert [(task.name, found) for task, found in measured if not found.agrees or found.items != 3] == []
    assert len(measured) == 10


@pytest.mark.real_model
def test_the_real_model_scores_the_mirror_as_under_lm_eval(agreement: Any, embedded_checkpoint: Checkpoint) -> None:
    tasks = [task for task in agreement.TASKS if task.name in ("arc_challenge", "winogrande")]
    mirror = Path(os.environ["PFH_DATA_MIRROR"])
    measured = list(agreement.measure(embedded_checkpoint, mirror, limit=6, tasks=tasks))
    assert [found.agrees for _, found in measured] == [True, True], measured


def test_a_difference_from_lm_eval_would_be_seen(agreement: Any) -> None:
    samples = [
        Sample(
            id=str(number),
            benchmark="b",
            prompt="p",
            completion="c",
            score=1.0,
            extra={"metrics": {"acc,none": 1.0}, "logprobs": [-1.0, -2.0]},
        )
        for number in range(3)
    ]
    same = {"filter": "none", "metrics": ["acc"], "acc": 1.0, "filtered_resps": [(-1.0, True), (-2.0, False)]}
    other = same | {"acc": 0.0, "filtered_resps": [(-2.5, True), (-2.0, False)]}
    assert agreement.compared(samples, [same] * 3).agrees
    found = agreement.compared(samples, [same, other, same])
    assert found == agreement.Found(items=3, predictions=1, scores=1, apart=1.5)
    assert not found.agrees


# --- before and after


def outcome(name: str, scores: str, *, choices: int | None = 4, failures: int = 0) -> Benchmark:
    samples = tuple(
        Sample(
            id=str(index),
            benchmark=name,
            prompt="p",
            completion="c",
            score=float(score == "1"),
            status="format_failure" if index < failures else "ok",
            choices=choices,
        )
        for index, score in enumerate(scores)
    )
    return Benchmark(name=name, version="1", metric="acc", higher_is_better=True, samples=samples)


def analysis(before: Sequence[Benchmark], after: Sequence[Benchmark]) -> Any:
    pair = [Evaluation(family="forgetting", benchmarks=tuple(side)) for side in (before, after)]
    rows = compare_evaluations(*pair)
    return forgetting.analyze(AnalysisSpec(before=pair[0], after=pair[1], comparisons=rows, options=None))


def test_forgetting_by_category_is_beyond_guessing() -> None:
    """80% to 70% with four options, none gained: guesses drawn anew would gain as well, so none is taken off."""
    found = analysis(
        [outcome("mmlu", "1" * 80 + "0" * 20), outcome("gsm8k", "1" * 50 + "0" * 50, choices=None)],
        [outcome("mmlu", "1" * 70 + "0" * 30), outcome("gsm8k", "1" * 60 + "0" * 40, choices=None, failures=7)],
    )
    table = found.tables[0]
    assert table.rows == (
        ("knowledge", 1, 100, 0.8, 0.7, 0.1, 0.0, 0.1, 0.0, 0.7333),
        ("mathematics", 1, 100, 0.5, 0.6, 0.0, 0.1, None, None, None),
    )
    drift = found.tables[1]
    assert drift.rows == (("CAN: knowledge and skills", 2, 0.65, 0.65, 0.0, 0.0),)
    assert found.tables[2].rows == (("gsm8k", 100, 0, 7, 0.07),)
    assert found.findings[0].startswith("Most was lost on balance in knowledge: 10.0% of the documents")
    assert any("gsm8k 0 before, 7 after" in line for line in found.findings)
    figure = found.plots[0].figure
    go.Figure(data=figure["data"], layout=figure["layout"])
    assert [list(bars["customdata"]) for bars in figure["data"]] == [[0.1, 0.0], [0.0, 0.1]]


def test_nothing_measured_is_nothing_said() -> None:
    absent = Benchmark(
        name="mmlu", version="", metric="", higher_is_better=None, status="NOT_RUN", reason="there is no data"
    )
    found = analysis([absent], [absent])
    assert (found.tables, found.plots, found.findings) == ((), (), ())


def test_no_data_source_leaves_the_built_in_problems() -> None:
    chosen = spec_for(limit=1)
    found = forgetting.evaluate(dataclasses.replace(chosen, data=NoData()))
    assert {benchmark.name for benchmark in found.benchmarks if benchmark.status == "MEASURED"} == set(GENERATORS)


# --- made for the tests


def choice_rows(count: int, word: str = "word") -> list[dict[str, Any]]:
    return [
        {"question": f"{word} {number}", "options": ["the one", f"other {number}", "an inner"], "gold": number % 3}
        for number in range(count)
    ]


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **changes: Any) -> Path:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    configuration = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "options",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        "metadata": {"version": 1.0},
    }
    kept = {key: value for key, value in (configuration | changes).items() if value is not None}
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(kept))  # JSON is YAML
    return file


def write_generation(folder: Path, name: str, rows: list[dict[str, Any]], **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "output_type": "generate_until",
        "doc_to_choice": None,
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 5, "do_sample": False},
        "filter_list": [
            {
                "name": "digits",
                "filter": [{"function": "regex", "regex_pattern": "answer is (\\d+)"}, {"function": "take_first"}],
            }
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    return write_task(folder, name, rows, **settings | changes)


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(name="tiny", path=folder, fingerprint="tiny")


def lm_eval_results(model: str, tasks: Sequence[Any], chat: bool) -> Any:
    """Run lm-eval's own backend and evaluator."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    return simple_evaluate(
        model="hf",
        model_args=model,
        tasks=list(tasks),
        batch_size=4,
        device="cpu",
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=chat,
        task_manager=TaskManager(include_defaults=False),
    )


def assert_same(ours: Benchmark, theirs: Any, name: str) -> None:
    rows = theirs["samples"][name]
    (filter_name,) = {row["filter"] for row in rows}
    assert [sample.id for sample in ours.samples] == [row["doc_hash"][:16] for row in rows]
    assert [sample.extra["prompt_hash"] for sample in ours.samples] == [row["prompt_hash"] for row in rows]
    assert [sample.score for sample in ours.samples] == [row[ours.metric] for row in rows]
    for metric in rows[0]["metrics"]:
        scores = [sample.extra["metrics"][f"{metric},{filter_name}"] for sample in ours.samples]
        assert sum(scores) / len(scores) == theirs["results"][name][f"{metric},{filter_name}"]
