"""Every reader of somebody's input, fuzzed: it works, or says in one line what is wrong, and never anything else.

A few seconds a reader, in a fork with limits; PFH_FUZZ_SECONDS says how many, and PFH_FUZZ_SEED draws other input.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pfh.commands.compare import compare
from pfh.commands.evaluate import evaluate
from pfh.commands.judge import read_completions
from pfh.commands.label import read_labels
from pfh.commands.own_judge_errors import read_own_errors
from pfh.commands.requests import CompareSpec, MeasureSpec
from pfh.commands.study.plan import plan_figures, plan_study
from pfh.commands.verify import read_rows
from pfh.errors import UserError
from pfh.hooks.backends import EngineSpec, GenerationRequest, Sampling
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.report import write_report
from pfh.results.contracts import read_contract
from pfh.results.gate import judge
from pfh.results.junit import junit
from pfh.results.records import results_json
from pfh.results.stored import open_results, stored_pairs
from pfh.results.summary import summarize
from pfh.sources.datasets import read_jsonl
from pfh.sources.models import resolve
from pfh.steps.ranks.configuration import read_configuration
from pfh.store.store import MANIFEST, Store, _sealed
from pfh.testing import EchoDomain
from pfh_backends.hf.engine import HfEngine
from pfh_cli.tables import print_results
from rich.console import Console

from tests import fuzzing
from tests.confined import command, forked
from tests.fuzzing import archive, changed, check, damaged, folder, fuzz, json_bytes, json_file, json_lines
from tests.own_data import ROWS as OWN_ROWS
from tests.own_data import open_data, rows_of
from tests.test_readers import inspect_log, line, results
from tests.tiny import CHATML, tiny_adapter

ROWS = [line(i, float(i < 2)) for i in range(3)]
ABOUT = results({"sums": {"acc,none": 0.67}})
SAMPLES, RESULTS = "samples_sums_2025-05-06T07-08-09.000001.jsonl", "results_2025-05-06T07-08-09.000001.json"


def lines_of(rows: list[Any]) -> bytes:
    return b"".join(json_bytes(row) + b"\n" for row in rows)


def write(place: Path, files: Mapping[str, bytes]) -> Path:
    """Make `place` a folder of just these files."""
    shutil.rmtree(place, ignore_errors=True)
    for name, content in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return place


@pytest.fixture
def fuzzed(tmp_path: Path) -> Callable[..., None]:
    """Return a function that fuzzes a reader; it first reads what is valid, so that all is imported and works."""

    def run(read: Callable[[Any], object], valid: Any, strategy: st.SearchStrategy[Any]) -> None:
        read(valid)
        check(fuzz(strategy, read))

    return run


# ---- logs ----


def inspect_members() -> dict[str, Any]:
    log = inspect_log({name: [{"match": "C"}] for name in "abc"}, metrics=[("match", "match", "accuracy", 1.0)])
    samples = {f"samples/{each['id']}_epoch_1.json": each for each in log.pop("samples")}
    return {"header.json": log, **samples}


def packed(members: Mapping[str, Any]) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, value in members.items():
            file.writestr(name, json.dumps(value))
    return stream.getvalue()


def parquet(rows: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), stream)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{"text": str(rows)[:1000]}]), stream)
    return stream.getvalue()


def comma_separated(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


TABLE = [{"question_id": f"q{i}", "correct": i < 2, "subject": "odd", "answer": "x"} for i in range(3)]
EVALPLUS = {
    "eval": {f"HumanEval/{i}": [{"solution": "x", "base_status": "pass", "plus_status": "fail"}] for i in range(2)}
}
HELM = [
    {"instance_id": f"id{i}", "stats": [{"name": {"name": "exact_match", "split": "test"}, "mean": 1.0}]}
    for i in range(2)
]
HELM_SPEC = {"name": "mmlu:subject=law,model=m", "adapter_spec": {"model": "org/m"}}
OLMES = [{"doc_id": i, "native_id": f"n{i}", "metrics": {"acc_raw": i, "num_tokens": 3}} for i in range(2)]
LIGHTEVAL = [{"doc": {"query": f"q{i}", "id": str(i)}, "metric": {"acc": float(i)}} for i in range(2)]

DETAILS = "details/org/m/2025-05-06T07-08-09.000001/details_lighteval|arc|0_2025-05-06T07-08-09.000001.parquet"
LOGS: dict[str, tuple[dict[str, bytes], dict[str, st.SearchStrategy[bytes]]]] = {
    "lm-eval": (
        {SAMPLES: lines_of(ROWS), RESULTS: json_bytes(ABOUT)},
        {SAMPLES: json_lines(ROWS), RESULTS: json_file(ABOUT)},
    ),
    "inspect": (
        {"1.eval": packed(inspect_members()), "2.json": json_bytes(inspect_log({"a": [{"match": "C"}]}, task="facts"))},
        {"1.eval": archive(inspect_members()), "2.json": json_file(inspect_log({"a": [{"match": "C"}]}, task="facts"))},
    ),
    "table": ({"t.jsonl": lines_of(TABLE)}, {"t.jsonl": json_lines(TABLE)}),
    "table-csv": ({"t.csv": comma_separated(TABLE)}, {"t.csv": damaged(comma_separated(TABLE))}),
    "table-parquet": (
        {"t.parquet": parquet(TABLE)},
        {"t.parquet": st.one_of(changed(TABLE).map(parquet), damaged(parquet(TABLE)))},
    ),
    "evalplus": ({"m_eval_results.json": json_bytes(EVALPLUS)}, {"m_eval_results.json": json_file(EVALPLUS)}),
    "helm": (
        {"per_instance_stats.json": json_bytes(HELM), "run_spec.json": json_bytes(HELM_SPEC)},
        {"per_instance_stats.json": json_file(HELM), "run_spec.json": json_file(HELM_SPEC)},
    ),
    "olmes": (
        {"task-000-arc-predictions.jsonl": lines_of(OLMES)},
        {"task-000-arc-predictions.jsonl": json_lines(OLMES)},
    ),
    "lighteval": (
        {DETAILS: parquet(LIGHTEVAL)},
        {DETAILS: st.one_of(changed(LIGHTEVAL).map(parquet), damaged(parquet(LIGHTEVAL)))},
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs(name: str, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    valid, strategies = LOGS[name]
    whole, plugins, reader = (
        write(tmp_path / "whole", valid),
        Plugins(),
        name.partition("-csv")[0].partition("-parq")[0],
    )

    def read(files: Mapping[str, bytes]) -> None:
        log = write(tmp_path / "log", files)
        target = next(iter(log.rglob("t.*"))) if reader == "table" and files else log
        first = next(iter(whole.rglob("t.*"))) if reader == "table" else whole
        spec = CompareSpec(models=(f"{reader}:{first}", f"{reader}:{target}"))
        store = Store(write(tmp_path / "store", {}))
        compare(spec, plugins=plugins, store=store, progress=Silent(), output=tmp_path / "out")

    fuzzed(read, valid, folder(strategies, valid))


# ---- what pfh itself wrote, or so it says ----


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store and the results of a comparison in `out`, and of a measurement in `one`."""
    place = tmp_path_factory.mktemp("kept")
    log = write(place / "log", LOGS["lm-eval"][0])
    worse = write(place / "worse", {SAMPLES: lines_of([line(i, 0.0) for i in range(3)])})
    settings: dict[str, Any] = {"plugins": Plugins(), "store": Store(place / "store"), "progress": Silent()}
    compare(CompareSpec(models=(str(log), str(worse))), output=place / "out", **settings)
    evaluate(MeasureSpec(models=(str(log),)), output=place / "one", **settings)
    return place


