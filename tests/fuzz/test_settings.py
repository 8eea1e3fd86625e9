"""What a user sets, fuzzed: contracts, studies, configurations, definitions of tasks, options."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pfh.commands.study.plan import plan_figures, plan_study
from pfh.registry.plugins import Plugins
from pfh.results.contracts import read_contract
from pfh.results.gate import judge
from pfh.results.junit import junit
from pfh.results.stored import open_results
from pfh.steps.ranks.configuration import read_configuration
from pfh.store.store import Store
from pfh_evals.behaviour.invariants import judging, opened
from pfh_evals.traffic.masking import read_rules

from tests import fuzzing
from tests.fuzz.files import CONTRACT, contract_file
from tests.fuzzing import json_bytes, json_file

YAML = (
    b"!!python/object/apply:os.system ['false']",
    b"&a [*a]",
    b"- 1\n- 2",
    b"[" * 5000,
    b"a: &a [x, x]\nb: [*a, *a]",
)


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


INVARIANTS: dict[str, Any] = {
    "version": 1,
    "defaults": {"max_new_tokens": 8, "temperature": 0.5, "hold": {"at_least": 0.9, "not_worse_by": 0.1}},
    "invariants": [
        {
            "id": "a",
            "kind": "function",
            "prompts": ["Hi", {"ask": "Say {vars.x}", "vars": {"x": 3}, "sources": ["s"]}],
            "system": "Be kind.",
            "vary": {"typos": 1, "wording": ["Please: {ask}"]},
            "repeats": 2,
            "checks": [
                {"json_schema": {"type": "object", "required": ["a"]}},
                {"any_of": [{"contains": "x"}, {"not": {"regex": "y"}}]},
                {"number": {"near": 3, "within": 1}},
                {"keeps": {"rule": "bullets", "count": 2}},
                {"unchanged": {"extract": {"json": "/a"}}},
            ],
            "hold": {"each": 0.5},
            "passes": ['{"a": 3}'],
            "fails": ["no"],
        },
        {"id": "b", "kind": "invariance", "prompts": ["Hi"], "extract": {"number": True}, "vary": {"typos": 2}},
    ],
}


def test_invariants(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    """Read with the checks in this process: a worker of a fork's would be another's."""

    def read(content: bytes) -> None:
        file = tmp_path / "own.yaml"
        file.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opened, "verdicts", here)
            opened.open_invariants(str(file))

    valid = {**INVARIANTS, "invariants": [{**INVARIANTS["invariants"][0]}, INVARIANTS["invariants"][1]]}
    valid["invariants"][0] = {**valid["invariants"][0], "checks": [{"contains": "3"}], "prompts": ["Hi"]}
    fuzzed(read, json_bytes(valid), yaml_file(INVARIANTS))


def here(asked: Any) -> list[Any]:
    found = []
    for each in asked:
        try:
            held, value = judging.judged(*each)
        except Exception:  # noqa: BLE001 - as a worker does
            found.append(None)
        else:
            found.append(judging.Verdict(held=tuple(held), value=value))
    return found


def test_masks(tmp_path: Path, fuzzed: Callable[..., None]) -> None:
    def read(content: bytes) -> None:
        file = tmp_path / "masks.txt"
        file.write_bytes(content)
        read_rules(str(file))

    valid = b"# ours\nCUSTOMER C-[0-9]{6}\nCITY (Rome|Bern)\n"
    fuzzed(read, valid, st.one_of(fuzzing.damaged(valid), st.text(max_size=60).map(str.encode)))
