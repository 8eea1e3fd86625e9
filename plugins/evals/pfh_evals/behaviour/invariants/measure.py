"""Invariants put to a model: every prompt with its variants and repeats, and each reply to all checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pfh.errors import DataUnavailableError, NotNumbersError
from pfh.hooks.backends import Completion, GenerationRequest, Message, Sampling
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.judges import HOLDING_BACK, Embeds, Judge
from pfh.hooks.samples import Sample, SampleStatus, sample_id
from pfh.kit.subset import spread

from pfh_evals.behaviour.invariants.checks import OF_BOTH, OF_JUDGE, SIMILAR
from pfh_evals.behaviour.invariants.judging import Asked, Verdict, verdicts
from pfh_evals.behaviour.invariants.likeness import cosines, named_texts
from pfh_evals.behaviour.invariants.opened import Opened, names_of
from pfh_evals.behaviour.invariants.written import Invariant, Prompt, put_in
from pfh_evals.behaviour.replies import answer_of, hollow
from pfh_evals.behaviour.surface import with_typos
from pfh_evals.behaviour.tools import offered

if TYPE_CHECKING:
    from pfh.hooks.datasets import DataSource
    from pfh.hooks.evals import EvaluationSpec

PREFIX = "invariants/"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt of an invariant, with every text that is put to a model for it."""

    id: str
    invariant: Invariant
    prompt: Prompt
    chats: tuple[tuple[Message, ...], ...]
    """One a variant and repeat, the prompt as it is written first; behind them the one that it stands against."""

    @property
    def keys(self) -> list[str]:
        """Ids of the requests."""
        return [f"{self.id}/{place}" for place in range(len(self.chats))]


def items(opened: Opened, invariant: Invariant, data: DataSource, limit: int | None) -> tuple[list[Item], str]:
    """Return the prompts of an invariant, at most `limit`, and where they come from.

    Raises:
        DataUnavailableError: their dataset cannot be had.
    """
    prompts, source = opened.prompts(invariant, data)
    found = {each.id: each for each in (_item(opened, invariant, prompt) for prompt in prompts)}
    kept = spread(dict.fromkeys(found, ""), limit)
    return [found[key] for key in kept], source


def _item(opened: Opened, invariant: Invariant, prompt: Prompt) -> Item:
    ask = put_in(prompt.ask, prompt.vars)
    texts = [ask, *(template.replace("{ask}", ask) for template in invariant.vary.wording)]
    texts += [with_typos(ask, f"{invariant.id}/{ask}/{place}") for place in range(invariant.vary.typos)]
    put = [text for text in dict.fromkeys(texts) for _ in range(invariant.repeats)]
    put += [put_in(prompt.against, prompt.vars)] if invariant.kind == "direction" else []
    document = {"invariant": invariant.id, "prompt": prompt.model_dump(mode="json"), "system": invariant.system}
    return Item(
        id=sample_id("behaviour invariants", "1", document),
        invariant=invariant,
        prompt=prompt,
        chats=tuple(_chat(opened, invariant, text, prompt) for text in put),
    )


def _chat(opened: Opened, invariant: Invariant, text: str, prompt: Prompt) -> tuple[Message, ...]:
    system: list[Message] = []
    if invariant.system:
        system = [{"role": "system", "content": put_in(invariant.system, prompt.vars)}]
    turns: list[Message] = [{"role": turn.role, "content": turn.content} for turn in invariant.messages]
    calls = any(name.endswith(("call", "call_valid")) for check in invariant.checks for name in names_of(check))
    content = offered(opened.tools, text) if calls else text
    if prompt.sources:
        listed = "\n".join(f"[{place}] {each}" for place, each in enumerate(prompt.sources, start=1))
        content = f"Sources:\n{listed}\n\n{content}"
    return (*system, *turns, {"role": "user", "content": content})


