"""Readers of other tools' logs on small logs of our own, checked against counts made by hand."""

import csv
import gzip
import json
import math

import pytest
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.errors import UserError
from pfh.logs import open_log
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

DATE = "2025-05-06T07-08-09.000001"


def line(number, score, *, metric="acc", filter_name="none", **other):
    """Return a line as lm-eval writes it since 0.4.7."""
    return {
        "doc_id": number,
        "doc": {"q": number},
        "target": str(number),
        "arguments": {"gen_args_0": {"arg_0": f"Question {number}", "arg_1": {}}},
        "resps": [["said"]],
        "filtered_resps": ["said"],
        "filter": filter_name,
        "metrics": [metric],
        "doc_hash": f"hash{number}",
        "prompt_hash": f"prompt{number}",
        "target_hash": f"target{number}",
        metric: score,
    } | other


def old_line(number, score, **other):
    """Return a line as before 0.4.7: it says neither its filter nor its metrics."""
    return {name: value for name, value in line(number, score, **other).items() if name not in ("filter", "metrics")}


def results(figures, **sections):
    """Return a results file: task to {"metric,filter": figure}."""
    found = {
        "results": figures,
        "configs": {
            task: {"output_type": "generate_until", "generation_kwargs": {"until": ["\n"]}} for task in figures
        },
        "versions": dict.fromkeys(figures, 1.0),
        "n-shot": dict.fromkeys(figures, 0),
        "higher_is_better": {task: {key.partition(",")[0]: True for key in values} for task, values in figures.items()},
        "config": {"gen_kwargs": None},
        "model_name": "org/model",
    }
    for name, value in sections.items():
        if isinstance(value, dict) and isinstance(found.get(name.replace("_shot", "-shot")), dict):
            found[name.replace("_shot", "-shot")].update(value)
        else:
            found[name] = value
    return found


def written(folder, tasks, about=None, *, suffix="jsonl", date=DATE):
    folder.mkdir(parents=True, exist_ok=True)
    for task, lines in tasks.items():
        text = "".join(json.dumps(each) + "\n" for each in lines)
        (folder / f"samples_{task}_{date}.{suffix}").write_text(text)
    if about is not None:
        (folder / f"results_{date}.json").write_text(json.dumps(about))
    return folder


def compared(tmp_path, before, after, **fields):
    spec = CompareSpec(models=(str(before), str(after)), **fields)
    return compare(spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "out")


def rows(outcome):
    return {row.benchmark: row for family in outcome.results.stages[0].families for row in family.comparisons}


def test_a_measure_has_its_own_name_whatever_stands_first(tmp_path):
    both = [line(i, float(i < 3), metric="em", filter_name="strict") for i in range(4)]
    both += [line(i, 1.0, metric="em", filter_name="flexible") for i in range(4)]
    figures = {"sums": {"em,strict": 0.75, "em,flexible": 1.0}}
    before = written(tmp_path / "before", {"sums": both}, results(figures))
    for name, about in (("after", results(figures)), ("bare", None)):
        after = written(tmp_path / name, {"sums": both[4:]}, about)
        found = rows(compared(tmp_path, before, after))
        assert (found["sums [flexible]"].before, found["sums [flexible]"].after) == (1.0, 1.0)
        assert found["sums"].status == "NOT_RUN"


def test_old_lines_take_filters_from_the_results_and_metrics_from_their_keys(tmp_path):
    lines = [old_line(i, float(i < 3), metric="em") for i in range(4)]
    lines += [old_line(i, float(i < 1), metric="em") for i in range(4)]
    about = results({"sums": {"em,strict": 0.75, "em,flexible": 0.25}})
    log = open_log(f"lm-eval:{written(tmp_path / 'log', {'sums': lines}, about, suffix='json')}")
    scores = {each.name: [sample.score for sample in each.samples] for each in log.evaluations[0].benchmarks}
    assert scores == {"sums": [1, 1, 1, 0], "sums [flexible]": [1, 0, 0, 0]}


