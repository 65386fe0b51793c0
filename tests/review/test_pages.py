"""The pages as a browser without scripts uses them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.review.kit import HOST, HOSTILE, TOKEN, Browser, fill, filled, hostile_trace, problem, trace
from tracedistill.records import Problem, Step
from tracedistill.review.drafts import VEIL, sendable, veiled
from tracedistill.review.outcomes import reviewed_of
from tracedistill.review.queue import Filter, lines, needs, progress
from tracedistill.review.session import ReviewSession
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import change, work_of

GOOD = "They pack 11*3 = 33 pens."


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    return filled(tmp_path / "r.sqlite")


@pytest.fixture
def browser(store: ReviewStore) -> Browser:
    return Browser(store)


def outcomes(page: str) -> list[str]:
    return re.findall(r'class="step (\w+)"', page)


def heading(page: str) -> str:
    return re.findall(r'<h1 id="heading"[^>]*>([^<]*)', page)[0]


def test_from_the_queue_to_the_decision(browser: Browser) -> None:
    page = browser.open("/?need=failed")
    assert re.findall(r">(p\d)</a>", page) == ["p1", "p4"]
    browser.open("/start?need=failed")
    assert outcomes(browser.page) == ["incorrect", "correct"]
    assert "wrong calculation: 11*3 is 33, not 34" in browser.page
    second = browser.fields()["line"][1]
    browser.press("save", line=[GOOD, second])
    assert outcomes(browser.page) == ["correct", "correct"]
    assert "open, with a draft" in browser.page
    assert heading(browser.press("approve")) == "p4"
    assert "1 of 2 done" in browser.page
    assert heading(browser.press("undo")) == "p1"
    assert browser.fields()["line"] == [GOOD, second]
    browser.press("approve")
    assert "this queue is empty" in browser.press("reject", comment="no")
    assert [one.status for one in reviewed_of(browser.session.store.path, "t")] == [
        "open", "edited", "open", "open", "rejected", "open",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("add:0", ["a", "", "b"]),
        ("add:1", ["a", "b", ""]),
        ("delete:0", ["b"]),
        ("down:0", ["b", "a"]),
        ("up:1", ["b", "a"]),
        ("up:0", ["a", "b"]),
        ("down:1", ["a", "b"]),
        ("delete:7", ["a", "b"]),
        ("restore", [step.text for step in trace(1).steps]),
    ],
)
def test_arranging(browser: Browser, do: str, expected: list[str]) -> None:
    browser.item(trace(1))
    browser.press(do, line=["a", "b"])
    assert browser.fields()["line"] == expected


def test_an_empty_line_is_no_step_and_no_change(browser: Browser) -> None:
    browser.item(trace(0))
    browser.press("add:0")
    browser.press("approve")
    assert reviewed_of(browser.session.store.path, "t")[0].status == "approved"


def test_the_gold_is_hidden_until_asked_for(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "r.sqlite") as store:
        wrong = trace(0, "They pack 10*3 = 30 pens.", "After the loss 30-5 = 25 pens are left.", answer="25")
        fill(store, [wrong])
        browser = Browser(store)
        page = browser.item(wrong)
        assert not re.search(r"\b26\b", page)
        assert VEIL in page
        page = browser.press("gold")
        assert "Answer: 26" in page
        assert VEIL not in page
        assert work_of(store, 1, "ana").saw_gold


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("step 2: wrong calculation: 3*4 is 12, not 13", True),
        ("2 stated", True),
        ("class is counting, not lists-sets", False),
        ("missing fact: Mary took the milk.", False),
        ("is not 12", False),
        ("wrong operation: gold step 1 wants *", False),
        ("no calculation", True),
        ("", True),
    ],
)
def test_reasons_that_quote_the_gold(reason: str, told: bool) -> None:
    steps = (Step("retrieval", "x", facts=("Mary took the milk.",)), Step("class", "y", "lists-sets"))
    one = Problem("p", "babi", "train", "q", ("12",), category="lists-sets", gold_steps=steps)
    assert (veiled(reason, one) == reason) == told


def test_two_tabs(store: ReviewStore) -> None:
    one, other = Browser(store), Browser(store)
    one.item(trace(1))
    other.item(trace(1))
    one.press("save", line=[GOOD, "x"])
    page = other.press("save", line=["mine", "y"], comment="my words")
    assert other.status == 409
    assert "changed in another tab" in page
    assert other.fields()["line"] == ["mine", "y"]
    assert work_of(store, 2, "ana").lines == (GOOD, "x")
    assert 'role="alert"' in page
    other.press("save")  # he was told, and wants it
    assert (work_of(store, 2, "ana").lines, work_of(store, 2, "ana").comment) == (("mine", "y"), "my words")
    other.press("undo")
    assert work_of(store, 2, "ana").lines == (GOOD, "x")


def test_while_typing(browser: Browser) -> None:
    """What the script sends after each pause, and what it gets."""
    browser.item(trace(1))
    address = f"/{TOKEN}/item/2"
    headers = {"Origin": f"http://{HOST}", "X-Part": "verdicts"}
    form = {**browser.fields(), "do": "save", "line": ["They pack 11*3 = 33 pens", "33 - 4 = 28"]}
    answer = browser.client.post(address, data=form, headers=headers)
    said = answer.json()
    assert (said["version"], said["status"], said["changed"]) == (1, "open", True)
    assert [mark[0] for mark in said["marks"]] == ["correct", "incorrect"]
    assert [part[:2] for part in said["parts"]] == [
        ["trace", "incorrect"],
        ["format", "correct"],
        ["answer", "correct"],
    ]
    stale = browser.client.post(address, data=form, headers=headers)
    assert (stale.status_code, stale.json()["version"]) == (409, 1)


def test_plans_are_judged_as_plans_and_for_leaks(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "r.sqlite") as store:
        steps = (Step("plan", "Multiply the boxes by 3."), Step("plan", "Subtract the 4 lost pens."))
        plan = replace(
            trace(0), steps=steps, text="1. Multiply the boxes by 3.\n2. Subtract the 4 lost pens.", answer=None
        )
        fill(store, [plan])
        browser = Browser(store)
        assert ">leak</span>" in browser.item(plan)
        browser.press("save", line=["Multiply the boxes by 3.", "So the answer is 26."])
        assert re.search(r"leak</span>\s*<span class=\"verdict incorrect\"", browser.page)
        browser.press("save", line=["Multiply the boxes by 3.", "Take away what was lost."])
        browser.press("approve")
        found = reviewed_of(store.path, "t")[0].trace
        assert found is not None
        assert [step.kind for step in found.steps] == ["plan", "plan"]
        assert found.text == "1. Multiply the boxes by 3.\n2. Take away what was lost."


def test_hostile_text_is_text(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "r.sqlite") as store:
        fill(store, [hostile_trace()], hostile=True)
        browser = Browser(store)
        pages = [browser.open("/"), browser.item(hostile_trace()), browser.press("gold", comment=HOSTILE)]
        pages += [browser.press("save", line=[HOSTILE]), browser.open(f"/?teacher={HOSTILE}&need={HOSTILE}")]
        for page in pages:
            assert "<img" not in page
            assert "alert(1)</script>" not in page
            assert page.count("<script") == 1


def test_what_cannot_be_sent_comes_back_as_it_was(tmp_path: Path) -> None:
    odd = trace(0, "lone \ud800 and nul \x00: 1+1 = 2", "\r\nand a break 2+2 = 4")
    with ReviewStore(tmp_path / "r.sqlite") as store:
        fill(store, [odd])
        browser = Browser(store)
        browser.item(odd)
        assert browser.fields()["line"] == [sendable(step.text) for step in odd.steps]
        browser.press("approve")
        assert reviewed_of(store.path, "t")[0].trace == odd


def test_filters(store: ReviewStore) -> None:
    fill(store, [trace(7, "1+1 = 2", teacher="u"), trace(8, *["1+1 = 2"] * 5, teacher="u")])
    change(store, 1, "ana", 0, "approved", lambda work: replace(work, status="approved"))
    cases: list[tuple[dict[str, object], list[str]]] = [
        ({}, ["p1", "p2", "p3", "p4", "p5", "p7", "p8"]),
        ({"shown": "done"}, ["p0"]),
        ({"shown": "all", "teacher": "t", "need": "failed"}, ["p1", "p4"]),
        ({"teacher": "u"}, ["p7", "p8"]),
        ({"task": "babi"}, []),
        ({"least": 3}, ["p8"]),
        ({"most": 1}, ["p7"]),
        ({"least": 2, "most": 4, "need": "teacher"}, ["p1", "p4"]),
        ({"need": "disputed", "shown": "all"}, []),
    ]
    for chosen, expected in cases:
        found = Filter(**chosen)  # type: ignore[arg-type]
        assert [line.problem_id for line in lines(store, "ana", found)] == expected, chosen
        assert Filter.read(dict(pair.split("=") for pair in found.address().split("&"))) == found
    assert (progress(store, "ana", Filter()).done, progress(store, "ana", Filter()).total) == (1, 8)
    assert needs(store, "ana", Filter(teacher="t", shown="all"))["failed"] == 2
    change(store, 1, "ben", 0, "rejected", lambda work: replace(work, status="rejected"))
    assert [line.problem_id for line in lines(store, "eva", Filter(need="disputed"))] == ["p0"]


def test_samples_are_seeded_and_kept(store: ReviewStore) -> None:
    draws = {seed: [line.item for line in lines(store, "ana", Filter(sample=3, seed=seed))] for seed in range(6)}
    assert {len(one) for one in draws.values()} == {3}
    assert len({tuple(one) for one in draws.values()}) > 1
    assert draws[2] == [line.item for line in lines(store, "ben", Filter(sample=3, seed=2))]
    assert set().union(*draws.values()) <= set(range(1, 7))


def test_a_sample_of_all_teachers_is_that_of_each(store: ReviewStore) -> None:
    fill(store, [trace(number, teacher="u") for number in range(5)])
    every = {line.item for line in lines(store, "ana", Filter(sample=2))}
    each = [{line.item for line in lines(store, "ana", Filter(sample=2, teacher=name))} for name in "tu"]
    assert [len(one) for one in each] == [2, 2]
    assert every == each[0] | each[1]


@pytest.mark.parametrize("query", ["sample=x&seed=-1&least=99999999999&need=none&shown=no", "after=x", "message=<b>"])
def test_odd_addresses(browser: Browser, query: str) -> None:
    assert len(re.findall(r">(p\d)</a>", browser.open(f"/?{query}"))) == 6


def test_the_queue_goes_on_behind_its_last_page(tmp_path: Path) -> None:
    browser = Browser(filled(tmp_path / "r.sqlite", 60))
    first = re.findall(r">(p\d+)</a>", browser.open("/?teacher=t"))
    link = re.findall(r'href="([^"]*after=\d+)"', browser.page)[0].replace("&amp;", "&")
    assert first + re.findall(r">(p\d+)</a>", browser.open(link)) == [f"p{number}" for number in range(60)]


def test_next_goes_round(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    assert [session.next(Filter(), item) for item in (1, 6)] == [2, 1]
    assert [session.next(Filter(), item, back=True) for item in (2, 1)] == [1, 6]
    assert session.next(Filter(need="failed"), 3) == 5
    assert session.next(Filter(task="babi"), 3) is None


def test_a_trace_without_a_stored_verdict_is_judged(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "r.sqlite") as store:
        store.fill("gsm8k", [problem(1)], [trace(1)])
        sheet = ReviewSession(store, "ana").view(1)
        assert [mark.outcome for mark in sheet.judgement.marks] == ["incorrect", "correct"]
        assert store.verdict(1) is None


@pytest.mark.parametrize("odd", ["a/b", "a?b=c#d", "ä ö", "x\r\nSet-Cookie: y", "%2e", '"><b>'])
def test_any_trace_id_will_do(tmp_path: Path, odd: str) -> None:
    with ReviewStore(tmp_path / "r.sqlite") as store:
        fill(store, [replace(trace(1), trace_id=odd), trace(4)])
        browser = Browser(store)
        browser.open("/")
        address = re.findall(r'href="([^"]*/item/[^"]*)">p1<', browser.page)[0].replace("&amp;", "&")
        assert heading(browser.open(address)) == "p1"
        browser.press("save", comment="here")
        assert browser.status == 200
        assert work_of(store, 1, "ana").comment == "here"


def test_what_the_command_line_asked_for_holds_until_a_filter_is_chosen(store: ReviewStore) -> None:
    browser = Browser(store)
    browser.session.default = Filter(sample=2, seed=1)
    assert len(re.findall(r">(p\d)</a>", browser.open("/"))) == 2
    browser.open("/start")
    assert "0 of 2 done" in browser.page
    assert "1 of 2 done" in browser.press("approve")
    browser.open("/start?need=&shown=open&sample=&seed=0")
    assert "1 of 6 done" in browser.page
    assert "of 6 done" in browser.press("next")
