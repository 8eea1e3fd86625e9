"""The generated benchmarks, put to a model in one pass: a reply is read by every benchmark that asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pfh.errors import DataUnavailableError, NotNumbersError
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.judges import HOLDING_BACK, Judge
from pfh.hooks.samples import Sample, SampleStatus

from pfh_evals.behaviour import needle
from pfh_evals.behaviour.asks import Ask, Generated, Read, limited
from pfh_evals.behaviour.replies import answer_of, hollow

if TYPE_CHECKING:
    from pfh.hooks.evals import EvaluationSpec


def measure(chosen: Sequence[Generated], judge: Judge, spec: EvaluationSpec) -> dict[str, Benchmark]:
    """Return the benchmarks by name, each with one sample an item.

    The judge says which replies refuse: it decides a sample's status, and no score.
    """
    rows = {each.name: _row(each, spec) for each in chosen}
    asks: dict[str, list[Ask]] = {}
    for each in chosen:
        try:
            items, source = each.load(spec)
        except DataUnavailableError as error:
            rows[each.name] = replace(rows[each.name], status="NOT_RUN", reason=str(error))
            continue
        kept = limited(items, spec.limit)
        rows[each.name] = replace(rows[each.name], source=source)
        unfit = needle.too_long(spec.engine, kept) if each.group == "needle" else ""
        if unfit:
            rows[each.name] = replace(rows[each.name], status="INSUFFICIENT", reason=unfit)
            continue
        asks[each.name] = kept
    every = {item.id: item for items in asks.values() for item in items}
    try:
        replies = _replies(list(every.values()), spec)
    except NotNumbersError as error:
        return {
            name: replace(row, status="ERROR", reason=str(error)) if name in asks else row for name, row in rows.items()
        }
    refused = _refused(every, replies, judge, spec)
    for each in chosen:
        if each.name in asks:
            samples = tuple(_sample(each, item, replies[item.id], refused[item.id], spec) for item in asks[each.name])
            rows[each.name] = replace(rows[each.name], samples=samples)
    return rows


def _row(each: Generated, spec: EvaluationSpec) -> Benchmark:
    options = spec.options
    drawn = f"{options.max_new_tokens}-t{options.temperature:g}"
    told = f"-{options.tools}-{options.tool_cases}" if each.group == "tools" else ""
    return Benchmark(
        name=each.name,
        version=f"{each.version}-{drawn}{told}",
        metric=each.metric,
        higher_is_better=each.higher_is_better,
        judge=each.judge,
    )


def _replies(asks: Sequence[Ask], spec: EvaluationSpec) -> dict[str, Completion]:
    """Complete every item: the chats in one call, and in another what a template of tools has rendered."""
    options = spec.options
    sampling = Sampling(max_new_tokens=options.max_new_tokens, temperature=options.temperature, seed=spec.seed)
    found: dict[str, Completion] = {}
    for part in ([each for each in asks if each.prompt is None], [each for each in asks if each.prompt is not None]):
        requests = [
            GenerationRequest(id=each.id, messages=each.messages if each.prompt is None else (), prompt=each.prompt)
            for each in part
        ]
        if requests:
            done = spec.engine.generate(requests, sampling)
            found |= {each.id: completion for each, completion in zip(part, done, strict=True)}
    return found


def _refused(
    asks: dict[str, Ask], replies: dict[str, Completion], judge: Judge, spec: EvaluationSpec
) -> dict[str, bool]:
    keys = list(asks)
    labels = judge.label([asks[key].asked for key in keys], [replies[key].text for key in keys]) if keys else []
    return {key: found.label in HOLDING_BACK for key, found in zip(keys, labels, strict=True)}


def _sample(each: Generated, item: Ask, completion: Completion, refused: bool, spec: EvaluationSpec) -> Sample:
    reply = answer_of(completion.text)
    whole = "\n".join(message["content"] for message in item.messages)
    silence = hollow(item.asked, reply, quotes=each.quotes) or hollow(whole, reply, quotes=each.quotes)
    if silence:
        said = Read(score=each.of_silence, label="says nothing" if silence == "empty" else "echoes", unreadable=True)
    else:
        said = each.read(item, reply)
    return Sample(
        id=item.id,
        benchmark=each.name,
        category=item.category,
        prompt=spec.engine.render(item.messages) if item.prompt is None else item.prompt,
        completion=completion.text,
        extracted=said.label,
        target=said.target,
        score=said.score,
        status=_status(said, completion, refused),
        tokens=completion.tokens,
        extra={
            "user_prompt": item.asked,
            "truncated": completion.truncated,
            "refused": refused,
            "empty": silence == "empty",
            **said.extra,
        },
    )


def _status(said: Read, completion: Completion, refused: bool) -> SampleStatus:
    if refused:
        return "refused"
    if said.unreadable:
        return "format_failure"
    return "truncated" if completion.truncated else "ok"