def test_arrays_of_the_first_versions_and_dumps_are_read(tmp_path):
    lines = [old_line(i, float(i < 3)) for i in range(4)]
    about = results({"sums": {"acc,none": 0.75}})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text(json.dumps(about))
    (tmp_path / "old" / "pretrained__m_sums.jsonl").write_text(json.dumps(lines, indent=2))
    (tmp_path / "dump.json").write_text(json.dumps(about | {"samples": {"sums": lines}}))
    for place in ("old", "dump.json"):
        benchmark = open_log(f"lm-eval:{tmp_path / place}").evaluations[0].benchmarks[0]
        assert (benchmark.name, [sample.score for sample in benchmark.samples]) == ("sums", [1, 1, 1, 0])


def test_packed_files_and_one_folder_a_task_are_read(tmp_path):
    for name, right in (("before", 3), ("after", 1)):
        for place, task in enumerate(("t", "u")):
            lines = [line(i, float(i < right)) for i in range(4)]
            about = results({task: {"acc,none": right / 4}})
            folder = written(
                tmp_path / name / task / "org__m", {task: lines}, about, date=f"2025-01-0{place + 1}T00-00-00.1"
            )
            for file in list(folder.iterdir()):
                file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()
    found = rows(compared(tmp_path, tmp_path / "before", tmp_path / "after"))
    assert {name: (row.n, row.before, row.after) for name, row in found.items()} == {
        "t": (4, 0.75, 0.25),
        "u": (4, 0.75, 0.25),
    }
    cut = next((tmp_path / "before" / "t").rglob("samples*"))
    cut.write_bytes(cut.read_bytes()[:-12])
    assert any(
        "is cut off, or damaged, where it is packed" in note for note in open_log(str(tmp_path / "before")).notes
    )


def test_samples_two_folders_down_and_names_of_lmms_eval(tmp_path):
    folder = tmp_path / "out" / "org" / "model"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(old_line(i, 1.0)) + "\n" for i in range(3))
    (folder / "20250506_070809_samples_look.jsonl").write_text(lines)
    (folder / "20250506_070809_results.json").write_text(json.dumps(results({"look": {"acc,none": 1.0}})))
    log = open_log(f"lm-eval:{tmp_path / 'out'}")
    assert [each.name for each in log.evaluations[0].benchmarks] == ["look"]
    assert log.notes == ()


@pytest.mark.parametrize("metric", ["word_perplexity", "bits_per_byte"])
def test_perplexity_is_that_of_all_words_and_compares_by_document(tmp_path, metric):
    pairs = {"before": [(-20.0, 10), (-31.0, 12), (-9.0, 5)], "after": [(-24.0, 10), (-33.0, 12), (-10.0, 5)]}
    wanted = {}
    for name, values in pairs.items():
        rate = -sum(part for part, _ in values) / sum(words for _, words in values)
        wanted[name] = math.exp(rate) if metric == "word_perplexity" else rate / math.log(2)
        lines = [line(i, list(value), metric=metric) for i, value in enumerate(values)]
        written(tmp_path / name, {"wiki": lines}, results({"wiki": {f"{metric},none": wanted[name]}}))
    row = rows(compared(tmp_path, tmp_path / "before", tmp_path / "after"))["wiki"]
    assert (row.before, row.after) == (pytest.approx(wanted["before"]), pytest.approx(wanted["after"]))
    assert row.n == 3


def test_a_list_of_verdicts_a_document_is_one_ratio(tmp_path):
    values = [[True, False], [True], [True, True, False]]
    lines = [line(i, value, metric="inst") for i, value in enumerate(values)]
    folder = written(tmp_path / "log", {"ifeval": lines}, results({"ifeval": {"inst,none": 4 / 6}}))
    samples = open_log(f"lm-eval:{folder}").evaluations[0].benchmarks[0].samples
    assert sum(sample.score for sample in samples) / 3 == pytest.approx(4 / 6)


def test_a_figure_of_all_documents_that_cannot_be_shared_out_is_shown_on_both_sides(tmp_path):
    for name, figure in (("before", 0.5), ("after", 0.25)):
        lines = [line(i, {"gold": i, "predicted": 0}, metric="f1") for i in range(3)]
        written(tmp_path / name, {"t": lines}, results({"t": {"f1,none": figure}}))
    row = rows(compared(tmp_path, tmp_path / "before", tmp_path / "after"))["t"]
    assert row.status == "NOT_RUN"
    assert "its figure is 0.5" in row.reason
    assert "its figure is 0.25" in row.reason


