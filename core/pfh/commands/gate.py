"""`pfh gate`: may this version go out? Results held against a contract."""

from __future__ import annotations

from pathlib import Path

from pfh.errors import EXIT_FELL_SHORT, UserError
from pfh.results.contracts import read_contract
from pfh.results.gate import Gate, judge
from pfh.results.junit import junit
from pfh.results.stored import open_results
from pfh.text import write_whole


def gate(results: Path, contract: Path, *, junit_file: Path | None = None) -> tuple[Gate, int]:
    """Hold `results` against `contract`; return what became of every clause, and the exit code.

    Args:
        results: a folder that pfh wrote, or its results.json.
        contract: a YAML file.
        junit_file: where to write the clauses as JUnit XML.

    Returns:
        The gate, and 0 where it is open, 1 where a clause is broken, or undecided or not measured under `fail`.

    Raises:
        UserError: the results cannot be read, the contract is at fault, or the file cannot be written.
    """
    asked, opened = read_contract(contract), open_results(results)
    held = judge(asked, opened)
    if junit_file is not None:
        text = junit(held, opened, undecided=asked.undecided, not_measured=asked.not_measured)
        try:
            junit_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(junit_file, text)
        except OSError as error:
            raise UserError(f"{junit_file} cannot be written ({error.strerror}); name another with --junit.") from error
    return held, 0 if held.passes else EXIT_FELL_SHORT
