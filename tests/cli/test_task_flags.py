"""The flags that lm-eval's users know, for every family that has such an option."""

import json

import pytest


def asked(call, *arguments: str) -> dict:
    ended = call(*arguments, "--dry-run", "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["options"]


@pytest.mark.parametrize(
    "command",
    [("eval", "safe"), ("compare", "safe", "base"), ("run", "--method", "third")],
)
def test_flags_reach_the_family(call, command):
    flags = ("--tasks", "gsm8k,piqa", "--num-fewshot", "3", "--apply-chat-template")

    options = asked(call, *command, "--eval", "forgetting", *flags)["evals:forgetting"]

    assert options["tasks"] == ["gsm8k", "piqa"]
    assert (options["num_fewshot"], options["apply_chat_template"]) == (3, True)


def test_without_flags_the_defaults_of_the_family_hold(call):
    options = asked(call, "eval", "safe", "--eval", "forgetting")["evals:forgetting"]

    assert (options["tasks"], options["num_fewshot"], options["apply_chat_template"]) == ([], None, False)


def test_a_flag_that_no_family_has_is_refused(call):
    ended = call("eval", "safe", "--eval", "third-eval", "--num-fewshot", "3")

    assert ended.returncode == 2
    assert "--num-fewshot needs a family that puts tasks to the model: add --eval forgetting." in ended.stderr