def test_unscored_documents_are_counted_and_do_not_hide_a_mean(tmp_path):
    lines = [line(i, score, metric="mae") for i, score in enumerate([3.0, float("inf"), float("nan"), None, 1.0])]
    folder = written(tmp_path / "log", {"t": lines}, results({"t": {"mae,none": float("inf")}}))
    log = open_log(f"lm-eval:{folder}")
    assert log.evaluations[0].benchmarks[0].status == "MEASURED"
    assert "t: 3 of 5 documents have no finite score" in log.notes


def test_a_direction_is_known_or_there_is_none(tmp_path):
    for metric, direction in (("wer", None), ("exact_match", True), ("perplexity", False), ("own_score", None)):
        folder = written(tmp_path / metric, {"t": [line(i, -0.5, metric=metric) for i in range(3)]})
        assert open_log(f"lm-eval:{folder}").evaluations[0].benchmarks[0].higher_is_better is direction


def test_equal_documents_are_paired_by_their_number_and_not_by_the_order_of_lines(tmp_path):
    lines = [line(i, float(i == 0), doc_hash="same") for i in range(3)]
    before = written(tmp_path / "before", {"t": lines})
    after = written(tmp_path / "after", {"t": lines[::-1]})
    row = rows(compared(tmp_path, before, after))["t"]
    assert (row.n, row.n10, row.n01) == (3, 0, 0)


def test_a_new_column_changes_the_hash_and_not_the_document(tmp_path):
    before = written(tmp_path / "before", {"t": [line(i, 1.0) for i in range(5)]})
    after = written(tmp_path / "after", {"t": [line(i, float(i > 1), doc_hash=f"other{i}") for i in range(5)]})
    row = rows(compared(tmp_path, before, after))["t"]
    assert (row.n, row.n10) == (5, 2)


def test_a_group_is_a_row_over_all_its_documents(tmp_path):
    tasks = [f"part_{i}" for i in range(5)]
    groups = {"group_subtasks": {"all": ["half", "part_3", "part_4"], "half": tasks[:3]}}
    for name, right in (("before", 4), ("after", 2)):
        samples = {
            task: [line(i, float(i < right), doc_hash=f"{task}-{i}", prompt_hash=f"{task}-{i}") for i in range(6)]
            for task in tasks
        }
        written(tmp_path / name, samples, results({task: {"acc,none": right / 6} for task in tasks}, **groups))
    outcome = compared(tmp_path, tmp_path / "before", tmp_path / "after")
    row = rows(outcome)["all"]
    assert (row.n, row.n10, row.n01) == (30, 10, 0)
    assert row.p_value < 0.01
    assert rows(outcome)["half"].n == 18


def test_groups_of_older_logs_are_those_that_the_tasks_name(tmp_path):
    for name, right in (("before", 4), ("after", 2)):
        samples = {
            task: [line(i, float(i < right), doc_hash=f"{task}-{i}", prompt_hash=f"{task}-{i}") for i in range(6)]
            for task in ("a", "b", "c")
        }
        figures = {task: {"acc,none": right / 6} for task in ("a", "b", "c", "both")}
        configs = {"a": {"group": "both"}, "b": {"group": ["both", "never_run"]}, "c": {"group": None}}
        written(tmp_path / name, samples, results(figures, configs=configs))
    found = rows(compared(tmp_path, tmp_path / "before", tmp_path / "after"))
    assert found.keys() == {"a", "b", "c", "both"}
    assert (found["both"].n, found["both"].n10, found["both"].n01) == (12, 4, 0)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"config": {"gen_kwargs": None}}, {"config": {"gen_kwargs": {}}}, True),
        ({"config": {"gen_kwargs": "temperature=0,top_p=1"}}, {"config": {"gen_kwargs": {"temperature": 0.0}}}, True),
        ({"config": {"gen_kwargs": "do_sample=true,temperature=0.7"}}, {}, False),
        ({"config": {"gen_kwargs": {"until": ["a", "b"]}}}, {"config": {"gen_kwargs": {"until": ["b", "a"]}}}, True),
        ({"fewshot_as_multiturn": True, "chat_template_sha": "x"}, {"chat_template_sha": "x"}, True),
        ({"system_instruction": ""}, {"system_instruction": None}, True),
        ({"versions": {"t": 1}}, {"versions": {"t": "1.0"}}, True),
        ({"n_shot": {"t": None}}, {"n_shot": {"t": 0}}, True),
        ({"n_shot": {"t": 5}}, {"n_shot": {"t": 0}}, False),
    ],
)
def test_settings_are_compared_by_what_they_do(tmp_path, before, after, same):
    for name, sections in (("before", before), ("after", after)):
        written(tmp_path / name, {"t": [line(i, 1.0) for i in range(3)]}, results({"t": {"acc,none": 1.0}}, **sections))
    if same:
        assert rows(compared(tmp_path, tmp_path / "before", tmp_path / "after"))["t"].n == 3
        return
    with pytest.raises(UserError, match=r"measured differently.*--allow-mismatch NAME"):
        compared(tmp_path, tmp_path / "before", tmp_path / "after")


