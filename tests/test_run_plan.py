"""The graph of a run holds, before anything runs, the keys that the store holds after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pfh.commands.planning import Planner
from pfh.commands.run import execute
from pfh.commands.specs import plan
from pfh.commands.study.cost import CPU, CostModel
from pfh.errors import UserError
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.store.store import Store

from tests.plugin_dists import install
from tests.test_run import COIN, OPTIONS, PICKY
from tests.tiny import tiny_model

FEW = {**OPTIONS, "max_steps": "1", "adapter": "lora", "lora_rank": "2"}

REHEARSED = {**FEW, "replay": "refusals", "replay_answers": "own", "kl_start": "0.1", "general_rows": "3"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    return install(folder, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})


def stored(store: Path) -> set[str]:
    return {f"{path.parent.name}-{path.name}" for path in (store / "artifacts").glob("*/*")}


@pytest.mark.parametrize(
    ("methods", "options", "alpha"),
    [
        (("dpo", "dpo"), {"methods:dpo": FEW}, None),
        (("dpo",), {"methods:dpo": FEW}, 0.05),
        (("dpo", "dpo"), {"methods:dpo": REHEARSED}, None),
        (("none",), {}, None),
    ],
)
def test_what_is_planned_is_what_is_made(methods, options, alpha, site, tiny_llama_path, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    spec = RunSpec(
        methods=methods,
        evals=(EvalChoice(family="picky", benchmarks=("here",)), EvalChoice(family="safety", benchmarks=("probes",))),
        domain="coin",
        model=str(tiny_llama_path),
        options=options,
        problems=6,
        limit=4,
        stop_early=alpha,
    )
    store = Store(tmp_path / "store")
    plan = Planner(Plugins(), store).plan(spec)
    assert not plan.unknown
    assert not stored(store.root)
    execute(spec, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out")
    made = {name for name in stored(store.root) if not name.startswith("rehearsal-")}  # a check, which leads to nothing
    steps = set(plan.graph) - {plan.comparison}
    assert made == steps if alpha is None else made > steps  # looks are evaluations of parts, beside the whole
    assert Planner(Plugins(), store).plan(spec).graph.keys() == plan.graph.keys()
    place = {name: index for index, name in enumerate(plan.graph)}
    assert all(place[need] < place[name] for name, step in plan.graph.items() for need in step.needs)


def test_the_starts_own_answers_are_planned_once_for_all_stages_and_cost_their_generation(
    site, tiny_llama_path, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(site))
    chosen = {**REHEARSED, "kl_rows": "refusals", "answer_length": "20"}
    plan = Planner(Plugins(), Store(tmp_path)).plan(
        RunSpec(
            methods=("gt-sft", "dpo"),
            evals=(EvalChoice(family="safety", benchmarks=("probes",)),),
            domain="coin",
            model=str(tiny_llama_path),
            options={"methods:gt-sft": chosen, "methods:dpo": chosen},
            problems=6,
        )
    )
    model = CostModel(device=CPU, sizes={str(tiny_llama_path): 7.0})
    drawn = [step for step in plan.graph.values() if step.part == "rollouts"]
    assert [step.about["prompts"] for step in drawn] == [3, 6]
    assert [model.work(step).written for step in drawn] == [3 * 20, 6 * 4 * drawn[1].about["new_tokens"]]
    trainings = [step for step in plan.graph.values() if step.kind == "training"]
    assert all(drawn[0].id in step.needs for step in trainings)
    assert not plan.unknown


def test_rows_that_are_not_here_are_said_to_be_unknown(site, tiny_llama_path, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("PFH_DATA_MIRROR", raising=False)
    plan = Planner(Plugins(), Store(tmp_path)).plan(
        RunSpec(
            methods=("gt-sft",),
            evals=(EvalChoice(family="safety", benchmarks=("probes",)),),
            domain="coin",
            model=str(tiny_llama_path),
            options={"methods:gt-sft": {**REHEARSED, "replay": "nobody/nothing:train"}},
            problems=6,
        )
    )
    assert plan.unknown == ("the rows nobody/nothing:train, builtin",)


@pytest.mark.parametrize(("method", "teacher", "other"), [("cf-sft", "llama", "sf-sft"), ("sf-sft", "qwen2", "cf-sft")])
def test_a_teacher_of_the_wrong_family_is_refused_by_a_plan_as_by_the_run(method, teacher, other, tmp_path):
    named = str(tiny_model(tmp_path / teacher, teacher))
    spec = RunSpec(
        methods=(method,),
        evals=(EvalChoice(family="safety", benchmarks=("probes",)),),
        options={f"methods:{method}": {"teacher": named}},
        problems=2,
    )
    for planned in (lambda: plan(spec, Plugins()), lambda: Planner(Plugins(), Store(tmp_path / "store")).plan(spec)):
        with pytest.raises(UserError, match=f"student safe is of the family llama.* of {teacher}.*use {other}"):
            planned()
    elsewhere = dataclasses.replace(spec, options={f"methods:{method}": {"teacher": "nobody/not-here"}})
    assert Planner(Plugins(), Store(tmp_path / "store")).plan(elsewhere).unknown == ("the model nobody/not-here",)


def test_the_embedded_starts_are_planned_with_their_own_keys(tmp_path):
    from pfh.steps.starts import EMBEDDED_INPUTS
    from pfh.store.store import artifact_key

    store = Store(tmp_path)
    spec = RunSpec(methods=("none",), evals=(EvalChoice(family="safety", benchmarks=("probes",)),), problems=2)
    graph = Planner(Plugins(), store).plan(spec).graph
    parts = [(step.kind, step.part) for step in graph.values()]
    assert parts[:3] == [("start", "start"), ("training", "start"), ("merged", "start")]
    assert next(iter(graph.values())).key == artifact_key("start", EMBEDDED_INPUTS)
