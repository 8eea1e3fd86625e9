"""gt-sft, sf-sft, cf-sft and rft: their data, the loss, learning, repeatability, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.supervised import Example, SupervisedOptions, ground_truth, sft_trainer, train_on, verified_reference
from pfh.kit.teachers import accepted
from pfh.kit.training import load_for_training, trainer_arguments
from pfh.registry.options import fill
from pfh_methods import cf_sft, gt_sft, rft, sf_sft

from tests.tiny import tiny_model

SMALL = {
    "lora_rank": 4,
    "lora_alpha": 8,
    "learning_rate": 1e-2,
    "batch_size": 4,
    "max_length": 64,
    "epochs": 1,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "schedule": "linear",
    "warmup": 0.1,
}


class Counting:
    """Asks for the name of a number; a solution may explain it, and only what ends in the name is right."""

    name, version, sampling = "counting", "1", Sampling()
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven")

    def problem(self, number: int, solution: str | None = None) -> Problem:
        chat = ({"role": "user", "content": f"Name {number}."},)
        return Problem(
            id=f"n{number}", environment="names", answer=self.names[number], solution=solution, messages=chat
        )

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion.endswith(problem.answer)), extracted=completion)


DOMAIN = Counting()
PROBLEMS = tuple(DOMAIN.problem(number) for number in range(8))


def rollouts_of(texts: dict[str, list[str]]):
    """Return a rollout source that gives `texts` by problem id, and records which checkpoint it was asked for."""

    def draw(*, samples, sampling=None, checkpoint=None, problems=None):
        draw.asked.append(checkpoint)
        return tuple(
            Rollout(
                problem=problem,
                index=index,
                completion=text,
                tokens=1,
                truncated=text.startswith("cut"),
                verdict=DOMAIN.verify(problem, text),
            )
            for problem in PROBLEMS
            for index, text in enumerate(texts.get(problem.id, ["naught"] * samples))
        )

    draw.asked = []
    return draw


def spec_for(model: Path, output_dir: Path, options=None, *, teacher=None, rollouts=None, seed=0, **changes):
    return TrainingSpec(
        checkpoint=Checkpoint(name="student", path=model, fingerprint="student"),
        domain=DOMAIN,
        problems=changes.pop("problems", PROBLEMS),
        rollouts=rollouts or rollouts_of({}),
        seed=seed,
        output_dir=output_dir,
        options=options or gt_sft.Options(**SMALL | changes),
        teacher=teacher and Checkpoint(name="teacher", path=teacher, fingerprint="teacher"),
    )


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def logprobs(model, tokenizer, example: Example) -> np.ndarray:
    """Return the log-probability of each token of the completion, by numpy from the model's logits."""
    import torch

    prompt = "".join(f"<|im_start|>user\n{turn['content']}<|im_end|>\n" for turn in example.problem.messages)
    prompt += "<|im_start|>assistant\n"
    whole = tokenizer(f"{prompt}{example.completion}<|im_end|>", add_special_tokens=False)["input_ids"]
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logits = model(torch.tensor([whole])).logits[0].double().numpy()
    logits -= logits.max(axis=-1, keepdims=True)
    logps = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.array([logps[place - 1, whole[place]] for place in range(start, len(whole))])


def test_the_worked_solution_is_preferred_and_both_must_pass_the_verifier(tiny_llama_path, tmp_path):
    problems = (
        DOMAIN.problem(1, solution="It is one"),
        DOMAIN.problem(2, solution="It is two?"),
        DOMAIN.problem(3),
        dataclasses.replace(DOMAIN.problem(4), answer=""),
    )
    spec = spec_for(tiny_llama_path, tmp_path, problems=problems)
    assert [example.completion for example in ground_truth(spec)] == ["It is one", "two", "three"]


def test_the_answer_is_put_in_the_form_that_the_verifier_asks_for(monkeypatch):
    boxed = lambda self, problem, text: Verdict(reward=float(f"\\boxed{{{problem.answer}}}" in text), extracted=text)  # noqa: E731
    monkeypatch.setattr(Counting, "verify", boxed)
    assert verified_reference(DOMAIN, DOMAIN.problem(5)) == "\\boxed{five}"


