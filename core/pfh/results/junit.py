"""A gate as JUnit XML, which every CI service draws: a projection of results.json, which stays the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from xml.etree import ElementTree

from pfh.results.clauses import Judged, Kind
from pfh.results.contracts import Contract
from pfh.results.gate import Gate
from pfh.results.records import RunResults
from pfh.text import printable

KINDS: tuple[Kind, ...] = ("must_improve", "must_hold", "must_stay", "floors", "otherwise", "may_change")


def junit(
    gate: Gate,
    results: RunResults,
    *,
    undecided: str,
    not_measured: str,
    flipped: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Return the document.

    Args:
        gate: what became of every clause.
        results: that it was held against.
        undecided: what the contract does with undecided clauses.
        not_measured: what it does with what was not measured.
        flipped: of broken clauses, samples that flipped.
    """
    root = ElementTree.Element("testsuites", name="pfh gate")
    for kind in KINDS:
        clauses = [clause for clause in gate.clauses if clause.kind == kind]
        if clauses:
            _suite(root, kind, clauses, results, undecided, not_measured, flipped=flipped)
    return _document(root)


def junit_of_run(results: RunResults, contracts: Mapping[str, Contract]) -> str:
    """Return the document of all gates of a run, a suite for each contract, stage and kind of clause.

    Args:
        results: of a run that was given contracts.
        contracts: by the name of their file, as the gates have it.
    """
    root = ElementTree.Element("testsuites", name="pfh run")
    for gate in results.gates:
        where = "the run" if gate.stage is None else f"stage {gate.stage + 1} ({gate.method})"
        contract = contracts[gate.contract]
        for kind in KINDS:
            clauses = [clause for clause in gate.clauses if clause.kind == kind]
            if clauses:
                name = f"{gate.contract}, {where}: {kind}"
                _suite(root, name, clauses, results, contract.undecided, contract.not_measured, gate.stage)
        if gate.at_fault:
            suite = ElementTree.SubElement(root, "testsuite", name=_clean(f"{gate.contract}, {where}"), tests="1")
            suite.set("failures", "0")
            suite.set("errors", "1")
            case = ElementTree.SubElement(suite, "testcase", classname="pfh.contract", name=_clean(gate.contract))
            ElementTree.SubElement(case, "error", type="AT_FAULT", message=_clean(gate.sentence))
    return _document(root)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(
    root: ElementTree.Element,
    name: str,
    clauses: Sequence[Judged],
    results: RunResults,
    undecided: str,
    not_measured: str,
    place: int | None = None,
    *,
    flipped: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_clean(name))
    properties = ElementTree.SubElement(suite, "properties")
    stage = results.stages[-1 if place is None else place]
    told = {
        "before": stage.before.fingerprint,
        "after": stage.after.fingerprint,
        "seed": str(results.seed),
        **results.provenance,
    }
    for key, value in told.items():
        ElementTree.SubElement(properties, "property", name=_clean(key), value=_clean(value))
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
            if clause.state == "broken" and flipped.get(clause.name):
                body.text = _clean(f"Samples that flipped: {', '.join(flipped[clause.name])}")
    for key, count in counts.items():
        suite.set(key, str(count))


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
