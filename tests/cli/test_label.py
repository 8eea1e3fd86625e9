"""pfh label: people's labels of the prompts that changed sides, and what they make of the change."""

import json
from pathlib import Path

import pytest
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample
from pfh.results.records import FamilyRecord, write_results
from pfh.statistics.paired import compare_evaluations
from pfh.store.evaluations import write_evaluation
from pfh.store.store import Store

from tests.cli.pretence import results

N, FELL = 30, 12


def evaluation(refused: int) -> Evaluation:
    samples = tuple(
        Sample(
            id=str(index),
            benchmark="probes-harmful",
            prompt=f"prompt {index}",
            completion=f"{'no' if index < refused else 'it is wrong'} {refused}-{index}",
            extracted="refused" if index < refused else "complied",
            score=float(index < refused),
        )
        for index in range(N)
    )
    benchmark = Benchmark(
        name="probes-harmful",
        version="1",
        metric="refusal_rate",
        higher_is_better=True,
        judge="rule 2",
        samples=samples,
    )
    return Evaluation(family="safety", benchmarks=(benchmark,))


def of_harm(harmful: int) -> Evaluation:
    """Return answers none of which refuses, so many of which a judge of harm calls harmful."""
    judge = "strict (template 00)"
    samples = tuple(
        Sample(
            id=str(index),
            benchmark="harmbench-standard",
            prompt=f"prompt {index}",
            completion=f"{'how it is done' if index < harmful else 'words about it'} {harmful}-{index}",
            extracted="harmful" if index < harmful else "harmless",
            score=float(index < harmful),
            extra={"harmful": 0.9 if index < harmful else 0.2},
        )
        for index in range(N)
    )
    about = {"version": "2-harm", "metric": "attack_success_rate", "higher_is_better": False, "judge": judge}
    return Evaluation(family="safety", benchmarks=(Benchmark(name="harmbench-standard", samples=samples, **about),))


def test_where_harm_is_counted_people_are_asked_for_harm(call, tmp_path):
    """Answers that comply without harm count for nothing: people find half of the rise that the judge sees."""
    run, file = stored(tmp_path, of_harm(0), of_harm(FELL)), tmp_path / "sheet.jsonl"
    rows = exported(call, run, file)
    assert {row["counts"] for row in rows} == {"harm"}
    really = {f"how it is done {FELL}-{index}" for index in range(0, FELL, 2)}
    write(file, [row | {"label": "harmful" if row["completion"] in really else "harmless"} for row in rows])
    ended = call("label", run[0], "--store", run[1], "--import", str(file))
    assert "the attack success rate changes by +20.0" in ended.stdout
    write(file, [row | {"label": "complied"} for row in rows])  # says nothing of harm
    (Path(run[0]) / "labels.jsonl").unlink()
    assert "changes by" not in call("label", run[0], "--store", run[1], "--import", str(file)).stdout


@pytest.fixture
def run(tmp_path: Path) -> tuple[str, str]:
    """Return the folder of a run and its store: the judge says that 12 of 30 prompts are no longer refused."""
    return stored(tmp_path, evaluation(N), evaluation(N - FELL))


def stored(tmp_path: Path, *sides: Evaluation) -> tuple[str, str]:
    store = Store(tmp_path / "store")
    keys = [
        store.make("evaluation", {"which": number}, lambda work, made, it=side: write_evaluation(made, it)).key
        for number, side in enumerate(sides)
    ]
    family = FamilyRecord(
        family="safety", comparisons=compare_evaluations(*sides), before_artifact=keys[0], after_artifact=keys[1]
    )
    stage = results().stages[0].model_copy(update={"families": (family,)})
    write_results(tmp_path / "results.json", results().model_copy(update={"stages": (stage,)}))
    return str(tmp_path), str(store.root)


def exported(call, run: tuple[str, str], file: Path) -> list[dict[str, str]]:
    ended = call("label", run[0], "--store", run[1], "--export", str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_labels_of_people_enter_the_next_report(call, run, tmp_path):
    file = tmp_path / "sheet.jsonl"
    rows = exported(call, run, file)
    assert len(rows) == 2 * (FELL + N - FELL)
    assert {row["label"] for row in rows} == {""}
    assert not any("refused" in value or "after" in value for row in rows for value in row.values())

    write(file, [row | {"label": "refused"} for row in rows])  # people: all of them still refuse
    ended = call("label", run[0], "--store", run[1], "--import", str(file))
    shown = call("report", run[0], "--store", run[1])

    told = (
        "the refusal rate changes by 0.0 (−9.1 to +9.1) percentage points where the judge says −40.0; the verdict goes "
        "from worse to undecided"
    )
    assert told in ended.stdout
    for part in (told, "people's labels of 30 prompts put the change of the refusal rate at +0.00"):
        assert part in " ".join(shown.stdout.split())
    kept = [json.loads(line) for line in (Path(run[0]) / "labels.jsonl").read_text().splitlines()]
    assert {row["probability"] for row in kept} == {1.0}


def test_labels_that_confirm_the_judge_keep_its_verdict_and_too_few_say_so(call, run, tmp_path):
    file = tmp_path / "sheet.jsonl"
    rows = exported(call, run, file)
    agreed = [row | {"label": "complied" if "wrong" in row["completion"] else "refused"} for row in rows]
    write(file, agreed)
    ended = call("label", run[0], "--store", run[1], "--import", str(file))
    assert "the verdict stays worse" in ended.stdout

    (Path(run[0]) / "labels.jsonl").unlink()
    write(file, [row for row in agreed if "wrong" in row["completion"] or int(row["id"]) >= N - FELL])
    ended = call("label", run[0], "--store", run[1], "--import", str(file))
    assert "not corrected, as nothing is labelled of those that did not change" in ended.stdout


def test_who_asks_for_more_later_gets_the_same_prompts_and_more(call, run, tmp_path):
    asked = {}
    for count in (3, 8):
        call("label", run[0], "--store", run[1], "--unchanged", str(count), "--export", str(tmp_path / "sheet.jsonl"))
        asked[count] = {json.loads(line)["id"] for line in (tmp_path / "sheet.jsonl").read_text().splitlines()}
    assert len(asked[3]) == FELL + 3
    assert asked[3] < asked[8]
    ended = call("label", run[0], "--store", run[1], "--benchmark", "probes-harmfull")
    assert "Did you mean 'probes-harmful'" in ended.stderr


def test_a_label_file_of_another_run_and_a_label_that_is_none_are_refused(call, run, tmp_path):
    file = tmp_path / "sheet.jsonl"
    rows = exported(call, run, file)
    for change, told in (({"run": "0"}, "labels the run 0"), ({"label": "maybe"}, "label is 'maybe'")):
        write(file, [rows[0] | change])
        ended = call("label", run[0], "--store", run[1], "--import", str(file))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert told in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_a_run_without_judged_completions_says_so(call, folder, tmp_path):
    ended = call("label", str(folder), "--store", str(tmp_path / "none"))
    assert ended.returncode == 2
    assert "no completions that a judge labelled" in ended.stderr
