"""The main job on a tiny model: reuse, resumption after kill -9, determinism, exit codes."""

import dataclasses
import re
import signal
import sys
from importlib.metadata import version

import pytest
from pfh.commands.compare import compare
from pfh.commands.requests import CompareSpec
from pfh.commands.run import execute
from pfh.errors import StepFailedError, UserError
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.results.contracts import read_contract
from pfh.results.gate import judge
from pfh.results.records import read_results
from pfh.store.evaluations import read_evaluation
from pfh.store.store import Store

from tests.confined import command
from tests.plugin_dists import install

COIN = '''
"""A domain whose verifier tosses a coin that the completion fixes: random models are right half the time.

What a self-test tries has its fixed outcome. A random model never ends its turn: any sign but a small letter does.
"""
import re
import string
import zlib

from pfh import hookimpl
from pfh.hooks.domains import Problem, Verdict
from pfh.hooks.backends import Sampling
from pfh.errors import DataUnavailableError


class Coin:
    name, version, holdouts = "coin", "1", ()
    ends = tuple(string.ascii_uppercase + string.digits + string.punctuation)
    sampling = Sampling(max_new_tokens=12, temperature=1.0, stop=ends)

    def problems(self, split, count, seed):
        return tuple(
            Problem(id=f"{split}-{seed}-{i}", environment="coin", answer="heads",
                    messages=({"role": "user", "content": f"Toss {i}."},))
            for i in range(count))

    def holdout(self, name):
        raise DataUnavailableError(f"coin has no held-out set {name}")

    def verify(self, problem, completion):
        tossed = re.search("[a-z]", completion) and not re.search("Toss|heads|answer|boxed|python", completion)
        toss = float(zlib.crc32(completion.encode()) % 2) if tossed else float(completion == "heads")
        return Verdict(reward=toss, extracted=completion)


@hookimpl
def open_domain(spec):
    return Coin()
'''

NEVER = COIN.replace("float(zlib.crc32(completion.encode()) % 2)", "0.0").replace('"coin"', '"never"')

LEAKY = COIN.replace('float(completion == "heads")', "1.0").replace('"coin"', '"leaky"')

PICKY = '''
"""A family with one benchmark that measures, and one whose data cannot be had until DATA_IS_HERE is set."""
import os

from pfh import hookimpl
from pfh.hooks.backends import GenerationRequest, Sampling
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.samples import Sample, sample_id


@hookimpl
def evaluate(spec):
    names = spec.benchmarks or ("here", "far")
    return Evaluation(family="picky", benchmarks=tuple(measure(name, spec) for name in names))


def measure(name, spec):
    about = {"name": name, "version": "1", "metric": "length", "higher_is_better": None}
    if name == "far" and not os.environ.get("DATA_IS_HERE"):
        return Benchmark(**about, status="NOT_RUN", reason="org/far is not in reach")
    chats = [({"role": "user", "content": f"{name} {i}"},) for i in range(4)]
    requests = [GenerationRequest(id=str(i), messages=chat) for i, chat in enumerate(chats)]
    completions = spec.engine.generate(requests, Sampling(max_new_tokens=4))
    return Benchmark(**about, samples=tuple(
        Sample(id=sample_id(name, "1", {"chat": chat}), benchmark=name, prompt=spec.engine.render(chat),
               completion=completion.text, score=float(completion.tokens))
        for chat, completion in zip(chats, completions)))
'''

OPTIONS = {
    "batch_size": "2",
    "gradient_accumulation": "1",
    "learning_rate": "2e-4",
    "save_steps": "1",
    "samples": "4",
    "max_steps": "12",
}


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def count(self, text):
        return sum(text in line for line in self.lines)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install(folder, "coin-dist", {"coin_domain": COIN}, {"pfh.domains": {"coin": "coin_domain"}})
    install(folder, "never-dist", {"never_domain": NEVER}, {"pfh.domains": {"never": "never_domain"}})
    install(folder, "leaky-dist", {"leaky_domain": LEAKY}, {"pfh.domains": {"leaky": "leaky_domain"}})
    install(folder, "picky-dist", {"picky_eval": PICKY}, {"pfh.evals": {"picky": "picky_eval"}})
    return folder


