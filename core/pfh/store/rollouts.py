"""Rollouts as a Parquet table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pfh.hooks.domains import Problem, Rollout, Verdict
from pfh.text import storable


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """Write `rollouts` as one Parquet table, a row a rollout, in the order given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    messages = pa.list_(pa.struct([("role", text), ("content", text)]))
    schema = pa.schema(
        [
            ("problem", text),
            ("environment", text),
            ("messages", messages),
            ("answer", text),
            ("solution", text),
            ("rejected", text),
            ("cluster", text),
            ("own_turns", flag),
            ("index", whole),
            ("completion", text),
            ("tokens", whole),
            ("truncated", flag),
            ("reward", number),
            ("extracted", text),
            ("f1", number),
            ("score", number),
            ("turns", messages),
            ("token_ids", pa.list_(pa.int32())),
        ]
    )
    rows = [
        {
            "problem": rollout.problem.id,
            "environment": rollout.problem.environment,
            "messages": list(rollout.problem.messages),
            "answer": rollout.problem.answer,
            "solution": rollout.problem.solution,
            "rejected": rollout.problem.rejected,
            "cluster": rollout.problem.cluster,
            "own_turns": rollout.problem.own_turns,
            "index": rollout.index,
            "completion": storable(rollout.completion),
            "tokens": rollout.tokens,
            "truncated": rollout.truncated,
            "reward": rollout.verdict.reward,
            "extracted": None if rollout.verdict.extracted is None else storable(rollout.verdict.extracted),
            "f1": rollout.verdict.f1,
            "score": rollout.verdict.score,
            "turns": list(rollout.messages),
            "token_ids": list(rollout.token_ids),
        }
        for rollout in rollouts
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def read_rollouts(path: Path) -> tuple[Rollout, ...]:
    """Read what `write_rollouts` wrote."""
    import pyarrow.parquet as pq

    return tuple(
        Rollout(
            problem=Problem(
                id=row["problem"],
                environment=row["environment"],
                messages=tuple(row["messages"]),
                answer=row["answer"],
                solution=row["solution"],
                rejected=row.get("rejected"),
                cluster=row.get("cluster") or "",
                own_turns=bool(row.get("own_turns")),
            ),
            index=row["index"],
            completion=row["completion"],
            tokens=row["tokens"],
            truncated=row["truncated"],
            verdict=Verdict(
                reward=row["reward"],
                extracted=row["extracted"],
                f1=row.get("f1"),
                score=row.get("score"),
            ),
            messages=tuple(row.get("turns") or ()),
            token_ids=tuple(row.get("token_ids") or ()),
        )
        for row in pq.read_table(path).to_pylist()
    )
