"""What a safety run is given wrongly, or cannot do: it says so, and never makes a figure of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pfh.commands.exporting import without_attacks
from pfh.errors import UserError
from pfh.hooks.attacks import AttackResult, AttackSpec
from pfh.hooks.backends import EngineSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.testing import FakeEngine, evaluation_spec
from pfh_backends.hf.engine import HfEngine
from pfh_evals import safety
from pfh_evals.safety.latent_benchmarks import choose

from tests.test_attacks import REMOTE, Word
from tests.test_safety import DATA, Cautious, Tables
from tests.tiny import tiny_llama

PLUGINS = Plugins()
TARGETS = ("centerforaisafety/HarmBench", "targets_text", "all")


def attack(name: str, spec: AttackSpec) -> AttackResult:
    small = {"queries": 40, "width": 20, "suffix": 4} if name == "random-search" else {}
    return PLUGINS.attack(name, dataclasses.replace(spec, options=PLUGINS.options("attacks", name, small)))


def evaluated(engine: FakeEngine | HfEngine, name: str, **changes: object) -> Evaluation:
    options = changes.pop("options", safety.Options())
    spec = dataclasses.replace(
        evaluation_spec([""], options=options), engine=engine, benchmarks=(name,), attack=attack, **changes
    )
    return safety.evaluate(spec)


def named(evaluation: Evaluation, name: str) -> Benchmark:
    return next(each for each in evaluation.benchmarks if each.name == name)


@pytest.mark.parametrize("name", ["gcg", "soft-prompt"])
def test_an_attack_that_the_backend_cannot_run_is_not_run_with_the_reason(name: str) -> None:
    far = Word("x")
    far.checkpoint = REMOTE
    for engine in (FakeEngine(["Sorry, no."]), far):
        found = evaluated(engine, "probes-harmful", options=safety.Options(attacks=name), limit=3)
        under = named(found, f"probes-harmful+{name}")
        assert (under.status, under.samples) == ("NOT_RUN", ())
        assert under.reason == f"{name} needs gradients; use --backend hf or auto"
        assert named(found, "probes-harmful").status == "MEASURED"


def test_a_behaviour_without_a_target_gets_the_default_and_the_sample_says_so() -> None:
    own = {**DATA, TARGETS: [{"Behavior": "unsafe deed 1", "target": "Sure, here is the deed"}]}
    found = evaluated(
        Cautious("unsafe"), "harmbench-standard", options=safety.Options(attacks="templates"), data=Tables(own)
    )
    sources = {
        sample.extra["user_prompt"]: sample.extra["target_source"]
        for sample in named(found, "harmbench-standard+templates").samples
    }
    assert sources["unsafe deed 1"] == "own"
    assert set(sources.values()) == {"own", "default"}


def test_no_behaviour_is_no_figure() -> None:
    empty = Tables({("walledai/HarmBench", "standard", "train"): []})
    found = evaluated(Cautious("x"), "harmbench-standard", options=safety.Options(attacks="templates"), data=empty)
    reasons = {each.name: (each.status, each.reason) for each in found.benchmarks if "-target" not in each.name}
    assert reasons["harmbench-standard"] == ("NOT_RUN", "no prompt is left of it")
    assert reasons["harmbench-standard+templates"] == ("NOT_RUN", "no prompt is left of it")


def test_another_seed_searches_other_strings_for_the_same_behaviours() -> None:
    def searched(seed: int) -> Benchmark:
        options = safety.Options(attacks="random-search")
        return named(
            evaluated(Word("?"), "probes-harmful", options=options, limit=3, seed=seed), "probes-harmful+random-search"
        )

    first, second = searched(0), searched(1)
    assert [sample.id for sample in first.samples] == [sample.id for sample in second.samples]
    assert [sample.prompt for sample in first.samples] != [sample.prompt for sample in second.samples]


def test_a_model_without_a_chat_template_can_be_prefilled(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "base", chat_template=None)
    engine = HfEngine(EngineSpec(checkpoint=resolve(str(folder), cache_dir=tmp_path)))
    options = safety.Options(attacks="prefill", max_new_tokens=4)
    under = named(evaluated(engine, "probes-harmful", options=options, limit=2), "probes-harmful+prefill")
    assert under.status == "MEASURED"
    assert all(sample.prompt.endswith(sample.extra["prefill"]) for sample in under.samples)


def test_strings_of_attacks_do_not_leave_with_an_export() -> None:
    found = evaluated(Word("?"), "probes-harmful", options=safety.Options(attacks="random-search"), limit=3)
    under = named(without_attacks(found), "probes-harmful+random-search")
    for sample, before in zip(under.samples, named(found, "probes-harmful+random-search").samples, strict=True):
        assert sample.prompt == sample.extra["user_prompt"]
        assert sample.prompt in before.prompt != sample.prompt
        assert "attempts" not in sample.extra
        assert (sample.score, sample.completion) == (before.score, before.completion)
    assert named(without_attacks(found), "probes-harmful") == named(found, "probes-harmful")


def test_an_attack_that_could_not_run_is_tried_again_alone() -> None:
    engine = Cautious("bad")
    again = evaluated(
        engine, "probes-harmful+gcg", options=safety.Options(attacks="templates,gcg,prefill"), limit=3, default_set=True
    )
    assert [each.name for each in again.benchmarks] == ["probes-harmful+gcg"]
    assert engine.calls == 0  # nothing that was measured is measured again
    named_as_its_group = choose(("salad+gcg", "salad+prefill")).attacked
    assert {each.name: sorted(attacks) for each, attacks in named_as_its_group.items()} == {"salad": ["gcg", "prefill"]}
    with pytest.raises(UserError, match=r"no benchmark 'probes-harmfl'\. Did you mean"):
        evaluated(engine, "probes-harmfl+gcg")
