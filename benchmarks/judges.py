"""How well the built-in judges agree with people (`PFH_DATA_MIRROR=... python judges.py`).

- XSTest (Röttger et al. 2024, arXiv 2308.01263): four models' completions of 450 prompts with people's labels, full
  compliance, full refusal or partial refusal (hub id natolambert/xstest-v2-copy). Held against them are heads that saw
  no completion of the model ("model left out"), and none of the prompt either ("prompt too").
- Do-Not-Answer (Wang et al. 2023, arXiv 2308.13387): people's action for six models' answers. The heads saw these with
  small weight, so the table only describes what each action is labelled as.
- PyRIT (MIT): people's labels of whether a harmful objective was met, for harm-lite (`harm_lite.py`).

What the heads learn from stands in judge_training.py. No XSTest completion was read while the rules for refusals were
written; the totals were seen as they grew. The phrases were worked out on Do-Not-Answer and PyRIT's rows. The rules for
babble (`pfh_judges.babble`, `pfh_judges.pieces`) were tuned with sight of XSTest's, the PyRIT rows', Dolly's, MATH's
and MGSM's false alarms and of a damaged model's completions, so the rates on these are no held-out ones; with
`--damaged FILE` (`damaged.py` writes it) those of completions of damaged models are printed.
`--write` writes the counts of each judge's first table into the package, from which reports take the judges' error.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import harm_lite
import numpy as np
from judge_training import (
    DO_NOT_ANSWER,
    DO_NOT_ANSWER_MODELS,
    XSTEST_MODELS,
    Example,
    encoder_features,
    examples,
    left_out,
    load_encoder,
    word_features,
    xstest,
)
from numpy.typing import NDArray
from pfh.hooks.judges import HOLDING_BACK
from pfh.sources.datasets import HubData
from pfh_judges import embedding, rule
from pfh_judges import harm_lite as harm_lite_judge
from pfh_judges.decisions import decide
from pfh_judges.head import Head, Options, judged
from pfh_judges.reading import read
from rich.console import Console
from rich.table import Table

ERRORS = Path(rule.__file__).with_name("errors.json")
Counts = dict[str, Mapping[str, Mapping[str, int]]]
"""Name and version of a judge to its counts against people."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement of pfh's judges with people.")
    parser.add_argument("judges", nargs="*", default=["rule", "embedding", "harm-lite"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "pfh" / "judges")
    parser.add_argument("--damaged", type=Path, help="completions that damaged.py wrote")
    parser.add_argument("--write", action="store_true", help="write the counts into the package")
    arguments = parser.parse_args()
    console = Console(width=110)
    counts: Counts = {}
    if {"rule", "embedding"} & set(arguments.judges):
        counts |= _refusals(HubData(), arguments, console)
    if "harm-lite" in arguments.judges:
        counts |= _harm(HubData(), arguments.cache, console)
    if arguments.write:
        known = json.loads(ERRORS.read_text(encoding="utf-8"))
        ERRORS.write_text(json.dumps(known | counts, indent=1) + "\n", encoding="utf-8")


def _refusals(data: HubData, arguments: argparse.Namespace, console: Console) -> Counts:
    rows = examples(data)
    features = {"rule": word_features(rows)}
    if "embedding" in arguments.judges:
        vectors = encoder_features(rows, load_encoder(arguments.cache), arguments.cache)
        features["embedding"] = embedding.with_embeddings(features["rule"], vectors)
    counts = {}
    for name in features.keys() & set(arguments.judges):
        title = {"rule": rule.NAME, "embedding": embedding.NAME}[name]
        for prompts_too in (False, True):
            held = _held_back(rows, left_out(features[name], rows, prompts_too=prompts_too))
            console.print(_table(f"{title}, {'model and prompt' if prompts_too else 'model'} left out", rows, held))
            if not prompts_too:
                counts[title] = _counts(rows, held)
    console.print(_actions(data))
    console.print(_broken(data, arguments.damaged))
    return counts


def _harm(data: HubData, cache: Path, console: Console) -> Counts:
    """Print how harm-lite does on each kind of harm, by a head that saw none of it, and on other datasets."""
    embed = load_encoder(cache)
    labelled, others = harm_lite.people(cache), harm_lite.elsewhere(data)
    features, unseen = (harm_lite.features_of(each, embed, cache) for each in (labelled, others))
    held, rule_alone = harm_lite.left_out(features, labelled), "not refused by rule"
    carried = harm_lite.fitted(unseen, others).probability(features)
    judged = {harm_lite_judge.NAME: held, rule_alone: features[:, 0], "a head of the other three": carried}
    console.print(harm_lite.agreement("PyRIT's answers, the kind of harm left out", labelled, judged))
    for kind in dict.fromkeys(row.source for row in labelled):
        own = [place for place, row in enumerate(labelled) if row.source == kind]
        of_kind = [labelled[place] for place in own]
        console.print(harm_lite.agreement(kind, of_kind, {harm_lite_judge.NAME: held[own]}))
    shipped = Head.read(harm_lite_judge.WEIGHTS).probability(unseen)
    for dataset in dict.fromkeys(row.source for row in others):
        own = [place for place, row in enumerate(others) if row.source == dataset]
        judged = {harm_lite_judge.NAME: shipped[own], rule_alone: unseen[own, 0]}
        console.print(harm_lite.agreement(f"{dataset}, never seen", [others[place] for place in own], judged))
    return {harm_lite_judge.NAME: harm_lite.counts(labelled, held)}


def _held_back(rows: Sequence[Example], refused: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return what the judge says of each XSTest row, with a head's probabilities; False elsewhere."""
    found = np.zeros(len(rows), dtype=bool)
    tested = np.flatnonzero(~np.isnan(refused))
    decisions = [decide(read(rows[index].prompt, rows[index].completion)) for index in tested]
    labels = judged(decisions, refused[tested], Options(threshold=0.5))
    found[tested] = [it.label in HOLDING_BACK for it in labels]
    return found


def _table(title: str, rows: Sequence[Example], held: NDArray[np.bool_]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "n", "accuracy", "refusals seen", "compliances called refusals"):
        table.add_column(column, justify="left" if not column else "right")
    for model in (None, *XSTEST_MODELS):
        chosen = [index for index, row in enumerate(rows) if row.source == "xstest" and model in (None, row.model)]
        human = np.array([rows[index].refused for index in chosen])
        given = held[chosen]
        table.add_row(
            model or "all",
            str(len(chosen)),
            f"{np.mean(human == given):.3f}",
            f"{np.mean(given[human]):.3f}",
            f"{np.mean(given[~human]):.3f}",
        )
    return table


def _counts(rows: Sequence[Example], held: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Return, by model, how many of people's refusals and compliances there are and how many the judge called so."""
    counts = {}
    for model in XSTEST_MODELS:
        pairs = Counter(
            (row.refused, bool(said))
            for row, said in zip(rows, held, strict=True)
            if row.source == "xstest" and row.model == model
        )
        counts[model] = {
            "refusals": pairs[True, True] + pairs[True, False],
            "refusals_seen": pairs[True, True],
            "compliances": pairs[False, True] + pairs[False, False],
            "compliances_seen": pairs[False, False],
        }
    return counts


def _broken(data: HubData, damaged: Path | None) -> Table:
    """Return how many answers of each source are called broken, whichever judge reads them; empty ones do not count."""
    table = Table(title="Called broken", title_justify="left")
    for column in ("", "n", "broken", "share"):
        table.add_column(column, justify="left" if not column else "right")
    for name, pairs in {**_sound(data), **(_damaged(damaged) if damaged else {})}.items():
        said = [(prompt, text) for prompt, text in pairs if text.strip()]
        count = sum(decide(read(prompt, text)).label == "broken" for prompt, text in said)
        table.add_row(name, str(len(said)), str(count), f"{count / max(1, len(said)):.1%}")
    return table


Pairs = list[tuple[str, str]]


def _sound(data: HubData) -> dict[str, Pairs]:
    """Return prompts and answers of people and of models that are not damaged."""
    math = ("algebra", "geometry", "prealgebra", "precalculus")
    answers = data.load(DO_NOT_ANSWER, split="train").rows
    calibration = data.load("derived/judge-calibration", split="train").rows
    return {
        "XSTest": [(row.prompt, row.completion) for row in xstest(data)],
        "Do-Not-Answer": [
            (row["question"], row[f"{m}_response"] or "") for row in answers for m in DO_NOT_ANSWER_MODELS
        ],
        "judge-calibration": [(row["prompt"], row["completion"] or "") for row in calibration],
        "Dolly": _column(data, "databricks/databricks-dolly-15k", "default", "train", "instruction", "response"),
        "Alpaca 7B": _column(data, "tatsu-lab/alpaca_eval_model_outputs", "alpaca-7b", "eval", "instruction", "output"),
        "MATH": [
            pair
            for subject in math
            for pair in _column(data, "EleutherAI/hendrycks_math", subject, "test", "problem", "solution")
        ],
        "programs (MBPP)": _column(data, "google-research-datasets/mbpp", "sanitized", "test", "prompt", "code"),
        **{
            f"MGSM, {language}": [("", row["question"]) for row in data.load("juletxara/mgsm", language, "test").rows]
            for language in ("en", "de", "es", "fr", "sw", "ru", "zh", "ja", "th", "bn")
        },
    }


def _column(data: HubData, dataset: str, config: str, split: str, asked: str, said: str) -> Pairs:
    return [(row[asked], row[said] or "") for row in data.load(dataset, config, split).rows]


def _damaged(file: Path) -> dict[str, Pairs]:
    found: dict[str, Pairs] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = f"weights with {row['kind']}, {row['strength']:g}" if row["strength"] else "weights as they are"
        found.setdefault(name, []).append((row["prompt"], row["completion"]))
    return found


def _actions(data: HubData) -> Table:
    table = Table(title=f"{rule.NAME} on Do-Not-Answer: share labelled as holding back", title_justify="left")
    names = ("cannot assist", "refutes", "both sides", "cautions", "cannot tell", "follows")
    for column in ("", *names):
        table.add_column(column, justify="left" if not column else "right")
    judge = rule.RuleJudge(rule.Head.read(rule.WEIGHTS))
    rows = data.load(DO_NOT_ANSWER, split="train").rows
    for model in DO_NOT_ANSWER_MODELS:
        labels = judge.label([row["question"] for row in rows], [row[f"{model}_response"] or "" for row in rows])
        held = [it.label in HOLDING_BACK for it in labels]
        cells = []
        for action in range(len(names)):
            of_action = [x for x, row in zip(held, rows, strict=True) if row[f"{model}_action"] == action]
            cells.append(f"{np.mean(of_action):.2f} of {len(of_action)}" if of_action else "-")
        table.add_row(model, *cells)
    return table


if __name__ == "__main__":
    main()
