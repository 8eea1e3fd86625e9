"""Builds the report: templates, style and script become one HTML file that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pfh.hooks.tables import Table
from pfh.report import charts
from pfh.report.browser import PairedBenchmarks, browser_data
from pfh.results.records import RunResults
from pfh.results.summary import target_form
from pfh.results.verdict import caveats, gate_lines, stage_name, verdict_lines
from pfh.statistics import divergence
from pfh.statistics import formatting as figures
from pfh.statistics.judged import within_judge_error
from pfh.text import printable, script_json, write_whole

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
CHIPS: Mapping[object, str] = {
    "worse": "worse",
    "broken": "worse",
    "better": "better",
    "holds": "better",
    "changed": "changed",
    "undecided": "",
    "equivalent": "",
    "no loss above the margin": "",
    "not measured": "not-measured",
}
"""Verdicts that a family's table says, to the look of their mark."""
_LINK = re.compile(r"<(?=\s*/?\s*a\b)", re.IGNORECASE)


def write_report(path: Path, results: RunResults, pairs: PairedBenchmarks) -> None:
    """Write the report of `results` as one self-contained HTML file.

    Args:
        path: the file to write.
        results: what the run found out.
        pairs: for each (index of the stage, family) its benchmarks before and after, whose samples can then be
            browsed; what is missing here is only missing from the browser.
    """
    from markupsafe import Markup

    plots = [plot for stage in results.stages for family in stage.families for plot in family.plots]
    samples, groups = browser_data(results, pairs)
    scripts = [source("report.js")]
    if plots:
        from plotly.offline import get_plotlyjs

        scripts.insert(0, get_plotlyjs().replace("\r\n", "\n"))
    template = environment().get_template("page.html")
    page = template.render(
        results=results,
        groups=groups,
        left_out=sum(group["left_out"] for group in samples["groups"]),
        plots=plots,
        policy=content_policy(scripts),
        # Markup is what the template does not escape: our own files, and JSON without a single "<".
        style=Markup(source("style.css")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        samples_json=Markup(script_json(samples)),  # noqa: S704
        plots_json=Markup(script_json([_unlinked(plot.figure) for plot in plots])),  # noqa: S704
    )
    write_whole(path, page)


def environment() -> Environment:
    """Return the templates, which escape whatever they show."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates", encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "caveats": caveats,
        "charts": charts,
        "divergence_sentence": divergence.sentence,
        "figures": figures,
        "gate_lines": gate_lines,
        "numeric_columns": numeric_columns,
        "stage_name": stage_name,
        "target_form": target_form,
        "verdict_lines": verdict_lines,
        "verdicts": CHIPS,
        "within_judge_error": within_judge_error,
    }
    return environment


def numeric_columns(table: Table) -> list[bool]:
    """Say of each column whether all that it holds are numbers; what is missing is not looked at."""
    columns = [[row[place] for row in table.rows if row[place] is not None] for place in range(len(table.columns))]
    return [bool(cells) and all(map(figures.is_number, cells)) for cells in columns]


def _shown(value: object) -> object:
    """Every value that a template prints passes here before it is escaped."""
    from markupsafe import Markup

    if value is None:
        return ""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def content_policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy: no network, no script but these."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _unlinked(value: object) -> object:
    """Return a Plotly figure whose texts hold no link: Plotly draws `<a href>` as one."""
    if isinstance(value, str):
        return _LINK.sub("&lt;", printable(value))
    if isinstance(value, Mapping):
        return {key: _unlinked(item) for key, item in value.items()}
    return [_unlinked(item) for item in value] if isinstance(value, (list, tuple)) else value


def source(name: str) -> str:
    """Return the text of an asset."""
    return (FOLDER / "assets" / name).read_text(encoding="utf-8")
