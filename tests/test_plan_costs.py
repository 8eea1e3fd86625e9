"""What a plan counts by: batches timed here, ledgers of other studies, and a device that is not known is said."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from pfh.commands.study.calibration import Rates, calibrate, device_name, remembered
from pfh.commands.study.cost import CostModel, cost_model, device_here, learned_as
from pfh.commands.study.schema import StartEntry, Study
from pfh.errors import UserError
from pfh.hooks.budget import Budget
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.ledger import Phase, write_ledger
from pfh.kit.accelerators import KNOWN, STAND_IN, named
from pfh.kit.training.devices import BANDWIDTH, SPEED, Devices
from pfh.kit.training.options import TrainingOptions
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.graph import Step
from pfh.store.store import Store


def study(model, **fields):
    return Study(
        name="s",
        starts=[StartEntry(name="m", model=model)],
        methods=["dpo"],
        domains=["math"],
        evals=["safety"],
        **fields,
    )


def evaluation(key, weights, family="safety"):
    about = {"weights": weights, "benchmarks": ("x",), "limit": 10, "family": family}
    return Step(kind="evaluation", key=key, label="", part="evaluation after", about=about)


def test_timed_batches_are_remembered_by_device_and_model_and_the_plan_counts_by_them(tiny_llama_path, tmp_path):
    model, store = str(tiny_llama_path), Store(tmp_path / "store")
    found = calibrate(study(model), (), plugins=Plugins(), store=store, progress=Silent())
    assert remembered(store) == found
    rates = found[model]
    assert min(rates.read, rates.written, rates.trained) > 0
    assert list(json.loads((store.cache / "speeds.json").read_text())) == [device_name()]
    step = evaluation("a", model)
    costs = cost_model(study(model), [step], store)
    work = costs.work(step)
    assert costs.seconds(step) == pytest.approx(work.read * rates.read + work.written * rates.written)
    assert costs.source(step) == "batches timed on this device"
    elsewhere = cost_model(study(model, device={"name": "H100", "flops": 1e15, "bandwidth": 3e12}), [step], store)
    assert elsewhere.source(step) == "operations and bytes"
    with pytest.raises(UserError, match="--calibrate times models on this machine, and has none"):
        calibrate(study(str(tmp_path / "nothing")), (), plugins=Plugins(), store=store, progress=Silent())
    (store.cache / "speeds.json").write_text("[1]")
    assert remembered(store) == {}


class Clock:
    """Families that take 3 seconds and half of one a document; one cannot be asked here."""

    def __init__(self) -> None:
        self.now = 0.0

    def evaluate(self, session, checkpoint, question, *_):
        if question.family == "policy":
            raise UserError("no data here")
        samples = min(question.limit, 20) + question.limit  # of two benchmarks, one of which has 20 documents
        self.now += 3.0 + 0.5 * samples
        return None, SimpleNamespace(benchmarks=[SimpleNamespace(samples=range(samples))])


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_documents_of_the_study_are_timed_and_what_cannot_be_asked_is_said(tiny_llama_path, tmp_path, monkeypatch):
    clock, heard, model = Clock(), Heard(), str(tiny_llama_path)
    here = "pfh.commands.study.calibration."
    monkeypatch.setattr(here + "evaluate_family", clock.evaluate)
    monkeypatch.setattr(here + "documents_of", lambda *_: {"piqa": 1000, "arc_easy": 20})
    monkeypatch.setattr(here + "_timed", lambda *_: Rates(read=1, written=1, trained=1, weights=1))
    monkeypatch.setattr(here + "time.perf_counter", lambda: clock.now)
    evals = (EvalChoice(family="forgetting", benchmarks=("piqa", "arc_easy")), EvalChoice(family="policy"))
    run = SimpleNamespace(spec=RunSpec(methods=("none",), evals=evals, domain="reasoning", model=model))
    store = Store(tmp_path / "store")
    calibrate(study(model), [run], plugins=Plugins(), store=store, progress=heard)
    assert [line for line in heard.said if "not timed" in line] == ["not timed: policy (no data here)"]
    about = {"weights": model, "benchmarks": ("arc_easy", "piqa"), "limit": 60, "family": "forgetting"}
    step = Step(kind="evaluation", key="a", label="", part="", about=about)
    costs = cost_model(study(model), [step], store)
    assert costs.seconds(step) == pytest.approx(3.0 + 0.5 * (60 + 20))
    assert not costs.assumes(step)
    assert costs.assumes(evaluation("b", model))


def test_every_domain_of_a_study_is_read_and_a_family_of_none_is_timed_once(tiny_llama_path, tmp_path, monkeypatch):
    clock, model = Clock(), str(tiny_llama_path)
    here = "pfh.commands.study.calibration."
    monkeypatch.setattr(here + "evaluate_family", clock.evaluate)
    monkeypatch.setattr(here + "documents_of", lambda *_: {"test": 100})
    monkeypatch.setattr(here + "_timed", lambda *_: Rates(read=1, written=1, trained=1, weights=1))
    monkeypatch.setattr(here + "open_domain", lambda spec, *_: SimpleNamespace(name=spec.domain))
    monkeypatch.setattr(here + "_lengths", lambda domain, _: (len(domain.name), 1))
    evals = (EvalChoice(family="target"), EvalChoice(family="forgetting", benchmarks=("piqa",)))
    runs = [
        SimpleNamespace(spec=RunSpec(methods=("none",), evals=evals, domain=domain, model=model))
        for domain in ("reasoning", "math", "math")
    ]
    rates = calibrate(study(model), runs, plugins=Plugins(), store=Store(tmp_path), progress=Silent())[model]
    assert set(rates.documents) == {"target of reasoning", "target of math", "forgetting piqa"}
    assert rates.lengths == {"reasoning": (9, 1), "math": (4, 1)}


def test_the_lengths_of_the_studys_own_problems_take_the_place_of_what_is_assumed(tiny_llama_path, tmp_path):
    model, store = str(tiny_llama_path), Store(tmp_path / "store")
    run = SimpleNamespace(spec=RunSpec(methods=("none",), evals=(), domain="reasoning", model=model))
    evals = (EvalChoice(family="target"),)
    run = SimpleNamespace(spec=dataclasses.replace(run.spec, evals=evals))
    rates = calibrate(study(model), [run], plugins=Plugins(), store=store, progress=Silent())[model]
    prompt, completion = rates.lengths["reasoning"]
    assert remembered(store)[model] == rates
    options = TrainingOptions(max_length=4096, batch_size=4, gradient_accumulation=1)
    about = {
        "method": "gt-sft",
        "problems": 100,
        "options": options,
        "budget": Budget.parse("7 updates"),
        "domain": "reasoning",
    }
    step = Step(kind="training", key="a", label="", part="", about={**about, "weights": model})
    assert cost_model(study(model), [step], store).work(step).trained == pytest.approx(7 * 4 * (prompt + completion))


TRAINED = {"weights": "m-1b", "method": "gt-sft", "problems": 10_000}


@pytest.mark.parametrize(("adapter", "operations"), [("full", 6.0), ("lora", 4.0)])
def test_a_budget_of_operations_bounds_what_is_trained(adapter, operations):
    """1e15 operations train 1e15 / (operations a weight and token) / 1e9 tokens of a model of 1e9 weights."""
    options = TrainingOptions(adapter=adapter)
    costs = CostModel(device=device_here()[0], sizes={})
    step = Step(
        kind="training",
        key="a",
        label="",
        part="",
        about={**TRAINED, "options": options, "budget": Budget.parse("1e15 flops")},
    )
    assert costs.work(step).trained == pytest.approx(1e6 / operations)
    assert costs.work(step).flops == pytest.approx(1e15)


def test_a_budget_of_time_is_what_a_training_takes():
    about = {**TRAINED, "options": TrainingOptions(), "budget": Budget.parse("90s")}
    costs = CostModel(device=device_here()[0], sizes={})
    assert costs.seconds(Step(kind="training", key="a", label="", part="", about=about)) == 90


def test_a_model_of_another_size_takes_in_proportion():
    rates = {"m-1b": Rates(read=1e-3, written=1e-2, trained=2e-3, weights=1e9)}
    costs = CostModel(device=device_here()[0], sizes={"m-1b": 1e9, "m-3b": 3e9}, rates=rates)
    small, large = (costs.seconds(evaluation(name, name)) for name in ("m-1b", "m-3b"))
    assert large == pytest.approx(3 * small)


def test_ledgers_of_other_studies_teach(tmp_path):
    store = Store(tmp_path)
    old, new = evaluation("a" * 20, "m-1b"), evaluation("b" * 20, "m-1b")
    folder = tmp_path / "artifacts" / "evaluation" / old.key
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    write_ledger(folder / "ledger.json", [Phase(name="evaluation", seconds=77.0)])
    costs = cost_model(study("m-1b"), [new], store)
    before = costs.seconds(new)
    told = {"kind": old.kind, "key": old.key, "like": learned_as(old), "modelled": costs.modelled(old)}
    place = tmp_path / "studies" / "other"
    place.mkdir(parents=True)
    (place / "plan.json").write_text(json.dumps({"device": costs.device.name, "steps": {old.id: told}}))
    (tmp_path / "studies" / "broken").mkdir()
    (tmp_path / "studies" / "broken" / "plan.json").write_text("{")
    learned = cost_model(study("m-1b"), [new], store)
    assert learned.seconds(new) == pytest.approx(77.0)
    assert before != pytest.approx(77.0)
    assert learned.source(new) == "ledgers of such steps"
    (place / "plan.json").write_text(json.dumps({"device": "H200", "steps": {old.id: told}}))
    assert cost_model(study("m-1b"), [new], store).seconds(new) == before


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", ""),
    ],
)
def test_a_device_that_is_not_known_is_not_silently_taken_for_another(name, known, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    device, note = device_here()
    assert device.name == (known or name)
    assert bool(note) == (not known)
    if note:
        assert "RTX 4090 are not known, and those of an A100 were taken" in note


def test_there_is_one_table_of_devices():
    assert (125e12, STAND_IN.bandwidth) == (SPEED, BANDWIDTH)
    assert Devices.parse("80GB").speed == SPEED
    assert named("Tesla T4") in KNOWN
