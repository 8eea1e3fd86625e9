"""SDFT by rewriting: what the model is asked, which rewrites are taken, and what is trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pfh.errors import UserError
from pfh.hooks.backends import Sampling
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.hooks.methods import TrainingSpec
from pfh.kit.supervised import Example
from pfh.registry.options import fill
from pfh_methods import sdft_rewrite

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
REQUEST = "{prompt} Reword: {reference}"


class Sums:
    """Asks for a sum; whatever ends in it is right."""

    name, version, sampling = "sums", "1", Sampling()

    def verify(self, problem: Problem, completion: str) -> Verdict:
        return Verdict(reward=float(completion.endswith(problem.answer)), extracted=completion)


def problem(number: int) -> Problem:
    chat = (
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": f"{number}+1"},
    )
    return Problem(
        id=f"s{number}", environment="sums", answer=str(number + 1), solution=f"It is {number + 1}", messages=chat
    )


PROBLEMS = tuple(problem(number) for number in range(2, 8))
REWRITES = ("So 3", "Reword: 4", "So 6", "cut 6", "So 7", "So 8")


def rewriter(rewrites=REWRITES):
    """Return a rollout source that answers the problems it is given with `rewrites`, and keeps the problems."""

    def draw(*, samples, sampling=None, checkpoint=None, problems=None, judged=True):
        draw.problems = problems
        return tuple(
            Rollout(
                problem=asked,
                index=0,
                completion=text,
                tokens=1,
                truncated=text.startswith("cut"),
                verdict=Sums().verify(asked, text),
            )
            for asked, text in zip(problems, rewrites, strict=True)
        )

    return draw


def spec_for(model: Path, output_dir: Path, source, **changes) -> TrainingSpec:
    return TrainingSpec(
        checkpoint=Checkpoint(name="start", path=model, fingerprint="start"),
        domain=Sums(),
        problems=PROBLEMS,
        rollouts=source,
        seed=0,
        output_dir=output_dir,
        options=sdft_rewrite.Options(**SMALL | {"request": REQUEST, "leaks": ("reword",)} | changes),
    )


def test_the_request_replaces_the_last_turn_and_gives_an_id_of_its_own():
    example = Example(problem=PROBLEMS[0], completion="It is {3}")
    asked = sdft_rewrite.ask(example, REQUEST)
    assert asked.messages[:2] == PROBLEMS[0].messages[:2]
    assert asked.messages[2] == {"role": "user", "content": "2+1 Reword: It is {3}"}
    assert (asked.answer, asked.environment) == ("3", "sums")
    other = sdft_rewrite.ask(dataclasses.replace(example, completion="3"), REQUEST)
    assert len({PROBLEMS[0].id, asked.id, other.id}) == 3


def test_a_rewrite_is_taken_if_it_is_whole_and_right_and_leaks_nothing():
    examples = [Example(problem=asked, completion=asked.solution) for asked in PROBLEMS]
    drawn = rewriter()(samples=1, problems=PROBLEMS)
    rewritten = sdft_rewrite.choose(examples, drawn, ("reword",))
    assert rewritten.outcomes == ("own words", "leaks", "wrong", "cut", "own words", "own words")
    assert [example.completion for example in rewritten.examples] == [
        "So 3",
        "It is 4",
        "It is 5",
        "It is 6",
        "So 7",
        "So 8",
    ]
    assert "3 of 6 ground truths were put into the model's own words" in rewritten.summary
    assert "1 did not pass the verifier, 1 gave the request away and 1 were cut off" in rewritten.summary


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_the_rewrites_as_answers_to_the_problems_own_prompts(seed, tiny_llama_path, tmp_path, monkeypatch):
    source, trained_on = rewriter(), []
    inner = sdft_rewrite.train_on
    monkeypatch.setattr(
        sdft_rewrite,
        "train_on",
        lambda spec, examples, **named: trained_on.extend(examples) or inner(spec, examples, **named),
    )
    spec = spec_for(tiny_llama_path, tmp_path, source, epochs=12, lora_targets=("all-linear",))
    result = sdft_rewrite.train(dataclasses.replace(spec, seed=seed))
    assert [asked.messages[-1]["content"] for asked in source.problems][:1] == ["2+1 Reword: It is 3"]
    assert [example.problem for example in trained_on] == list(PROBLEMS)
    assert trained_on[0].completion == "So 3"
    assert {
        "examples": 6,
        "prompts": 6,
        "effective_prompts": 6,
        "share_in_own_words": 0.5,
    }.items() <= result.phases[0].notes.items()
    assert result.curves[-1]["loss"] < result.curves[0]["loss"] / 2
    assert "own words" in result.notes[0]


def test_the_defaults_are_the_papers(tiny_llama_path, tmp_path):
    import json

    options = sdft_rewrite.Options()
    assert (options.learning_rate, options.schedule, options.epochs, options.batch_size) == (1e-4, "cosine", 5.0, 8)
    result = sdft_rewrite.train(spec_for(tiny_llama_path, tmp_path, rewriter(), max_steps=1))
    adapter = json.loads((result.path / "adapter_config.json").read_text())
    assert sorted(adapter["target_modules"]) == ["q_proj", "v_proj"]


def test_a_request_without_its_parts_is_refused():
    with pytest.raises(UserError, match=r"option request got 'Reword this': it must hold \{prompt\} and"):
        fill(sdft_rewrite.options(), {"request": "Reword this"}, "sdft-rewrite")
