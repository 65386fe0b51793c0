"""The layout of a scatter plot: every mark in the plotted area, every label in a place of its own."""

from __future__ import annotations

import itertools

import pytest

from tracedistill.report.plots import BOTTOM, HEIGHT, LEFT, LINE, RIGHT, TOP, WIDTH, laid_out
from tracedistill.report.tables import Plot, Point


def point(name: str, x: float | None, y: float) -> Point:
    return Point(name, x, y, max(0.0, y - 0.1), min(1.0, y + 0.1))


PLOTS = {
    "apart": [point("a", 1, 0.2), point("b", 100, 0.9), point("level", None, 0.5)],
    "in one place": [point(f"arm-{n}", 12.3, 0.48) for n in range(6)],
    "all right": [point("a", 1e-4, 1.0), point("b", 1e-4, 1.0)],
    "none right": [point("a", 3, 0.0), point("b", 4e6, 0.0), point("level", None, 0.0)],
    "levels close together": [point("a", 3, 0.4), *(point(f"level-{n}", None, 0.4 + n / 200) for n in range(4))],
}


@pytest.mark.parametrize("name", PLOTS)
def test_marks_and_labels_have_their_place(name: str) -> None:
    points = PLOTS[name]
    drawing = laid_out(Plot("title", "x", tuple(points)))
    assert len(drawing["marks"]) + len(drawing["levels"]) == len(points)
    for mark in drawing["marks"]:
        assert LEFT < mark["x"] < WIDTH - RIGHT
        assert TOP <= mark["high"] <= mark["y"] <= mark["low"] <= HEIGHT - BOTTOM
    labels = [each["label"] for each in (*drawing["marks"], *drawing["levels"])]
    for one, other in itertools.combinations(labels, 2):
        assert abs(one["y"] - other["y"]) >= LINE or abs(one["x"] - other["x"]) > 20
    assert drawing["columns"]
    assert len(drawing["rows"]) >= 2


def test_the_axis_is_logarithmic() -> None:
    marks = laid_out(Plot("", "", tuple(point(str(x), x, 0.5) for x in (1, 10, 100))))["marks"]
    assert marks[1]["x"] - marks[0]["x"] == pytest.approx(marks[2]["x"] - marks[1]["x"], abs=0.2)
