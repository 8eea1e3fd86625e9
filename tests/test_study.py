"""A study file is read strictly, makes runs that `pfh run` could make, and is planned before anything is loaded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pfh.commands.study.cost import CPU, CostModel, Work, cost_model
from pfh.commands.study.plan import plan_figures, plan_study
from pfh.commands.study.reading import read_study
from pfh.commands.study.runs import expand
from pfh.commands.study.schedule import wall_time
from pfh.commands.study.schema import StartEntry, Study
from pfh.commands.study.tasks import run_as_json, run_from_json, tasks_of
from pfh.errors import UserError
from pfh.hooks.ledger import Phase, write_ledger
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.graph import Step
from pfh.store.store import Store

from tests.plugin_dists import install
from tests.test_run import COIN, PICKY

STUDIES = Path(__file__).parent.parent / "examples" / "studies"
GOOD = """\
name: small
starts:
  - {name: a, start: base, scale: 1.3e8}
  - {name: b, start: safe, scale: 1.3e8}
methods:
  - none
  - dpo: {beta: [0.05, 0.1]}
  - [gt-sft, {grpo: {batch_size: 8}}]
domains: [reasoning]
seeds: [0, 1]
evals: [safety]
problems: 8
phases:
  - {name: first, where: {start: base, method: [none, dpo]}}
exclude:
  - {methods: gt-sft+grpo, seeds: 1}
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "study.yaml"
        file.write_text(text)
        return file

    return write


def runs_of(file: Path):
    return expand(*read_study(file), Plugins())


def test_the_runs_are_all_combinations_without_what_is_excluded_and_phases_come_first(write):
    runs = runs_of(write(GOOD))
    assert len(runs) == 2 * (3 * 2 + 1)
    assert [run.phase for run in runs] == ["first"] * 6 + ["rest"] * 8
    assert {run.variant.label for run in runs} == {"none", "dpo(beta=0.05)", "dpo(beta=0.1)", "gt-sft+grpo"}
    run = next(run for run in runs if run.variant.method == "gt-sft+grpo")
    assert run.spec.methods == ("gt-sft", "grpo")
    assert run.spec.options == {"methods:grpo": {"batch_size": 8}}
    assert all(run_from_json(run_as_json(run.spec)) == run.spec for run in runs)