@pytest.mark.parametrize("kind", ["out", "one"])
def test_results(kind: str, kept: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    file, store = tmp_path / "results.json", Store(kept / "store")
    contract = read_contract(contract_file(tmp_path, CONTRACT))

    def read(content: bytes) -> None:
        file.write_bytes(content)
        opened = open_results(file)
        print_results(opened, Console(file=io.StringIO(), width=100))
        write_report(tmp_path / "report.html", opened, stored_pairs(opened, store))
        results_json(opened)
        if opened.stages:
            summarize(opened)
            junit(judge(contract, opened), opened, undecided="fail", not_measured="warn")

    valid = json.loads((kept / kind / "results.json").read_bytes())
    for stage in valid["stages"]:
        stage["method"] = "dpo"
        stage["curves"] = [{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": None}]
        stage["ledger"] = [{"name": "training", "seconds": 1.0, "tokens": 5, "updates": 1, "samples": 2}]
    fuzzed(read, json_bytes(valid), json_file(valid))


def test_stores(kept: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """An artifact that was changed is not used; one whose changer made the manifest fit is read or refused."""
    artifacts = sorted((kept / "store" / "artifacts" / "evaluation").iterdir())
    valid = {file.name: file.read_bytes() for file in artifacts[0].iterdir()}
    manifest, described = json.loads(valid[MANIFEST]), json.loads(valid["benchmarks.json"])
    strategies = {
        MANIFEST: json_file(manifest),
        "benchmarks.json": json_file(described),
        "samples.parquet": st.one_of(damaged(valid["samples.parquet"]), changed(TABLE).map(parquet)),
    }
    shutil.copytree(kept / "store", tmp_path / "store")
    place = tmp_path / "store" / "artifacts" / "evaluation" / artifacts[0].name

    def read(files: Mapping[str, bytes]) -> None:
        import hashlib

        write(place, files)
        if files.get(MANIFEST) == valid[MANIFEST]:
            named = {name: hashlib.sha256(files[name]).hexdigest() for name in manifest["files"] if name in files}
            said = {name: value for name, value in manifest.items() if name != "seal"} | {"files": named}
            (place / MANIFEST).write_text(_sealed(said))
        opened = open_results(kept / "out")
        write_report(tmp_path / "report.html", opened, stored_pairs(opened, Store(tmp_path / "store")))
        spec = CompareSpec(models=(str(kept / "out@start"), str(kept / "out")))
        compare(spec, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent(), output=tmp_path / "again")

    fuzzed(read, valid, folder(strategies, valid))


# ---- settings ----

CONTRACT: dict[str, Any] = {
    "contract": 1,
    "for": {"stages": []},
    "may_change": ["lm-eval/*"],
    "must_hold": [{"what": "*", "margin": "2pp", "category": "worst"}],
    "must_improve": [{"what": "lm-eval/sums", "by": 0.01}],
    "must_stay": [{"what": "*", "within": "5pp"}],
    "floors": [{"what": "*", "at_least": 0.5}],
    "otherwise": "report",
    "undecided": "warn",
}
YAML = (
    b"!!python/object/apply:os.system ['false']",
    b"&a [*a]",
    b"- 1\n- 2",
    b"[" * 5000,
    b"a: &a [x, x]\nb: [*a, *a]",
)


def contract_file(place: Path, content: Any) -> Path:
    file = place / "contract.yaml"
    file.write_bytes(content if isinstance(content, bytes) else json_bytes(content))
    return file


def yaml_file(valid: Any) -> st.SearchStrategy[bytes]:
    return st.one_of(json_file(valid), st.sampled_from(YAML), st.text(max_size=60).map(str.encode))


def test_contracts(kept: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    opened = open_results(kept / "out")

    def read(content: bytes) -> None:
        held = judge(read_contract(contract_file(tmp_path, content)), opened)
        junit(held, opened, undecided="fail", not_measured="fail")

    fuzzed(read, json_bytes(CONTRACT), yaml_file(CONTRACT))


STUDY: dict[str, Any] = {
    "name": "small",
    "starts": [
        {"name": "a", "start": "base", "scale": 1.3e8},
        {"name": "b", "model": "safe", "scale": 5, "revision": "main", "allow_pickle": False},
    ],
    "methods": ["none", {"dpo": {"beta": [0.05, 0.1], "max_steps": 2}}, ["gt-sft", {"grpo": {"batch_size": 8}}]],
    "domains": ["reasoning", {"math": {"answer_format": "boxed"}}],
    "seeds": [0, 1],
    "evals": ["safety:probes", {"forgetting": {"tasks": "builtin-logic"}}],
    "judges": {"rule": {}},
    "budget": "3updates",
    "problems": 8,
    "limit": 4,
    "backend": "hf",
    "dtype": "float32",
    "phases": [{"name": "first", "where": {"start": "a", "method": ["none", "dpo"]}}],
    "exclude": [{"methods": "gt-sft+grpo", "seeds": 1, "scale": 5}],
    "sizes": {"other": 3e9},
    "device": {"name": "H100", "flops": 1e15, "bandwidth": 3.3e12, "share": 0.4},
    "launchers": {"local": {}},
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{name}'] * 10)}]\n" for name, after in pairwise("abcdefghi")
)
AXES = {**STUDY, "methods": [{"dpo": {name: list(range(1, 100)) for name in ("beta", "max_steps", "epochs", "rank")}}]}


def test_studies(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """A study is planned up to what its models would take, without a model."""
    file, plugins = tmp_path / "study.yaml", Plugins()

    def read(content: bytes) -> None:
        file.write_bytes(content)
        plan_figures(plan_study(file, plugins=plugins, store=Store(tmp_path / "store")))

    strategy = st.one_of(yaml_file(STUDY), st.sampled_from([LAUGHS.encode(), json_bytes(AXES)]))
    fuzzed(read, json_bytes(STUDY), strategy)


def test_configurations_of_accelerate(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    valid = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_CPU",
        "num_processes": 2,
        "num_machines": 1,
        "machine_rank": 0,
        "mixed_precision": "no",
        "use_cpu": True,
        "debug": False,
    }

    def read(content: bytes) -> None:
        (tmp_path / "a.yaml").write_bytes(content)
        read_configuration(tmp_path / "a.yaml")

    fuzzed(read, json_bytes(valid), yaml_file(valid))


def test_definitions_of_tasks(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    from pfh.hooks.evals import PlanSpec
    from pfh.testing import NoData

    valid = {
        "task": "own",
        "dataset_path": "org/data",
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": 0,
        "doc_to_choice": ["a", "b"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    plugins = Plugins()

    def read(content: bytes) -> None:
        (tmp_path / "own.yaml").write_bytes(content)
        options = plugins.options("evals", "forgetting", {"tasks": str(tmp_path / "own.yaml")})
        plugins.plan("forgetting", PlanSpec(options=options, data=NoData(), benchmarks=(), limit=2, seed=0))

    fuzzed(read, json_bytes(valid), yaml_file(valid))


@pytest.mark.parametrize("kind", ["methods", "evals", "domains", "judges", "readers"])
def test_options(kind: Any, fuzzed: Callable[..., None]) -> None:
    plugins = Plugins()
    known = {
        name: model.model_fields
        for name in plugins.catalogue.names(kind)
        if (model := plugins.options_model(kind, name)) is not None and model.model_fields
    }
    texts = st.one_of(st.sampled_from([str(value) for value in fuzzing.HOSTILE]), st.text(max_size=30), st.just("a,b"))

    def read(given: tuple[str, dict[str, str]]) -> None:
        plugins.options(kind, *given)

    def of(name: str) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
        keys = st.one_of(st.sampled_from(sorted(known[name])), st.sampled_from(["__class__", "model_config", "", "\0"]))
        return st.dictionaries(keys, texts, min_size=1, max_size=3).map(lambda given: (name, given))

    able = next(name for name in known if not any(field.is_required() for field in known[name].values()))
    fuzzed(read, ("dpo" if kind == "methods" else able, {}), st.sampled_from(sorted(known)).flatmap(of))


# ---- rows of one's own ----


def test_rows(fuzzed: Callable[..., None], kept: Path, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "p",
            "completion": "c",
            "answer": ["a", 1],
            "run": "r",
            "place": "x",
            "label": "refused",
            "human": "refused",
        }
    ] * 2
    results, domain = open_results(kept / "out"), EchoDomain()

    def read(content: bytes) -> None:
        (tmp_path / "rows.jsonl").write_bytes(content)
        text = content.decode("utf-8", "surrogateescape")
        readers: tuple[Callable[[], object], ...] = (
            lambda: read_jsonl(tmp_path / "rows.jsonl"),
            lambda: read_completions(Path("f"), text),
            lambda: read_rows(Path("f"), text, domain),
            lambda: read_labels(Path("f"), text, results),
            lambda: read_own_errors(tmp_path / "rows.jsonl"),
        )
        for each in readers:
            try:
                each()
            except UserError:
                continue

    fuzzed(read, lines_of(rows), json_lines(rows))


OWN_FILES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": lines_of,
    ".json": json_bytes,
    ".csv": comma_separated,
    ".tsv": lambda rows: comma_separated(rows).replace(b",", b"\t"),
    ".parquet": parquet,
}
OWN_OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"verifier": "exact"},
    {"verifier": "number"},
    {"verifier": "math", "answer_format": "boxed"},
    {"verifier": "choice", "answer_format": "tagged"},
    {"verifier": "regex", "time_limit": "0.3"},
    {"verifier": "json", "time_limit": "0.3"},
    {"turns": "last", "held_out": "0"},
)


@pytest.mark.parametrize("ending", OWN_FILES)
def test_data_of_ones_own(ending: str, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """Rows of every form are opened as the domain, and are what a run asks and judges."""
    file, write_rows = tmp_path / f"rows{ending}", OWN_FILES[ending]
    valid = {form: rows_of(form, 3) for form in OWN_ROWS}

    def read(given: tuple[bytes, Mapping[str, str]]) -> None:
        content, options = given
        file.write_bytes(content)
        domain = open_data(file, **{"on_broken": "skip", **options})
        asked = domain.problems("train", 3, 0)
        assert len(domain.verify_many(asked, [each.solution or "" for each in asked])) == len(asked)
        json.dumps([domain.description, domain.version])

    def strange(form: str) -> st.SearchStrategy[bytes]:
        rows = valid[form]
        if ending in (".csv", ".tsv"):
            return damaged(write_rows(rows))
        return st.one_of(changed(rows).map(_written(write_rows)), damaged(write_rows(rows)))

    strategy = st.tuples(st.sampled_from(sorted(valid)).flatmap(strange), st.sampled_from(OWN_OPTIONS))
    fuzzed(read, (write_rows(valid["completion"]), {"held_out": "0"}), strategy)


def _written(write_rows: Callable[[list[Any]], bytes]) -> Callable[[Any], bytes]:
    return lambda rows: write_rows(rows if isinstance(rows, list) else [rows])


# ---- models ----


def put(place: Path, source: Path, name: str, content: bytes) -> Path:
    """Return `place`: a folder that links to the files of `source`, but for one of its own."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in source.iterdir():
        if file.name != name:
            (place / file.name).symlink_to(file)
    (place / name).write_bytes(content)
    return place


def answer(model: Path) -> None:
    """Load a model and let it write two tokens."""
    checkpoint = resolve(str(model), cache_dir=model.parent / "cache")
    engine = HfEngine(EngineSpec(checkpoint=checkpoint, dtype="float32", progress=Silent()))
    request = GenerationRequest(id="0", messages=({"role": "user", "content": "Hi there"},))
    engine.generate([request], Sampling(max_new_tokens=2))
    engine.close()


def header_changed(file: bytes) -> st.SearchStrategy[bytes]:
    """Return safetensors files whose header is near to the one of `file`."""
    length = int.from_bytes(file[:8], "little")
    header, tensors = json.loads(file[8 : 8 + length]), file[8 + length :]
    texts = json_file(header)
    sound = texts.map(lambda text: len(text).to_bytes(8, "little") + text + tensors)
    lying = st.sampled_from((0, 1, 2**31, 2**63, 2**64 - 1)).map(lambda size: size.to_bytes(8, "little") + file[8:])
    return st.one_of(sound, sound, lying, damaged(file))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json", "model.safetensors"]
)
def test_models(name: str, tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    valid = (tiny_llama_path / name).read_bytes()
    strategy = header_changed(valid) if name == "model.safetensors" else json_file(json.loads(valid))
    fuzzed(lambda content: answer(put(tmp_path / "m", tiny_llama_path, name, content)), valid, strategy)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapters(name: str, tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter")
    valid = (adapter / name).read_bytes()
    strategy = json_file(json.loads(valid)) if name.endswith(".json") else header_changed(valid)
    fuzzed(lambda content: answer(put(tmp_path / "a", adapter, name, content)), valid, strategy)


PIECES = (
    *("{{", "}}", "{%", "%}", "{#", "#}", "{% for m in messages %}", "{% endfor %}", "{% if true %}", "{% endif %}"),
    *("{{ 1/0 }}", "{{ 'a' * 10**9 }}", "{{ 9**9**9 }}", "{% for i in range(99999) %}", "{% macro f() %}{{ f() }}"),
    *(
        "{% endmacro %}",
        "{{ f() }}",
        "{{ messages[0]['content'][0] }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('x') }}",
    ),
    *(
        "{% include 'x' %}",
        "{{ x.y.z }}",
        "{{ ''.__class__ }}",
        "{% set ns = namespace(a=1) %}",
        "{{ messages | tojson }}",
    ),
    *(
        "{{ '%s' % messages }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ bos_token }}",
        "{{ nothing() }}",
        "|",
        "{% break %}",
    ),
)


def test_templates(tiny_llama_path: Path, tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    name = "chat_template.jinja"

    def spliced(place: int, piece: str) -> bytes:
        return (CHATML[:place] + piece + CHATML[place:]).encode()

    pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
    strategy = st.one_of(
        st.builds(spliced, st.integers(0, len(CHATML)), pieces),
        pieces.map(str.encode),
        damaged(CHATML.encode()),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
    )
    fuzzed(lambda content: answer(put(tmp_path / "m", tiny_llama_path, name, content)), CHATML.encode(), strategy)


def test_gguf(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    import numpy as np
    from gguf import GGUFWriter

    (tmp_path / "m").mkdir()
    writer = GGUFWriter(tmp_path / "m" / "m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *"abcdefg"])
    writer.add_token_scores([0.0] * 10)
    writer.add_token_types([1] * 10)
    writer.add_tensor("token_embd.weight", np.zeros((10, 32), "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    valid = (tmp_path / "m" / "m.gguf").read_bytes()

    def read(content: bytes) -> None:
        (tmp_path / "m" / "m.gguf").write_bytes(content)
        try:
            answer(tmp_path / "m")
        except UserError:
            if content == valid:
                return  # it lacks most weights, which is said
            raise

    head = st.integers(0, 400).flatmap(
        lambda place: st.sampled_from((b"\xff" * 8, b"\0" * 8, (2**40).to_bytes(8, "little"), b"\x09\0\0\0")).map(
            lambda piece: valid[:place] + piece + valid[place + len(piece) :]
        )
    )
    fuzzed(read, valid, st.one_of(damaged(valid), head))


# ---- the command line ----

WORDS = (
    *("run", "eval", "compare", "report", "gate", "export", "verify", "judge", "label", "list-plugins", "new-plugin"),
    *("--method", "dpo", "sdft", "--eval", "safety:probes", "forgetting", "policy", "--model", "safe", "--limit", "2"),
    *(
        "--dry-run",
        "--problems",
        "--seed",
        "--budget",
        "5m",
        "3updates",
        "-o",
        "beta=nan",
        "learning_rate=1e400",
        "--json",
    ),
    *(
        "--output",
        "/dev/null",
        "/proc/x",
        "--store",
        "/etc/hostname/x",
        "--tasks",
        "--domain",
        "math",
        "--backend",
        "hf",
    ),
    *("--contract", "--junit", "--html", "--summary", "--accelerate", "--seeds", "0,1", "--allow-mismatch", "--dtype"),
    *(
        "inf",
        "-inf",
        "nan",
        "1e999",
        "9" * 400,
        "-1",
        "0",
        "\x1b[2J\u202e",
        "../../etc/passwd",
        "a" * 5000,
        "",
        "=",
        ".=",
    ),
    *("__class__=1", "openai:", "openai:x@http://127.0.0.1:9/v1", "lm-eval:/", "/dev/zero", "/", ".", "{}", "method"),
)


def test_commands(tmp_path: Path, fuzzed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is called, without a model to run."""
    import sys

    from pfh_cli.main import main

    monkeypatch.setenv("PFH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def read(words: list[str]) -> None:
        sys.argv = ["pfh", *words, *(["--dry-run"] if words[:1] in (["run"], ["eval"], ["compare"]) else [])]
        with chdir(tmp_path):
            code = main()
        assert code in (0, 2), code

    words = st.lists(st.sampled_from(WORDS), max_size=9)
    commands = st.sampled_from(WORDS[:11]).flatmap(lambda first: words.map(lambda rest: [first, *rest]))
    fuzzed(read, ["list-plugins", "--json"], commands)


# ---- what is no file ----


def no_files(place: Path) -> Iterator[Path]:
    """Make each thing that stands where a file should."""
    import os

    yield place / "missing"
    (place / "folder").mkdir()
    yield place / "folder"
    os.mkfifo(place / "pipe")
    yield place / "pipe"
    (place / "loop").symlink_to("loop")
    yield place / "loop"
    (place / "zero").symlink_to("/dev/zero")
    yield place / "zero"
    (place / "empty").touch()
    yield place / "empty"


READ_IN_FOLDERS: dict[str, tuple[str, ...]] = {
    "model": ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
    "adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "results": ("results.json",),
    "manifest": (MANIFEST, "benchmarks.json", "samples.parquet"),
    "log": (SAMPLES, RESULTS),
}


@pytest.mark.parametrize("kind", READ_IN_FOLDERS)
def test_what_is_no_file_is_refused_or_left_out(kind: str, kept: Path, tiny_llama_path: Path, tmp_path: Path) -> None:
    evaluation = min((kept / "store" / "artifacts" / "evaluation").iterdir())
    adapter = tiny_adapter(tiny_llama_path, tmp_path / "adapter") if kind == "adapter" else tmp_path
    source = {"model": tiny_llama_path, "results": kept / "out", "manifest": evaluation, "log": kept / "log"}
    source["adapter"] = adapter

    def read(place: Path) -> None:
        if kind in ("model", "adapter"):
            answer(place)
        elif kind == "results":
            open_results(place)
        elif kind == "manifest":
            store = Store(tmp_path / "store")
            artifact = tmp_path / "store" / "artifacts" / "evaluation" / evaluation.name
            shutil.rmtree(artifact, ignore_errors=True)
            shutil.copytree(place, artifact, symlinks=True)
            assert store.get("evaluation", evaluation.name) is None
        else:
            spec, plugins = MeasureSpec(models=(f"lm-eval:{place}",)), Plugins()
            evaluate(spec, plugins=plugins, store=Store(tmp_path / "s"), progress=Silent(), output=tmp_path / "o")

    def every() -> int:
        (tmp_path / "things").mkdir()
        for thing in no_files(tmp_path / "things"):
            for name in READ_IN_FOLDERS[kind]:
                place = put(tmp_path / "place", source[kind], name, b"")
                (place / name).unlink()
                if thing.is_fifo() and kind == "manifest":
                    continue  # a copy of a pipe would wait for its writer
                if thing.is_symlink() or thing.exists():
                    (place / name).symlink_to(thing)
                try:
                    read(place)
                except UserError:
                    continue
        return 0

    if kind != "manifest":
        read(source[kind])
    ended = forked(every)
    assert ended.code == 0, ended.stderr[-3000:]
    assert ended.grown < 1 << 30


def test_a_command_that_hangs_or_eats_memory_is_seen_by_these_tests(tmp_path: Path) -> None:
    assert forked(lambda: len(bytearray(4 << 30)) and 0, memory=1 << 30).code == 99
    assert forked(lambda: any(iter(int, 1)) or 0, seconds=0.2).code == -9
    assert command("list-plugins", "--json").code == 0
