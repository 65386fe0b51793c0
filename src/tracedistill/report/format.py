"""Format cells, shares, intervals, p values and money."""

from __future__ import annotations

from tracedistill.report.records import Cell
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


def of_share(share: Share) -> tuple[str | None, str | None, int]:
    """Format a share's value, interval and n as three cells; value and interval are None if n is 0."""
    if share.value is None:
        return None, None, 0
    return percent(share.value), between(share.low, share.high), share.n


def of_mean(mean: Mean) -> tuple[str | None, str | None, int]:
    """Format a mean's value, interval (clipped to 0..1) and n as three cells."""
    if mean.value is None:
        return None, None, 0
    if mean.low is None or mean.high is None:
        return percent(mean.value), None, mean.n
    return percent(mean.value), between(max(0.0, mean.low), min(1.0, mean.high)), mean.n


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