def test_early_stopping_changes_the_key_of_what_was_trained_and_not_of_the_start(write, tmp_path):
    text = GOOD.replace("- dpo: {beta: [0.05, 0.1]}", "- dpo")
    keys = {}
    for stop in ("", "stop_early: {}\n", "stop_early: {alpha: 0.01}\n"):
        planned = plan_study(write(text + stop), plugins=Plugins(), store=Store(tmp_path / "store"))
        for step in planned.graph.values():
            keys.setdefault((stop, step.part), set()).add(step.key)
    for part in ("evaluation of the start", "evaluation again", "training"):
        assert keys["", part] == keys["stop_early: {}\n", part]
    after = [keys[stop, "evaluation after"] for stop in ("", "stop_early: {}\n", "stop_early: {alpha: 0.01}\n")]
    assert not after[0] & after[1]
    assert not after[1] & after[2]
    spec = next(run.spec for run in planned.runs if run.spec.methods == ("dpo",))
    assert (spec.stop_early, spec.margin) == (0.01, 0.05)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("- none", "- &a [gt-sft, *a]", "study.yaml:6: methods.0.1: an alias stands within .* a cycle"),
        ("problems: 8", "must: {safty: -2}", "study.yaml:12: must.safty: .*Did you mean 'safety'?"),
        ("problems: 8", "must: {safety: 2}", "study.yaml:12: must.safety: "),
        ("problems: 8", "stop_early: {alfa: 1}", "study.yaml:12: .*Did you mean 'alpha'?"),
        ("problems: 8", "stop_early: {alpha: 2}", "study.yaml:12: stop_early.alpha: "),
        ("problems: 8", "stop_when: safety", "study.yaml:12: .*such as forgetting>2pp"),
        ("problems: 8", "problem: 8", "study.yaml:12: problem: no study says this here. Did you mean 'problems'?"),
        ("start: safe", "strat: safe", "study.yaml:4: starts.1.strat: no study says this here. Did you mean 'start'?"),
        ("start: safe", "start: sage", "study.yaml:4: starts.1.start: "),
        ("- none", "- nome", "study.yaml:6: methods.0: No method named 'nome'. Did you mean 'none'?"),
        ("beta: [0.05, 0.1]", "betta: [1]", "study.yaml:7: .*no option 'betta'. Did you mean 'beta'?"),
        ("beta: [0.05, 0.1]", "beta: [-1, 0.1]", "study.yaml:7: .*beta"),
        ("beta: [0.05, 0.1]", "beta: []", "study.yaml:7: .*an axis needs values"),
        ("beta: [0.05, 0.1]", "beta: [0.1, 0.1]", "study.yaml:7: .*are the same run"),
        ("beta: [0.05, 0.1]", "beta: 0.2}\n  - dpo: {beta: 0.3", "study.yaml:8: .*two different runs would be called"),
        ("seeds: [0, 1]", "seeds: []", "study.yaml:10: seeds: it is empty"),
        ("seeds: [0, 1]", "seeds: [0, one]", "study.yaml:10: seeds.1: "),
        ("domains: [reasoning]", "domains: [resoning]", "study.yaml:9: domains.0: No domain named 'resoning'"),
        ("evals: [safety]", "evals: [safty]", "study.yaml:11: evals.0: No eval named 'safty'. Did you mean 'safety'?"),
        ("start: base, method", "start: bases, method", "study.yaml:14: .*no start 'bases'. Did you mean 'base'?"),
        (
            "where: {start: base, method: [none, dpo]}",
            "where: {start: a, domain: math}",
            "the study has no domain 'math'",
        ),
        ("where: {start: base, method: [none, dpo]}", "where: {}", "study.yaml:14: .*it chooses by nothing"),
        ("exclude:\n", "exclude:\n  - {start: base}\n", "study.yaml:14: .*matches no run"),
        ("name: small", "name: small\nname: other", "study.yaml:2: name is given twice"),
        ("name: b", "name: a", "study.yaml:4: .*two starts are called 'a'"),
        ("name: small", "name: ..", r"study.yaml:\d+: name: String should match pattern .* got '\.\.'"),
        ("name: a", "name: ../a", r"study.yaml:\d+: .*name: String should match pattern"),
        ("name: small", "name: [small", "study.yaml:.*no YAML"),
        ("problems: 8", "budget: 100furlongs", "study.yaml:12: budget: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_name(old, new, said, write):
    assert old in GOOD
    with pytest.raises(UserError, match=said.replace("?", r"\?")) as error:
        runs_of(write(GOOD.replace(old, new, 1)))
    assert "\n" not in str(error.value)


def test_the_84_runs_of_the_original_design_are_planned_offline(tmp_path):
    planned = plan_study(STUDIES / "qwen2.5-3b.yaml", plugins=Plugins(), store=Store(tmp_path))
    figures = plan_figures(planned, price=2.0)
    kinds = {row["kind"]: row for row in figures["by_kind"]}
    assert figures["runs"] == 84
    assert [row["phase"] for row in figures["by_phase"]] == ["core forgetting", "safety", "scale", "safety at scale"]
    start = kinds["evaluation of the start"]
    assert (start["models"], start["models_naive"]) == (4, 84)
    assert kinds["teacher's rollouts"]["steps"] == 2 * 3  # for both teachers in each domain, whoever learns from them
    assert kinds["teacher's rollouts"]["steps_naive"] == 4 * 4 * 3
    assert kinds["training"]["steps"] == 72  # the first stage of two is a run of its own
    assert figures["device_hours"] <= figures["device_hours_naive"] / 6
    assert figures["price"] == pytest.approx(2 * figures["device_hours"])
    assert figures["wall_hours"]["32"] >= figures["critical_path_hours"] > 0
    assert "the model Qwen/Qwen2.5-3B" in figures["not_here"]
    assert figures["costs_from"] == ["operations and bytes"]
    assert figures["steps"] == sum(row["steps"] for row in figures["by_phase"])


def test_every_study_that_is_shipped_is_planned(tmp_path):
    for file in STUDIES.glob("*.yaml"):
        runs = runs_of(file)
        assert len({run.name for run in runs}) == len(runs) > 1, file


def test_a_thousand_runs_of_fake_steps_are_planned_quickly(tmp_path, monkeypatch):
    site = install(tmp_path / "site", "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    install(site, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})
    monkeypatch.syspath_prepend(str(site))
    starts = "\n".join(f"  - {{name: m{number}, model: org/model-{number}b, start: base}}" for number in range(10))
    text = f"name: many\nstarts:\n{starts}\nmethods: [none, dpo, grpo, gt-sft, sdft]\ndomains: [coin]\n"
    file = tmp_path / "study.yaml"
    file.write_text(f"{text}seeds: [{', '.join(map(str, range(20)))}]\nevals: [picky]\nproblems: 8\n")
    plugins, store = Plugins(), Store(tmp_path / "store")
    plan_study(file, plugins=plugins, store=store, phase="rest")  # imports
    began = time.process_time()
    planned = plan_study(file, plugins=plugins, store=store)
    figures = plan_figures(planned)
    assert time.process_time() - began < 5
    assert figures["runs"] == 1000
    assert len(tasks_of(planned)) < figures["steps"] < figures["steps_naive"]


def test_a_thousand_runs_of_real_methods_are_planned_quickly(tmp_path):
    text = (STUDIES / "qwen2.5-3b.yaml").read_text()
    file = tmp_path / "study.yaml"
    file.write_text(text.replace("evals:", f"seeds: [{', '.join(map(str, range(12)))}]\nevals:"))
    plugins, store = Plugins(), Store(tmp_path / "store")
    plan_study(file, plugins=plugins, store=store, phase="scale")  # imports
    began = time.process_time()
    planned = plan_study(file, plugins=plugins, store=store)
    figures = plan_figures(planned)
    assert time.process_time() - began < 10
    assert figures["runs"] == 84 * 12


WATCHED = (
    COIN.replace('holdouts = "coin", "1", ()', 'holdouts = "coin", "1", ("far",)')
    .replace(
        "    return Coin()",
        """    from pathlib import Path

    def tell(line):
        with Path(os.environ["PFH_TOLD"]).open("a") as file:
            file.write(f"{line}\\n")

    class Watched(Coin):
        def problems(self, split, count, seed):
            tell(f"problems of seed {seed}")
            return super().problems(split, count, seed)

        def holdout(self, name):
            tell(f"held-out set {name}")
            return super().problems("far", 40, 0)

    tell("opened")
    return Watched()""",
    )
    .replace("import re\n", "import os\nimport re\n")
)


def test_what_runs_share_of_a_domain_is_read_once_for_all_of_them(tmp_path, monkeypatch):
    told = tmp_path / "told"
    monkeypatch.setenv("PFH_TOLD", str(told))
    site = install(tmp_path / "site", "coin-dist", {"watched_coin": WATCHED}, {"pfh.domains": {"coin": "watched_coin"}})
    install(site, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})
    monkeypatch.syspath_prepend(str(site))
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: shared\nstarts: [{name: a, model: org/a, start: base}, {name: b, model: org/b, start: base}]\n"
        "methods: [none, dpo, gt-sft]\ndomains: [coin]\nseeds: [3, 4]\nevals: [picky]\nproblems: 8\n"
    )
    planned = plan_study(file, plugins=Plugins(), store=Store(tmp_path / "store"))
    assert len(planned.runs) == 12
    assert {step.kind for step in planned.graph.values()} > {"divergence", "training"}
    assert sorted(told.read_text().splitlines()) == [
        "held-out set far", "opened", "problems of seed 3", "problems of seed 4",
    ]  # fmt: skip