def version(opened: Opened, invariant: Invariant) -> str:
    """Return what changes whenever a prompt, a check or a sampling of the invariant may."""
    told = invariant.model_dump(mode="json", exclude={"hold", "why", "passes", "fails"})
    text = json.dumps([told, opened.tools, sampling(opened, invariant, 0).max_new_tokens], sort_keys=True, default=str)
    return f"1-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def sampling(opened: Opened, invariant: Invariant, seed: int) -> Sampling:
    """Return how replies are drawn."""
    defaults = opened.written.defaults
    return Sampling(
        max_new_tokens=defaults.max_new_tokens if invariant.max_new_tokens is None else invariant.max_new_tokens,
        temperature=defaults.temperature if invariant.temperature is None else invariant.temperature,
        seed=seed,
    )


def measure(opened: Opened, chosen: Sequence[Invariant], judge: Judge, spec: EvaluationSpec) -> dict[str, Benchmark]:
    """Return a benchmark for each invariant, by name."""
    rows: dict[str, Benchmark] = {}
    put: dict[str, list[Item]] = {}
    for invariant in chosen:
        name = PREFIX + invariant.id
        rests = {each for check in invariant.checks for each in names_of(check)} & set(OF_JUDGE)
        rows[name] = Benchmark(
            name=name,
            version=version(opened, invariant),
            metric="held",
            higher_is_better=True,
            judge=judge.name if rests else "",
        )
        if SIMILAR in rests and not isinstance(judge, Embeds):
            said = f"the judge {judge.name} has no embeddings, which similar needs: choose -o behaviour.judge=embedding"
            rows[name] = replace(rows[name], status="NOT_RUN", reason=said)
            continue
        try:
            put[name], source = items(opened, invariant, spec.data, spec.limit)
        except DataUnavailableError as error:
            rows[name] = replace(rows[name], status="NOT_RUN", reason=str(error))
        else:
            rows[name] = replace(rows[name], source=source)
    try:
        replies = _replies(opened, [item for found in put.values() for item in found], spec)
    except NotNumbersError as error:
        return {
            name: replace(row, status="ERROR", reason=str(error)) if name in put else row for name, row in rows.items()
        }
    for name, found in put.items():
        rows[name] = replace(rows[name], samples=_samples(opened, found, replies, judge, spec))
    return rows


def _replies(opened: Opened, put: Sequence[Item], spec: EvaluationSpec) -> dict[str, Completion]:
    """Complete every text; those that are drawn alike in one call."""
    by_sampling: dict[Sampling, list[Item]] = {}
    for item in put:
        by_sampling.setdefault(sampling(opened, item.invariant, spec.seed), []).append(item)
    found: dict[str, Completion] = {}
    for drawn, together in by_sampling.items():
        requests = [
            GenerationRequest(id=key, messages=chat)
            for item in together
            for key, chat in zip(item.keys, item.chats, strict=True)
        ]
        done = spec.engine.generate(requests, drawn)
        found |= {request.id: completion for request, completion in zip(requests, done, strict=True)}
    return found


def _samples(
    opened: Opened, put: Sequence[Item], replies: Mapping[str, Completion], judge: Judge, spec: EvaluationSpec
) -> tuple[Sample, ...]:
    keys = [key for item in put for key in item.keys]
    chats = {key: chat for item in put for key, chat in zip(item.keys, item.chats, strict=True)}
    labels = judge.label([chats[key][-1]["content"] for key in keys], [replies[key].text for key in keys])
    label_of = {key: found.label for key, found in zip(keys, labels, strict=True)}
    checks_of = {item.id: _ready(item) for item in put}
    answers = {key: answer_of(replies[key].text) for key in keys}
    texts = {key: named_texts(checks_of[item.id]) for item in put for key in item.keys}
    near = cosines(judge, answers, texts) if isinstance(judge, Embeds) else {}
    asked: list[Asked] = []
    for item in put:
        way = way_of(item.invariant)
        for key in item.keys:
            context = {
                "asked": chats[key][-1]["content"],
                "sources": item.prompt.sources,
                "tools": opened.tools,
                "label": label_of[key],
                "near": near.get(key, {}),
            }
            asked.append((checks_of[item.id], answers[key], context, way))
    said = dict(zip(keys, verdicts(asked), strict=True))
    return tuple(_sample(opened, item, replies, said, label_of, spec) for item in put)


