"""What a training shows a model is what it reads and writes when it is measured, over the kinds of chat templates."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from pfh.errors import UserError
from pfh.hooks.backends import GenerationRequest
from pfh.hooks.domains import Problem, Reply, Rollout, Verdict
from pfh.kit.preferences import Pair, preference_row
from pfh.kit.supervised import Example, supervised_row
from pfh.kit.tokens import chat_templates
from pfh.kit.tokens.encoding import (
    decode_tokens,
    encode_completed,
    encode_pair,
    encode_prompts,
    encode_text,
    read_completion,
)
from pfh.kit.tokens.taught import all_ends, encode_completion, encode_prompt, end_of_turn
from pfh_methods import dpo
from pfh_methods.conversations import _answered, _Conversation
from pfh_methods.refusal_tuning.examples import Example as Refusal
from pfh_methods.refusal_tuning.examples import tokenized

from tests.templates import KINDS, tokenizer_of
from tests.tiny import tiny_tokenizer

ASKED = ({"role": "user", "content": "2+3?"},)
TRY_AGAIN = ({"role": "user", "content": "Try again."},)


OPENING = {
    "R1 distill": "</think>\n\n",
    "Command A Reasoning": "<|END_THINKING|>\n\n",
    "gpt-oss": "<|channel|>final<|message|>",
}
"""What stands before an answer: the end of the thought that the prompt opens, or a channel."""


@dataclass
class Said:
    text: str


class Wrong:
    """Asks for another try, whatever was said."""

    def replies(self, problems, completions, left):
        return [Reply(heard=said, content=TRY_AGAIN[0]["content"]) for said in completions]


def kind(name):
    tokenizer = tokenizer_of(KINDS[name])
    stated = tokenizer.convert_tokens_to_ids(list(KINDS[name].stated)) or None
    return tokenizer, all_ends(stated, tokenizer)


@pytest.mark.parametrize("name", KINDS)
def test_the_prompt_is_the_measured_one_and_the_taught_end_ends_generation(name):
    tokenizer, ends = kind(name)
    end = end_of_turn(tokenizer, ends)
    assert end == [tokenizer.convert_tokens_to_ids(KINDS[name].ends)]
    assert {tokenizer.eos_token_id, *end} <= ends
    prompt = encode_text(tokenizer, chat_templates.render(tokenizer, ASKED))
    assert encode_prompts(tokenizer, [GenerationRequest(id="a", messages=ASKED)]) == [tuple(prompt)]
    written = OPENING.get(name, "") + "5"
    assert encode_completion(tokenizer, ASKED, "5", end) == encode_completion(tokenizer, ASKED, written, end)
    space = " " if name == "base, no template" else ""
    completion = [*encode_text(tokenizer, space + written), *end]

    problem = Problem(id="a", environment="e", messages=ASKED, answer="5")
    example, refusal = (
        Example(problem=problem, completion=written),
        Refusal(kind="benign", messages=ASKED, answer=written, ends=True),
    )
    supervised = supervised_row(tokenizer, example, end)
    assert supervised["input_ids"] == [*prompt, *completion]
    assert supervised["completion_mask"] == [0] * len(prompt) + [1] * len(completion)
    assert tokenized(refusal, tokenizer) == supervised
    pair = preference_row(tokenizer, Pair(problem=problem, chosen=written, rejected="6", rejected_cut=True), end)
    assert pair["prompt_ids"] == prompt
    assert pair["chosen_ids"] == completion
    assert not set(pair["rejected_ids"]) & ends
    (scored,) = encode_completed(tokenizer, [GenerationRequest(id="a", messages=ASKED)], [written], 10**6)
    assert [*scored.inputs] == [*prompt, *completion[: -len(end)]]
    rendered = chat_templates.render(tokenizer, ASKED)
    context, continuation = encode_pair(tokenizer, rendered, "5", {})
    assert [*context, *continuation][: len(prompt)] == prompt


@pytest.mark.parametrize("name", KINDS)
def test_later_turns_of_a_training_read_what_later_turns_read_when_they_are_measured(name):
    tokenizer, _ = kind(name)
    problem = Problem(id="a", environment="e", messages=ASKED, answer="5")
    prompt = chat_templates.render(tokenizer, ASKED)

    def read(_, ids):
        return Said(decode_tokens(tokenizer, ids).removeprefix(" "))

    for said in ("6", "<think>\nhm\n</think>\n\n6"):
        talk = _Conversation(problem, [*ASKED], prompt, encode_prompt(tokenizer, ASKED))
        talk.say(encode_completion(tokenizer, ASKED, said, []), None)
        setup = SimpleNamespace(tokenizer=tokenizer, read=read)
        assert _answered(setup, [talk], Wrong(), left=1, room=10**6) == [talk]
        heard = read(problem, encode_completion(tokenizer, ASKED, said, [])).text
        measured = encode_prompt(tokenizer, [*ASKED, {"role": "assistant", "content": heard}, *TRY_AGAIN])
        assert talk.context == measured


def test_a_date_in_a_template_is_the_same_on_every_day(monkeypatch):
    from transformers.utils import chat_template_utils

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + datetime.timedelta(days=30)

    tokenizer, _ = kind("Llama 3")
    today = chat_templates.render(tokenizer, ASKED)
    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    assert chat_templates.render(tokenizer, ASKED) == today
    assert "Today Date: 26 Jul 2024" in today


def test_a_tokenizer_that_ends_every_text_does_not_end_what_is_to_be_continued():
    from tokenizers.processors import TemplateProcessing

    for single in ("<|im_start|> $A", "<|im_start|> $A <|im_end|>"):
        tokenizer = tiny_tokenizer()
        specials = [("<|im_start|>", 1), ("<|im_end|>", 2)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=specials)
        context, continuation = encode_pair(tokenizer, "The sky is", " blue", {})
        assert context == [1, *encode_text(tokenizer, "The sky is")]
        assert continuation == encode_text(tokenizer, " blue")
        (asked,) = encode_prompts(tokenizer, [GenerationRequest(id="a", prompt="2+2=")])
        assert asked == (1, *encode_text(tokenizer, "2+2="))


def test_what_the_model_wrote_itself_is_taught_in_the_tokens_that_it_drew():
    tokenizer, ends = kind("ChatML")
    end = end_of_turn(tokenizer, ends)
    drawn = [tokenizer.convert_tokens_to_ids(letter) for letter in "the"]
    assert encode_text(tokenizer, "the") != drawn  # the tokenizer has a token for it
    request = GenerationRequest(id="a", messages=ASKED)
    read = {"prompt_tokens": 1, "end_tokens": ends, "stops": ("X",), "truncated": False}
    completion = read_completion(tokenizer, request, [*drawn, *end], **read)
    assert (completion.text, completion.token_ids) == ("the", tuple(drawn))
    assert encode_completion(tokenizer, ASKED, completion.text, end, completion.token_ids) == [*drawn, *end]
    stopped = read_completion(tokenizer, request, encode_text(tokenizer, "the X"), **read)
    assert (stopped.text, stopped.token_ids) == ("the ", ())
    problem = Problem(id="a", environment="e", messages=ASKED, answer="5")
    rollouts = [
        Rollout(
            problem=problem,
            index=index,
            completion=text,
            tokens=3,
            truncated=False,
            verdict=Verdict(reward=float(index), extracted=None),
            token_ids=ids,
        )
        for index, (text, ids) in enumerate((("he", ()), ("the", drawn)))
    ]
    (pair,) = dpo.pair(rollouts, 1, 0).pairs
    row = preference_row(tokenizer, pair, end)
    assert row["chosen_ids"] == [*drawn, *end]
    assert row["rejected_ids"] == [*encode_text(tokenizer, "he"), *end]


def test_what_a_reasoning_model_wrote_is_taught_as_it_wrote_it():
    tokenizer, ends = kind("R1 distill")
    end = end_of_turn(tokenizer, ends)
    thought = "two and three make five\n</think>\n\n5"

    def taught(text, end=end):
        return tokenizer.decode(encode_completion(tokenizer, ASKED, text, end))

    assert taught(thought) == thought + "<|end|>"
    assert taught("<think>\n" + thought) == thought + "<|end|>"  # of a teacher whose prompt opens no thought
    assert taught("5") == "</think>\n\n5<|end|>"
    assert taught("two and", []) == "two and"  # cut while it thought
    tokenizer, ends = kind("Qwen3")
    end = end_of_turn(tokenizer, ends)
    assert tokenizer.decode(encode_completion(tokenizer, ASKED, "5", end)) == "5<|im_end|>"


def test_a_template_without_an_end_needs_a_token_that_ends():
    tokenizer, _ = kind("alpaca")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"writes no end of turn, .* would never stop writing\. Set eos_token"):
        end_of_turn(tokenizer, frozenset())