def steps(*needs: tuple[str, ...]):
    made = {}
    for place, wanted in enumerate(needs):
        step = Step(
            kind="training", key=str(place), label="", part="training", needs=tuple(f"training-{n}" for n in wanted)
        )
        made[step.id] = step
    return made


def test_wall_time_is_that_of_the_longest_path_with_many_devices_and_the_sum_with_one():
    graph = steps((), ("0",), ("0",), ("1", "2"))
    seconds = dict(zip(graph, (1.0, 2.0, 5.0, 1.0), strict=True))
    assert wall_time(graph, seconds, 1) == 9
    assert wall_time(graph, seconds, 2) == 7
    assert wall_time(graph, seconds, 32) == 7


def test_costs_are_two_operations_a_weight_and_token_and_six_where_it_is_trained():
    assert Work(read=10, trained=5, weights=3).flops == 2 * 3 * 10 + 6 * 3 * 5
    written = Work(written=100, weights=1e9)
    assert written.seconds(CPU, batch=1) == pytest.approx(100 * 2e9 / (CPU.bandwidth * CPU.share))
    assert written.seconds(CPU, batch=10**6) == pytest.approx(100 * 2e9 / (CPU.flops * CPU.share))
    model = CostModel(device=CPU, sizes={"own": 5.0})
    sizes = [model.size(name) for name in ("own", "Qwen/Qwen2.5-72B-Instruct", "SmolLM2-135M-Instruct", "x/no-size")]
    assert sizes == [5.0, 72e9, 135e6, 1e9]


