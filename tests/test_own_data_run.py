"""A user's own data in a run: what each method needs of it, what it takes, and what the report says."""

from __future__ import annotations

import dataclasses
import json

import pytest
from pfh.commands.requests import validate
from pfh.commands.run import execute
from pfh.commands.run_steps import RunSteps
from pfh.commands.specs import plan
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Rollout, Verdict
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.hooks.methods import StageSpec, TrainingSpec
from pfh.progress import Silent
from pfh.steps.checks import check_judged
from pfh.steps.session import Session
from pfh.store.rollouts import read_rollouts, write_rollouts
from pfh.store.store import Store
from pfh.testing import ApologyJudge, FakeEngine, NoData
from pfh_evals import target
from pfh_methods import dpo, sdft_rewrite

from tests.own_data import PLUGINS, open_data, rows_of, write

FREE = ("gt-sft", "spin", "sdft", "sdft-rewrite")
"""Methods that need no verifier where the data hold completions."""
JUDGED = ("sf-sft", "cf-sft", "grpo", "reinforce", "pi-distill", "opsd")
SMALL = {
    "batch_size": 2,
    "gradient_accumulation": 1,
    "max_steps": 2,
    "max_length": 160,
    "lora_rank": 2,
    "gradient_checkpointing": False,
}
FAKE = Checkpoint(name="fake", path=None, fingerprint="fake")  # type: ignore[arg-type] # never opened


def options_of(method, **more):
    given = {"teacher": "some/model"} if method in ("sf-sft", "cf-sft") else {}
    return PLUGINS.options("methods", method, {**given, **more})


def stage(domain, method, **more):
    problems = domain.problems("train", 64, 0)
    return StageSpec(checkpoint=FAKE, domain=domain, problems=problems, options=options_of(method, **more))


@pytest.mark.parametrize("method", FREE)
def test_methods_that_learn_from_completions_need_no_verifier(method, tmp_path):
    domain = open_data(write(tmp_path, rows_of("messages")))
    spec = stage(domain, method)
    check_judged(domain, method, spec.options, PLUGINS)
    PLUGINS.check_stage(method, spec)


@pytest.mark.parametrize("method", JUDGED)
def test_methods_that_learn_from_a_verifier_say_so_in_one_line(method, tmp_path):
    domain = open_data(write(tmp_path, rows_of("completion")))
    with pytest.raises(UserError, match=r"data\.verifier=.*gt-sft") as caught:
        check_judged(domain, method, options_of(method), PLUGINS)
    assert "\n" not in str(caught.value)
    check_judged(open_data(write(tmp_path, rows_of("answer")), verifier="exact"), method, options_of(method), PLUGINS)


def test_dpo_takes_the_pairs_of_the_data_and_draws_nothing(tmp_path, tiny_llama_path):
    domain = open_data(write(tmp_path, rows_of("preference", 20)), held_out=0)
    PLUGINS.check_stage("dpo", stage(domain, "dpo"))
    trained = PLUGINS.train("dpo", training(domain, "dpo", tmp_path, tiny_llama_path))
    assert trained.notes[0] == "6 preference pairs were taken from the data as they are; no rollout was drawn."
    assert trained.phases[-1].notes["effective_prompts"] == 6
    pairs = dpo.given_pairs(domain.problems("train", 6, 0))
    assert all(int(pair.chosen[6:-1]) == int(pair.rejected[9:-1]) + 1 for pair in pairs)


def test_dpo_without_pairs_and_without_a_verifier_says_what_it_lacks(tmp_path):
    domain = open_data(write(tmp_path, rows_of("completion")))
    with pytest.raises(UserError, match=r"preference pairs.*data\.verifier"):
        check_judged(domain, "dpo", options_of("dpo"), PLUGINS)
    check_judged(open_data(write(tmp_path, rows_of("answer")), verifier="exact"), "dpo", options_of("dpo"), PLUGINS)
    check_judged(open_data(write(tmp_path, rows_of("preference"))), "dpo", options_of("dpo"), PLUGINS)


