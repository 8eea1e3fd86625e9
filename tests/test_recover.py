"""`pfh recover`: variants of a finished run's model, one chosen on a held-out share, the front of the rest."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from pfh.commands.recover import RecoverSpec, check_spec, recover
from pfh.commands.run import execute
from pfh.errors import UserError
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.samples import Sample
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.recovery import (
    FamilyPoint,
    RecoveryRecord,
    VariantRecord,
    choose,
    part_of,
    sentences,
    with_front,
)
from pfh.results.stored import open_results
from pfh.store.store import Store

from tests.plugin_dists import install
from tests.test_run import COIN, Lines

TOSS = '''
"""Sixty prompts whose score is tossed by the completion."""
import zlib

from pfh import hookimpl
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample, sample_id


@hookimpl
def evaluate(spec):
    chats = [({"role": "user", "content": f"FAMILY {i}"},) for i in range(60)]
    requests = [GenerationRequest(id=str(i), messages=chat) for i, chat in enumerate(chats)]
    completions = spec.engine.generate(requests, Sampling(max_new_tokens=3))
    samples = tuple(
        Sample(id=sample_id("FAMILY", "1", {"chat": chat}), benchmark="FAMILY", prompt="", completion=done.text,
               score=float(zlib.crc32(done.text.encode()) % 2))
        for chat, done in zip(chats, completions))
    return Evaluation(family="FAMILY", benchmarks=(
        Benchmark(name="FAMILY", version="1", metric="toss", higher_is_better=True, samples=samples),))
'''


def variant(name: str, *validation: float, reported: tuple[float, ...] = ()) -> VariantRecord:
    def points(values: tuple[float, ...]) -> tuple[FamilyPoint, ...]:
        names = ("target", "forgetting", "safety")[: len(values)]
        return tuple(
            FamilyPoint(family=each, change=value, low=value - 0.01, high=value + 0.01, n=10)
            for each, value in zip(names, values, strict=True)
        )

    return VariantRecord(
        name=name,
        how="wise-ft",
        strength=0.5,
        path="",
        reported=points(reported or validation),
        validation=points(validation),
    )


def test_the_choice_is_made_on_the_held_out_share_alone():
    start = variant("start", 0, 0, 0)
    half = variant("half", 0.03, -0.02, 0, reported=(-1, -1, -1))
    trained = variant("trained", 0.05, -0.06, 0, reported=(1, 1, 1))
    assert choose([start, half, trained], "target", 0.02) is half
    assert choose([start, half, trained], "target", 0.06) is trained
    assert choose([start, half, trained], "target", 0.01) is start
    assert choose([start, half, trained], "", 0.02) is half
    equal = variant("equal", 0.03, -0.01, 0)
    assert choose([start, half, equal], "target", 0.02) is equal


def test_intervals_that_lie_apart_are_told_whichever_of_the_two_is_better():
    def said(chosen: VariantRecord, trained: VariantRecord) -> str:
        record = RecoveryRecord(
            gained="target",
            tolerance=0.02,
            share=0.3,
            chosen=chosen.name,
            variants=(variant("start", 0, 0, 0), chosen, trained),
            sentences=(),
        )
        return sentences(record)[-1]

    half = variant("half", 0.03, -0.02, 0)
    assert said(half, variant("trained", 0.3, -0.02, 0)) == "The intervals of the two do not touch in target."
    assert said(half, variant("trained", 0.03, -0.3, 0)) == "The intervals of the two do not touch in forgetting."
    assert said(half, variant("trained", 0.03, -0.02, 0)).startswith("In no family")


def test_attacks_and_judges_are_those_of_the_run(tmp_path):
    from types import SimpleNamespace

    from pfh.commands.recover import _session

    told = {
        "options": {"judge": "rule"},
        "judge": {"options": {}},
        "attacks": {"best-of-n": {"options": {"variants": 3}}},
    }
    start = SimpleNamespace(families={"safety": SimpleNamespace(inputs=told)})
    results = SimpleNamespace(provenance={"dtype": "float32"})
    session = _session(results, start, Plugins(), Store(tmp_path), Silent())
    assert session.plugin_inputs("attacks", "best-of-n")["options"]["variants"] == 3


def test_the_front_holds_what_nothing_beats_in_every_family():
    variants = [variant("start", 0, 0), variant("a", 0.02, -0.01), variant("b", 0.01, -0.02), variant("c", 0.03, -0.05)]
    assert [each.name for each in with_front(variants) if each.on_front] == ["start", "a", "c"]


def test_the_two_shares_divide_the_samples_and_keep_clusters_together():
    samples = tuple(
        Sample(id=str(i), benchmark="b", prompt="", completion="", score=1.0, cluster=f"c{i // 2}") for i in range(2000)
    )
    whole = Evaluation(
        family="f",
        benchmarks=(Benchmark(name="b", version="1", metric="m", higher_is_better=True, samples=samples),),
    )
    held, rest = (part_of(whole, 0.3, held_out=side).benchmarks[0].samples for side in (True, False))
    assert sorted([*held, *rest], key=lambda each: int(each.id)) == list(samples)
    assert {each.cluster for each in held}.isdisjoint(each.cluster for each in rest)
    assert len(held) / len(samples) == pytest.approx(0.3, abs=0.04)


@pytest.fixture(scope="module")
def finished(tiny_llama_path, tmp_path_factory):
    """Return the folder of a run of two updates, its store beside it."""
    folder = tmp_path_factory.mktemp("recover")
    install(folder, "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    for family in ("gains", "holds"):
        module = {f"{family}_eval": TOSS.replace("FAMILY", family)}
        install(folder, f"{family}-dist", module, {"pfh.evals": {family: f"{family}_eval"}})
    spec = RunSpec(
        methods=("gt-sft",),
        evals=(EvalChoice(family="gains"), EvalChoice(family="holds")),
        domain="coin",
        model=str(tiny_llama_path),
        options={"methods:gt-sft": {"max_steps": "2", "learning_rate": "3e-2", "batch_size": "4", "warmup": "0"}},
        problems=8,
        rehearsal=False,
        divergence_prompts=0,
    )
    sys.path.insert(0, str(folder))
    try:
        execute(spec, plugins=Plugins(), store=Store(folder / "store"), progress=Silent(), output=folder / "out")
        yield folder
    finally:
        sys.path.remove(str(folder))


def test_a_finished_run_is_recovered_without_measuring_anything_twice(finished, capsys):
    from pfh_cli.tables import print_results
    from rich.console import Console

    store, said = finished / "store", Lines()
    before = set((store / "artifacts" / "evaluation").iterdir())
    spec = RecoverSpec(
        run=finished / "out", ways=("wise-ft", "ties", "slerp"), alphas=(0.0, 0.5, 1.0), gained="gains", tolerance=0.1
    )
    results = recover(spec, plugins=Plugins(), store=Store(store, said), progress=said)
    record = results.recovery
    assert record is not None
    assert [each.name for each in record.variants] == ["start", "wise-ft 0.5", "ties 1", "slerp 0.5", "trained"]
    assert len(set((store / "artifacts" / "evaluation").iterdir()) - before) == 2 * 3
    assert said.count("reusing the stored evaluation") == 2 * 2
    assert {path.name for path in (store / "artifacts" / "variant").glob("*/weights/*.json")} > {"adapter_config.json"}
    assert not any(point.change for point in record.variants[0].reported)
    whole = open_results(finished / "out").stages[-1]
    reported, held = record.variants[-1].reported[0], record.variants[-1].validation[0]
    row = whole.families[0].comparisons[0]
    assert (reported.n + held.n, reported.family) == (60, "gains")
    total = reported.n * reported.change + held.n * held.change
    assert total / 60 == pytest.approx(row.delta)
    assert open_results(finished / "out").recovery == record
    page = (finished / "out" / "report.html").read_text()
    assert "What can be recovered without training" in page
    assert "wise-ft 0.5" in page
    print_results(results, Console(width=120))
    assert "slerp 0.5" in capsys.readouterr().out
    again = recover(spec, plugins=Plugins(), store=Store(store, said), progress=said, output=finished / "elsewhere")
    assert again.recovery == record
    assert json.loads((finished / "elsewhere" / "results.json").read_text())["recovery"]["chosen"] == record.chosen


def test_python_recovers_what_the_command_does(finished, tmp_path):
    import pfh

    place = {"store": finished / "store", "output": tmp_path / "out"}
    results = pfh.recover(finished / "out", ways=["wise-ft"], alphas=[0.5], gain="gains", tolerance=10, **place)
    said = RecoverSpec(run=finished / "out", ways=("wise-ft",), alphas=(0.5,), gained="gains", tolerance=0.1)
    told = recover(
        said, plugins=Plugins(), store=Store(finished / "store"), progress=Silent(), output=tmp_path / "told"
    )
    assert results.recovery == told.recovery
    assert pfh.load(tmp_path / "out").recovery == results.recovery
    written = pfh.recover(finished / "out", ways="wise-ft", alphas="0.5", gain="gains", tolerance=10, **place)
    assert written.recovery == results.recovery


def test_what_cannot_be_recovered_is_told_in_a_line(finished, tmp_path):
    for changes, told in (
        ({"ways": ("wise-tf",)}, "Did you mean"),
        ({"alphas": (1.2,)}, "between 0"),
        ({"tolerance": 3.0}, "percentage points"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"ways": ()}, "Name what to try"),
    ):
        with pytest.raises(UserError, match=told):
            check_spec(RecoverSpec(run=tmp_path, **changes))
    store = Store(finished / "store")
    for changes, told in (
        ({"run": tmp_path / "nowhere"}, "There is no"),
        ({"run": finished / "out", "gained": "gain"}, "Did you mean"),
        ({"run": finished / "out", "ways": ("soup",)}, "checkpoints along the way"),
    ):
        with pytest.raises(UserError, match=told):
            recover(RecoverSpec(**changes), plugins=Plugins(), store=store, progress=Silent())
    with pytest.raises(UserError, match="no longer"):
        recover(RecoverSpec(run=finished / "out"), plugins=Plugins(), store=Store(tmp_path / "s"), progress=Silent())


def test_a_model_of_the_hub_is_known_by_its_commit(tiny_llama_path, tmp_path, monkeypatch):
    from huggingface_hub import constants
    from pfh.commands.recover import _resolved
    from pfh.sources.models import resolve

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    store, commit = Store(tmp_path / "store"), "a" * 40
    folder = tmp_path / "hub" / "models--org--name"
    shutil.copytree(tiny_llama_path, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    found = resolve("org/name", cache_dir=store.cache, download=False)
    assert _resolved(found.path, store).fingerprint == found.fingerprint
    assert resolve(str(found.path), cache_dir=store.cache).fingerprint != found.fingerprint
    elsewhere = shutil.copytree(tiny_llama_path, tmp_path / "snapshots" / commit)
    assert _resolved(elsewhere, store).path == elsewhere


def test_weights_are_found_under_the_arguments_of_the_runs_chat_template(tiny_llama_path, tmp_path):
    from pfh.commands.recover import _weights
    from pfh.results.records import ModelRecord
    from pfh.sources.models import resolve

    store, told = Store(tmp_path), {"enable_thinking": False}
    found = resolve(str(tiny_llama_path), cache_dir=store.cache).with_template_arguments(told)
    record = ModelRecord(name="tiny", fingerprint=found.fingerprint, path=str(tiny_llama_path))
    assert _weights(record, store, told).chat_template_kwargs == told
    with pytest.raises(UserError, match="--chat-template-kwargs"):
        _weights(record, store, {})
