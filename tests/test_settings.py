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
from pfh.kit.training.devices import Devices
from pfh.kit.training.estimate import estimate
from pfh.kit.weights import without_weights
from pfh.registry.options import fill
from pfh.registry.plugins import Plugins
from pfh.starts.settings import default_problems, embedded_settings, told_settings
from torch.nn import Linear

from tests.tiny import tiny_model

METHODS = (
    *("gt-sft", "sf-sft", "cf-sft", "spin", "sdft", "sdft-rewrite"),
    *("grpo", "reinforce", "dpo", "pi-distill", "opsd"),
)
LATER = ("rft", "cpi-ft", "softcot", "ppo", "opd")
ONLINE = ("grpo", "reinforce", "pi-distill", "opsd")


@pytest.fixture(scope="module")
def plugins():
    return Plugins()


def chosen(plugins, method, model, domain="math", **options):
    teacher = {"teacher": "t"}
    needed = {"sf-sft": teacher, "cf-sft": teacher, "opd": teacher, "softcot": {"assistant": "a"}}
    given = needed.get(method, {})
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


@pytest.mark.parametrize("method", [*METHODS, *LATER])
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


def test_the_report_names_the_embedded_models_settings_that_are_in_force(plugins):
    said = told_settings(chosen(plugins, "grpo", None, gradient_accumulation=8), 48, None)
    assert said.startswith("The embedded model's own settings are in force")
    assert "problems=48, grpo.schedule=linear" in said
    assert "math.answer_format=line" in said
    assert "gradient_accumulation" not in said  # the user named it
    assert told_settings(chosen(plugins, "grpo", "Qwen/Qwen2.5-3B-Instruct"), 48, "Qwen/Qwen2.5-3B-Instruct") == ""


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
    assert full.memory - lora.memory == pytest.approx(12 * total - 16 * adapter)


def test_an_estimate_counts_what_is_rehearsed_and_what_the_start_answers_before(tiny_llama_path):
    """A rehearsed row is trained on as an example is; a compared one is also read by the start."""
    model = without_weights(Checkpoint(name="m", path=tiny_llama_path, fingerprint="m"))
    plain = TrainingOptions(batch_size=4, gradient_accumulation=1, max_length=64, replay_share=0.5, general_rows=10)
    chosen = {"replay": "builtin", "kl_start": 0.1, "answer_length": 30}
    alone, rehearsed, own, both = (
        estimate(model, plain.model_copy(update=changed), problems=8)
        for changed in (
            {},
            {"replay": "builtin"},
            {"replay": "refusals", "replay_answers": "own", "answer_length": 30},
            chosen | {"replay_answers": "own", "kl_rows": "refusals"},
        )
    )
    assert rehearsed.flops == pytest.approx(2 * alone.flops)
    met = model.num_parameters() - model.get_input_embeddings().weight.numel()
    assert own.flops - rehearsed.flops == pytest.approx(2 * met * 10 * 30)
    assert (own.answered, both.answered) == (300, 600)
    assert both.flops - own.flops == pytest.approx(alone.flops + 2 * met * (2 * 4 * 64 + 300))
    assert "600 tokens of the start's own answers before them" in both.sentence(1e12)


@pytest.mark.parametrize("devices", ["80GB", "4x80GB", "8x80GB@400TFLOPS"])
def test_the_plan_of_a_7b_grpo_run_adds_up(devices, plugins):
    """Every figure of the plan follows from those that are printed with it."""
    model = "Qwen/Qwen2.5-7B-Instruct"
    spec = RunSpec(methods=("grpo",), evals=(EvalChoice(family="safety"),), domain="math", model=model, problems=2048)
    lines = estimates(spec, validate(spec, plugins), Devices.parse(devices), completion=2048)["grpo"].splitlines()
    assert "taken for a dense model of 7B: 30 layers, width 3,840" in lines[0]
    plain = [line.replace(",", "") for line in lines]
    count, reach = Devices.parse(devices).count, Devices.parse(devices).count * Devices.parse(devices).speed
    figures = [float(line.removesuffix(":").rsplit(" = ", 1)[1]) for line in plain[3:8]]
    weights, trained = (float(re.search(r": ([\d.e+]+) x", line)[1]) for line in plain[3:5])
    assert weights == pytest.approx(7e9, rel=0.05)
    cached = 2 * 30 * 8 * 128 * 4
    assert figures == pytest.approx(
        [
            4e-9 * weights,
            16e-9 * trained,
            8e-9 * 4096 * (4 * 30 * 3840 + 34 * 3840 + 8 * 13_440),
            8e-9 * 8 * 2048 * 152_064,
            128 // count * 4096 * cached / 1e9,
        ],
        abs=0.06,
    )
    for place, sharing in [(8, 1)] + ([(10, count)] if count > 1 else []):
        told = [float(re.search(r"(?:training|generating) ([\d.]+):", line)[1]) for line in plain[place : place + 2]]
        held = sum(figures[:2]) / sharing
        assert told == pytest.approx([held + figures[2] + figures[3], held + figures[4]], abs=0.16)
        assert [": fits" in line for line in plain[place : place + 2]] == [each <= 80 for each in told]
    assert ("drawn in halves" in plain[9]) == (count == 1)
    met = float(re.search(r"meets ([\d.e+]+) weights", plain[-4])[1])
    taught, (computed, read) = (
        float(re.search(r"([\d.]+) s$", plain[-3])[1]),
        [float(each) for each in re.findall(r": ([\d.]+) s\b", plain[-2])],
    )
    assert taught == pytest.approx((6 * met + 2 * trained) * 128 * 4096 / reach, rel=0.01, abs=0.1)
    assert computed == pytest.approx(2 * met * 128 * 4096 / reach, rel=0.01, abs=0.1)
    assert read == pytest.approx(2048 * (4 * weights + 128 // count * 3072 * cached) / 2e12, rel=0.01, abs=0.1)
    hours, minutes = (int(part) for part in re.search(r"= (\d+) h (\d+) min", lines[-1]).groups())
    assert hours * 60 + minutes == pytest.approx(128 * (taught + max(computed, read)) / 60, abs=1.5)


@pytest.mark.parametrize("text", ["", "4", "80", "4x", "0x80GB", "4x0GB", "x80GB", "4x80GB@fast"])
def test_what_are_no_devices_is_refused(text):
    with pytest.raises(UserError, match="such as 4x80GB"):
        Devices.parse(text)


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
            if owner in (*METHODS, *LATER):
                options = chosen(plugins, owner, model)[f"methods:{owner}"]
            else:
                options = chosen(plugins, "grpo", model, domain=owner)[f"domains:{owner}"]
            assert str(getattr(options, option)).lower() == said.lower(), (owner, option, model)
