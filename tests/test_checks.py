"""What a run refuses before anything is measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pfh.commands.run import execute
from pfh.errors import UserError
from pfh.hooks.budget import Budget
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.steps.checks import check_stage
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.store.store import Store

from tests.letters import Letters, problems
from tests.test_every_method import OPTIONS
from tests.tiny import tiny_model

PROBLEMS = problems(8)
SMALL_UPDATE = {"batch_size": 4, "gradient_accumulation": 1}
WRITES = {"gradient_accumulation": 8}
"""Of the methods that write several completions a prompt: 32 completions, of 8 prompts, are an update."""
NOTHING_TO_SHOW = tuple(dataclasses.replace(problem, answer="") for problem in PROBLEMS)


@dataclasses.dataclass
class Wrong(Letters):
    """Accepts nothing."""

    def __post_init__(self) -> None:
        super().__init__(reward=0.0)


class Unmeasured(Session):
    """Opens no engine: nothing may be measured or drawn."""

    def engine(self, checkpoint):
        raise AssertionError("an engine was opened")


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_llama_path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    others = {name: tiny_model(folder / name, name, seed=1) for name in ("llama", "qwen2")}
    return {"student": tiny_llama_path, **others}


@pytest.fixture
def said():
    return []


@pytest.fixture
def session(tmp_path, said):
    progress = Silent()
    progress.say = said.append
    return Unmeasured(plugins=Plugins(), store=Store(tmp_path / "store"), progress=progress)


@pytest.fixture
def check(models, tmp_path, session):
    def run(method, asked=PROBLEMS, domain=None, budget=None, **given):
        told = {**SMALL_UPDATE, **OPTIONS[method], **(WRITES if "generations" in OPTIONS[method] else {}), **given}
        if "teacher" in told:
            told["teacher"] = str(models.get(told["teacher"], told["teacher"]))
        check_stage(
            session,
            resolve(str(models["student"]), cache_dir=tmp_path / "fingerprints"),
            OpenDomain(name="letters", domain=domain or Letters(), problems=asked),
            method,
            options=session.plugins.options("methods", method, told),
            budget=Budget.parse(budget) if budget else None,
        )

    return run


@pytest.mark.parametrize("method", OPTIONS)
def test_a_stage_that_can_be_trained_is_let_through(method, check):
    check(method, lora_targets="q_proj,v_proj", budget="1 update")


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        (
            "sf-sft",
            {"teacher": "qwen2"},
            r"of the family llama, the teacher .* of qwen2\. .*use cf-sft, or set allow_f",
        ),
        (
            "cf-sft",
            {"teacher": "llama"},
            r"of the family llama, the teacher .* of llama\. .*use sf-sft, or set allow_f",
        ),
        ("sf-sft", {"teacher": "/no/model"}, "There is no model at /no/model"),
        ("grpo", {"use_vllm": "true"}, r"vLLM.*(not installed|only on a GPU)"),
        (
            "gt-sft",
            {"lora_targets": "q_prj"},
            r"no linear layer of this model \(llama\) that can have an adapter\. Did you mean 'q_proj'",
        ),
        ("opsd", {"lora_targets": "all-linear,q_proj"}, "either all-linear alone or names"),
        ("gt-sft", {"budget": "3 samples"}, "3 samples does not last for one update of gt-sft, which takes 4 samples"),
        ("spin", {"budget": "3 samples"}, "3 samples does not last for one update of spin, which takes 4 samples"),
        ("grpo", {"budget": "8 samples"}, "8 samples does not last for one update of grpo, which takes 32 samples"),
        ("grpo", {"asked": problems(3)}, r"grpo takes 8 prompts an update and has 3 \(of 3"),
        ("reinforce", {"asked": problems(3)}, "reinforce takes 8 prompts an update and has 3"),
        ("pi-distill", {"asked": problems(3)}, "pi-distill takes 8 prompts an update and has 3"),
        ("sdft", {"asked": problems(3)}, "sdft takes 4 prompts an update and has 3"),
        *(
            (
                method,
                {"asked": NOTHING_TO_SHOW, "information": information},
                f"{method} shows .*{information}, and none of the 8 problems of the domain letters has one to show",
            )
            for method in ("pi-distill", "opsd")
            for information in ("solution", "answer")
        ),
        *(
            (method, {"domain": Wrong()}, "letters has no ground truth to learn from: none of 8 problems .*dpo or grpo")
            for method in ("gt-sft", "spin", "sdft", "sdft-rewrite")
        ),
    ],
)
def test_what_cannot_be_trained_says_what_to_change(method, given, message, check):
    with pytest.raises(UserError, match=message):
        check(method, **given)


def test_families_may_differ_where_that_is_allowed(check):
    check("sf-sft", teacher="qwen2", allow_family_mismatch="true")


def test_a_run_refuses_its_second_stage_before_it_measures_the_start(tiny_llama_path, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "engine", Unmeasured.engine)
    spec = RunSpec(
        methods=("dpo", "grpo"),
        evals=(EvalChoice.parse("safety:probes-benign"),),
        model=str(tiny_llama_path),
        problems=8,
        budget=Budget.parse("16 samples"),
        options={"methods:dpo": {key: str(value) for key, value in SMALL_UPDATE.items()}},
    )
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="does not last for one update of grpo"):
        execute(spec, plugins=Plugins(), store=store, progress=Silent(), output=tmp_path / "out")


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        *(
            (
                method,
                {"max_length": 64, "max_new_tokens": 64},
                rf"{method} has max_length=64, and completions of up to 64",
            )
            for method in ("grpo", "reinforce", "pi-distill", "opsd")
        ),
        (
            "grpo",
            {"max_length": 24, "max_new_tokens": 20},
            r"prompts of 8 of 8 problems .* are longer than the 4 tokens",
        ),
        (
            "gt-sft",
            {"max_length": 8},
            "prompts of 8 of 8 problems .* are longer than the 7 tokens that max_length=8",
        ),
        ("dpo", {"max_length": 8}, "prompts of 8 of 8 problems .* are longer than the 7 tokens that max_length=8"),
    ],
)
def test_a_completion_without_room_is_refused(method, given, message, check):
    with pytest.raises(UserError, match=message):
        check(method, **given)


def test_prompts_that_are_too_long_are_counted_and_left_out(check, said):
    *rest, last = problems(9)
    long = dataclasses.replace(last, messages=({"role": "user", "content": "so many words " * 30},))
    check("grpo", asked=(*rest, long), max_length=100, max_new_tokens=8)
    assert [line for line in said if "leaves out" in line] == [
        "grpo leaves out 1 of 9 prompts: longer than 92 tokens (p8)"
    ]
    with pytest.raises(UserError, match=r"prompts of 1 of 9 problems .* are longer than the 99 tokens"):
        check("gt-sft", asked=(*rest, long), max_length=100)


def test_a_backend_that_the_rollouts_of_training_do_not_use_is_told(check, said, session):
    session.backend = "vllm"
    check("grpo")
    assert [line for line in said if "vllm" in line] == [
        "grpo draws the completions that it trains on without the backend vllm: use_vllm is off"
    ]
