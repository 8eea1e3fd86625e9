"""Logged requests replayed: what would a model's users see change? Nothing leaves the machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

from pfh import hookimpl
from pfh.errors import NotNumbersError, UserError, did_you_mean
from pfh.hooks.backends import Completion, GenerationRequest, Sampling
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Benchmark, Evaluation
from pfh.hooks.judges import HOLDING_BACK
from pfh.hooks.meanings import Draws, Names
from pfh.hooks.samples import Sample
from pfh.hooks.tables import Table
from pfh.kit.subset import spread
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from pfh_evals.behaviour.needle import SPARE, window_of
from pfh_evals.behaviour.replies import answer_of
from pfh_evals.plans import Planned, plan_table
from pfh_evals.traffic.analysis import analyze_traffic
from pfh_evals.traffic.masking import masked, read_rules
from pfh_evals.traffic.measures import MEASURES, SOUND, Said, scores
from pfh_evals.traffic.requests import Log, Logged, read_requests

_METRICS: dict[str, tuple[str, bool | None]] = {
    SOUND: ("share_of_rules", True),
    **{each.name: (each.metric, each.higher_is_better) for each in MEASURES},
}


class Options(BaseModel):
    """How logged requests are put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: str = Field("", description="a JSONL file of logged chat requests, one a line")
    masks: str = Field(
        "", description="a text file of patterns of your own that are masked too, a NAME and a pattern a line"
    )
    max_new_tokens: int = Field(256, ge=1, description="length limit of a reply")
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        0.0, ge=0, description="softmax temperature; 0 is greedy decoding"
    )
    judge: Annotated[str, Names.JUDGE] = Field("rule", description="judge that says which replies refuse")

    @field_validator("masks")
    @classmethod
    def _without_fault(cls, masks: str) -> str:
        if masks:
            read_rules(masks)
        return masks

    @computed_field  # type: ignore[prop-decorator]  # a file that changed asks something else
    @property
    def content(self) -> str:
        """Hash of the files."""
        return "-".join(_hash(name) for name in (self.requests, self.masks) if name)


