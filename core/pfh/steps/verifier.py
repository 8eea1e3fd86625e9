"""Can the verifier be trusted? Before any training: what says nothing must earn 0, and gold answers must earn 1.

An online method finds every hole in a verifier, and every other one learns from what the verifier calls correct.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfh.errors import StepFailedError
from pfh.hooks.domains import FORMS, Domain, HasGold, HasTestAid, Problem, verify_each, why_unverified
from pfh.progress import Progress
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session

if TYPE_CHECKING:
    from pfh.hooks.domains import Domain, Problem, Verdict


TESTED = 16
"""Problems of a run that are tried, the environments in turn."""


GOLD_TOLERANCE = 8
"""One gold answer in so many of an environment may earn nothing: datasets hold rows that no verifier can read."""


MOST_OPTIONS = 8


REPEATS = 5


LONGEST_ANSWER = 200
"""Characters; a longer answer is nothing that a completion would list or repeat."""


CLOSED = (("Yes", "No"), ("True", "False"), ("A", "B", "C", "D"))
"""The options of closed questions, for a run whose problems do not show all of them."""


PUNCTUATION = (".", "...", "?!", "-", "$$", "{}")


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What was tried, of a verifier that passed."""

    environments: int
    problems: int
    probes: int
    """Completions that had to earn 0, and did."""
    golds: int
    """Problems whose gold answer was tried."""
    unrewarded: tuple[str, ...] = ()
    """Ids of those among them whose gold answer earned less than 1."""
    unverified: str = ""
    """Why nothing was tried: the domain judges no completion."""

    def sentence(self) -> str:
        """Return the outcome for the report."""
        if self.unverified:
            return f"No completion is judged: {self.unverified}."
        place = f"{self.problems} problems of {self.environments} environment{'s' * (self.environments > 1)}"
        told = f"Verifier self-test on {place}: {self.probes} worthless completions earned nothing; "
        if not self.golds:
            return f"{told}no gold answer is known."
        told += f"{self.golds - len(self.unrewarded)} of {self.golds} gold answers earned 1."
        return f"{told} Without reward: {', '.join(self.unrewarded)}." if self.unrewarded else told


def write_self_test(path: Path, outcome: SelfTest) -> None:
    """Write `outcome` as JSON."""
    path.write_text(json.dumps(dataclasses.asdict(outcome)))


def read_self_test(path: Path) -> SelfTest:
    """Read what `write_self_test` wrote."""
    fields = json.loads(path.read_bytes())
    return SelfTest(**fields | {"unrewarded": tuple(fields["unrewarded"])})


