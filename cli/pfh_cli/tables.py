"""Results in the terminal: the verdict, then a table a family."""

from __future__ import annotations

from collections.abc import Sequence

from pfh.hooks.comparison import Comparison
from pfh.results.records import FamilyRecord, MeasuredFamily, RunResults, StageRecord
from pfh.results.summary import target_form
from pfh.results.verdict import caveats, gate_lines, stage_name
from pfh.statistics import formatting as figures
from pfh.statistics.divergence import sentence
from pfh.statistics.single import Measurement
from pfh.text import printable
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pfh_cli.recovery_table import print_recovery

WIDE = 112
"""From this many columns on a table shows all it has."""
NARROW = 76
"""Below this many columns it leaves out the scores before."""
LEGEND = (
    "↑ higher is better, ↓ lower is better, · neither. Changes of percentages are in percentage points. "
    "p is adjusted over the family (Benjamini-Hochberg); a change counts from adjusted p ≤ 0.05. Equivalent: the 90% "
    "interval lies within the margin; no loss: it excludes a loss as large; undecided: neither."
)
LEGEND_OF_FORGETTING = (
    " Forgot and gained are the shares of samples that went from right to wrong and back, beyond guessing."
)
LEGEND_OF_ONE = "↑ higher is better, ↓ lower is better, · neither."
STYLES = {"worse": "bold red", "better": "bold blue", "changed": "bold magenta", "not measured": "yellow"}
SHORT = {"no loss above the margin": "no loss"}
ASCII = str.maketrans({"−": "-", "–": "-", "→": ">", "↑": "^", "↓": "v", "≤": "<=", "·": "-", "…": "..."})


def print_results(results: RunResults, console: Console) -> None:
    """Print `results` for a reader: plain where the console is no terminal, and within its width."""
    console.print(_text(results.headline, console, "bold"))
    for line in gate_lines(results.gates):
        console.print(_text(line, console, "bold"))
    console.print(_text(f"Start: {results.start}. Seed {results.seed}.", console, "dim"))
    for number, stage in enumerate(results.stages, start=1):
        if len(results.stages) > 1:
            console.print()
            console.rule(_text(f"{number}. After {stage_name(stage)}, against the start", console))
        for family in stage.families:
            _print_family(family, console)
        if form := target_form(stage):
            console.print()
            console.print(_text(f"It learned from: {form}.", console))
        if stage.divergence is not None:
            console.print()
            console.print(_text(sentence(stage.divergence), console))
        _print_spent(stage, console)
        _print_lines(stage.notes, console)
    if results.recovery is not None:
        console.print()
        print_recovery(results.recovery, console)
    for model in results.measured:
        for measured in model.families:
            _print_measured(measured, console)
    _print_lines(results.notes, console)
    console.print()
    console.print(_text(_legend(results), console, "dim"))


def _legend(results: RunResults) -> str:
    if results.measured:
        return LEGEND_OF_ONE
    rows = [row for stage in results.stages for family in stage.families for row in family.comparisons]
    return LEGEND + (LEGEND_OF_FORGETTING if any(row.forgetting_corrected is not None for row in rows) else "")


def _print_measured(family: MeasuredFamily, console: Console) -> None:
    measured = [row for row in family.benchmarks if row.status == "MEASURED"]
    console.print()
    console.print(_text(family.family, console, "bold underline"))
    table = _empty_table()
    for name in ("metric", "n", "score", "95% interval", "no answer", "cut off"):
        table.add_column(_text(name, console), justify="left" if name == "metric" else "right", no_wrap=True)
    for row in measured:
        interval = figures.level_interval(row, row.binary)
        cells = (row.metric, row.n, figures.level(row.score, row.binary), interval, row.format_failures, row.truncated)
        label = _text(f"{row.benchmark} {figures.arrow(row)}", console)
        table.add_row(label, *(_text(str(cell), console) for cell in cells))
    if measured:
        console.print(table)
    _print_missing([row for row in family.benchmarks if row.status != "MEASURED"], console)


def _print_family(family: FamilyRecord, console: Console) -> None:
    measured = [row for row in family.comparisons if row.status == "MEASURED"]
    console.print()
    console.print(_text(family.family, console, "bold underline"))
    if measured:
        console.print(_table(measured, console))
    _print_missing([row for row in family.comparisons if row.status != "MEASURED"], console)
    _print_lines(tuple(caveats(family)), console)
    _print_lines(family.findings, console)


def _print_missing(rows: Sequence[Comparison | Measurement], console: Console) -> None:
    for row in rows:
        line = _text(f"{row.status} ", console, STYLES["not measured"])
        line.append_text(_text(f"{row.benchmark}: {row.reason or 'no reason given'}", console))
        console.print(line)


def _empty_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("benchmark", overflow="fold", min_width=10)
    return table


def _table(rows: list[Comparison], console: Console) -> Table:
    wide, narrow = console.width >= WIDE, console.width < NARROW
    table = _empty_table()
    names = ["metric"] if wide else []
    names += ["n", "after"] if narrow else ["n", "before", "after"]
    names += ["change [95% CI]", "1→0", "0→1", "p", "adj. p"] if wide else ["change [95% CI]", "adj. p"]
    if any(row.forgetting_corrected is not None for row in rows):
        names[-1:-1] = ["forgot", "gained"]
        if "p" in names:
            names.remove("p")
    if any(row.noise_floor is not None for row in rows):
        names[-1:-1] = ["noise"]
    for name in names:
        table.add_column(_text(name, console), justify="left" if name == "metric" else "right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        figure = {
            "metric": row.metric,
            "n": str(row.n),
            "before": figures.score(row.before, row),
            "after": figures.score(row.after, row),
            "change [95% CI]": f"{figures.change(row)} {figures.interval(row)}",
            "1→0": figures.count(row.n10),
            "0→1": figures.count(row.n01),
            "forgot": figures.share(_preferred(row.forgetting_corrected, row.forgetting)),
            "gained": figures.share(_preferred(row.backward_transfer_corrected, row.backward_transfer)),
            "noise": figures.level(row.noise_floor, figures.is_binary(row)),
            "p": figures.p_value(row.p_value),
            "adj. p": figures.p_value(row.p_adjusted),
        }
        table.add_row(
            _text(f"{row.benchmark} {figures.arrow(row)}", console),
            *(_text(figure[name], console) for name in names),
            _text(
                SHORT.get(row.verdict, row.verdict),
                console,
                STYLES.get(row.verdict, ""),
            ),
        )
    return table


def _preferred(corrected: float | None, plain: float | None) -> float | None:
    return plain if corrected is None else corrected


def _print_spent(stage: StageRecord, console: Console) -> None:
    if stage.ledger:
        spent = ", ".join(f"{phase.name} {figures.seconds(phase.seconds * phase.devices)}" for phase in stage.ledger)
        of_budget = f" {stage.budget_spent:.0%} of the budget of {stage.budget}." if stage.budget else ""
        console.print()
        console.print(_text(f"Spent: {spent}.{of_budget}", console, "dim"))


def _print_lines(lines: tuple[str, ...], console: Console) -> None:
    for line in lines:
        console.print(Padding(_text(line, console), (0, 0, 0, 2), expand=False))


def _text(text: str, console: Console, style: str = "") -> Text:
    """Return `text` as Rich shows it as it is: no markup, no control characters, nothing that cannot be encoded."""
    shown = printable(text, lines=False)
    if not _speaks_unicode(console):
        shown = shown.translate(ASCII).encode("ascii", "backslashreplace").decode()
    return Text(shown, style=style)


def _speaks_unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")