def test_a_domain_without_ground_truth_is_refused(tiny_llama_path, tmp_path):
    problems = tuple(dataclasses.replace(problem, answer="") for problem in PROBLEMS)
    with pytest.raises(UserError, match=r"counting has no ground truth.*none of 8 problems.*dpo or grpo"):
        gt_sft.train(spec_for(tiny_llama_path, tmp_path, problems=problems))


def test_the_loss_is_the_mean_negative_log_likelihood_of_the_completions(tiny_llama_path, tmp_path):
    options = gt_sft.Options(**SMALL)
    examples = ground_truth(spec_for(tiny_llama_path, tmp_path))
    arguments = trainer_arguments(options, output_dir=tmp_path, seed=0, batch_size=8, gradient_accumulation=1)
    checkpoint = Checkpoint(name="tiny", path=tiny_llama_path, fingerprint="x")
    model, tokenizer = load_for_training(checkpoint)
    expected = -np.concatenate([logprobs(model, tokenizer, example) for example in examples]).mean()
    for packing in (False, True):
        trainer = sft_trainer(checkpoint, examples, options.model_copy(update={"packing": packing}), arguments)
        batch = next(iter(trainer.get_train_dataloader()))
        loss = trainer.compute_loss(trainer.model, batch).item()
        assert loss == pytest.approx(expected, abs=1e-5), f"packing={packing}"
    assert len(trainer.train_dataset) < len(examples)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns(seed, tiny_llama_path, tmp_path):
    spec = spec_for(tiny_llama_path, tmp_path, seed=seed, epochs=6)
    result = gt_sft.train(spec)
    trained = spec.checkpoint.with_adapter(result.path, name="trained", fingerprint="trained")
    before, after = (
        np.mean([logprobs(*load_for_training(checkpoint), example).sum() for example in ground_truth(spec)])
        for checkpoint in (spec.checkpoint, trained)
    )
    assert after > before + 5
    (phase,) = result.phases
    assert (phase.name, phase.updates, phase.samples) == ("training", 12, 48)
    assert phase.notes == {"examples": 8, "prompts": 8, "effective_prompts": 8, "target_form": "answer 8"}
    assert phase.tokens > 48 * 4


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_one_seed_gives_one_result(adapter, tiny_llama_path, tmp_path):
    results = [
        gt_sft.train(spec_for(tiny_llama_path, tmp_path / name, adapter=adapter, seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert same(weights(results[0].path), weights(results[1].path))
    assert results[0].curves == results[1].curves
    assert not same(weights(results[0].path), weights(results[2].path))


def test_a_prompt_that_leaves_no_room_is_refused(tiny_llama_path, tmp_path):
    with pytest.raises(UserError, match="prompts of 8 examples fill all of max_length=8"):
        gt_sft.train(spec_for(tiny_llama_path, tmp_path, max_length=8))


def test_examples_that_lose_their_end_are_counted(tiny_llama_path, tmp_path):
    longer = (*PROBLEMS[:3], DOMAIN.problem(3, solution="It is " + "surely " * 20 + "three"))
    result = gt_sft.train(spec_for(tiny_llama_path, tmp_path, problems=longer, max_steps=1))
    assert result.notes == (f"1 examples were longer than max_length and lost their end ({longer[3].id}).",)


def test_the_first_different_accepted_completions_are_kept():
    drawn = rollouts_of({"n1": ["one", "one", "so one", "also one"], "n2": ["three", "cut two"]})(samples=4)
    kept = accepted(drawn, completions_per_prompt=2)
    assert [(example.problem.id, example.completion) for example in kept.examples] == [("n1", "one"), ("n1", "so one")]
    assert kept.figures == {"prompts": 8, "effective_prompts": 1, "acceptance_rate": 4 / 30}


def teacher_options(method=sf_sft, **changes):
    return method.options()(**SMALL | {"teacher": "teacher"} | changes)


def test_a_student_imitates_its_teacher_where_the_verifier_accepts(tiny_llama_path, tmp_path):
    texts = {"n1": ["one", "two"], "n2": ["It is two", "two"]}
    source = rollouts_of(texts)
    spec = spec_for(tiny_llama_path, tmp_path, teacher_options(epochs=20), teacher=tiny_llama_path, rollouts=source)
    result = sf_sft.train(spec)
    assert source.asked == [spec.teacher]
    assert {
        "examples": 2,
        "prompts": 8,
        "effective_prompts": 2,
        "acceptance_rate": 3 / 28,
    }.items() <= result.phases[0].notes.items()
    assert "of the family llama, the teacher teacher of llama" in result.notes[0]
    assert "2 of 8 prompts have an accepted one and gave 2 examples" in result.notes[1]
    trained = spec.checkpoint.with_adapter(result.path, name="trained", fingerprint="trained")
    taught = Example(problem=PROBLEMS[2], completion="It is two")
    before, after = (logprobs(*load_for_training(start), taught).sum() for start in (spec.checkpoint, trained))
    assert after > before + 10


def test_nothing_accepted_says_what_to_change(tiny_llama_path, tmp_path):
    spec = spec_for(tiny_llama_path, tmp_path, teacher_options(), teacher=tiny_llama_path)
    with pytest.raises(StepFailedError, match=r"accepted none of the 32 rollouts of the teacher teacher.*are kept"):
        sf_sft.train(spec)


def test_the_wrong_family_is_refused_unless_allowed(tiny_llama_path, tmp_path):
    qwen = tiny_model(tmp_path / "qwen", "qwen2")
    source = rollouts_of({"n1": ["one"]})
    cases = [(sf_sft, qwen, "qwen2.*the same family: use cf-sft"), (cf_sft, tiny_llama_path, "another family: use sf-")]
    for method, teacher, message in cases:
        spec = spec_for(tiny_llama_path, tmp_path / "a", teacher_options(method), teacher=teacher, rollouts=source)
        with pytest.raises(UserError, match=f"student is of the family llama, the teacher teacher of .*{message}"):
            method.train(spec)
    assert source.asked == []
    allowed = teacher_options(allow_family_mismatch=True, max_steps=1)
    sf_sft.train(spec_for(tiny_llama_path, tmp_path / "b", allowed, teacher=qwen, rollouts=source))
    cf_sft.train(spec_for(tiny_llama_path, tmp_path / "c", teacher_options(cf_sft), teacher=qwen, rollouts=source))


def test_a_teacher_must_be_named():
    with pytest.raises(UserError, match="option teacher got '': name the teacher, as a hub id or a path"):
        fill(sf_sft.options(), {}, "sf-sft")


def test_the_prompts_of_ground_truth_can_be_matched_to_a_teachers(tiny_llama_path, tmp_path):
    source = rollouts_of({"n1": ["one"], "n5": ["naught", "five"]})
    options = gt_sft.Options(**SMALL, teacher="teacher")
    result = gt_sft.train(spec_for(tiny_llama_path, tmp_path, options, teacher=tiny_llama_path, rollouts=source))
    assert result.phases[0].notes["effective_prompts"] == 2
    assert result.notes == ("Only the 2 problems that teacher solves too were trained on.",)
    with pytest.raises(StepFailedError, match=r"teacher solves none of the problems.*4, or name no teacher"):
        gt_sft.train(spec_for(tiny_llama_path, tmp_path / "none", options, teacher=tiny_llama_path))


def test_rft_trains_on_the_models_own_verified_rollouts_alone(tiny_llama_path, tmp_path):
    source = rollouts_of({"n1": ["two", "one", "one"], "n2": ["cut two", "three", "It is two"]})
    options = rft.Options(**SMALL, samples=3, max_steps=3)
    result = rft.train(spec_for(tiny_llama_path, tmp_path / "rft", options, rollouts=source))
    assert source.asked == [None]  # no other checkpoint than the model's own
    right = [
        Example(problem=PROBLEMS[1], completion="one"),
        Example(problem=PROBLEMS[2], completion="It is two"),
    ]
    alone = train_on(spec_for(tiny_llama_path, tmp_path / "alone", options), right, notes=(), figures={})
    assert same(weights(result.path), weights(alone.path))
    assert "accepted 3 of the model's own 24 rollouts" in result.notes[0]
    with pytest.raises(StepFailedError, match="accepted none of the model's 24 rollouts"):
        rft.train(spec_for(tiny_llama_path, tmp_path / "none", options))


def test_options_of_all_three_are_those_of_supervised_training():
    assert issubclass(gt_sft.options(), SupervisedOptions)
    assert set(sf_sft.options().model_fields) == set(cf_sft.options().model_fields)
