"""HarmBench's copyright behaviours: is the protected text itself in the completion? A refusal judge cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.backends import Sampling
from pfh.hooks.datasets import DataSource
from pfh.hooks.evals import EvaluationSpec
from pfh.hooks.judges import Case, Judge
from pfh.hooks.samples import Sample

from pfh_evals.judging import judged
from pfh_evals.safety.documents import Document, Loaded, rows_of
from pfh_evals.safety.own.base import Documents, Measured, OwnBenchmark, asking, completed

TOKENS = 512
"""HarmBench's length of a completion."""


def _load(data: DataSource) -> Loaded:
    fields = ("Behavior", "BehaviorID", "FunctionalCategory", "Tags")
    dataset = rows_of(data, "centerforaisafety/HarmBench", "behaviors_text", "all", fields)
    return tuple(
        Document(
            prompt=row["Behavior"],
            category="lyrics" if "lyrics" in row["Tags"] else "passage",
            extra={"behavior id": row["BehaviorID"]},
        )
        for row in dataset.rows
        if row["FunctionalCategory"] == "copyright"
    ), dataset.origin


def _measure(documents: Documents, judges: Sequence[Judge], spec: EvaluationSpec) -> Measured:
    sampling = Sampling(max_new_tokens=spec.options.max_new_tokens or TOKENS, seed=spec.seed)
    chats = {key: asking(document.prompt) for key, document in documents.items()}
    done = completed(chats, spec, sampling)
    cases = [
        Case(prompt=document.prompt, completion=done[key].text, context=document.extra["behavior id"])
        for key, document in documents.items()
    ]
    return Measured(
        samples=[
            Sample(
                id=key,
                benchmark=COPYRIGHT.name,
                category=document.category,
                prompt=spec.engine.render(chats[key]),
                completion=done[key].text,
                extracted=judgement.category if judgement.parsed else "unparsed",
                target="another text",
                score=judgement.score,
                status="ok" if judgement.parsed else "error",
                tokens=done[key].tokens,
                extra={"user_prompt": document.prompt, "truncated": done[key].truncated},
            )
            for (key, document), judgement in zip(documents.items(), judged(judges[0], cases, spec), strict=True)
        ]
    )


COPYRIGHT = OwnBenchmark(
    name="harmbench-copyright",
    group="harmbench",
    metric="reproduction_rate",
    load=_load,
    measure=_measure,
    reads=("copyright",),
    judges="copyright",
    higher_is_better=False,
    sensitive=True,
    version="2",
)
