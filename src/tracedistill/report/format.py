"""Format cells, shares, intervals, p values, money and lists of names."""

from __future__ import annotations

from collections.abc import Sequence

from tracedistill.report.tables import Cell
from tracedistill.stats import Difference, Interval, Mean, Share


def cell_text(cell: Cell, dash: str = "-") -> str:
    """Format a cell: thousands separators, three digits of a fraction, a dash if empty."""
    if cell is None:
        return dash
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return cell


def percent(share: float | None) -> str:
    """Format a share in percent with one decimal; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}%"


def p_relation(p: float) -> str:
    """Format a p value for a sentence: `= 0.0123` or `< 0.0001`."""
    return p_value(p) if p < 0.0001 else f"= {p_value(p)}"


def points(share: float) -> str:
    """Format a share in percentage points with one decimal."""
    return f"{100 * share:.1f}"


def p_value(p: float) -> str:
    """Format a p value for a table."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def between(low: float | None, high: float | None) -> str | None:
    """Format an interval of shares in percent, without the sign."""
    return None if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def of_estimate(estimate: Share | Mean) -> tuple[str | None, str | None, int]:
    """Format an estimate's value, interval (clipped to 0..1) and n as three cells; no value if n is 0."""
    if estimate.value is None:
        return None, None, 0
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value), None, estimate.n
    return percent(estimate.value), between(max(0.0, estimate.low), min(1.0, estimate.high)), estimate.n


def listed(names: Sequence[str], most: int) -> str:
    """List the first names, and count the rest: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gain(difference: Difference) -> str:
    """Format a difference in points with its interval."""
    return f"{100 * difference.estimate:+.1f} ({100 * difference.low:.1f} to {100 * difference.high:.1f})"


def ratio(value: float | None, interval: Interval | None) -> str | None:
    """Format an odds ratio with its interval."""
    if value is None:
        return None
    return number(value) if interval is None else f"{number(value)} ({number(interval.low)} to {number(interval.high)})"


def number(value: float | None) -> str | None:
    """Format a figure with three significant digits and thousands separators."""
    if value is None:
        return None
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def dollars(value: float | None) -> str | None:
    """Format US dollars: whole if large, with more digits for small amounts."""
    if value is None:
        return None
    return f"${value:,.2f}" if value == 0 or abs(value) >= 1 else f"${value:.3g}"
