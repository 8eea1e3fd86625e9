"""`pfh label`: which of a run's judged completions people are asked to label, and the file of their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pfh.commands.own_rows import need, read_json_lines
from pfh.errors import UserError, did_you_mean
from pfh.hooks.evaluation import Benchmark
from pfh.hooks.samples import Sample
from pfh.results.records import RunResults
from pfh.results.stored import stored_pairs
from pfh.statistics.judged import counts_harm
from pfh.statistics.paired import paired_samples
from pfh.store.store import Store
from pfh.text import json_text, write_whole

FILE = "labels.jsonl"
"""The labels of a run, beside its results.json."""
ANSWERS = ("refused", "complied", "partial", "broken", "harmful", "harmless", "")
ANSWERS_OF: Mapping[str, tuple[str, ...]] = {
    "refusals": ANSWERS[:4],
    "harm": ("refused", "broken", "harmful", "harmless"),
}
"""What a label can be where refusals are counted, and where harm is."""
GRADED = "mean_harm"
"""A metric that no label says."""
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
    counts: Literal["refusals", "harm"] = "refusals"
    """What the label is to say: see `ANSWERS_OF`."""
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """One prompt's completions before and after a stage, as a judge labelled them."""

    stage: int
    family: str
    benchmark: Benchmark
    before: Sample
    after: Sample

    @property
    def of_harm(self) -> bool:
        """Say whether the judge counted harm, and not refusals."""
        return counts_harm(self.benchmark.metric, self.benchmark.judge)

    @property
    def stratum(self) -> Stratum:
        """Return which way the judge says that the score went."""
        change = (self.after.score or 0.0) - (self.before.score or 0.0)
        return "lost" if change < 0 else "gained" if change > 0 else "same"

    def place(self, sample: Sample) -> str:
        """Return what tells the completion `sample` from all others of the run, and no reader its side."""
        side = "after" if sample is self.after else "before"
        text = json.dumps([self.stage, self.benchmark.name, self.before.id, side])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_id(results: RunResults) -> str:
    """Return what tells this run's labels from another's: a hash of what it measured."""
    keys = [(family.before_artifact, family.after_artifact) for stage in results.stages for family in stage.families]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]


def to_label(
    results: RunResults, store: Store, *, unchanged: int, seed: int = 0, benchmarks: Collection[str] = ()
) -> list[Asked]:
    """Return the completions of every prompt that changed sides, and of some that did not, in a shuffled order.

    Those that did not are drawn at random within each benchmark, always in one order: who asks for more later gets the
    same ones and more, so that what is labelled of them stays a random draw.

    Args:
        results: the run.
        store: where its samples lie.
        unchanged: so many prompts of each benchmark that did not change sides.
        seed: of the draw.
        benchmarks: only these; empty is all that a judge labelled.

    Raises:
        UserError: no judged sample of the run is in the store, or none of these benchmarks.
    """
    drawn: list[JudgedPair] = []
    for pairs in judged_pairs(results, store, benchmarks).values():
        same = sorted((pair for pair in pairs if pair.stratum == "same"), key=lambda pair: _order(pair, seed))
        drawn += [pair for pair in pairs if pair.stratum != "same"] + same[:unchanged]
    asked = {
        pair.place(side): Asked(
            run=run_id(results),
            benchmark=pair.benchmark.name,
            id=pair.before.id,
            place=pair.place(side),
            prompt=str(side.extra.get("user_prompt", side.prompt)),
            completion=side.completion,
            counts="harm" if pair.of_harm else "refusals",
        )
        for pair in drawn
        for side in (pair.before, pair.after)
    }
    return sorted(asked.values(), key=lambda each: hashlib.sha256(f"{seed}/{each.place}".encode()).digest())


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


def keep_labels(file: Path, results: RunResults, labels: dict[str, str], shares: Mapping[str, float]) -> None:
    """Keep all labels of a run, each with the chance with which its prompt was drawn for labelling.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [
        json.dumps({"run": run_id(results), "place": place, "label": label, "probability": shares.get(place)})
        for place, label in labels.items()
    ]
    try:
        write_whole(file, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from None


def judged_pairs(
    results: RunResults, store: Store, benchmarks: Collection[str] = ()
) -> dict[tuple[int, str], list[JudgedPair]]:
    """Return (stage, benchmark) to its prompts whose completions a judge labelled both times.

    Raises:
        UserError: no judged sample of the run is in the store, or none of `benchmarks`.
    """
    found: dict[tuple[int, str], list[JudgedPair]] = {}
    for (stage, family), rows in stored_pairs(results, store).items():
        for before, after in rows:
            pairs = [
                JudgedPair(stage=stage, family=family, benchmark=before, before=first, after=second)
                for first, second in paired_samples(before, after)
                if _one_label(first) and _one_label(second)
            ]
            if before.judge and before.metric != GRADED and pairs:
                found[stage, before.name] = pairs
    if not found:
        raise UserError("This run has no completions that a judge labelled, or the store no longer holds them.")
    known = list(dict.fromkeys(name for _, name in found))
    for name in benchmarks:
        if name not in known:
            raise UserError(
                f"No judge labelled completions of {name!r}.{did_you_mean(name, known)} There are {', '.join(known)}."
            )
    return {key: pairs for key, pairs in found.items() if not benchmarks or key[1] in benchmarks}


def shares_asked(results: RunResults, store: Store, asked: Iterable[Asked]) -> dict[str, float]:
    """Return for each completion's place the chance with which its prompt was drawn for labelling."""
    wanted = {each.place for each in asked}
    shares: dict[str, float] = {}
    for pairs in judged_pairs(results, store).values():
        strata: dict[Stratum, list[JudgedPair]] = {}
        for pair in pairs:
            strata.setdefault(pair.stratum, []).append(pair)
        for members in strata.values():
            drawn = [pair for pair in members if pair.place(pair.before) in wanted]
            shares |= {pair.place(it): len(drawn) / len(members) for pair in drawn for it in (pair.before, pair.after)}
    return shares


def _one_label(sample: Sample) -> bool:
    """Say whether a label of the completion that is shown is its score: of several attempts it is a mean."""
    return sample.extracted in ANSWERS[:-1] and len(sample.extra.get("attempts", ())) < 2


def _order(pair: JudgedPair, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{pair.place(pair.before)}".encode()).digest()
