"""`pfh doctor`: what is installed, what runs here, what is missing and how to get it."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer
from pfh.errors import EXIT_USER
from pfh.text import printable

MARKS = {"ok": "ok", "missing": "-", "broken": "BROKEN"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """Say what is installed, what runs here, and what is missing; exit 2 if anything needed is broken."""
    from pfh.commands.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            line = f"{MARKS[finding.status]:7} {finding.subject:18} {finding.detail}"
            print(printable(line, lines=False), flush=True)
            if finding.remedy:
                print(f"{'':27}{printable(finding.remedy, lines=False)}")
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(EXIT_USER)