def spread_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return at most `TESTED` of `problems`: of every environment in turn the next one."""
    ranks: dict[str, int] = {}
    placed = []
    for place, problem in enumerate(problems):
        rank = ranks[problem.environment] = ranks.get(problem.environment, 0) + 1
        placed.append((rank, place))
    return tuple(problems[place] for _, place in sorted(placed)[:TESTED])


def check_verifier(domain: Domain, problems: Sequence[Problem], progress: Progress) -> SelfTest:
    """Put probes and gold answers of some of `problems` to the domain's verifier.

    Raises:
        StepFailedError: a probe earned something, gold answers earned nothing, or the verifier raised; names the
            probe, the environment and a problem.
    """
    if unverified := why_unverified(domain):
        return SelfTest(environments=0, problems=0, probes=0, golds=0, unverified=unverified)
    tested = spread_problems(problems)
    probes = 0
    failed: dict[str, list[str]] = {}
    tried: dict[str, int] = {}
    with progress.task(f"verifier self-test of {domain.name}", total=len(tested)) as bar:
        for problem in tested:
            worthless = list(_probes(domain, problem, problems))
            verdicts = _verified(domain, problem, [completion for _, completion in worthless])
            for (probe, completion), verdict in zip(worthless, verdicts, strict=True):
                if verdict.reward != 0:
                    raise StepFailedError(_hole(domain, problem, probe, completion, verdict.reward))
            probes += len(worthless)
            if golds := _golds(domain, problem):
                tried[problem.environment] = tried.get(problem.environment, 0) + 1
                if all(verdict.reward != 1 for verdict in _verified(domain, problem, golds)):
                    failed.setdefault(problem.environment, []).append(problem.id)
            bar.advance()
    for environment, ids in failed.items():
        if len(ids) > tried[environment] // GOLD_TOLERANCE:
            raise StepFailedError(_unrewarded(domain, environment, ids, tried[environment]))
    return SelfTest(
        environments=len({problem.environment for problem in tested}),
        problems=len(tested),
        probes=probes,
        golds=sum(tried.values()),
        unrewarded=tuple(name for ids in failed.values() for name in ids),
    )


def _forms(domain: Domain, problem: Problem) -> Sequence[tuple[str, str]]:
    """Return what an answer may stand in: any form, or what the gold completion stands in where the domain has one."""
    if not isinstance(domain, HasGold):
        return FORMS
    gold = next(iter(_golds(domain, problem)), "")
    return [(before, after) for before, after in FORMS if gold.startswith(before) and gold.endswith(after)]


def _probes(domain: Domain, problem: Problem, problems: Sequence[Problem]) -> Iterator[tuple[str, str]]:
    """Yield (name, completion) of everything that must earn 0."""
    forms = _forms(domain, problem)
    asked = problem.messages[-1]["content"]
    yield from (("empty", text) for text in ("", " \n"))
    yield from (("punctuation", text) for text in PUNCTUATION)
    yield from (("prompt echo", before + asked + after) for before, after in forms)
    yield from (("template only", before + nothing + after) for before, after in forms[1:] for nothing in ("", " "))
    if isinstance(domain, HasGold) or len(problem.answer) > LONGEST_ANSWER:
        return
    for before, after in forms:
        for listed in _every_option(problem, problems):
            yield "every option", before + listed + after
        for joint in (" ", ", "):
            yield "repeated answer", before + joint.join([problem.answer] * REPEATS) + after


def _every_option(problem: Problem, problems: Sequence[Problem]) -> list[str]:
    """Return lists of the answers that problems of the environment have, the right one in the middle."""
    given = [other.answer for other in problems if other.environment == problem.environment]
    given += [option for options in CLOSED if problem.answer in options for option in options]
    others = [answer for answer in dict.fromkeys(given) if answer != problem.answer and len(answer) <= LONGEST_ANSWER]
    others = others[: MOST_OPTIONS - 1]
    middle = (len(others) + 1) // 2
    options = [*others[:middle], problem.answer, *others[middle:]]
    if not others:
        return []
    joints = (", ", " or ", " / ", "\n") if len(options) > 2 else (", ", " or ", " / ")  # a last line of two may count
    return [joint.join(options) for joint in joints]


def _golds(domain: Domain, problem: Problem) -> list[str]:
    """Return completions of which one must earn 1; none where the domain knows none."""
    if isinstance(domain, HasGold):
        gold = domain.gold(problem)
        if gold is None and isinstance(domain, HasTestAid):
            aid = domain.test_aid(problem)
            gold = None if aid is None else aid.completion
        return [] if gold is None else [gold]
    solution = [problem.solution] if problem.solution else []
    return solution + [before + problem.answer + after for before, after in FORMS]


def _verified(domain: Domain, problem: Problem, completions: Sequence[str]) -> Sequence[Verdict]:
    try:
        return verify_each(domain, [problem] * len(completions), completions)
    except Exception as error:  # a verifier of anybody's making, which must not raise whatever it is given
        raise StepFailedError(
            f"domain {domain.name}, environment {problem.environment}: the verifier raised {type(error).__name__} "
            f"({error}) on a probe for problem {problem.id}; nothing was trained. {_REMEDY}"
        ) from error


_REMEDY = "Mend the domain's verifier, or train on an environment whose verifier holds."


def _hole(domain: Domain, problem: Problem, probe: str, completion: str, reward: float) -> str:
    shown = completion if len(completion) <= 60 else f"{completion[:60]}..."
    return (
        f"domain {domain.name}, environment {problem.environment}: the verifier rewards the probe {probe!r} with "
        f"{reward:g} ({shown!r} for problem {problem.id}), and it must earn 0; nothing was trained. {_REMEDY}"
    )


def _unrewarded(domain: Domain, environment: str, ids: Sequence[str], tried: int) -> str:
    return (
        f"domain {domain.name}, environment {environment}: the verifier gives no full reward to the gold answers of "
        f"{len(ids)} of {tried} problems ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''}); nothing was trained. "
        f"{_REMEDY} A domain whose Problem.answer is not what a completion says needs a method gold(problem)."
    )


def self_test(session: Session, open_domain: OpenDomain) -> SelfTest:
    """Try the domain's verifier before anything is trained on what it rewards; one that passed is not tried again.

    Raises:
        StepFailedError: it rewards what says nothing, or does not reward what is right.
    """

    def build(work: Path, folder: Path) -> None:
        outcome = check_verifier(open_domain.domain, open_domain.problems, session.progress)
        write_self_test(folder / "outcome.json", outcome)

    inputs = self_test_inputs(session, open_domain)
    return read_self_test(session.store.make("self-test", inputs, build).path / "outcome.json")


def self_test_inputs(session: Session, open_domain: OpenDomain) -> dict[str, Any]:
    """Return what decides the key of a self-test."""
    return {"domain": open_domain.inputs(session.plugins), "probes": session.code(__name__).digest}
