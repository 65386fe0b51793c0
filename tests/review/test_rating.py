"""Ratings: blind, counterbalanced, kept, summarised."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.review.kit import Browser, filled, problem, small_rating, trace
from tracedistill.errors import InputError
from tracedistill.review.rating import (
    Rating,
    RatingPlan,
    Scale,
    make_rating,
    order_for,
    rate,
    ratings,
    read_plan,
    williams,
)
from tracedistill.review.rating_summary import rating_rows, signed_rank_p, summarise


def rating_of(kinds: str, problems: int) -> Rating:
    plan = RatingPlan(dict.fromkeys(kinds, ""), (Scale("s", "?"), Scale("u", "?", group="g")), problems=problems)
    traces = {kind: [trace(number, teacher=kind) for number in range(problems)] for kind in kinds}
    return make_rating(plan, {f"p{number}": problem(number) for number in range(problems)}, traces)


@pytest.mark.parametrize("n", range(2, 9))
def test_williams_squares_are_balanced(n: int) -> None:
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 else 2 * n)
    for place in range(n):
        assert set(Counter(row[place] for row in rows).values()) == {len(rows) // n}
    follows = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert set(follows.values()) == {len(rows) // n}
    assert len(follows) == n * (n - 1)


@pytest.mark.parametrize("kinds", ["ab", "abc", "abcd"])
def test_every_kind_stands_equally_often_in_each_place(kinds: str) -> None:
    rating = rating_of(kinds, len(williams(len(kinds))))
    for rater in range(3):
        cards = order_for(rating, rater)
        places = Counter((card.kind, card.place % len(kinds)) for card in cards)
        assert len(set(places.values())) == 1
        assert len(places) == len(kinds) ** 2
    # one question over as many raters as there are orders
    first = Counter(
        next(card.kind for card in order_for(rating, rater) if card.problem_id == "p0")
        for rater in range(len(williams(len(kinds))))
    )
    assert len(set(first.values())) == 1
    assert order_for(rating, 1) == order_for(rating, 1) != order_for(rating, 2)


def test_a_page_does_not_tell_the_kind(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        browser = Browser(store, rating=small_rating())
        browser.open("/rate")
        seen = []
        while "scale-0" in browser.page:
            assert "correct" not in browser.page.replace("class=", "")
            assert "short" not in browser.page
            seen.append(browser.at.rpartition("/")[2])
            browser.press("next", **{"scale-0": "5", "scale-1": "2"})
        assert seen == ["0", "1", "2", "3"]
        assert "All 4 are rated" in browser.page
        found = ratings(store, small_rating(), "ana")
        assert {one["place"] for one in found.values()} == {0, 1, 2, 3}
        assert {tuple(one["values"].items()) for one in found.values()} == {(("clarity", 5), ("effort", 2))}


@pytest.mark.parametrize(
    "values", [{}, {"scale-0": "5"}, {"scale-0": "5", "scale-1": "6"}, {"scale-0": "5", "scale-1": ""}]
)
def test_what_is_not_a_whole_rating_is_not_kept(tmp_path: Path, values: dict[str, str]) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        browser = Browser(store, rating=small_rating())
        browser.open("/rate")
        assert "Not saved" in browser.press("next", **values)
        assert browser.status == 422
        assert ratings(store, small_rating()) == {}


def test_ratings_may_be_changed_and_a_rater_comes_back_to_the_first_open_one(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        browser = Browser(store, rating=small_rating())
        browser.open("/rate")
        browser.press("next", **{"scale-0": "1", "scale-1": "1"})
        browser.press("prev")
        assert re.findall(r'name="scale-\d" value="(\d)" required checked', browser.page) == ["1", "1"]
        browser.press("next", **{"scale-0": "4", "scale-1": "1"})
        browser.open("/rate")
        assert browser.at.endswith("/rate/1")
        assert [one["values"]["clarity"] for one in ratings(store, small_rating()).values()] == [4]
        other = Browser(store, "ben", rating=small_rating())
        other.open("/rate")
        assert other.at.endswith("/rate/0")


def test_the_summary(tmp_path: Path) -> None:
    """Two raters, eight questions; kind a is one point above b on s, and equal on u."""
    rating = rating_of("ab", 8)
    with filled(tmp_path / "r.sqlite", 1) as store:
        for rater, name in enumerate(("ana", "ben")):
            for card in order_for(rating, rater):
                low = 2 + int(card.problem_id[1:]) % 2
                rate(store, rating, name, card, {"s": low + (card.kind == "a"), "u": 3}, 1.0)
        means, differences = summarise(store, rating, resamples=500)
        by_key = {(one.scale, one.kind): one.mean for one in means}
        assert (by_key["s", "a"].value, by_key["s", "b"].value) == (3.5, 2.5)
        assert (by_key["s", "a"].n, by_key["s", "a"].clusters) == (16, 8)
        low, high = by_key["s", "a"].low, by_key["s", "a"].high
        assert low is not None
        assert high is not None
        assert low < 3.5 < high
        found = {one.scale: one for one in differences}
        assert list(found) == ["s", "u", "g"]
        assert found["s"].difference.estimate == pytest.approx(1)
        assert found["s"].difference.n == 8
        assert found["s"].p == pytest.approx(2 / 2**8)  # all eight signs alike
        assert (found["u"].p, found["u"].difference.estimate) == (1.0, 0.0)
        rows = list(rating_rows(store, rating))
        assert len(rows) == 2 * 8 * 2 * 2
        assert rows[0].keys() == {"rater", "problem_id", "kind", "place", "scale", "group", "rating", "seconds"}


def test_the_signed_rank_test_of_a_textbook() -> None:
    """Wilcoxon 1945 on Darwin's maize (crossed less self-fertilised, eighths of an inch): W = 24, p = .041."""
    pairs = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert signed_rank_p(pairs, [0] * 15) == pytest.approx(0.041, abs=0.001)
    assert signed_rank_p([1.0, 2.0], [1.0, 2.0]) == 1.0


