"""Which defaults a model gets: the embedded one its own, from one file, every other those that the field uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pfh.commands.estimates import estimates
from pfh.commands.requests import MeasureSpec, fill_options, validate
from pfh.errors import UserError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.launchers import EvalChoice, RunSpec
from pfh.kit.training import TrainingOptions, lora_config
from pfh.kit.training.estimate import estimate
from pfh.kit.weights import without_weights
from pfh.registry.options import fill
from pfh.registry.plugins import Plugins
from pfh.starts.settings import default_problems, embedded_settings
from torch.nn import Linear

from tests.tiny import tiny_model

METHODS = (
    *("gt-sft", "sf-sft", "cf-sft", "spin", "sdft", "sdft-rewrite"),
    *("grpo", "reinforce", "dpo", "pi-distill", "opsd"),
)
ONLINE = ("grpo", "reinforce", "pi-distill", "opsd")


@pytest.fixture(scope="module")
def plugins():
    return Plugins()


def chosen(plugins, method, model, domain="math", **options):
    given = {"methods:sf-sft": {"teacher": "t"}, "methods:cf-sft": {"teacher": "t"}}.get(f"methods:{method}", {})
    spec = RunSpec(
        methods=(method,),
        evals=(EvalChoice(family="safety"),),
        domain=domain,
        model=model,
        options={f"methods:{method}": given | options},
    )
    return validate(spec, plugins)


@pytest.mark.parametrize("method", METHODS)
def test_every_model_but_the_embedded_one_gets_the_fields_settings(method, plugins):
    filled = chosen(plugins, method, "Qwen/Qwen2.5-3B-Instruct")
    options, domain = filled[f"methods:{method}"], filled["domains:math"]
    assert (domain.answer_format, domain.shots) == ("boxed", 0)
    assert options.max_length >= 4096
    assert options.gradient_checkpointing
    update = options.batch_size * options.gradient_accumulation
    assert update >= {"sdft": 32, "sdft-rewrite": 8, "dpo": 64, "spin": 64}.get(method, 128)
    if method in ONLINE:
        assert options.max_length - 2048 >= 1024  # room for the prompt beside the domain's limit
    assert default_problems("Qwen/Qwen2.5-3B-Instruct") >= 2000


@pytest.mark.parametrize("method", METHODS)
def test_the_embedded_model_brings_its_own_settings(method, plugins):
    filled = chosen(plugins, method, None)
    options, domain = filled[f"methods:{method}"], filled["domains:math"]
    assert (domain.answer_format, domain.shots) == ("line", 4)
    assert options.max_length == 1024
    assert not options.gradient_checkpointing
    assert default_problems(None) == 48
    for name, value in embedded_settings()[f"methods:{method}"].items():
        assert getattr(options, name) == value


def test_what_the_user_names_goes_over_the_embedded_models_settings(plugins):
    assert chosen(plugins, "grpo", None, max_length=512)["methods:grpo"].max_length == 512
    spec = MeasureSpec(models=("base",), evals=(EvalChoice(family="target"),), domain="math")
    assert fill_options(spec, plugins)["domains:math"].answer_format == "line"
    named = MeasureSpec(
        models=("base",),
        evals=(EvalChoice(family="target"),),
        domain="math",
        options={"domains:math": {"answer_format": "boxed"}},
    )
    assert fill_options(named, plugins)["domains:math"].answer_format == "boxed"


@pytest.mark.parametrize("method", METHODS)
def test_all_weights_take_a_tenth_of_the_adapters_learning_rate(method, plugins):
    if method == "sdft-rewrite":  # the paper's own setting is an adapter's
        return
    lora = chosen(plugins, method, "m")[f"methods:{method}"]
    full = chosen(plugins, method, "m", adapter="full")[f"methods:{method}"]
    assert lora.learning_rate == pytest.approx(10 * full.learning_rate)
    assert chosen(plugins, method, "m", adapter="full", learning_rate=3e-6)[f"methods:{method}"].learning_rate == 3e-6


def test_variants_of_the_adapter():
    assert lora_config(TrainingOptions(lora_variant="rslora")).use_rslora
    config = lora_config(TrainingOptions(lora_variant="dora", lora_dropout=0.05))
    assert (config.use_dora, config.use_rslora, config.lora_dropout) == (True, False, 0.05)


def test_an_optimiser_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pfh.kit.training.options.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"option optimizer .* pip install bitsandbytes"):
        fill(TrainingOptions, {"optimizer": "adamw_bnb_8bit"}, "methods:x")


@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_shows_what_each_method_takes(method, plugins, tmp_path):
    folder = tiny_model(tmp_path / "m", "qwen2")
    spec = RunSpec(
        methods=(method,),
        evals=(EvalChoice(family="safety"),),
        domain="math",
        model=str(folder),
        options={f"methods:{method}": {"teacher": "t"}} if method in ("sf-sft", "cf-sft") else {},
        problems=2048,
    )
    said = estimates(spec, validate(spec, plugins))[method]
    assert re.fullmatch(
        r"[\d,]+ updates, [\d.]+ GiB, [\d.]+e\+\d+ operations if .*: .* min at the [\d,]+ GFLOP/s .*", said
    ), said


def test_an_estimate_counts_weights_states_and_operations(tiny_llama_path):
    model = without_weights(Checkpoint(name="m", path=tiny_llama_path, fingerprint="m"))
    options = TrainingOptions(batch_size=2, gradient_accumulation=4, max_length=64, gradient_checkpointing=False)
    lora, full = (
        estimate(model, options.model_copy(update={"adapter": adapter}), problems=20) for adapter in ("lora", "full")
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    met = total - model.get_input_embeddings().weight.numel()
    assert lora.updates == full.updates == 3
    assert full.flops == pytest.approx(3 * 8 * 64 * (4 * met + 2 * total))
    adapter = sum(16 * sum(one.weight.shape) for one in model.model.layers.modules() if isinstance(one, Linear))
    assert full.memory - lora.memory == pytest.approx(12 * (total - adapter))


def test_a_model_without_a_configuration_here_is_said_so(plugins, tmp_path):
    spec = RunSpec(
        methods=("dpo",), evals=(EvalChoice(family="safety"),), domain="math", model=str(tmp_path), problems=9
    )
    assert "configuration cannot be had" in estimates(spec, validate(spec, plugins))["dpo"]


def test_the_table_of_defaults_says_what_the_code_does(plugins):
    page = (Path(__file__).parents[1] / "docs" / "reference" / "defaults.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+) \| `([a-z_]+)` \| (\S+) \| (\S+) \|", page, flags=re.MULTILINE)
    assert len(rows) > 40
    for owner, option, other, embedded in rows:
        for model, said in (("m", other), (None, embedded)):
            if owner in METHODS:
                options = chosen(plugins, owner, model)[f"methods:{owner}"]
            else:
                options = chosen(plugins, "grpo", model, domain=owner)[f"domains:{owner}"]
            assert str(getattr(options, option)).lower() == said.lower(), (owner, option, model)
