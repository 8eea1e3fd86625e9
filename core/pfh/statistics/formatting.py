"""How a figure is written, in the terminal and in the report alike."""

from __future__ import annotations

from collections.abc import Callable

from pfh.hooks.comparison import CategoryComparison, Comparison
from pfh.hooks.tables import Cell, Quantity, Unit
from pfh.statistics.single import CategoryMeasurement, Measurement

Row = Comparison | CategoryComparison


ABSENT = "–"


def score(value: float | None, row: Row) -> str:
    """Write a mean score: a share in percent for a binary metric, else the number as it is."""
    if value is None:
        return ABSENT
    return f"{100 * value:.1f}%" if is_binary(row) else number(value)


def delta(row: Row) -> str:
    """Write the difference after - before, with its sign and unit: percentage points for a binary metric."""
    return f"{change(row)} pp" if is_binary(row) else change(row)


def change(row: Row) -> str:
    """Write the difference as `delta` does, without the unit."""
    return ABSENT if row.delta is None else signed(row.delta, row)


def interval(row: Row) -> str:
    """Write the 95% interval of the difference, in the unit of `delta`."""
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f"[{signed(row.ci_low, row)}, {signed(row.ci_high, row)}]"


def shrunken(row: Comparison) -> str:
    """Write the shrunken change with its interval, in the unit of `delta`; a dash where there is none."""
    if row.shrunken is None or row.shrunken_low is None or row.shrunken_high is None:
        return ABSENT
    return f"{signed(row.shrunken, row)} [{signed(row.shrunken_low, row)}, {signed(row.shrunken_high, row)}]"


def signed(value: float, row: Row) -> str:
    """Write a difference with its sign, without its unit; a real minus sign, and none before a zero."""
    return points(value) if is_binary(row) else difference(value)


def points(value: float) -> str:
    """Write a difference of shares in percentage points, without the unit."""
    return _with_minus(f"{100 * value:+.1f}")


def difference(value: float) -> str:
    """Write a difference of figures with three digits."""
    return _with_minus(f"{value:+.3g}")


def _with_minus(text: str) -> str:
    return "0" + text[2:] if not float(text) else text.replace("-", "−")


def cell(value: Cell) -> str:
    """Write a cell of a table: a quantity by its unit, with its interval."""
    if value is None:
        return ABSENT
    if isinstance(value, Quantity):
        write = _WRITERS[value.unit]
        interval = "" if value.low is None or value.high is None else f" [{write(value.low)}, {write(value.high)}]"
        return f"{write(value.value)}{' pp' if value.unit == 'points' else ''}{interval}"
    return number(value) if isinstance(value, float) else str(value)


def is_number(value: object) -> bool:
    """Say whether a cell is to stand under the others by its digits."""
    return isinstance(value, Quantity | int | float)


def noise_excess(row: Comparison) -> str:
    """Write by how much more samples differ than when the model before is measured again, with the interval."""
    if row.noise_excess is None or row.noise_excess_low is None or row.noise_excess_high is None:
        return ABSENT
    ends = (signed(end, row) for end in (row.noise_excess_low, row.noise_excess_high))
    return f"{signed(row.noise_excess, row)} [{', '.join(ends)}]"


def size(value: float, row: Row) -> str:
    """Write the size of a difference, without a sign: points for a binary metric."""
    return f"{100 * value:.3g} pp" if is_binary(row) else number(value)


def share(value: float | None) -> str:
    """Write a share in percent."""
    return ABSENT if value is None else f"{100 * value:.1f}%"


def level(value: float | None, binary: bool) -> str:
    """Write the mean score of one model: in percent for binary scores, else as it is."""
    if value is None:
        return ABSENT
    return share(value) if binary else number(value)


def level_interval(row: Measurement | CategoryMeasurement, binary: bool) -> str:
    """Write the 95% interval of a mean score, in the unit of `level`."""
    return "" if row.ci_low is None else f"[{level(row.ci_low, binary)}, {level(row.ci_high, binary)}]"


def count(value: int | None) -> str:
    """Write a count that a non-binary metric does not have."""
    return ABSENT if value is None else str(value)


def p_value(value: float | None) -> str:
    """Write a p-value with two digits, and never as 0."""
    if value is None:
        return ABSENT
    if value < 0.0001:
        return "<0.0001"
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def number(value: float) -> str:
    """Write a number with four digits."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}".replace("-", "−")


def seconds(value: float) -> str:
    """Write a duration."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def arrow(row: Comparison | Measurement) -> str:
    """Return the good direction of the metric: up, down, or neither."""
    return {True: "↑", False: "↓", None: "·"}[row.higher_is_better]


def is_binary(row: Row) -> bool:
    """Say whether the metric scores every sample 0 or 1."""
    return row.n10 is not None


_WRITERS: dict[Unit, Callable[[float], str]] = {
    "number": number,
    "share": share,
    "difference": difference,
    "points": points,
    "p": p_value,
}
