"""What benchmarks and attacks say together: erosion matrix, harms in one vocabulary, safety against helpfulness."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from statistics import fmean

from pfh.hooks.evals import AnalysisSpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.tables import Cell, Quantity, Table
from pfh.kit.harm_categories import DOMAINS, Given, given
from pfh.statistics import quantities
from pfh.statistics.erosion import LEAST_PROMPTS, Eroded, erosion_matrix, together
from pfh.statistics.paired import paired_benchmarks, paired_samples

from pfh_evals.safety.benchmarks import PAIRS

ALL = "all benchmarks"


def across_tables(spec: AnalysisSpec) -> tuple[Table, ...]:
    """Return what is said over several benchmarks."""
    found = list(given(spec.before, spec.after))
    return (_matrix(found), _domains(found), _helpfulness(found), _beside_others(spec))


def _matrix(found: Sequence[Given]) -> Table:
    """Return benchmarks and domains by attacks; only where there were attacks."""
    cells: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for each in found:
        if each.harmful:
            cells[each.benchmark, each.attack].append((each.before, each.after))
            if each.domain:
                cells[each.domain, each.attack].append((each.before, each.after))
    attacks = list(dict.fromkeys(attack for _, attack in cells))
    matrix = erosion_matrix(cells) if len(attacks) > 1 else {}
    benchmarks = dict.fromkeys(each.benchmark for each in found if each.harmful)
    rows = [name for name in (*benchmarks, *DOMAINS) if any(key[0] == name for key in matrix)]
    return Table(
        title="Erosion matrix",
        columns=("what was asked", "prompts", *attacks, "safety lost, direct", "real at 0.05"),
        rows=tuple(_matrix_row(name, attacks, matrix) for name in rows),
        note="How much oftener the model gives in, by benchmark and, over all benchmarks, by domain of harm: above 0 "
        "alignment eroded. It gives in where it does not refuse, or where a judge of harm finds harm: see what success "
        "is in the robustness profile. p-values are adjusted over the whole matrix. Safety lost: of what the start did "
        f"not give in to. Fewer than {LEAST_PROMPTS} prompts have an interval and no verdict.",
    )


def _matrix_row(name: str, attacks: Sequence[str], matrix: dict[tuple[str, str], Eroded]) -> tuple[Cell, ...]:
    own = {attack: matrix[name, attack] for attack in attacks if (name, attack) in matrix}
    direct = own.get("direct")
    lost = None if direct is None or direct.rate is None else quantities.share(direct.rate)
    real = ", ".join(attack for attack, cell in own.items() if cell.real)
    changes = (_change(own[attack]) if attack in own else None for attack in attacks)
    return (name, max(cell.n for cell in own.values()), *changes, lost, real or "none")


def _change(cell: Eroded) -> Quantity:
    return Quantity(value=cell.change, unit="points", low=cell.low, high=cell.high)


def _domains(found: Sequence[Given]) -> Table:
    direct = [each for each in found if each.harmful and each.attack == "direct" and each.domain]
    cells: dict[tuple[str, str], list[tuple[float, float]]] = {
        (domain, ALL): [(each.before, each.after) for each in direct if each.domain == domain] for domain in DOMAINS
    }
    matrix = erosion_matrix(cells)
    rows: list[tuple[Cell, ...]] = []
    for (domain, _), cell in matrix.items():
        names = dict.fromkeys(each.benchmark for each in direct if each.domain == domain)
        shares = (quantities.share(cell.before), quantities.share(cell.after))
        p = quantities.p_value(cell.p_adjusted)
        rows.append((domain, ", ".join(names), cell.n, *shares, _change(cell), p))
    several = len({each.benchmark for each in direct}) > 1
    return Table(
        title="Harms in one vocabulary",
        columns=("domain", "benchmarks", "prompts", "given in before", "given in after", "change", "adjusted p"),
        rows=tuple(rows) if several else (),
        note="Direct requests of all benchmarks. Categories that fit no domain are left out, and a domain with fewer "
        f"than {LEAST_PROMPTS} prompts has an interval and no verdict.",
    )


def _helpfulness(found: Sequence[Given]) -> Table:
    direct = [each for each in found if each.attack == "direct"]
    cells = {
        (title, name): [(each.before, each.after) for each in direct if each.benchmark == name]
        for title, *names in PAIRS
        for name in names
    }
    matrix = erosion_matrix(cells)
    rows: list[tuple[Cell, ...]] = []
    for title, harmful, benign in PAIRS:
        if (title, harmful) in matrix and (title, benign) in matrix:
            harm, refusal = matrix[title, harmful], matrix[title, benign]
            rows.append((title, harm.n, _change(harm), refusal.n, _change(refusal), together(harm.sign, refusal.sign)))
    return Table(
        title="Safety against helpfulness",
        columns=("prompts", "harmful", "given in to", "benign", "refused", "together"),
        rows=tuple(rows),
        note="Changes of two errors: harmful prompts that the model gives in to, and benign ones that it refuses. "
        "Named is only what is real at 0.05 over all of these tests.",
    )


def _beside_others(spec: AnalysisSpec) -> Table:
    """Return the change of each other family beside that of safety: a picture of one run, and no correlation."""
    families = {"safety": (spec.before, spec.after), **spec.others}
    rows: list[tuple[Cell, ...]] = []
    for name, pair in families.items():
        changes = list(_towards_the_good(*pair))
        if changes:
            rows.append((name, len(changes), Quantity(value=fmean(changes), unit="points")))
    return Table(
        title="Safety beside what else changed",
        columns=("family", "benchmarks", "mean change towards the good"),
        rows=tuple(rows) if len(rows) > 1 and rows[0][0] == "safety" else (),
        note="Each family's own tables have intervals and tests. One run shows no relation between families; over the "
        "runs of a study its report gives the rank correlation.",
    )


def _towards_the_good(before: Evaluation, after: Evaluation) -> Iterator[float]:
    for pair in paired_benchmarks(before, after):
        better = pair[0].higher_is_better
        scores = [
            (first.score, second.score)
            for first, second in paired_samples(*pair)
            if first.score is not None and second.score is not None
        ]
        if better is not None and not pair[0].same_documents_as and scores and {*chain(*scores)} <= {0.0, 1.0}:
            change = fmean(second - first for first, second in scores)
            yield change if better else -change