def test_sft_takes_the_completions_as_they_are(tmp_path, tiny_llama_path):
    domain = open_data(write(tmp_path, rows_of("preference", 20)), held_out=0)
    trained = PLUGINS.train("gt-sft", training(domain, "gt-sft", tmp_path, tiny_llama_path))
    assert trained.phases[-1].notes["examples"] == 6


def test_rewrites_that_nothing_judges_count_unless_they_are_empty(tmp_path):
    domain = open_data(write(tmp_path, rows_of("completion", 3)), held_out=0)
    problems = domain.problems("train", 3, 0)
    examples = [sdft_rewrite.Example(problem=problem, completion=problem.solution) for problem in problems]
    verdict = Verdict(reward=0.0, extracted=None)
    texts = ["My words.", " ", "As the reference answer says."]
    drawn = [
        Rollout(problem=problem, index=0, completion=text, tokens=2, truncated=False, verdict=verdict)
        for problem, text in zip(problems, texts, strict=True)
    ]
    chosen = sdft_rewrite.choose(examples, drawn, ("reference answer",), judged=False)
    assert chosen.outcomes == ("own words", "wrong", "leaks")
    write_rollouts(tmp_path / "rollouts.parquet", drawn)
    assert read_rollouts(tmp_path / "rollouts.parquet")[0].problem == problems[0]


def training(domain, method, folder, model):
    def none_drawn(**asked):
        raise AssertionError(f"rollouts were drawn: {asked}")

    return TrainingSpec(
        checkpoint=Checkpoint(name="tiny", path=model, fingerprint="tiny"),
        domain=domain,
        problems=domain.problems("train", 6, 0),
        rollouts=none_drawn,
        seed=0,
        output_dir=folder / "out",
        options=options_of(method, **SMALL),
    )


class Fond(FakeEngine):
    """Finds every word cheap but those of "No idea"."""

    def loglikelihood(self, requests):
        scores = super().loglikelihood(requests)
        return [
            dataclasses.replace(score, logprob=score.logprob * (4 if "No idea" in request.continuation else 1))
            for request, score in zip(requests, scores, strict=True)
        ]


def evaluated(domain, engine, benchmarks=()):
    options = PLUGINS.options("evals", "target", {})
    spec = EvaluationSpec(
        engine=engine,
        options=options,
        data=NoData(),
        judge=lambda name: ApologyJudge(),
        domain=domain,
        benchmarks=benchmarks,
    )
    return {each.name: each for each in target.evaluate(spec).benchmarks}


def test_held_out_pairs_are_measured_by_loss_and_by_which_is_likelier(tmp_path):
    domain = open_data(write(tmp_path, rows_of("preference")))
    found = evaluated(domain, Fond())
    assert (found["held_out"].status, found["held_out-loss"].status) == ("NOT_RUN", "MEASURED")
    assert "data.verifier" in found["held_out"].reason
    assert {sample.score for sample in found["held_out-loss"].samples} == {1.0}  # a nat a word
    assert {sample.score for sample in found["held_out-preference"].samples} == {1.0}
    assert {sample.score for sample in evaluated(domain, FakeEngine())["held_out-preference"].samples} == {0.0}
    assert found["held_out-loss"].higher_is_better is False
    assert len(found["held_out-loss"].samples) == len(domain.holdout("held_out"))


def test_held_out_answers_are_scored_strictly_and_leniently(tmp_path):
    rows = [{"question": f"{n}?", "answer": "7"} for n in range(60)]
    domain = open_data(write(tmp_path, rows))
    found = evaluated(domain, FakeEngine(["7", "It is seven.", "My number must be 7"]))
    assert list(found) == ["held_out"]
    samples = found["held_out"].samples[:3]
    assert [sample.score for sample in samples] == [1.0, 0.0, 1.0]
    assert [sample.status for sample in samples] == ["ok", "ok", "format_failure"]
    pairs = evaluated(open_data(write(tmp_path, rows_of("completion"))), FakeEngine(), ("held_out-preference",))
    assert pairs["held_out-preference"].reason == "the data hold no preference pairs"