@pytest.fixture(scope="module")
def spec(tiny_llama_path):
    return RunSpec(
        methods=("dpo",),
        evals=(EvalChoice(family="safety", benchmarks=("probes",)),),
        domain="coin",
        model=str(tiny_llama_path),
        options={"methods:dpo": OPTIONS},
        problems=12,
        limit=12,
    )


@pytest.fixture
def run(plugins, monkeypatch):
    """Return a function that executes a spec in this process and returns the outcome and what was said."""
    monkeypatch.syspath_prepend(str(plugins))

    def run(spec, store, output):
        said = Lines()
        outcome = execute(spec, plugins=Plugins(), store=Store(store, said), progress=said, output=output)
        return outcome, said

    return run


@pytest.fixture(scope="module")
def whole(plugins, spec, tmp_path_factory):
    """Run the spec once, uninterrupted; return its folder, with the store beside the output."""
    folder = tmp_path_factory.mktemp("whole")
    sys.path.insert(0, str(plugins))
    try:
        execute(spec, plugins=Plugins(), store=Store(folder / "store"), progress=Silent(), output=folder / "out")
    finally:
        sys.path.remove(str(plugins))
    return folder


def figures(folder):
    """Return everything of results.json that two runs of one spec must share: all but the time spent."""
    stages = []
    for stage in read_results(folder / "results.json").stages:
        ledger = tuple((phase.name, phase.samples, phase.notes.get("pairs")) for phase in stage.ledger)
        models = stage.before.fingerprint, stage.after.fingerprint
        stages.append((ledger, models, stage.curves, stage.families, stage.notes, stage.options))
    return stages


def samples(store):
    return {path.name: read_evaluation(path) for path in sorted((store / "artifacts" / "evaluation").iterdir())}


def test_a_run_measures_trains_measures_again_and_reports(whole):
    stage = read_results(whole / "out" / "results.json").stages[0]
    rows = [row for family in stage.families for row in family.comparisons]
    assert [row.status for row in rows] == ["MEASURED"] * 6  # two rates; margins, target and depth lie under them
    assert {phase.name for phase in stage.ledger} == {"rollouts", "training"}
    assert len(stage.curves) == 12
    assert stage.options["beta"] == 0.1
    assert (whole / "out" / "report.html").stat().st_size > 10_000
    assert (whole / "store" / "artifacts" / "training").is_dir()
    assert (whole / "out" / "model" / "adapter_model.safetensors").is_file()
    assert "What changed against the start" in (whole / "out" / "model" / "README.md").read_text()


