"""Numbers as all tables of the studies say them, and the tables themselves, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from covidssl.errors import DataError
from covidssl.metrics import Estimate

NOTHING = "not defined"
"""Of a number that the images do not define, such as precision where nothing is called positive."""

_LEAST_P = 0.001


def value_text(value: float, digits: int = 3) -> str:
    """`0.871`; no minus before a zero."""
    if isnan(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text


def estimate_text(estimate: Estimate, digits: int = 3) -> str:
    """`0.871 (0.842 to 0.897)`."""
    if isnan(estimate.value):
        return NOTHING
    value, low, high = (value_text(one, digits) for one in estimate)
    return f"{value} ({low} to {high})"


def difference_text(estimate: Estimate, digits: int = 3) -> str:
    """`+0.031 (-0.002 to +0.064)`: signed, a zero without a sign."""
    if isnan(estimate.value):
        return NOTHING
    value, low, high = (signed_text(one, digits) for one in estimate)
    return f"{value} ({low} to {high})"


def points_text(estimate: Estimate, digits: int = 1) -> str:
    """A difference of shares in percentage points: `+4.1 (+1.2 to +7.0)`."""
    return difference_text(Estimate(*(100 * one for one in estimate)), digits)


def p_text(p_value: float) -> str:
    """`0.012`, or `< 0.001`."""
    if isnan(p_value):
        return NOTHING
    return f"< {_LEAST_P:g}" if p_value < _LEAST_P else f"{p_value:.3f}"


def range_text(values: Sequence[float], digits: int = 3) -> str:
    """`0.842 to 0.881`: the least and the most of several trainings."""
    if not values:
        raise DataError("No value is given: expected one training at least.")
    least, most = value_text(min(values), digits), value_text(max(values), digits)
    return least if len(values) == 1 else f"{least} to {most}"


def signed_range_text(values: Sequence[float], digits: int = 3) -> str:
    """`-0.004 to +0.031`: the lowest and the highest of several differences."""
    if not values:
        raise DataError("No difference is given: expected one draw at least.")
    least, most = signed_text(min(values), digits), signed_text(max(values), digits)
    return least if len(values) == 1 else f"{least} to {most}"


def fraction_text(fraction: float) -> str:
    """A share of the labels: `10 %`, `2.5 %`."""
    return f"{round(100 * fraction, 6):g} %"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table of Markdown.

    Args:
        head: of the columns.
        rows: a text a column; a bar within one is escaped.
        words: columns from the left that hold words; those after them stand to the right.

    Raises:
        DataError: when a row has another number of columns than the head.
    """
    wrong = [row for row in rows if len(row) != len(head)]
    if wrong:
        raise DataError(f"A row of {len(wrong[0])} cells in a table of {len(head)}: {wrong[0]}.")
    rule = ["---" if place < words else "---:" for place in range(len(head))]
    return "\n".join(_line(row) for row in (head, rule, *rows))


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def signed_text(value: float, digits: int = 3) -> str:
    """A number with its sign; zero has none."""
    text = value_text(value, digits)
    return f"+{text}" if value > 0 and float(text) else text
