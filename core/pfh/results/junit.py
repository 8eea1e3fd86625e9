"""A gate as JUnit XML, which every CI service draws: a projection of results.json, which stays the evidence."""

from __future__ import annotations

from xml.etree import ElementTree

from pfh.results.clauses import Judged, Kind
from pfh.results.gate import Gate
from pfh.results.records import RunResults
from pfh.text import printable

KINDS: tuple[Kind, ...] = ("must_improve", "must_hold", "must_stay", "floors", "otherwise", "may_change")


def junit(gate: Gate, results: RunResults, *, undecided: str, not_measured: str) -> str:
    """Return the document; `undecided` and `not_measured` are what the contract does with such clauses."""
    root = ElementTree.Element("testsuites", name="pfh gate")
    for kind in KINDS:
        clauses = [clause for clause in gate.clauses if clause.kind == kind]
        if clauses:
            _suite(root, kind, clauses, results, undecided, not_measured)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(
    root: ElementTree.Element,
    kind: Kind,
    clauses: list[Judged],
    results: RunResults,
    undecided: str,
    not_measured: str,
) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=kind)
    properties = ElementTree.SubElement(suite, "properties")
    stage = results.stages[-1]
    told = {
        "before": stage.before.fingerprint,
        "after": stage.after.fingerprint,
        "seed": str(results.seed),
        **results.provenance,
    }
    for name, value in told.items():
        ElementTree.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    counts = {"tests": len(clauses), "failures": 0, "errors": 0, "skipped": 0}
    for clause in clauses:
        family, _, benchmark = clause.name.partition("/")
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=_clean(f"pfh.{family}.{benchmark.replace('/', '.')}"),
            name=_clean(f"{clause.name} {clause.demand}"),
        )
        outcome = _outcome(clause, undecided, not_measured)
        if outcome:
            tag, kind_of = outcome
            counts[{"failure": "failures", "error": "errors", "skipped": "skipped"}[tag]] += 1
            body = ElementTree.SubElement(case, tag, message=_clean(f"{clause.demand}: {clause.said}"))
            if tag != "skipped":
                body.set("type", kind_of)
    for name, count in counts.items():
        suite.set(name, str(count))


def _outcome(clause: Judged, undecided: str, not_measured: str) -> tuple[str, str] | None:
    if clause.state == "broken":
        return "failure", "broken"
    if clause.state == "undecided":
        return ("failure", "undecided") if undecided == "fail" else ("skipped", "undecided")
    if clause.state == "not measured":
        return ("error", clause.status) if not_measured == "fail" else ("skipped", clause.status)
    return None


def _clean(text: str) -> str:
    return printable(text, lines=False)
