"""A training in two processes on CPUs: what it leaves, what it draws, how it fails, is interrupted and goes on."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint, Endpoint
from pfh.hooks.domains import DomainSpec
from pfh.kit.training import TrainingOptions, train_resumably
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.steps.domains import OpenDomain
from pfh.steps.ranks import configuration
from pfh.steps.ranks.configuration import check_not_launched, read_configuration
from pfh.steps.ranks.exchange import Draw, Exchange, read_draw
from pfh.steps.session import Session
from pfh.steps.training import train_stage
from pfh.store.store import Store

from tests.letters import problems, weights
from tests.plugin_dists import install
from tests.test_method_steps import ENDING
from tests.test_training import stage, trainer_for

TWO_CPUS = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\n"
SHARDED = (
    TWO_CPUS.replace("MULTI_CPU", "FSDP")
    + "fsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
    + "  fsdp_state_dict_type: FULL_STATE_DICT\n"
)
SMALL = {
    "batch_size": "4",
    "gradient_accumulation": "1",
    "lora_rank": "4",
    "learning_rate": "1e-2",
    "warmup": "0.0",
    "max_length": "256",
}
FSDP_ON_CPU = """\
import math
import os
if "RANK" in os.environ:
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    def prepare(self, cpu=False, sagemaker_dp=False, backend=None):
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group(backend="gloo")
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = prepare
"""
"""accelerate shards on GPUs alone, torch on CPUs too."""
AILING = """\
import os, time
from pathlib import Path
from pfh import hookimpl
from pfh.errors import StartAgainError, UserError
from pfh.hooks.ledger import Phase
from pfh.hooks.methods import TrainingResult
from pydantic import BaseModel

class Options(BaseModel):
    ill: str

@hookimpl
def options():
    return Options

@hookimpl
def train(spec):
    rank, ill = os.environ["RANK"], spec.options.ill
    (spec.output_dir / f"process-{rank}").write_text(str(os.getpid()))
    while len(list(spec.output_dir.glob("process-*"))) < 2:
        time.sleep(0.05)
    with spec.progress.task("ailing", total=1) as bar:
        if ill == "refuses" and rank == "1":
            raise UserError("This start will not do.")
        if ill == "breaks" and rank == "1":
            raise KeyError("lost")
        if ill == "dies" and rank == "1":
            os._exit(9)
        if ill == "tires" and rank == "1" and not (spec.output_dir / "tired").exists():
            (spec.output_dir / "tired").touch()
            raise StartAgainError("one more try")
        if ill != "tires":
            spec.progress.say("waiting")
        if ill != "tires" or not (spec.output_dir / "tired").exists():
            time.sleep(600)
        bar.advance()
    folder = spec.output_dir / "trained"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    return TrainingResult(path=folder, phases=(Phase(name="training", seconds=1.0, devices=2),))
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a folder of packages that this process and those of a training see."""
    install(tmp_path / "site", "coin-dist", {"coin_domain": ENDING}, {"pfh.domains": {"coin": "coin_domain"}})
    install(tmp_path / "site", "ailing-dist", {"ailing": AILING}, {"pfh.methods": {"ailing": "ailing"}})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def two(tmp_path):
    return read_configuration(written(tmp_path, TWO_CPUS))


def written(folder, text):
    path = folder / "accelerate.yaml"
    path.write_text(text)
    return path


class Watched(Silent):
    """Interrupts, as Ctrl-C does, when the bar has advanced so often or a line is said."""

    def __init__(self, after: int = 0, line: str = ""):
        self.after, self.line, self.said = after, line, []

    @contextmanager
    def task(self, description, total, done=0):
        yield self

    def advance(self, amount=1):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt

    def note(self, text):
        pass

    def say(self, line):
        self.said.append(line)
        if self.line and self.line in line:
            raise KeyboardInterrupt


def train(store, start, method, ranks=None, progress=None, **options):
    session = Session(plugins=Plugins(), store=Store(store), progress=progress or Silent())
    domain = session.plugins.open_domain("coin", DomainSpec(options=None, data=session.data))
    ground = OpenDomain(name="coin", domain=domain, problems=domain.problems("train", 8, 0))
    checkpoint = Checkpoint(name="start", path=start, fingerprint="start")
    filled = session.plugins.options("methods", method, options)
    try:
        return train_stage(session, checkpoint, ground, method, options=filled, seed=0, ranks=ranks)
    finally:
        session.release()


def trained_weights(trained):
    return weights(trained.checkpoint.adapter or trained.checkpoint.path)


def distance(one, other):
    """Return the Euclidean distance of two models, over all their weights."""
    return math.sqrt(sum(float(np.square(one[name] - other[name]).sum()) for name in one))


def work_folder(store):
    (folder,) = (store / "partial").glob("training-*/work")
    return folder


def gone(folder):
    """Say whether the processes that left their number in `folder` end within a few seconds.

    On a busy machine one may fail before the other has got as far as to leave its own.
    """
    numbers = [int(path.read_text()) for path in folder.glob("process-*")]
    assert numbers
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not any(runs(number) for number in numbers):
            return True
        time.sleep(0.1)
    return False


def runs(number):
    """Say whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        status = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_two_processes_that_draw_between_their_trainings_leave_what_one_does(site, two, tiny_llama_path, tmp_path):
    options = SMALL | {"iterations": "2", "epochs": "1", "optimizer": "adamw_torch"}
    one = train(tmp_path / "one", tiny_llama_path, "spin", **options)
    both = train(tmp_path / "two", tiny_llama_path, "spin", two, **options)
    expected, found, start = trained_weights(one), trained_weights(both), weights(tiny_llama_path)
    assert expected.keys() == found.keys() == start.keys()
    # Where a gradient is next to none AdamW makes a step of its rounding, another on every kind of processor. A bound
    # on all weights together holds everywhere, and is stricter than 1e-5 on each would be.
    assert distance(found, expected) < 1e-4 * distance(expected, start)
    assert [phase.name for phase in both.phases] == ["rollouts", "rollouts", "training", "training"]
    assert [phase.devices for phase in both.phases] == [1, 1, 2, 2]
    counted = [(phase.tokens, phase.updates, phase.samples) for phase in both.phases]
    assert counted == [(phase.tokens, phase.updates, phase.samples) for phase in one.phases]
    assert [row["loss"] for row in both.curves] == pytest.approx([row["loss"] for row in one.curves], abs=1e-5)
    assert both.checkpoint.fingerprint != one.checkpoint.fingerprint