BROKEN = [
    ("[1", "cannot be read"),
    ("kinds: {a: x}\nscales: [{name: s, ask: q}]", "kinds: Dictionary should have at least 2 items"),
    ("kinds: {a: x, b: y}", "scales: Field required"),
    ("kinds: {a: x, b: y}\nscales: []", "scales: Tuple should have at least 1 item"),
    ("kinds: {a: x, b: y}\nscales: [{name: s}]", "scales.0.ask: Field required"),
    ("kinds: {a: x, b: y}\nscales: [{name: s, ask: q}, {name: s, ask: q}]", "scales: duplicate name 's'"),
    ("kinds: {a: x, b: y}\nscales: [{name: s, ask: q, higth: z}]", "scales.0.higth: Unexpected keyword argument"),
    ("kinds: {a: x, b: y}\nscales: [{name: s, ask: q}]\nproblem: 3", "problem: Unexpected keyword argument"),
    ("kinds: {a: x, b: y}\nscales: [{name: s, ask: q}]\nproblems: 0\nseed: no", "problems: Input should be greater"),
    (
        "kinds: {a: x, b: y}\nscales: [{name: s, ask: q}]\nproblems: 0\nseed: no",
        "seed: Input should be",
    ),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_plans(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"plan\.yaml") as told:
        read_plan(path)
    assert message in str(told.value)


def test_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("title: T\nkinds: {a: x, b: y}\nscales: [{name: s, ask: q, group: g}]\nproblems: 3\nseed: 4\n")
    assert read_plan(path) == RatingPlan({"a": "x", "b": "y"}, (Scale("s", "q", group="g"),), "T", 3, 4)
    with pytest.raises(InputError, match="no question has a trace of every kind"):
        make_rating(read_plan(path), {"p0": problem(0)}, {"a": [trace(0)], "b": [trace(1)]})
