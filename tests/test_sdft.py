"""SDFT: its loss, its teacher, learning, repeatability, going on after a kill, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.supervised import Example, SupervisedOptions, train_on
from pfh.kit.training import load_for_training, trainer_arguments
from pfh.registry.options import fill
from pfh_methods import sdft
from pfh_methods.tally import Tally

from tests.tiny import tiny_llama, tiny_tokenizer

SMALL = {
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 3e-3,
    "batch_size": 4,
    "max_length": 128,
    "skip_tokens": 0,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
}
PLAIN = {"gradient_accumulation": 1, "gradient_checkpointing": False, "schedule": "linear", "warmup": 0.1}
DEMONSTRATION = "{prompt} Like this: {reference}"


class Bees:
    """Every prompt is to be answered with "bee"."""

    name, version = "bees", "1"
    sampling = Sampling(max_new_tokens=6, temperature=1.0, stop=("\n",))

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion == "bee"), extracted=completion)


def problem(asked: str) -> Problem:
    return Problem(id=asked, environment="bees", answer="bee", messages=({"role": "user", "content": asked},))


PROBLEMS = tuple(problem(f"Name {number}.") for number in range(8))


@pytest.fixture(scope="module")
def imitator(tiny_llama_path, tmp_path_factory) -> Path:
    """Return a model that says "sea", and "bee" where a demonstration does."""
    folder = tmp_path_factory.mktemp("imitator")
    plain = [Example(problem=asked, completion="sea") for asked in PROBLEMS]
    shown = [
        Example(problem=problem(DEMONSTRATION.format(prompt=asked.id, reference="bee")), completion="bee")
        for asked in PROBLEMS
    ]
    options = SupervisedOptions(
        adapter="full", learning_rate=1e-2, batch_size=16, max_length=128, epochs=20, save_steps=999, **PLAIN
    )
    spec = spec_for(tiny_llama_path, folder)
    return train_on(dataclasses.replace(spec, options=options), [*plain, *shown], notes=(), figures={}).path


def spec_for(model: Path, output_dir: Path, seed=0, **changes) -> TrainingSpec:
    return TrainingSpec(
        checkpoint=Checkpoint(name="start", path=model, fingerprint="start"),
        domain=Bees(),
        problems=changes.pop("problems", PROBLEMS),
        rollouts=lambda **_: (),
        seed=seed,
        output_dir=output_dir,
        options=sdft.Options(**SMALL | {"demonstration": DEMONSTRATION} | changes),
    )


def trainer_for(spec: TrainingSpec, **generation):
    examples = [Example(problem=asked, completion="bee") for asked in spec.problems]
    arguments = trainer_arguments(
        spec.options, output_dir=spec.output_dir, seed=spec.seed, batch_size=4, gradient_accumulation=1
    )
    tally = Tally.read(spec.output_dir / "tally.json")
    generation = {"max_completion_length": 6, "num_loss_tokens_to_skip": 0} | generation
    return sdft.sdft_trainer(spec.checkpoint, examples, spec.options, ("\n",), {**arguments, **generation}, tally)


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def likelihood(checkpoint: Checkpoint, answer: str) -> float:
    """Return the mean log-probability of `answer` to the problems."""
    import torch

    model, tokenizer = load_for_training(checkpoint)
    total = 0.0
    for asked in PROBLEMS:
        prompt = tokenizer(f"<|im_start|>user\n{asked.id}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        whole = prompt + tokenizer(answer)["input_ids"]
        with torch.no_grad():
            logps = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        total += sum(logps[place - 1, whole[place]].item() for place in range(len(prompt), len(whole)))
    return total / len(PROBLEMS)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("adapter", "skip", "temperature", "direction"),
    [("lora", 0, 1.0, "forward"), ("full", 2, 0.7, "forward"), ("lora", 0, 1.0, "reverse")],
)
def test_the_loss_is_the_analytic_divergence_from_the_teacher(
    adapter, skip, temperature, direction, imitator, tmp_path
):
    """The divergence over the whole vocabulary, by numpy from logits under the two sets of weights.

    Forward is KL(teacher || student), the default of the authors' trainer (alpha 0, issue 5 of their repository).
    """
    import torch

    spec = spec_for(imitator, tmp_path, adapter=adapter, temperature=temperature, divergence=direction)
    trainer = trainer_for(spec, num_loss_tokens_to_skip=skip)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for name, part in trainer.model.named_parameters():
            if part.requires_grad:
                part.data += 0.05 * torch.randn_like(part)
                trainer.teacher_model.weights[name] += 0.05 * torch.randn_like(part)
        trainer.model.train()
        inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.eval()  # Outside of a training, TRL does not divide by the accumulated batches.
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, inputs).item()

    def logps(weights: dict[str, torch.Tensor], prompt: str, completion: list[int]) -> np.ndarray:
        trainer.model.load_state_dict(weights, strict=False)
        chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids = trainer.processing_class(chat)["input_ids"]
        with torch.no_grad():
            logits = trainer.model(torch.tensor([ids + completion])).logits[0]
        return log_softmax(logits[len(ids) - 1 : -1].double().numpy() / temperature)

    student = {name: part.detach().clone() for name, part in trainer.model.named_parameters()}
    losses = []
    for row, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True):
        completion = row[mask.bool()].tolist()
        prompt = next(p.id for p in PROBLEMS if p.id in asked(trainer, inputs, len(losses)))
        own = logps(student, prompt, completion)
        other = logps(trainer.teacher_model.weights, DEMONSTRATION.format(prompt=prompt, reference="bee"), completion)
        p, q = (other, own) if direction == "forward" else (own, other)
        divergence = (np.exp(p) * (p - q)).sum(axis=-1)[skip:]
        losses.append(divergence.mean() if len(divergence) else 0.0)
    assert loss > 0.01
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)


def asked(trainer, inputs, row: int) -> str:
    return trainer.processing_class.decode(inputs["prompt_ids"][row])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_what_only_the_demonstration_told(seed, imitator, tmp_path):
    spec = spec_for(imitator, tmp_path, seed, epochs=10, learning_rate=3e-2)
    result = sdft.train(spec)
    trained = spec.checkpoint.with_adapter(result.path, name="trained", fingerprint="trained")
    assert likelihood(trained, "bee") > likelihood(spec.checkpoint, "bee") + 5
    rollouts, phase = result.phases
    assert (rollouts.name, rollouts.samples) == ("rollouts", 80)
    assert 0 < rollouts.tokens <= 80 * 6
    assert rollouts.seconds > 0
    assert (phase.name, phase.updates, phase.samples) == ("training", 20, 80)
    assert phase.tokens > 80 * 10
    expected = {"prompts": 8, "effective_prompts": 8, "share_without_loss": 0.0, "target_form": "answer 8"}
    assert phase.notes == expected


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_one_seed_gives_one_result_also_after_a_kill(adapter, imitator, tmp_path, monkeypatch):
    changes = {"adapter": adapter, "epochs": 2, "save_steps": 1, "ema_rate": 0.2}
    whole = sdft.train(spec_for(imitator, tmp_path / "whole", **changes))
    other = sdft.train(spec_for(imitator, tmp_path / "other", seed=1, **changes))
    assert not same(weights(whole.path), weights(other.path))

    def killed(*arguments, **named):
        trainer = build(*arguments, **named)
        inner = trainer.training_step

        def training_step(*arguments, **named):
            if trainer.state.global_step == 3:  # in the middle of the second pass
                raise KeyboardInterrupt
            return inner(*arguments, **named)

        trainer.training_step = training_step
        return trainer

    build = sdft.sdft_trainer
    monkeypatch.setattr(sdft, "sdft_trainer", killed)
    with pytest.raises(KeyboardInterrupt):
        sdft.train(spec_for(imitator, tmp_path / "cut", **changes))
    monkeypatch.setattr(sdft, "sdft_trainer", build)
    resumed = sdft.train(spec_for(imitator, tmp_path / "cut", **changes))
    assert same(weights(resumed.path), weights(whole.path))
    assert resumed.curves == whole.curves
    assert resumed.phases[1].updates == 4


def test_the_teacher_is_an_average_of_what_was_trained(imitator, tmp_path):
    spec = spec_for(imitator, tmp_path, ema_rate=0.25, max_steps=2, adapter="full", save_steps=1)
    trainer = trainer_for(spec)
    seen = [dict_of(trainer.model)]
    trainer.add_callback(recorder(seen))
    trainer.train()
    first, second, third = (one["model.norm.weight"] for one in seen)
    expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
    assert np.allclose(trainer.teacher_model.weights["model.norm.weight"].numpy(), expected, atol=1e-6)
    assert not np.allclose(first, third, atol=1e-5)


def test_the_average_reaches_tied_weights_too(tmp_path):
    import torch

    checkpoint = Checkpoint(name="tied", path=tiny_llama(tmp_path, tie_word_embeddings=True), fingerprint="tied")
    model, _ = load_for_training(checkpoint)
    other, _ = load_for_training(checkpoint)
    teacher = sdft._average_teacher(model, 0.5)
    ids = torch.tensor([[1, 50, 60]])
    with torch.no_grad():
        teacher.weights["model.embed_tokens.weight"] *= 2
        other.model.embed_tokens.weight *= 2
        assert torch.allclose(teacher(input_ids=ids).logits, other(ids).logits, atol=1e-5)
        assert not torch.allclose(model(ids).logits, other(ids).logits, atol=1e-2)


def dict_of(model) -> dict[str, np.ndarray]:
    return {name: part.detach().clone().numpy() for name, part in model.named_parameters()}


def recorder(seen: list):
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            seen.append(dict_of(model))

    return Recorder()


def test_completions_end_where_the_domain_ends_them():
    tokenizer = tiny_tokenizer()
    tokens = tokenizer("one\ntwo\nthree")["input_ids"]
    assert tokenizer.decode(sdft.up_to_stop(tokenizer, tokens, ("\n",))) == "one\n"
    assert tokenizer.decode(sdft.up_to_stop(tokenizer, tokens, ("ee", "tw"))) == "one\ntw"
    assert sdft.up_to_stop(tokenizer, tokens, ()) == tokens
    assert sdft.up_to_stop(tokenizer, tokens, ("four",)) == tokens


def test_completions_that_are_all_too_short_teach_nothing(imitator, tmp_path):
    with pytest.raises(StepFailedError, match=r"no completion was longer than the 6 tokens.*skip_tokens=0"):
        sdft.train(spec_for(imitator, tmp_path, skip_tokens=6, max_steps=1))


def test_a_demonstration_that_does_not_fit_is_refused(imitator, tmp_path):
    with pytest.raises(UserError, match="prompts of 8 examples fill all of max_length=30"):
        sdft.train(spec_for(imitator, tmp_path, max_length=30))


def test_fewer_prompts_than_an_update_takes_are_refused(imitator, tmp_path):
    with pytest.raises(UserError, match="takes 12 prompts an update and has 8: give more --problems"):
        sdft.train(spec_for(imitator, tmp_path, gradient_accumulation=3))


@pytest.mark.parametrize(
    "template", ["Look: {prompt}", "{prompt} {reference} {}", "{prompt} {reference} {", "{answer}"]
)
def test_a_demonstration_without_its_parts_is_refused(template):
    with pytest.raises(UserError, match=r"option demonstration got '.*': it must hold \{prompt\} and \{reference\}"):
        fill(sdft.options(), {"demonstration": template}, "sdft")