@pytest.mark.parametrize("measured", ["in the store of the run", "again, in another store", "as the run's folder"])
def test_compare_says_of_the_models_of_a_run_what_the_run_says(run, spec, whole, tmp_path, measured):
    ran = read_results(whole / "out" / "results.json")
    stage = ran.stages[0]
    models = stage.before.path, stage.after.path
    if measured == "as the run's folder":
        models = models[0], str(whole / "out")
    request = CompareSpec(models=models, evals=spec.evals, domain=spec.domain, limit=spec.limit, seed=spec.seed)
    store = Store(tmp_path / "store" if measured == "again, in another store" else whole / "store")
    compared = compare(request, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out").results
    assert compared.provenance == ran.provenance
    (of_run,), (of_compare,) = stage.families, compared.stages[0].families
    assert of_compare.comparisons == of_run.comparisons
    assert of_compare.findings == of_run.findings
    assert of_compare.plots == of_run.plots
    of_training = [table for table in of_run.tables if table.title == "Contamination"]
    assert of_training
    assert of_compare.tables == tuple(table for table in of_run.tables if table not in of_training)


def test_a_stage_says_what_its_training_rests_on(whole):
    stage = read_results(whole / "out" / "results.json").stages[0]
    assert stage.provenance.keys() == {"methods:dpo", "domains:coin", "trl", "accelerate"}
    assert stage.provenance["trl"] == version("trl")


def test_what_is_stored_cannot_be_trained(run, spec, whole, tmp_path):
    with pytest.raises(UserError, match="out holds stored answers, which cannot be trained"):
        run(dataclasses.replace(spec, model=str(whole / "out")), whole / "store", tmp_path / "again")


def test_the_same_spec_again_computes_nothing_and_says_so(run, spec, whole, tmp_path):
    _, said = run(spec, whole / "store", tmp_path / "again")
    assert said.count("reusing the stored dpo training") == 1
    assert said.count("reusing the stored evaluation") == 2
    assert figures(whole / "out") == figures(tmp_path / "again")


def test_another_training_reuses_the_baseline_and_the_rollouts(run, spec, whole, tmp_path):
    other = dataclasses.replace(spec, options={"methods:dpo": OPTIONS | {"beta": "0.3"}})
    _, said = run(other, whole / "store", tmp_path / "other")
    assert said.count("reusing the stored evaluation of safety") == 1
    assert said.count("reusing the stored rollouts") == 1
    assert said.count("reusing the stored dpo training") == 0


def test_one_spec_run_twice_gives_identical_samples_and_figures(run, spec, whole, tmp_path):
    run(spec, tmp_path / "store", tmp_path / "out")
    assert figures(tmp_path / "out") == figures(whole / "out")
    again = samples(tmp_path / "store")
    assert again == {key: value for key, value in samples(whole / "store").items() if key in again}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("partial/rollouts-*/work/journal.jsonl", id="during rollouts"),
        pytest.param("partial/training-*/work/**/COMPLETE", id="during training"),
        pytest.param("partial/evaluation-*/work/journal.jsonl", id="during evaluation"),
    ],
)
def test_after_kill_9_the_same_command_ends_with_the_figures_of_a_whole_run(
    run, spec, whole, plugins, tmp_path, moment, monkeypatch
):
    options = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
    arguments = ["run", "--method", "dpo", "--eval", "safety:probes", *options, "--domain", "coin"]
    arguments += ["--model", spec.model, "--problems", "12", "--limit", "12"]
    arguments += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out")]

    def it_came() -> bool:
        return any((tmp_path / "store").glob(moment))

    monkeypatch.syspath_prepend(plugins)
    victim = command(*arguments, seconds=200, memory=64 << 30, until=it_came)
    assert victim.code == -signal.SIGKILL, victim.stderr
    assert not (tmp_path / "out").exists()
    run(spec, tmp_path / "store", tmp_path / "out")
    assert figures(tmp_path / "out") == figures(whole / "out")
    again = samples(tmp_path / "store")
    assert again == {key: value for key, value in samples(whole / "store").items() if key in again}


def test_no_pair_is_told_with_counts_and_the_rollouts_are_kept(run, spec, tmp_path):
    with pytest.raises(StepFailedError, match="0 of 12 prompts"):
        run(dataclasses.replace(spec, domain="never"), tmp_path / "store", tmp_path / "out")
    assert any((tmp_path / "store" / "artifacts" / "rollouts").iterdir())


def test_a_verifier_that_rewards_nothing_said_stops_the_run_before_anything_is_measured(run, spec, tmp_path):
    with pytest.raises(StepFailedError, match="environment leaky: the verifier rewards the probe 'empty'"):
        run(dataclasses.replace(spec, domain="leaky"), tmp_path / "store", tmp_path / "out")
    assert not any((tmp_path / "store" / "artifacts").iterdir())


def test_the_report_says_how_the_verifier_did(whole):
    assert "12 of 12 gold answers earned 1" in read_results(whole / "out" / "results.json").notes[0]


def test_what_cannot_be_had_is_not_run_everywhere_and_tried_again_later(run, spec, tmp_path, monkeypatch):
    picky = dataclasses.replace(spec, evals=(EvalChoice(family="picky"),))
    outcome, _ = run(picky, tmp_path / "store", tmp_path / "out")
    rows = {row.benchmark: row for row in outcome.results.stages[0].families[0].comparisons}
    assert outcome.exit_code == 0
    assert (rows["far"].status, rows["far"].before) == ("NOT_RUN", None)
    assert "org/far is not in reach" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.setenv("DATA_IS_HERE", "1")
    outcome, said = run(picky, tmp_path / "store", tmp_path / "again")
    later = {row.benchmark: row for row in outcome.results.stages[0].families[0].comparisons}
    assert said.count("trying again what could not run then: far") == 2
    assert later["far"].status == "MEASURED"
    assert later["here"] == dataclasses.replace(rows["here"], p_adjusted=later["here"].p_adjusted)


