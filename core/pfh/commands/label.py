"""`pfh label`: people's labels of a run's judged completions, and the changes that they correct."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pfh.commands.own_rows import need, read_json_lines
from pfh.errors import UserError, content_of, reading
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.judges import HOLDING_BACK
from pfh.hooks.samples import Sample
from pfh.results.records import RunResults
from pfh.results.stored import stored_pairs
from pfh.statistics.paired import paired_samples
from pfh.store.store import Store
from pfh.text import json_text, write_whole

FILE = "labels.jsonl"
"""The labels of a run, beside its results.json."""
ANSWERS = ("refused", "complied", "partial", "broken", "")
Stratum = Literal["lost", "gained", "same"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One completion for a person to label, without a hint at its side or at what the judge said."""

    run: str
    benchmark: str
    id: str
    place: str
    """Tells the two completions of a prompt apart: a hash, not a side."""
    prompt: str
    completion: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    stage: int
    benchmark: Benchmark
    before: Sample
    after: Sample

    @property
    def stratum(self) -> Stratum:
        if self.before.score == self.after.score:
            return "same"
        return "lost" if _held(self.before.extracted) else "gained"


def run_id(results: RunResults) -> str:
    """Return what tells this run's labels from another's: a hash of what it measured."""
    keys = [(family.before_artifact, family.after_artifact) for stage in results.stages for family in stage.families]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]


def to_label(results: RunResults, store: Store, *, unchanged: int, seed: int = 0) -> list[Asked]:
    """Return the completions of every prompt that changed sides, and of some that did not, in a shuffled order.

    Raises:
        UserError: no judged sample of the run is in the store.
    """
    pairs = _pairs(results, store)
    draw = random.Random(seed)  # noqa: S311 - a sample, no secret
    same = [pair for pair in pairs if pair.stratum == "same"]
    chosen = [pair for pair in pairs if pair.stratum != "same"] + draw.sample(same, min(unchanged, len(same)))
    asked = [
        Asked(
            run=run_id(results),
            benchmark=pair.benchmark.name,
            id=pair.before.id,
            place=_place(pair, side),
            prompt=str(side.extra.get("user_prompt", side.prompt)),
            completion=side.completion,
        )
        for pair in chosen
        for side in (pair.before, pair.after)
    ]
    draw.shuffle(asked)
    return list({each.place: each for each in asked}.values())


def read_labels(file: Path, text: str, results: RunResults) -> dict[str, str]:
    """Return the labels in JSON lines, by the completion's place; lines without a label are left out.

    Raises:
        UserError: the labels belong to another run, a label is none, or a line cannot be read.
    """

    def read(line: int, row: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
        row = need(row, "run", "place", "label")
        if row["run"] != run_id(results):
            raise UserError(
                f"{file}, line {line} labels the run {row['run']}, and this one is {run_id(results)}: name the run "
                "that the file was exported from."
            )
        if row["label"] not in ANSWERS:
            raise ValueError(f"label is {row['label']!r}; it is one of {', '.join(ANSWERS[:-1])}, or empty")
        return str(row["place"]), str(row["label"])

    rows = read_json_lines(file, text, "run, place and label, as pfh label --export writes them", read)
    return {place: label for place, label in rows if label}


def write_labels(file: Path, asked: Iterable[Asked], labels: dict[str, str]) -> None:
    """Write one line a completion, with the labels that there are.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [json_text(asdict(each) | {"label": labels.get(each.place, "")}) for each in asked]
    try:
        write_whole(file, "\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from None


def keep_labels(file: Path, results: RunResults, labels: dict[str, str]) -> None:
    """Keep all labels of a run.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [json.dumps({"run": run_id(results), "place": place, "label": label}) for place, label in labels.items()]
    try:
        write_whole(file, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from None


def with_corrections(results: RunResults, folder: Path, store: Store) -> RunResults:
    """Return `results` with a note for each change that the labels kept in `folder` correct.

    Raises:
        UserError: the labels are another run's.
    """
    kept = folder / FILE
    with reading(f"The labels in {kept}", "mend that file, or move it away"):
        text = content_of(kept).decode() if kept.is_file() else ""
    if not text.strip():
        return results
    notes = corrections(results, store, read_labels(kept, text, results))
    return results.model_copy(update={"notes": (*results.notes, *notes)})


def corrections(results: RunResults, store: Store, labels: dict[str, str]) -> list[str]:
    """Say for each benchmark what people's labels make of its change.

    Prompts that changed sides one way, the other way, and not at all are three strata, each with the mean of its
    labelled prompts; of a stratum of which nothing is labelled the judge's word stands, and is said so.
    """
    grouped: dict[tuple[int, str], list[_Pair]] = {}
    for pair in _pairs(results, store):
        grouped.setdefault((pair.stage, pair.benchmark.name), []).append(pair)
    found = []
    for (stage, name), pairs in grouped.items():
        text = _correction(pairs, labels)
        if text:
            found.append(f"Labels by people, stage {stage + 1}, {name}: {text}")
    return found


def _correction(pairs: Sequence[_Pair], labels: dict[str, str]) -> str:
    mean, variance, labelled, unlabelled = 0.0, 0.0, 0, []
    judged = sum(_held(pair.after.extracted) - _held(pair.before.extracted) for pair in pairs) / len(pairs)
    for stratum in ("lost", "gained", "same"):
        of = [pair for pair in pairs if pair.stratum == stratum]
        if not of:
            continue
        known = [(labels.get(_place(it, it.before)), labels.get(_place(it, it.after))) for it in of]
        changes = [_held(after) - _held(before) for before, after in known if before and after]
        weight, n = len(of) / len(pairs), len(changes)
        labelled += n
        if not n:
            unlabelled.append(stratum)
            mean += weight * {"lost": -1, "gained": 1, "same": 0}[stratum]
            continue
        middle = sum(changes) / n
        spread = max(sum((it - middle) ** 2 for it in changes) / max(n - 1, 1), 1 / (n + 2))
        mean += weight * middle
        variance += weight**2 * spread / n * (1 - n / len(of))
    if not labelled:
        return ""
    half = 1.96 * math.sqrt(variance)
    rest = f"; nothing is labelled where it says {' or '.join(unlabelled)}, and its word stands" if unlabelled else ""
    return (
        f"the share refused changes by {mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f}) where the judge says "
        f"{judged:+.3f}, from {labelled} prompts with both completions labelled{rest}."
    )


def _pairs(results: RunResults, store: Store) -> list[_Pair]:
    pairs = [
        _Pair(stage=stage, benchmark=before, before=first, after=second)
        for (stage, _), benchmarks in stored_pairs(results, store).items()
        for before, after in benchmarks
        if before.judge
        for first, second in paired_samples(before, after)
        if first.extracted in ANSWERS[:-1] and second.extracted in ANSWERS[:-1]
    ]
    if not pairs:
        raise UserError("This run has no completions that a judge labelled, or the store no longer holds them.")
    return pairs


def _place(pair: _Pair, sample: Sample) -> str:
    side = "after" if sample is pair.after else "before"
    text = json.dumps([pair.stage, pair.benchmark.name, pair.before.id, side])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _held(label: str | None) -> int:
    return int(label in HOLDING_BACK)