def test_one_difference_is_allowed_by_name_and_the_others_are_still_refused(tmp_path):
    written(tmp_path / "before", {"t": [line(i, 1.0) for i in range(3)]}, results({"t": {"acc,none": 1.0}}))
    other = results({"t": {"acc,none": 1.0}}, n_shot={"t": 5}, system_instruction="Be brief.")
    written(tmp_path / "after", {"t": [line(i, 1.0) for i in range(3)]}, other)
    with pytest.raises(UserError, match="system instruction none before") as refusal:
        compared(tmp_path, tmp_path / "before", tmp_path / "after", allow_mismatch=("few-shot-examples",))
    assert "few-shot examples 0" not in str(refusal.value)
    names = ("few-shot examples", "system-instruction")
    assert rows(compared(tmp_path, tmp_path / "before", tmp_path / "after", allow_mismatch=names))["t"].n == 3


def test_options_that_stand_in_the_context_are_told_apart(tmp_path):
    arguments = {
        f"gen_args_{i}": {"arg_0": f"The box is larger than the {word}", "arg_1": " is, I think."}
        for i, word in enumerate(("cup", "barn"))
    }
    filtered = [["-2.0", "False"], ["-1.0", "False"]]
    lines = [line(0, 0.0, arguments=arguments, resps=[[each] for each in filtered], filtered_resps=filtered)]
    sample = open_log(f"lm-eval:{written(tmp_path / 'log', {'wg': lines})}").evaluations[0].benchmarks[0].samples[0]
    assert (sample.extracted, sample.choices) == ("barn", 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "its files are empty"), (json.dumps(line(0, None, metric="bypass")) + "\n", "--predict_only")],
)
def test_logs_without_scores_say_what_to_do(tmp_path, content, said):
    (tmp_path / f"samples_t_{DATE}.jsonl").write_text(content)
    with pytest.raises(UserError, match=said):
        open_log(f"lm-eval:{tmp_path}")


def test_two_models_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for name in ("base", "tuned"):
        written(
            tmp_path / name / "org__model", {"t": [line(i, 1.0) for i in range(3)]}, results({"t": {"acc,none": 1}})
        )
    stage = compared(tmp_path, tmp_path / "base" / "org__model", tmp_path / "tuned" / "org__model").results.stages[0]
    assert (stage.before.name, stage.after.name) == ("org/model (base)", "org/model (tuned)")


# ---- Inspect ----


def inspect_log(values, *, status="success", metrics=None, created="2025-01-01", task="sums", **parts):
    """Return an Inspect log; `values` is sample id to a list of scores by scorer, one an epoch."""
    samples = [
        {
            "id": name,
            "epoch": epoch,
            "input": f"Question {name}",
            "target": "1",
            "messages": [{"role": "user", "content": f"Question {name}"}],
            "output": {"choices": [{"stop_reason": "stop"}], "completion": "1"},
            "scores": {scorer: {"value": value, "answer": "1"} for scorer, value in scores.items()},
        }
        for name, epochs in values.items()
        for epoch, scores in enumerate(epochs, start=1)
    ]
    header = {"task": task, "task_version": 0, "model": "org/model", "created": created, "config": {}}
    found = {"version": 2, "status": status, "eval": header, "plan": {}, "samples": samples}
    if metrics is not None:
        scores = [
            {"name": key, "scorer": scorer, "metrics": {m: {"name": m, "value": v}}} for scorer, key, m, v in metrics
        ]
        found["results"] = {"scores": scores}
    return found | parts