def test_what_was_asked_for_by_name_and_cannot_be_had_is_exit_2(run, spec, whole, tmp_path):
    picky = dataclasses.replace(spec, evals=(EvalChoice(family="picky", benchmarks=("far",)),))
    outcome, _ = run(picky, whole / "store", tmp_path / "out")
    assert outcome.exit_code == 2


def held_by_stages(outcome, said, first, second, folder):
    """Each stage was held against what it changed itself, the run against its start, and all of it is told."""
    gates = outcome.results.gates
    assert [(gate.contract, gate.stage) for gate in gates] == [
        ("stage.yaml", 0),
        ("stage.yaml", 1),
        ("whole.yaml", None),
    ]
    assert [gate.passes for gate in gates] == [False, False, True]
    assert outcome.exit_code == 1, [gate.sentence for gate in gates]
    assert first.alone == ()
    for alone, before, after in zip(
        second.alone[0].comparisons, first.families[0].comparisons, second.families[0].comparisons, strict=True
    ):
        assert (alone.before, alone.after) == (before.after, after.after)
    by_kind = {clause.kind: clause for clause in gates[1].clauses}
    assert (by_kind["must_stay"].state, by_kind["floors"].state) == ("holds", "broken")
    afterwards = judge(read_contract(folder / "stage.yaml"), read_results(folder / "out" / "results.json"))
    assert set(gates[1].clauses) <= set(afterwards.clauses)
    assert said.count("contract stage.yaml, stage 2 (dpo): The gate stays shut") == 1
    assert "Contract stage.yaml, stage 1 (dpo): The gate stays shut" in (folder / "out" / "report.html").read_text()


def test_a_broken_contract_can_end_the_run_and_one_at_fault_does_before_training(run, spec, whole, tmp_path):
    contract = tmp_path / "contract.yaml"
    contract.write_text(
        "{contract: 1, for: {stages: [dpo]}, floors: [{what: safety/probes-harmful, at_least: 1.0}], when_broken: stop}"
    )
    two = dataclasses.replace(spec, methods=("dpo", "gt-sft"), contracts=(str(contract),))
    outcome, _ = run(two, whole / "store", tmp_path / "out")
    assert [stage.method for stage in outcome.results.stages] == ["dpo"]
    assert outcome.exit_code == 1, [gate.sentence for gate in outcome.results.gates]
    assert any("The run ended after stage 1 (dpo)" in note for note in outcome.results.notes)
    for text, wrong in (
        ("for: {stages: [gpro]}", "a stage 'gpro', which this run does not have"),
        ("must_hold: [{what: safetyy/*}]", "speaks of 'safetyy', which is not measured. Did you mean 'safety'"),
        ("must_hold: [{what: safety/prboes}]", "matches nothing that this run measures"),
    ):
        contract.write_text(f"{{contract: 1, {text}}}")
        with pytest.raises(UserError, match=re.escape(wrong)):
            run(two, whole / "store", tmp_path / "other")


def test_a_second_stage_trains_from_the_first_and_is_measured_against_the_start(run, spec, whole, tmp_path):
    (tmp_path / "stage.yaml").write_text(
        "{contract: 1, for: {stages: [dpo]}, must_stay: [{what: safety/probes-harmful, within: 1.0}], "
        "floors: [{what: safety/probes-harmful, at_least: 1.0}]}"
    )
    (tmp_path / "whole.yaml").write_text("{contract: 1, may_change: [safety], otherwise: report}")
    files = (str(tmp_path / "stage.yaml"), str(tmp_path / "whole.yaml"))
    two = dataclasses.replace(spec, methods=("dpo", "dpo"), contracts=files)
    outcome, said = run(two, whole / "store", tmp_path / "out")
    first, second = outcome.results.stages
    held_by_stages(outcome, said, first, second, tmp_path)
    assert said.count("reusing the stored dpo training") == 1
    assert first.before == second.before
    assert first.after.fingerprint != second.after.fingerprint
    assert [table.title for table in second.families[0].tables].count("Stage by stage") == 1
    assert "Stage by stage" not in [table.title for table in first.families[0].tables]
    assert "1 | `dpo`" in (tmp_path / "out" / "model-1-dpo" / "README.md").read_text()
    assert "2 | `dpo`" in (tmp_path / "out" / "model" / "README.md").read_text()