def test_an_interrupted_training_goes_on_in_its_processes(site, two, tiny_llama_path, tmp_path):
    options = SMALL | {"epochs": "3", "save_steps": "1"}
    one = train(tmp_path / "one", tiny_llama_path, "gt-sft", **options)
    with pytest.raises(KeyboardInterrupt):
        # 8 ground truths, and 3 of 6 updates
        train(tmp_path / "two", tiny_llama_path, "gt-sft", two, Watched(after=8 + 3), **options)
    assert list(work_folder(tmp_path / "two").glob("trainer/checkpoint-*"))
    progress = Watched()
    both = train(tmp_path / "two", tiny_llama_path, "gt-sft", two, progress, **options)
    assert any("goes on from update" in line for line in progress.said)
    expected, found = trained_weights(one), trained_weights(both)
    assert all(np.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert [row["step"] for row in both.curves] == [1, 2, 3, 4, 5, 6]
    assert both.phases[-1].notes["attempts"] == 2


def test_processes_that_draw_while_they_train_share_out_the_rollouts(site, two, tiny_llama_path, tmp_path):
    options = SMALL | {"batch_size": "16", "generations": "4", "max_steps": "2"}
    trained = train(tmp_path, tiny_llama_path, "grpo", two, **options)
    rollouts, update = trained.phases
    assert (rollouts.samples, rollouts.devices) == (32, 2)
    assert (update.samples, update.updates, update.devices) == (32, 2, 2)
    assert len(trained.curves) == 2
    assert all({"reward", "format_failures", "kl"} <= row.keys() for row in trained.curves[:1])


@pytest.mark.parametrize("method", ["gt-sft", "sdft"])
def test_weights_that_are_shared_out_are_put_together_again(site, method, tiny_llama_path, tmp_path, monkeypatch):
    (site / "sitecustomize.py").write_text(FSDP_ON_CPU)
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    monkeypatch.setattr(configuration, "devices", lambda: 2)
    sharded = read_configuration(written(tmp_path, SHARDED))
    options = SMALL | {"max_steps": "2", "adapter": "full", "learning_rate": "1e-3"}
    trained = train(tmp_path / "two", tiny_llama_path, method, sharded, **options)
    found, start = trained_weights(trained), weights(tiny_llama_path)
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in start.items()}
    assert all(np.isfinite(value).all() for value in found.values())
    assert not any(np.array_equal(found[name], start[name]) for name in found if "proj" in name)
    if method == "gt-sft":  # sdft draws in each process with a seed of its own
        expected = trained_weights(train(tmp_path / "one", tiny_llama_path, method, **options))
        assert all(np.allclose(found[name], expected[name], atol=1e-5) for name in expected)


def test_what_a_process_refuses_reaches_the_user_as_it_is(site, two, tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match=r"^This start will not do\.$"):
        train(tmp_path, tiny_llama_path, "ailing", two, ill="refuses")
    assert gone(work_folder(tmp_path))


def test_a_bug_in_one_process_ends_all_of_them_and_its_traceback_is_kept(site, two, tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match=r"ailing .* failed in train: KeyError: 'lost'") as caught:
        train(tmp_path, tiny_llama_path, "ailing", two, ill="breaks")
    assert 'raise KeyError("lost")' in str(caught.value.__cause__)
    assert gone(work_folder(tmp_path))


def test_a_process_that_dies_without_a_word_is_told_of(site, two, tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match=r"broke off without a word.*ranks\.log"):
        train(tmp_path, tiny_llama_path, "ailing", two, ill="dies")


