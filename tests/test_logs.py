"""Logs that lm-eval (on a tiny model, here) and Inspect (on its mock, see inspect_logs) made, and pfh's own export."""

import contextlib
import io
import itertools
import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from pfh.commands.compare import compare
from pfh.commands.evaluate import evaluate
from pfh.commands.requests import CompareSpec, MeasureSpec
from pfh.commands.subjects import open_subject
from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice
from pfh.logs import open_log
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.session import Session
from pfh.store.store import Store
from pfh_readers.lm_eval.writing import export_lm_eval

from tests.tiny import tiny_llama

INSPECT = Path(__file__).parent / "inspect_logs"
CHOICES = [
    {"question": f"Which number comes after {i}?", "choices": [str(i + 1), str(i + 2), str(i + 5), "none"], "answer": 0}
    for i in range(40)
]
SUMS = [{"question": f"{i} and {i + 1} are", "answer": str(2 * i + 1)} for i in range(10)]
DIGITS = [{"function": "regex", "regex_pattern": "([0-9])"}, {"function": "take_first"}]
LETTERS = [{"function": "regex", "regex_pattern": "([a-z])"}, {"function": "take_first"}]


def tasks(folder):
    """Return two tasks over documents of our own: one by log-likelihood, one generated and read by two filters."""
    for name, documents in (("next_number", CHOICES), ("sums", SUMS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))

    def task(name, **fields):
        files = {"test": str(folder / f"{name}.jsonl")}
        shared = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
        return {"task": name, **shared, "metadata": {"version": 1.0}, **fields}

    return [
        task(
            "next_number",
            doc_to_text="{{question}}\nAnswer:",
            doc_to_choice="choices",
            doc_to_target="answer",
            output_type="multiple_choice",
            metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
        ),
        task(
            "sums",
            doc_to_text="{{question}}",
            doc_to_target="answer",
            output_type="generate_until",
            generation_kwargs={"until": ["\n"], "max_gen_toks": 8},
            metric_list=[{"metric": "exact_match"}],
            filter_list=[{"name": "digits", "filter": DIGITS}, {"name": "letters", "filter": LETTERS}],
        ),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return {"before": folder, "after": folder} of lm-eval's logs of two random models."""
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("lm-eval")
    logs = {}
    for seed, name in enumerate(("before", "after")):
        model = tiny_llama(folder / f"model-{name}", seed=seed)
        tracker = EvaluationTracker(output_path=str(folder / name))
        with contextlib.redirect_stderr(io.StringIO()):
            results = lm_eval.simple_evaluate(
                model="hf",
                model_args={"pretrained": str(model), "dtype": "float32"},
                tasks=tasks(folder),
                task_manager=TaskManager(include_defaults=False),
                batch_size=8,
                bootstrap_iters=0,
                device="cpu",
                log_samples=True,
                evaluation_tracker=tracker,
            )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
        logs[name] = folder / name
    return logs


@pytest.fixture
def logs(made, tmp_path):
    """Return copies of the logs, to be damaged."""
    return {name: Path(shutil.copytree(folder, tmp_path / "logs" / name)) for name, folder in made.items()}


def file_of(folder, pattern):
    return next(folder.glob(f"**/{pattern}"))


def edit(folder, pattern, change):
    """Rewrite the lines of a file by `change`."""
    file = file_of(folder, pattern)
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def edit_results(folder, change):
    file = file_of(folder, "results_*.json")
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def compared(tmp_path, *models, **fields):
    spec = CompareSpec(models=tuple(models), **fields)
    store = Store(tmp_path / "store")
    return compare(spec, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out")


def rows_of(outcome):
    return {row.benchmark: row for family in outcome.results.stages[0].families for row in family.comparisons}


def test_accuracies_are_those_of_lm_eval_to_the_last_digit(made, tmp_path):
    rows = rows_of(compared(tmp_path, f"lm-eval:{made['before']}", f"lm-eval:{made['after']}"))
    names = {
        "next_number": ("next_number", "acc,none"),
        "next_number [acc_norm]": ("next_number", "acc_norm,none"),
        "sums": ("sums", "exact_match,digits"),
        "sums [letters]": ("sums", "exact_match,letters"),
    }
    assert rows.keys() == names.keys()
    for side in ("before", "after"):
        said = json.loads(file_of(made[side], "results_*.json").read_text())["results"]
        for name, (task, figure) in names.items():
            assert getattr(rows[name], side) == said[task][figure]
    assert {rows[name].status for name in names} == {"MEASURED"}


def test_choices_and_format_failures_come_from_the_log(made, tmp_path):
    rows = rows_of(compared(tmp_path, f"lm-eval:{made['before']}", f"lm-eval:{made['after']}"))
    mc, generated = rows["next_number"], rows["sums"]
    wrong = (1 - mc.before) * (1 - mc.after) / 3
    assert mc.forgetting_corrected == pytest.approx(max(mc.n10 / mc.n - wrong, 0))
    assert mc.backward_transfer_corrected == pytest.approx(max(mc.n01 / mc.n - wrong, 0))
    assert generated.forgetting_corrected is None
    lines = [json.loads(line) for line in file_of(made["before"], "samples_sums_*").read_text().splitlines()]
    invalid = sum(row["filtered_resps"] == ["[invalid]"] for row in lines if row["filter"] == "digits")
    assert 0 < invalid == generated.format_failures_before


def test_another_task_version_is_refused_and_allowed_on_demand(logs, tmp_path):
    edit_results(logs["after"], lambda results: results["versions"].update(sums=2.0))
    models = [f"lm-eval:{folder}" for folder in logs.values()]
    with pytest.raises(UserError, match=r"task version 1\.0 before, 2\.0 after \(sums, sums \[letters\]\).*--allow"):
        compared(tmp_path, *models)
    outcome = compared(tmp_path, *models, allow_mismatch=True)
    assert rows_of(outcome)["sums"].n == 10
    assert any("sums 10 (of 10 before and 10 after)" in note for note in outcome.results.notes)


def test_another_few_shot_setting_is_refused(logs, tmp_path):
    edit_results(logs["before"], lambda results: results["n-shot"].update(sums=5))
    with pytest.raises(UserError, match="few-shot examples 5 before, 0 after"):
        compared(tmp_path, *(f"lm-eval:{folder}" for folder in logs.values()))


def test_other_prompts_are_refused_and_counted(logs, tmp_path):
    def change(lines):
        return [
            line.replace(b'"prompt_hash": "', b'"prompt_hash": "0') if i < 3 else line for i, line in enumerate(lines)
        ]

    edit(logs["after"], "samples_next_number_*", change)
    with pytest.raises(UserError, match="the prompts of 3 of 40 common documents differ"):
        compared(tmp_path, *(f"lm-eval:{folder}" for folder in logs.values()))


def test_a_damaged_log_is_read_as_far_as_it_goes_and_says_where(logs, tmp_path):
    def damage(lines):
        lines[2] = lines[2].replace(b"Which", b"Wh\xefch")  # Latin-1
        lines[4] = lines[3]
        lines[6] = lines[6].replace(b'"doc_id": 6, ', b"")
        lines[8] = b"\n"
        lines[9] = b"[1, 2]\n"
        lines[-1] = lines[-1][:200]
        return lines

    edit(logs["after"], "samples_next_number_*", damage)
    outcome = compared(tmp_path, *(f"lm-eval:{folder}" for folder in logs.values()))
    assert rows_of(outcome)["next_number"].n == 34
    notes = "\n".join(outcome.results.notes)
    for said in (
        "line 3: is not UTF-8",
        "line 5: repeats doc_id 3 of line 4",
        "line 7: has no doc_id",
        "line 10: is no JSON object",
        "line 40: is no JSON: the file is cut off there",
        "next_number 34 (of 40 before and 34 after)",
    ):
        assert said in notes
    assert "samples_next_number_" in notes


def test_missing_documents_are_noticed(logs):
    edit(logs["after"], "samples_sums_*", lambda lines: lines[1:])
    assert "10 documents, the samples are 9" in " ".join(open_log(f"lm-eval:{logs['after']}").notes)


def test_utf_16_and_a_byte_order_mark_are_read(logs):
    edit(logs["before"], "samples_sums_*", lambda lines: [b"\xef\xbb\xbf", *lines])
    file = file_of(logs["after"], "samples_sums_*")
    file.write_bytes(file.read_text().encode("utf-16"))
    for folder in logs.values():
        log = open_log(f"lm-eval:{folder}")
        assert log.notes == ()
        assert len(log.evaluations[0].benchmarks) == 4


def test_a_figure_that_is_no_mean_over_samples_is_not_compared(logs, tmp_path):
    edit_results(logs["before"], lambda results: results["results"]["sums"].update({"exact_match,digits": 0.75}))
    edit(
        logs["before"],
        "samples_next_number_*",
        lambda lines: [
            line.replace(b'"acc_norm": 0.0', b'"acc_norm": [0, 1]').replace(b'"acc_norm": 1.0', b'"acc_norm": [0, 1]')
            for line in lines
        ],
    )
    rows = rows_of(compared(tmp_path, *(f"lm-eval:{folder}" for folder in logs.values())))
    assert (rows["sums"].status, rows["next_number [acc_norm]"].status) == ("NOT_RUN", "NOT_RUN")
    assert "0.75" in rows["sums"].reason
    assert rows["next_number"].status == "MEASURED"


def test_a_document_that_the_dataset_holds_twice_is_two_samples(logs):
    edit(logs["before"], "samples_sums_*", lambda lines: [*lines, lines[0].replace(b'"doc_id": 0', b'"doc_id": 10')])
    samples = open_log(f"lm-eval:{logs['before']}").evaluations[0].benchmarks[2].samples
    assert samples[-1].id == f"{samples[0].id}-2"


def test_the_newest_log_of_a_task_counts_and_models_are_not_mixed(logs, tmp_path):
    old = file_of(logs["before"], "samples_sums_*")
    newer = old.with_name(f"samples_sums_2999{old.name.removeprefix('samples_sums_')[4:]}")
    newer.write_bytes(b"".join(old.read_bytes().splitlines(keepends=True)[:4]))
    log = open_log(f"lm-eval:{logs['before']}")
    assert len(log.evaluations[0].benchmarks[2].samples) == 4
    assert any(
        f"{old.name} (20 lines): there is a newer log of sums, {newer.name} (4 lines)" in note for note in log.notes
    )
    shutil.copytree(file_of(logs["after"], "results_*.json").parent, logs["before"] / "another")
    with pytest.raises(UserError, match="logs of 2 models"):
        open_log(f"lm-eval:{logs['before']}")


@pytest.mark.parametrize("text", ["lm-eval:nowhere", "lm-eval:.", "inspect:nowhere.eval"])
def test_what_is_no_log_is_said(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        open_log(text)


def test_a_log_without_its_prefix_is_recognised(made, tmp_path):
    session = Session(plugins=Plugins(), store=Store(tmp_path), progress=Silent())
    subject = open_subject(str(made["before"]), session)
    assert subject.label.startswith("custom: ")
    assert list(subject.families) == ["lm-eval"]


def figures(rows):
    return {
        name: (
            row.n,
            row.before,
            row.after,
            row.ci_low,
            row.p_adjusted,
            row.forgetting_corrected,
            row.format_failures_after,
        )
        for name, row in rows.items()
    }


def test_an_export_reads_back_with_the_same_figures(made, tmp_path):
    texts = {name: f"lm-eval:{folder}" for name, folder in made.items()}
    exported = {}
    for name, text in texts.items():
        side = open_subject(text, Session(plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent()))
        stored = side.families["lm-eval"]
        exported[name] = export_lm_eval(tmp_path / name, side.model.name, [stored.evaluation], stored.settings)
    assert all(list(folder.glob("samples_*_*.jsonl")) for folder in exported.values())
    straight = rows_of(compared(tmp_path, texts["before"], texts["after"]))
    again = rows_of(compared(tmp_path, *(f"lm-eval:{folder}" for folder in exported.values())))
    mixed = rows_of(compared(tmp_path, texts["before"], f"lm-eval:{exported['after']}"))
    assert figures(straight) == figures(again) == figures(mixed)


def test_an_export_keeps_what_could_not_be_run(made, tmp_path):
    import dataclasses

    evaluation = open_log(f"lm-eval:{made['before']}").evaluations[0]
    first = dataclasses.replace(evaluation.benchmarks[0], status="NOT_RUN", reason="no data", samples=())
    evaluation = dataclasses.replace(evaluation, family="mine", benchmarks=(first, *evaluation.benchmarks[1:]))
    read = open_log(f"lm-eval:{export_lm_eval(tmp_path, 'org/model', [evaluation], {})}").evaluations[0]
    by_name = {benchmark.name: benchmark for benchmark in read.benchmarks}
    assert read.family == "mine"
    assert (by_name[first.name].status, by_name[first.name].reason) == ("NOT_RUN", "no data")
    assert by_name["sums"].samples == evaluation.benchmarks[2].samples


def test_an_exported_log_is_what_lm_eval_writes(made, tmp_path):
    """Every key of a line and every section that both have is of one form."""
    side = open_log(f"lm-eval:{made['before']}")
    folder = export_lm_eval(tmp_path, side.model, side.evaluations, {})
    theirs, ours = (
        json.loads(file_of(f, "samples_sums_*").read_text().splitlines()[0]) for f in (made["before"], folder)
    )
    assert theirs.keys() <= ours.keys()
    assert all(type(theirs[key]) is type(ours[key]) for key in theirs)
    theirs, ours = (json.loads(file_of(f, "results_*").read_text()) for f in (made["before"], folder))
    for section in (
        "results",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
        "config",
        "task_hashes",
    ):
        assert type(ours[section]) is type(theirs[section])
    assert ours["results"]["sums"]["exact_match,none"] == theirs["results"]["sums"]["exact_match,digits"]


def test_one_log_is_measured_by_itself_and_reopened(made, tmp_path):
    spec = MeasureSpec(models=(f"lm-eval:{made['before']}",), evals=(EvalChoice.parse("lm-eval:next_number"),))
    outcome = evaluate(
        spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "m"
    )
    rows = outcome.results.measured[0].families[0].benchmarks
    assert [row.benchmark for row in rows] == ["next_number", "next_number [acc_norm]"]
    assert rows[0].ci_low < rows[0].score < rows[0].ci_high
    assert "next_number" in (tmp_path / "m" / "report.html").read_text()
    again = rows_of(compared(tmp_path, str(tmp_path / "m"), f"lm-eval:{made['after']}"))
    assert again["next_number"].before == rows[0].score


# ---- Inspect ----


def member(path, info):
    """Return what a file of an .eval archive holds; Inspect packs with Zstandard."""
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(30)[26:30])
        file.seek(name + extra, 1)
        packed = file.read(info.compress_size)
    return json.loads(pa.input_stream(pa.py_buffer(packed), compression="zstd").read())


def inspect_accuracy(name):
    with zipfile.ZipFile(INSPECT / name) as archive:
        header = member(INSPECT / name, archive.getinfo("header.json"))
    return header["results"]["scores"][0]["metrics"]["accuracy"]["value"]


def test_accuracies_are_those_of_inspect(tmp_path):
    outcome = compared(tmp_path, f"inspect:{INSPECT / 'before.eval'}", f"inspect:{INSPECT / 'after.eval'}")
    row = rows_of(outcome)["sums"]
    assert (row.before, row.after) == (inspect_accuracy("before.eval"), inspect_accuracy("after.eval"))
    assert (row.n, row.n10, row.n01, row.metric, row.higher_is_better) == (6, 2, 1, "accuracy", True)
    assert [category.category for category in row.categories] == ["even", "odd"]


def test_epochs_are_averaged_and_a_missing_answer_is_a_format_failure():
    benchmark = open_log(f"inspect:{INSPECT / 'epochs.eval'}").evaluations[0].benchmarks[0]
    scores = [sample.score for sample in benchmark.samples]
    assert sum(scores) / len(scores) == inspect_accuracy("epochs.eval")
    assert [sample.status for sample in benchmark.samples] == ["ok", "ok", "ok", "format_failure"]
    assert benchmark.samples[0].choices == 2
    assert "Which number is next after 0?" in benchmark.samples[0].prompt


def rewritten(target, source, change):
    """Copy the header and samples of an .eval file, packed plainly, each changed by `change(name, content)`.

    A list is written as several members of one name, a string as it is.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename == "header.json" or info.filename.startswith("samples/"):
                content = change(info.filename, member(source, info))
                for row in content if isinstance(content, list) else [content]:
                    new.writestr(info.filename, row if isinstance(row, str) else json.dumps(row))
    return target


def test_a_damaged_inspect_log_says_what_was_skipped(tmp_path):
    def change(name, content):
        if name == "samples/s0_epoch_1.json":
            return '{"id": "s0", "epo'
        if name == "samples/s1_epoch_1.json":
            return {key: value for key, value in content.items() if key != "id"}
        if name == "samples/s2_epoch_1.json":
            return [content, content]
        if name == "header.json":
            return content | {"status": "cancelled"}
        return content

    with pytest.warns(UserWarning, match="Duplicate name"):
        file = rewritten(tmp_path / "damaged.eval", INSPECT / "before.eval", change)
    log = open_log(f"inspect:{file}")
    notes = " ".join(log.notes)
    assert len(log.evaluations[0].benchmarks[0].samples) == 4
    for said in (
        "s0_epoch_1.json: cannot be read",
        "s1_epoch_1.json: has no id",
        "repeats sample s2, epoch 1",
        "'cancelled'",
        "has 6 samples, the log 4",
    ):
        assert said in notes


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [("task_version", 3, "task version 2 before, 3 after"), ("task_args_passed", {"shots": 5}, "task arguments")],
)
def test_another_inspect_task_is_refused(tmp_path, place, value, said):
    def change(name, content):
        return content | {"eval": content["eval"] | {place: value}} if name == "header.json" else content

    file = rewritten(tmp_path / "other.eval", INSPECT / "after.eval", change)
    with pytest.raises(UserError, match=said):
        compared(tmp_path, f"inspect:{INSPECT / 'before.eval'}", f"inspect:{file}")


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_killed_inspect_log_gives_the_samples_that_were_written_whole(tmp_path, seekable, method):
    class Pipe(io.BytesIO):
        def seekable(self):
            return seekable

        def tell(self):
            if not seekable:  # so that zipfile writes the sizes of a file behind it
                raise OSError
            return super().tell()

    packed = Pipe()
    about = {"version": 2, "eval": {"task": "sums", "model": "m", "dataset": {"samples": 6}}, "plan": {}}
    with zipfile.ZipFile(packed, "w", method) as file:
        file.writestr("_journal/start.json", json.dumps(about))
        ends = []
        for i in range(6):
            scores = {"match": {"value": "CI"[i % 2], "answer": "a"}}
            row = {"id": i, "epoch": 1, "input": f"q{i} PK\x07\x08", "target": "a", "scores": scores}
            file.writestr(f"samples/{i}_epoch_1.json", json.dumps(row))
            ends.append(len(packed.getvalue()))
    for whole in (1, 4, 6):
        (tmp_path / "killed.eval").write_bytes(packed.getvalue()[: ends[whole - 1] + 7])
        log = open_log(f"inspect:{tmp_path / 'killed.eval'}")
        scores = [sample.score for sample in log.evaluations[0].benchmarks[0].samples]
        assert scores == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0][:whole]
        assert f"table of contents is missing, as where Inspect was killed or the file is cut off; {whole} samples" in (
            " ".join(log.notes)
        )
    (tmp_path / "killed.eval").write_bytes(packed.getvalue()[:20])
    with pytest.raises(UserError, match="cut off before its first sample"):
        open_log(f"inspect:{tmp_path / 'killed.eval'}")


def test_a_cut_off_log_of_inspect_itself_gives_what_is_whole_in_it(tmp_path):
    (tmp_path / "cut.eval").write_bytes((INSPECT / "before.eval").read_bytes()[:9000])
    with zipfile.ZipFile(INSPECT / "before.eval") as archive:
        members = [each for each in archive.infolist() if each.filename.startswith("samples/")]
    later = {each.filename: place.header_offset for each, place in itertools.pairwise(members)}
    whole = [name for name, end in later.items() if end <= 9000]
    log = open_log(f"inspect:{tmp_path / 'cut.eval'}")
    assert len(log.evaluations[0].benchmarks[0].samples) == len(whole) > 0


def test_inspect_and_lm_eval_have_nothing_in_common(made, tmp_path):
    with pytest.raises(UserError, match="no benchmark family in common"):
        compared(tmp_path, f"lm-eval:{made['before']}", f"inspect:{INSPECT / 'before.eval'}")
