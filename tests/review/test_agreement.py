"""The agreement of a store's reviewers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.review.kit import Browser, filled
from tracedistill.review.agreement import agreement_of
from tracedistill.review.outcomes import decide
from tracedistill.review.trace_review import Status, change
from tracedistill.stats import cohen_kappa


def test_the_reviewers_of_a_store(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite", 6) as store:
        table: list[tuple[str, str, Status]] = [
            ("ana", "123456", "approved"),
            ("ben", "1234", "approved"),
            ("ben", "5", "rejected"),
            ("eva", "5", "rejected"),
        ]
        for reviewer, items, status in table:
            for item in map(int, items):
                decide(store, item, reviewer, 0, status, 1.0)
        found = agreement_of(store)
        # eva came when the two disagreed: she knew, and does not count
        assert found.reviewers == ("ana", "ben")
        (pair,) = found.pairs
        assert (pair.same.successes, pair.same.n, found.shared, found.open) == (4, 5, 5, 0)
        assert Counter(dict(pair.cells)) == {("approved", "approved"): 4, ("approved", "rejected"): 1}
        assert pair.kappa == pytest.approx(cohen_kappa(["a"] * 5, ["a"] * 4 + ["r"]))
        change(store, 6, "ben", 0, "edited", lambda work: replace(work, status="edited", lines=("x",)))
        page = Browser(store, "ben").open("/agreement")
        assert "1 traces are disputed" in page
        assert "edited: 1" in page
        assert "66.7%" in page


def test_nobody_has_reviewed_the_same(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite", 2) as store:
        decide(store, 1, "ana", 0, "approved", 1.0)
        assert agreement_of(store).pairs == ()
        assert "decided by two reviewers" in Browser(store).open("/agreement")