def test_processes_that_ran_out_of_something_start_again(site, two, tiny_llama_path, tmp_path):
    progress = Watched()
    trained = train(tmp_path, tiny_llama_path, "ailing", two, progress, ill="tires")
    assert progress.said == ["ailing trains in 2 processes, MULTI_CPU", "one more try"]
    assert trained.phases[0].devices == 2


def test_ctrl_c_ends_every_process(site, two, tiny_llama_path, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tiny_llama_path, "ailing", two, Watched(line="waiting"), ill="sleeps")
    assert gone(work_folder(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("num_processes: 2\n", "A `distributed_type` must be specified"),
        ("- 1\n- 2\n", "as a configuration of accelerate, cannot be read"),
        ("a: [1\n", "as a configuration of accelerate, cannot be read"),
        (TWO_CPUS + "gpus: 3\n", "unknown keys"),
        (TWO_CPUS.replace("processes: 2", "processes: 1"), "leave --accelerate out"),
        (TWO_CPUS.replace("MULTI_CPU", "NO"), "leave --accelerate out"),
        (TWO_CPUS.replace("MULTI_CPU", "MEGATRON_LM"), "pfh trains with MULTI_GPU"),
        (TWO_CPUS.replace("machines: 1", "machines: 3"), "3 machines"),
        (TWO_CPUS.replace("MULTI_CPU", "MULTI_GPU").replace("processes: 2", "processes: 9"), "torch sees 8 GPUs"),
        (TWO_CPUS.replace("MULTI_CPU", "DEEPSPEED"), "pip install deepspeed"),
    ],
)
def test_a_configuration_that_will_not_do_is_refused(text, said, tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "devices", lambda: 8)
    monkeypatch.setattr(configuration, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=said):
        read_configuration(written(tmp_path, text))


def test_sharding_without_a_gpu_and_a_file_that_is_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "devices", lambda: 0)
    with pytest.raises(UserError, match="needs GPUs"):
        read_configuration(written(tmp_path, SHARDED))
    with pytest.raises(UserError, match="accelerate config --config_file"):
        read_configuration(tmp_path / "nowhere.yaml")


def test_what_a_configuration_says_names_a_step_and_how_it_is_written_does_not(tmp_path):
    first = read_configuration(written(tmp_path, TWO_CPUS))
    again = read_configuration(written(tmp_path, "# mine\n" + "\n".join(reversed(TWO_CPUS.splitlines()))))
    other = read_configuration(written(tmp_path, TWO_CPUS + "main_training_function: train\n"))
    assert first.inputs == again.inputs
    assert first.inputs != other.inputs
    assert str(first) == "2 processes, MULTI_CPU"


def test_a_whole_run_in_several_processes_is_refused(monkeypatch):
    check_not_launched()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="--accelerate"):
        check_not_launched()


def test_examples_that_cannot_be_shared_out_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"4 examples an update.*multiple of 3"):
        train_resumably(stage(tmp_path, TrainingOptions(batch_size=4)), None)


def test_a_run_is_refused_before_anything_is_measured_if_its_updates_cannot_be_shared_out(two):
    from pfh.commands.requests import validate
    from pfh.hooks.launchers import EvalChoice, RunSpec

    odd = {"methods:gt-sft": {"batch_size": "3", "gradient_accumulation": "1"}}
    spec = RunSpec(methods=("gt-sft",), evals=(EvalChoice(family="safety"),), options=odd, accelerate=str(two.path))
    with pytest.raises(UserError, match=r"gt-sft takes 3 examples an update"):
        validate(spec, Plugins())
    even = {"methods:gt-sft": {"batch_size": "3", "gradient_accumulation": "2"}}
    assert validate(dataclasses.replace(spec, options=even), Plugins())


def test_one_process_uses_one_of_the_gpus_that_it_sees(tiny_llama_path, tmp_path, monkeypatch):
    from transformers import TrainingArguments

    own = TrainingArguments.__post_init__

    def with_four_gpus(arguments):
        own(arguments)
        arguments._n_gpu = 4

    monkeypatch.setattr(TrainingArguments, "__post_init__", with_four_gpus)
    options = TrainingOptions(max_steps=1, batch_size=4, max_length=128)
    build, _ = trainer_for(tiny_llama_path, options)
    trained = train_resumably(stage(tmp_path, options), build)
    assert trained.trainer.args.n_gpu == 1
    assert trained.trainer.args.train_batch_size == 4
    assert trained.phase.samples == 4


def test_a_draw_is_told_and_answered_whole(tmp_path):
    exchange = Exchange(tmp_path)
    draw = Draw(
        number=0,
        samples=3,
        sampling=Sampling(stop=("\n", "é"), temperature=0.7),
        checkpoint=Checkpoint(
            name="c",
            path=Path("/p"),
            fingerprint="f",
            adapter=Path("/a"),
            endpoint=Endpoint(backend="b", url="u", model="m"),
        ),
        problems=problems(2),
    )
    exchange.answer(0, (), ())
    assert exchange.ask(draw, aloud=True) == ((), [])
    (news,) = exchange.news()
    assert news.pop("kind") == "draw"
    assert read_draw(news) == draw
    assert list(exchange.news()) == []