def kept(file, log):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(log))
    return file


def test_scorers_of_a_package_are_those_without_and_an_empty_newest_log_gives_way(tmp_path):
    before = inspect_log({str(i): [{"evals/match": "C"}] for i in range(4)}, task="evals/sums")
    after = inspect_log({str(i): [{"match": "C" if i else "I"}] for i in range(4)})
    kept(tmp_path / "after" / "1.json", after)
    kept(tmp_path / "after" / "2.json", inspect_log({}, created="2025-02-01", status="error"))
    outcome = compared(tmp_path, kept(tmp_path / "before.json", before), tmp_path / "after")
    row = rows(outcome)["sums"]
    assert (row.n, row.before, row.after) == (4, 1.0, 0.75)
    assert any("2.json holds no sample" in note for note in outcome.results.notes)


def test_epochs_are_reduced_as_the_log_did(tmp_path):
    values = {
        "a": [{"match": "C"}, {"match": "C"}, {"match": "I"}],
        "b": [{"match": "I"}, {"match": "I"}, {"match": "C"}],
    }
    reduced = [{"sample_id": "a", "value": 1.0}, {"sample_id": "b", "value": 0.0}]
    reductions = [{"scorer": "match", "reducer": "mode", "samples": reduced}]
    log = inspect_log(values, metrics=[("match", "match", "accuracy", 0.5)], reductions=reductions)
    benchmark = open_log(f"inspect:{kept(tmp_path / 'log.json', log)}").evaluations[0].benchmarks[0]
    assert (benchmark.status, [sample.score for sample in benchmark.samples]) == ("MEASURED", [1.0, 0.0])
    del log["reductions"]
    benchmark = open_log(f"inspect:{kept(tmp_path / 'other.json', log)}").evaluations[0].benchmarks[0]
    assert [sample.score for sample in benchmark.samples] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


@pytest.mark.parametrize(
    ("reducer", "first", "second"),
    [
        ("mode", 1.0, 0.0),
        ("max", 1.0, 1.0),
        ("median", 1.0, 0.0),
        ("at_least_2", 1.0, 0.0),
        ("pass_at_2", 1.0, 2 / 3),  # of the 3 pairs of epochs of b, one has no right answer
        ("pass_k_2", 1 / 3, 0.0),
    ],
)
def test_epochs_of_a_log_that_broke_off_are_reduced_by_the_rule_it_was_asked_for(tmp_path, reducer, first, second):
    values = {
        "a": [{"match": "C"}, {"match": "C"}, {"match": "I"}],
        "b": [{"match": "I"}, {"match": "I"}, {"match": "C"}],
    }
    log = inspect_log(values, status="cancelled")
    log["eval"]["config"] = {"epochs": 3, "epochs_reducer": [reducer]}
    benchmark = open_log(f"inspect:{kept(tmp_path / 'log.json', log)}").evaluations[0].benchmarks[0]
    assert [sample.score for sample in benchmark.samples] == pytest.approx([first, second])


def test_metrics_belong_to_their_scorer(tmp_path):
    values = {str(i): [{"one": {"ok": "C"}, "two": {"ok": "I"}}] for i in range(4)}
    metrics = [("one", "ok", "accuracy", 1.0), ("two", "ok", "accuracy", 0.0)]
    log = open_log(f"inspect:{kept(tmp_path / 'log.json', inspect_log(values, metrics=metrics))}")
    found = {each.name: (each.status, each.samples[0].score) for each in log.evaluations[0].benchmarks}
    assert found == {"sums": ("MEASURED", 1.0), "sums [two, ok]": ("MEASURED", 0.0)}


