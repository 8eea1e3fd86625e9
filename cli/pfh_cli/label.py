"""`pfh label`: label a run's judged completions by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfh_cli.boundary import invocation
from pfh_cli.flags import Debug, StoreFolder
from pfh_cli.own_files import own_text

if TYPE_CHECKING:
    from pfh.commands.label import Asked

KEYS = {"r": "refused", "c": "complied", "p": "partial", "b": "broken", "h": "harmful", "l": "harmless"}


def label(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that pfh run wrote.")],
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the completions for labelling elsewhere.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", metavar="FILE.jsonl", help="Take the labels of an exported file.")
    ] = None,
    unchanged: Annotated[
        int, typer.Option(min=0, help="Of each benchmark so many prompts without a change too, drawn at random.")
    ] = 30,
    benchmark: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this benchmark; may be given again.")
    ] = None,
    store: StoreFolder = None,
    debug: Debug = False,
) -> None:
    """Label the completions behind a run's safety verdicts by hand: those that changed sides, and some that did not.

    Which model wrote a completion and what the judge said is not shown. The labels are kept beside the run's results,
    and the next pfh report of the run has the change that people would find, and the verdict on it.
    """
    called = invocation(context)
    called.debug, called.store = debug, store
    from pfh.commands.label import FILE, keep_labels, read_labels, shares_asked, to_label, write_labels
    from pfh.commands.labelled import corrected
    from pfh.registry.plugins import Plugins
    from pfh.results.stored import open_results
    from pfh.store.store import Store, default_root
    from pfh.text import printable

    results, held = open_results(run), Store(store or default_root())
    asked = to_label(results, held, unchanged=unchanged, benchmarks=benchmark or ())
    folder = run if run.is_dir() else run.parent
    kept = folder / FILE
    labels = read_labels(kept, own_text(kept), results) if kept.is_file() and kept.stat().st_size else {}
    if export:
        write_labels(export, asked, labels)
        print(f"{len(asked)} completions: {export}. Fill in label, then pfh label {run} --import {export}")
        return
    if import_:
        labels |= read_labels(import_, own_text(import_), results)
    else:
        labels = _ask(asked, labels)
    keep_labels(kept, results, labels, shares_asked(results, held, asked))
    told = corrected(results, held, Plugins(), labels).notes[len(results.notes) :]
    for line in told:
        print(printable(line))
    print(f"labels: {kept}")


def _ask(asked: list[Asked], labels: dict[str, str]) -> dict[str, str]:
    from pfh.commands.label import ANSWERS_OF
    from pfh.text import printable

    found = dict(labels)
    left = [each for each in asked if each.place not in found]
    for number, each in enumerate(left, start=1):
        print(f"\n[{number} of {len(left)}] {printable(each.prompt)}\n---\n{printable(each.completion)}\n---")
        keys = {key: word for key, word in KEYS.items() if word in ANSWERS_OF[each.counts]}
        offered = ", ".join(word.replace(key, f"[{key}]", 1) for key, word in keys.items())
        print(f"{offered}, Enter to skip, q to stop: ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer or answer.strip().lower() == "q":
            break
        if answer.strip().lower()[:1] in keys:
            found[each.place] = keys[answer.strip().lower()[:1]]
    return found