def run_spec(file, model, method, **data):
    options = {"domains:data": {"dataset": str(file), **data}, f"methods:{method}": SMALL}
    return RunSpec(
        methods=(method,),
        evals=(EvalChoice.parse("target"),),
        options=options,
        domain="data",
        model=str(model),
        problems=2048,
        limit=4,
        rehearsal=False,
        divergence_prompts=0,
    )


@pytest.mark.parametrize(("form", "method"), [("messages", "gt-sft"), ("preference of chats", "dpo")])
def test_a_run_on_a_hundred_rows_with_three_broken_ones_ends_with_a_report(form, method, tmp_path, tiny_llama_path):
    rows = [*rows_of(form, 97), '{"broken": ', "[]", {"other": 1}]
    file = write(tmp_path, rows)
    with pytest.raises(UserError, match="3 of 100 rows cannot be used: line 98: is no JSON"):
        execute(
            run_spec(file, tiny_llama_path, method),
            plugins=PLUGINS,
            store=Store(tmp_path / "store", Silent()),
            progress=Silent(),
        )
    outcome = execute(
        run_spec(file, tiny_llama_path, method, on_broken="skip"),
        plugins=PLUGINS,
        store=Store(tmp_path / "store", Silent()),
        progress=Silent(),
        output=tmp_path / "results",
    )
    notes = " ".join(outcome.results.notes)
    assert "3 broken rows left out" in notes
    assert "line 98: is no JSON" in notes
    assert f"rows of the form {form.split()[0]}" in notes
    assert "rows.jsonl" in (outcome.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("form", "method", "place"), [("completion", "gt-sft", "completion"), ("preference", "dpo", "rejected")]
)
def test_rows_that_max_length_would_cut_are_named_before_anything_is_measured(
    form, method, place, tmp_path, tiny_llama_path
):
    class Heard(Silent):
        said = ()

        def say(self, text):
            self.said = (*self.said, text)

    rows = rows_of(form, 20)
    rows[6][place] = "word " * 100
    heard = Heard()
    session = Session(plugins=PLUGINS, store=Store(tmp_path / "store", Silent()), progress=heard, backend="hf")
    spec = run_spec(write(tmp_path, rows), tiny_llama_path, method, held_out=0)
    options = validate(spec, PLUGINS)
    RunSteps(spec, session, options).check()
    cut = f"{method} cuts the completions of 1 of 20 problems at max_length=160, so that they teach no end: line 7"
    assert cut in heard.said
    rows[8]["prompt"] = "What? " * 100
    spec = run_spec(write(tmp_path, rows), tiny_llama_path, method, held_out=0)
    with pytest.raises(UserError, match=r"1 of 20 problems \(line 9\) are longer"):
        RunSteps(spec, session, options | validate(spec, PLUGINS)).check()


def test_a_dry_run_shows_the_form_the_columns_and_the_rows(tmp_path):
    file = write(tmp_path, rows_of("instruction"))
    spec = run_spec(file, "safe", "gt-sft")
    validate(spec, PLUGINS)
    told = plan(spec, PLUGINS)["read"]
    assert "100 rows of the form instruction (prompt instruction, input input, completion output)" in told
    for method, said in (("grpo", "grpo learns from what a verifier says"), ("dpo", "dpo needs preference pairs")):
        with pytest.raises(UserError, match=said):
            plan(
                dataclasses.replace(spec, methods=(method,), options={"domains:data": {"dataset": str(file)}}), PLUGINS
            )
    assert json.dumps(plan(spec, PLUGINS))
