"""What the page folds up: sections of research interest, and long tables; never a flagged cell."""

from __future__ import annotations

import re

import pytest

from tests.report_kit import arm, report
from tracedistill.report.html import LONG, RESEARCH, page
from tracedistill.report.tables import Section, Table

FLAG = frozenset({(0, 1)})


@pytest.mark.parametrize(
    ("key", "rows", "flagged", "folded"),
    [
        *((key, 1, frozenset(), "closed") for key in RESEARCH),
        ("association", 1, FLAG, "open"),
        ("accuracy", 1, frozenset(), "not"),
        ("ways", 1, frozenset(), "not"),
        ("costs", LONG, frozenset(), "not"),
        ("costs", LONG + 1, frozenset(), "closed"),
    ],
)
def test_what_is_folded_up(key: str, rows: int, flagged: frozenset[tuple[int, int]], folded: str) -> None:
    table = Table("T", ("arm", "n"), tuple((f"a{n}", n) for n in range(rows)), flagged)
    text = page(report(arm(), sections=(Section(key, "A section", (), (table,)),)), [])
    section = re.search(rf'<section id="{key}">.*?</section>', text, re.DOTALL)
    assert section is not None
    state = re.search(r"<details( open)?><summary>", section[0])
    assert ("not" if state is None else "open" if state[1] else "closed") == folded
    assert ">a0</td>" in section[0], "what is folded up is on the page"