def _ready(item: Item) -> list[Mapping[str, Any]]:
    """Return the checks of one reply alone, with the prompt's values put in."""
    checks: list[Mapping[str, Any]] = [check for check in item.invariant.checks if OF_BOTH not in check]
    return [put_in(check, item.prompt.vars) for check in checks] if item.prompt.vars else checks


def way_of(invariant: Invariant) -> Mapping[str, Any] | None:
    """Return what is taken out of each reply: what must be unchanged, or what is compared over variants."""
    if invariant.extract is not None:
        return invariant.extract
    setting = next((check[OF_BOTH] for check in invariant.checks if OF_BOTH in check), None)
    return None if setting is None else {"text": True} if setting is True else dict(setting["extract"])


def _sample(
    opened: Opened,
    item: Item,
    replies: Mapping[str, Completion],
    said: Mapping[str, Verdict | None],
    label_of: Mapping[str, str],
    spec: EvaluationSpec,
) -> Sample:
    invariant, keys = item.invariant, item.keys
    against = said[keys[-1]] if invariant.kind == "direction" else None
    own = keys[:-1] if invariant.kind == "direction" else keys
    failed = [_failed(item, key, chat, replies[key], said, against) for key, chat in zip(own, item.chats, strict=False)]
    completion = replies[own[0]]
    overran = any(said[key] is None for key in own)
    kept = [not each for each in failed]
    first = said[own[0]]
    return Sample(
        id=item.id,
        benchmark=PREFIX + invariant.id,
        prompt=spec.engine.render(item.chats[0]),
        completion=completion.text,
        extracted=", ".join(dict.fromkeys(each for each in failed if each)) or "holds",
        target="holds",
        score=None if overran else sum(kept) / len(kept),
        status=_status(overran, completion, label_of[own[0]]),
        tokens=completion.tokens,
        extra={
            "user_prompt": put_in(item.prompt.ask, item.prompt.vars),
            "truncated": completion.truncated,
            "refused": label_of[own[0]] in HOLDING_BACK,
            "held": kept,
            "value": None if first is None else first.value,
            "replies": [replies[key].text for key in keys[1:]],
            "unchanged": any(OF_BOTH in check for check in invariant.checks),
            "hold": opened.hold(invariant).model_dump(exclude_none=True),
            "why": invariant.why,
        },
    )


def _failed(
    item: Item,
    key: str,
    chat: Sequence[Message],
    completion: Completion,
    said: Mapping[str, Verdict | None],
    against: Verdict | None,
) -> str:
    """Return what does not hold of one reply; empty where all does."""
    invariant, verdict, base = item.invariant, said[key], said[item.keys[0]]
    if verdict is None:
        return "a check did not end"
    reply = answer_of(completion.text)
    if silence := hollow(chat[-1]["content"], reply, quotes=invariant.may_quote or bool(item.prompt.sources)):
        return "says nothing" if silence == "empty" else "echoes"
    names = [next(iter(check)) for check in invariant.checks if OF_BOTH not in check]
    lost = [name for name, held in zip(names, verdict.held, strict=True) if not held]
    if invariant.kind == "invariance" and (verdict.value is None or base is None or verdict.value != base.value):
        lost.append("another answer")
    if invariant.kind == "direction" and not _more(verdict, against):
        lost.append("not more")
    return ", ".join(lost)


def _more(verdict: Verdict, against: Verdict | None) -> bool:
    if against is None or verdict.value is None or against.value is None:
        return False
    return float(verdict.value) > float(against.value)


def _status(overran: bool, completion: Completion, label: str) -> SampleStatus:
    if overran:
        return "error"
    if label in HOLDING_BACK:
        return "refused"
    return "truncated" if completion.truncated else "ok"