def test_costs_are_learned_from_the_ledgers_of_stored_steps(tmp_path):
    """Two evaluations of one family, one of them stored: the other takes as long, and a third family is not touched."""
    store = Store(tmp_path)
    about = {"weights": "m-1b", "benchmarks": ("x",), "limit": 10}
    stored, like, other = (
        Step(kind="evaluation", key=key, label="", part="evaluation after", about={**about, "family": family})
        for key, family in (("a", "safety"), ("b", "safety"), ("c", "policy"))
    )
    folder = tmp_path / "artifacts" / "evaluation" / "a"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    write_ledger(folder / "ledger.json", [Phase(name="evaluation", seconds=100.0, samples=10)])
    study = Study(name="s", starts=[StartEntry(name="m")], methods=["dpo"], domains=["math"], evals=["safety"])
    costs = cost_model(study, [stored, like, other], store)
    assert costs.seconds(stored) == 100.0
    assert costs.seconds(like) == pytest.approx(100.0)
    assert costs.seconds(other) == costs.work(other).seconds(costs.device, costs.assumed.batch)
    sources = [costs.source(step) for step in (stored, like, other)]
    assert sources == ["its own ledger", "ledgers of such steps", "operations and bytes"]


def contracted(folder, *contracts, methods="[none, dpo, [gt-sft, grpo]]"):
    for name, text in contracts:
        (folder / name).write_text(text)
    listed = ", ".join(name for name, _ in contracts)
    text = GOOD.replace("phases:", f"contracts: [{listed}]\nphases:")
    start, end = text.index("methods:"), text.index("domains:")
    return text[:start] + f"methods: {methods}\n" + text[end:].partition("exclude:")[0]


RELEASE = ("release.yaml", "contract: 1\nmust_hold: [{what: safety/*, margin: 5pp}]\n")
OF_SFT = ("sft.yaml", "contract: 1\nfor: {stages: [gt-sft]}\nmust_stay: [{what: safety/*, within: 5pp}]\n")


def test_contracts_are_held_against_the_runs_that_they_speak_of(write, tmp_path):
    runs = runs_of(write(contracted(tmp_path, RELEASE, OF_SFT)))
    held = {run.variant.label: [Path(each).name for each in run.spec.contracts] for run in runs}
    assert held == {"none": [], "dpo": ["release.yaml"], "gt-sft+grpo": ["release.yaml", "sft.yaml"]}
    assert all(Path(each).is_absolute() for run in runs for each in run.spec.contracts)
    assert run_from_json(run_as_json(runs[-1].spec)) == runs[-1].spec


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        ("contract: 1\nmust_hold: [{what: forgetting/*}]\n", "speaks of 'forgetting', which is not measured"),
        ("contract: 1\nfor: {stages: [gtsft]}\n", "Did you mean 'gt-sft'?"),
        ("contract: 3\n", "at fault"),
    ],
)
def test_a_contract_at_fault_is_told_by_the_line_of_the_study(write, tmp_path, contract, said):
    file = write(contracted(tmp_path, RELEASE, ("other.yaml", contract)))
    with pytest.raises(UserError) as raised:
        runs_of(file)
    assert said in str(raised.value)
    line = file.read_text().splitlines().index("contracts: [release.yaml, other.yaml]") + 1
    assert f"study.yaml:{line}: contracts.1" in str(raised.value)


def test_a_contract_that_changed_makes_the_comparison_anew_and_no_training(write, tmp_path):
    file = write(contracted(tmp_path, RELEASE, methods="[none, dpo]"))
    first = set(plan_study(file, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent()).graph)
    (tmp_path / RELEASE[0]).write_text(RELEASE[1].replace("5pp", "2pp"))
    second = set(plan_study(file, plugins=Plugins(), store=Store(tmp_path / "store"), progress=Silent()).graph)
    changed = {step.partition("-")[0] for step in first ^ second}
    assert changed == {"comparison"}
