"""Lay out a scatter plot for the page's SVG: ticks, marks with intervals, labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tracedistill.report.tables import Plot, Point

WIDTH, HEIGHT = 720, 340
"""Size of the drawing in its own units; the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 48, 150, 14, 44
"""Margins around the plotted area; the right one has room for labels."""
LINE, LETTER = 14, 6.6
"""Height of a label's line and mean width of its letters."""


def laid_out(plot: Plot) -> dict[str, Any]:
    """Return the plot's marks, levels and ticks in units of the drawing."""
    marks = sorted((point for point in plot.points if point.x is not None), key=lambda point: (point.x, -point.y))
    xs = [point.x for point in marks if point.x is not None]
    low, high = math.log10(min(xs) / 1.4), math.log10(max(xs) * 1.4)
    bottom = math.floor(10 * min(point.low for point in plot.points)) / 10
    top = math.ceil(10 * max(point.high for point in plot.points)) / 10

    def across(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(x) - low) / (high - low), 1)

    def up(y: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - bottom) / max(0.1, top - bottom), 1)

    taken: list[tuple[float, float, float]] = []
    levels = [
        {"y": up(point.y), "label": _label(point, LEFT + 4, up(point.y) - 4, taken)}
        for point in sorted((point for point in plot.points if point.x is None), key=lambda point: -point.y)
    ]
    placed = [
        {
            "x": across(point.x), "y": up(point.y), "low": up(point.low), "high": up(point.high),
            "label": _label(point, across(point.x) + 7, up(point.y) + 4, taken),
        }
        for point in marks if point.x is not None
    ]  # fmt: skip
    step = 0.1 if top - bottom <= 0.6 else 0.2
    rungs = [round(bottom + step * number, 2) for number in range(1 + math.floor((top - bottom) / step + 1e-9))]
    return {
        "plot": plot,
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "marks": placed,
        "levels": levels,
        "columns": [{"x": across(tick), "label": f"{tick:g}"} for tick in _ticks(low, high)],
        "rows": [{"y": up(rung), "label": f"{100 * rung:.0f}%"} for rung in rungs],
    }  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between two logarithms."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    round_numbers = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    # values within less than a factor of two may have none of these among them
    return [tick for tick in round_numbers if low <= math.log10(tick) <= high] or [round(10 ** ((low + high) / 2), 2)]


def _label(point: Point, x: float, y: float, taken: list[tuple[float, float, float]]) -> Mapping[str, Any]:
    """Place a label at the nearest free height, and take the place."""
    width = LETTER * len(point.name)
    for shift in sorted(range(-20, 21), key=abs):
        at = y + LINE / 2 * shift
        if TOP < at < HEIGHT - BOTTOM and all(_apart((x, at, width), other) for other in taken):
            y = at
            break
    taken.append((x, y, width))
    return {"x": round(x, 1), "y": round(y, 1), "text": point.name}


def _apart(first: Sequence[float], second: Sequence[float]) -> bool:
    return abs(first[1] - second[1]) >= LINE or first[0] + first[2] < second[0] or second[0] + second[2] < first[0]