@pytest.mark.parametrize("status", ["error", "cancelled"])
def test_a_log_that_broke_off_is_compared_as_far_as_it_goes(tmp_path, status):
    whole = {str(i): [{"match": "C"}] for i in range(6)}
    broken = {str(i): [{"match": "C" if i else "I"}] for i in range(4)}
    before = kept(tmp_path / "before.json", inspect_log(whole, metrics=[("match", "match", "accuracy", 1.0)]))
    after = kept(tmp_path / "after.json", inspect_log(broken, status=status))
    row = rows(compared(tmp_path, before, after))["sums"]
    assert (row.n, row.before, row.after) == (4, 1.0, 0.75)


def test_epochs_of_null_and_of_one_are_the_same(tmp_path):
    values = {str(i): [{"match": "C"}] for i in range(3)}
    logs = [inspect_log(values), inspect_log(values)]
    logs[1]["eval"]["config"] = {"epochs": 1, "epochs_reducer": ["mean"]}
    files = [kept(tmp_path / f"{place}.json", log) for place, log in enumerate(logs)]
    assert rows(compared(tmp_path, *files))["sums"].n == 3


def test_a_folder_holds_a_log_a_task_and_the_newest_counts(tmp_path):
    folder = tmp_path / "logs"
    kept(folder / "1.json", inspect_log({"a": [{"match": "I"}], "b": [{"match": "I"}]}))
    kept(folder / "2.json", inspect_log({"a": [{"match": "C"}], "b": [{"match": "C"}]}, created="2025-02-01"))
    kept(folder / "3.json", inspect_log({"a": [{"match": "C"}]}, task="facts"))
    kept(folder / "logs.json", {"listing": []})
    log = open_log(f"inspect:{folder}")
    found = {each.name: [sample.score for sample in each.samples] for each in log.evaluations[0].benchmarks}
    assert found == {"sums": [1.0, 1.0], "facts": [1.0]}
    assert "1.json (2 samples): there is a newer log of sums, 2.json" in log.notes[0]


# ---- tables and other tools ----