def _hash(name: str) -> str:
    try:
        with Path(name).expanduser().open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): name a file that is there.") from error


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Answer every request once, and take each measure of the reply.

    Raises:
        UserError: the requests cannot be read, the model is a remote one, or there is no such benchmark.
    """
    if spec.engine.checkpoint.endpoint is not None:
        raise UserError("logged requests do not leave this machine: name a model whose weights are here.")
    chosen, log = _select(spec), _log(spec.options)
    asked = _limited(log, spec.limit)
    window = window_of(spec.engine)
    fit = [each for each in asked if window is None or _tokens(each, spec) <= window - SPARE]
    source = _source(spec.options, log, len(asked), len(asked) - len(fit))
    sampling = Sampling(
        max_new_tokens=spec.options.max_new_tokens, temperature=spec.options.temperature, seed=spec.seed
    )
    rows = [_row(name, source, spec.options) for name in chosen]
    try:
        done = spec.engine.generate([GenerationRequest(id=each.id, messages=each.messages) for each in fit], sampling)
    except NotNumbersError as error:
        broken = tuple(replace(row, status="ERROR", reason=str(error)) for row in rows)
        return Evaluation(family="traffic", benchmarks=broken)
    judge = spec.judge(spec.options.judge)
    labels = judge.label([each.asked for each in fit], [each.text for each in done])
    said = [
        Said(text=answer_of(reply.text), refused=label.label in HOLDING_BACK, truncated=reply.truncated)
        for reply, label in zip(done, labels, strict=True)
    ]
    found = [scores(request, each) for request, each in zip(fit, said, strict=True)]
    nothing = "no request asks for it" if fit else "every request is longer than the model's window"
    benchmarks = []
    for row in rows:
        samples = tuple(
            _sample(row.name, request, reply, each, score, spec)
            for request, reply, each, score in zip(fit, done, said, found, strict=True)
            if score[row.name] is not None
        )
        measured = replace(row, samples=samples, judge=judge.name if row.name == "refused" else "")
        benchmarks.append(measured if samples else replace(measured, status="INSUFFICIENT", reason=nothing))
    return Evaluation(family="traffic", benchmarks=tuple(benchmarks))


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many requests would be put to a model.

    Raises:
        UserError: the requests cannot be read, or there is no such benchmark.
    """
    log = _log(spec.options)
    count = len(_limited(log, spec.limit))
    source = _source(spec.options, log, count, 0)
    rows = [
        Planned(
            benchmark=name,
            documents=count,
            requests=0 if place else count,
            scores="other" if name in (SOUND, "length", "like-the-log") else "0 or 1",
            source=source,
        )
        for place, name in enumerate(_select(spec))
    ]
    return plan_table(
        "traffic", rows, "All benchmarks read the same replies; each scores the requests that ask for it."
    )


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Show how far replies differ, and which requests lost what, worst first."""
    return analyze_traffic(spec)


def _select(spec: EvaluationSpec | PlanSpec) -> list[str]:
    for name in spec.benchmarks:
        if name not in _METRICS:
            raise UserError(
                f"the family traffic has no benchmark {name!r}.{did_you_mean(name, _METRICS)} It has "
                f"{', '.join(_METRICS)}."
            )
    return [name for name in _METRICS if name in spec.benchmarks or not spec.benchmarks]


def _log(chosen: Options) -> Log:
    if not chosen.requests:
        raise UserError(
            "name the file of logged requests: pfh shadow REQUESTS.jsonl BEFORE AFTER, or -o traffic.requests=FILE."
        )
    return _read(chosen.requests, chosen.masks, chosen.content)


@cache
def _read(requests: str, masks: str, content: str) -> Log:
    return read_requests(requests, read_rules(masks) if masks else ())


def _limited(log: Log, limit: int | None) -> list[Logged]:
    by_id = {each.id: each for each in log.requests}
    return [by_id[key] for key in spread(dict.fromkeys(by_id, ""), limit)]


def _tokens(request: Logged, spec: EvaluationSpec) -> int:
    return spec.engine.count_tokens(spec.engine.render(request.messages))


def _source(chosen: Options, log: Log, count: int, too_long: int) -> str:
    left = dict(log.left_out) | ({"longer than the model's window": too_long} if too_long else {})
    said = [f"{Path(chosen.requests).name}: {count} requests"]
    if left:
        said.append("left out " + ", ".join(f"{number} {why}" for why, number in left.items()))
    if log.masks:
        said.append("masked " + ", ".join(f"{number} {kind}" for kind, number in log.masks.items()))
    return "; ".join(said)


def _row(name: str, source: str, chosen: Options) -> Benchmark:
    metric, better = _METRICS[name]
    return Benchmark(
        name=name,
        version=f"1-{chosen.max_new_tokens}-t{chosen.temperature:g}",
        metric=metric,
        higher_is_better=better,
        source=source,
        sensitive=True,
        same_documents_as="" if name == SOUND else SOUND,
    )


def _sample(
    name: str, request: Logged, reply: Completion, said: Said, found: dict[str, float | None], spec: EvaluationSpec
) -> Sample:
    text = masked([reply.text])[0][0]
    return Sample(
        id=request.id,
        benchmark=name,
        prompt=spec.engine.render(request.messages),
        completion=text,
        extracted=", ".join(key for key, value in found.items() if value == 0 and key in _RULES) or "sound",
        target=request.reply[:2000] or None,
        score=found[name],
        status="refused" if said.refused else "truncated" if said.truncated else "ok",
        tokens=reply.tokens,
        extra={
            "user_prompt": request.asked,
            "truncated": said.truncated,
            "refused": said.refused,
            "line": request.line,
            "scores": found,
        },
    )


_RULES = {each.name for each in MEASURES if each.sound}