def test_tables_of_any_form_compare_by_their_ids(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = [{"question_id": f"q{i}", "correct": i < 6, "subject": "odd" if i % 2 else "even"} for i in range(8)]
    with (tmp_path / "before.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    later = [row | {"correct": float(i < 3)} for i, row in enumerate(table)]
    (tmp_path / "after.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(later)))
    pq.write_table(pa.Table.from_pylist(later), tmp_path / "after.parquet")
    for name in ("after.jsonl", "after.parquet"):
        outcome = compared(tmp_path, tmp_path / "before.csv", tmp_path / name)
        row = rows(outcome)["table"]
        assert (row.n, row.before, row.after, row.n10, row.n01) == (8, 0.75, 0.375, 3, 0)
        assert row.higher_is_better is True
        assert any("id from 'question_id', score from 'correct'" in note for note in outcome.results.notes)


def test_tables_as_arrays_packed_or_in_a_folder(tmp_path):
    ways = {"array": {}, "packed": {}, "folder": {}}
    for name, scores in (("before", [1, 1, 0]), ("after", [1, 0, 0])):
        text = "id,score\n" + "".join(f"{i},{score}\n" for i, score in enumerate(scores))
        array = tmp_path / f"{name}.json"
        array.write_text(json.dumps([{"id": i, "correct": bool(score)} for i, score in enumerate(scores)]))
        packed = tmp_path / f"{name}.csv.gz"
        packed.write_bytes(gzip.compress(text.encode()))
        folder = tmp_path / name
        folder.mkdir()
        for each in ("x", "y"):
            (folder / f"{each}.csv").write_text(text)
        for way, file in (("array", array), ("packed", packed), ("folder", folder)):
            ways[way][name] = file
    for way, files in ways.items():
        found = rows(compared(tmp_path, files["before"], files["after"]))
        assert set(found) == ({"x", "y"} if way == "folder" else {"table"})
        assert all((row.n, row.n10, row.n01) == (3, 1, 0) for row in found.values())


def test_columns_of_a_table_are_named_by_options(tmp_path):
    (tmp_path / "t.csv").write_text("nr;mark\n1;0.5\n2;\n3;x\n")
    with pytest.raises(UserError, match=r"-o table\.id=COLUMN"):
        open_log(f"table:{tmp_path / 't.csv'}")
    with pytest.raises(UserError, match=r"is no log that a reader knows.*say which it is as in table:"):
        open_log(str(tmp_path / "t.csv"))
    chosen = {"readers:table": {"id": "nr", "score": "mark"}}
    found = compared(tmp_path, f"table:{tmp_path / 't.csv'}", f"table:{tmp_path / 't.csv'}", options=chosen)
    assert any("2 of 3 documents have no finite score" in note for note in found.results.notes)


def test_evalplus_helm_olmes_and_lighteval_are_recognised(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    passed = {
        f"HumanEval/{i}": [{"solution": "x", "base_status": "pass", "plus_status": s}]
        for i, s in enumerate(("pass", "fail"))
    }
    kept(tmp_path / "evalplus" / "m_eval_results.json", {"eval": passed})
    stats = [
        {"name": {"name": "exact_match", "split": "test"}, "mean": 1.0},
        {"name": {"name": "num_output_tokens"}, "mean": 9},
    ]
    run = tmp_path / "helm" / "run"
    kept(
        run / "per_instance_stats.json",
        [{"instance_id": "id1", "stats": stats}, {"instance_id": "id2", "stats": stats}],
    )
    kept(run / "run_spec.json", {"name": "mmlu:subject=law,model=m", "adapter_spec": {"model": "org/m"}})
    predictions = [{"doc_id": i, "native_id": f"n{i}", "metrics": {"acc_raw": i, "num_tokens": 3}} for i in range(2)]
    (tmp_path / "olmes").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in predictions)
    (tmp_path / "olmes" / "task-000-arc-predictions.jsonl").write_text(text)
    details = tmp_path / "lighteval" / "details" / "org" / "m" / DATE
    details.mkdir(parents=True)
    documents = [{"doc": {"query": f"q{i}", "id": str(i)}, "metric": {"acc": float(i)}} for i in range(2)]
    pq.write_table(pa.Table.from_pylist(documents), details / f"details_lighteval|arc|0_{DATE}.parquet")
    wanted = {
        "evalplus": {"humaneval": [1, 1], "humaneval [pass@1 plus]": [1, 0]},
        "helm": {"mmlu:subject=law": [1, 1]},
        "olmes": {"arc": [0, 1]},
        "lighteval": {"arc|0": [0, 1]},
    }
    for name, scores in wanted.items():
        log = open_log(str(tmp_path / name))
        found = {each.name: [sample.score for sample in each.samples] for each in log.evaluations[0].benchmarks}
        assert (log.evaluations[0].family, found) == (name, scores)


def test_older_evalplus_trials_of_helm_and_documents_of_older_lighteval(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    old = {"HumanEval/0": {"nfiles": 2, "base": [["success", []], ["failed", []]], "plus": [["failed", []]] * 2}}
    kept(tmp_path / "evalplus" / "eval_results.json", {"eval": old})
    trials = [
        {"instance_id": "id1", "train_trial_index": i, "stats": [{"name": {"name": "exact_match"}, "mean": float(i)}]}
        for i in range(2)
    ]
    kept(tmp_path / "helm" / "run" / "per_instance_stats.json", trials)
    for name, order in (("first", (0, 1, 1)), ("second", (1, 0, 1))):  # a document twice, and another order
        documents = [{"example": f"q{i}", "choices": ["a"], "metrics": {"acc": float(i)}} for i in order]
        (tmp_path / name).mkdir()
        pq.write_table(pa.Table.from_pylist(documents), tmp_path / name / f"details_t|arc|0_{DATE}.parquet")
    humaneval = open_log(str(tmp_path / "evalplus")).evaluations[0].benchmarks
    assert [[sample.score for sample in each.samples] for each in humaneval] == [[0.5], [0.0]]
    assert [sample.score for sample in open_log(str(tmp_path / "helm")).evaluations[0].benchmarks[0].samples] == [0.5]
    row = rows(compared(tmp_path, tmp_path / "first", tmp_path / "second"))["arc|0"]
    assert (row.n, row.n10, row.n01) == (3, 0, 0)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "samples_t_2025-05-06T07-08-09.000001.jsonl"])
def test_an_empty_file_is_called_empty(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"empty"):
        compared(tmp_path, tmp_path / name, tmp_path / name)
