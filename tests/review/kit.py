"""A small store of traces, and a browser's requests without a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tracedistill.files import content_id
from tracedistill.records import Problem, Trace
from tracedistill.review.error_labels import ErrorReading, FailedAttempt
from tracedistill.review.rating import Rating, RatingPlan, Scale, make_rating
from tracedistill.review.server import application
from tracedistill.review.session import ReviewSession
from tracedistill.review.store import ReviewStore
from tracedistill.tasks import get_task
from tracedistill.tasks._steps import make_steps
from tracedistill.validation import validate

HOSTILE = "<script>alert(1)</script></textarea><img src=x onerror=alert(2)><a href='javascript:alert(3)'>x</a>"
HOST = "127.0.0.1:8123"
TOKEN = "token-of-the-tests"
TASK = get_task("gsm8k")


def problem(number: int) -> Problem:
    """(number + 10) boxes of 3 pens, 4 lost."""
    a = number + 10
    gold = make_steps([f"They pack {a}*3 = {a * 3} pens.", f"After the loss {a * 3}-4 = {a * 3 - 4} pens are left."])
    question = f"They pack {a} boxes of 3 pens and lose 4 pens. How many are left?"
    return Problem(f"p{number}", "gsm8k", "train", question, (str(a * 3 - 4),), gold_steps=gold, difficulty=2)


def trace(number: int, *lines: str, teacher: str = "t", answer: str | None = None) -> Trace:
    """The gold's own lines, or these; every third one calculates wrongly."""
    one, a = problem(number), number + 10
    wrong = number % 3 == 1
    texts = lines or (
        f"They pack {a}*3 = {a * 3 + wrong} pens.",
        f"After the loss {a * 3}-4 = {a * 3 - 4} pens are left.",
    )
    steps = make_steps(texts)
    text = TASK.render_trace(steps)
    stated = one.answers[0] if answer is None else answer
    return Trace(content_id(teacher, one.problem_id, 0, text), one.problem_id, teacher, steps, text, answer=stated)


def hostile_problem() -> Problem:
    return Problem(
        HOSTILE, "gsm8k", "train", HOSTILE, (HOSTILE,), context=(HOSTILE,), category=HOSTILE,
        gold_steps=make_steps([f"1 + 1 = 2 {HOSTILE}"]),
    )  # fmt: skip


def hostile_trace() -> Trace:
    steps = make_steps([f"1 + 1 = 2 {HOSTILE}"])
    return Trace("hostile", HOSTILE, HOSTILE, steps, TASK.render_trace(steps), answer=HOSTILE)


def small_rating() -> Rating:
    """Two questions, two kinds, two scales."""
    plan = RatingPlan(
        {"correct": "a", "short": "b"},
        (Scale("clarity", "I can follow it."), Scale("effort", "It was easy to read.", group="load")),
        problems=2,
    )
    traces = {kind: [trace(number, teacher=kind) for number in (0, 2, 3)] for kind in plan.kinds}
    return make_rating(plan, {f"p{number}": problem(number) for number in range(4)}, traces)


def small_reading() -> ErrorReading:
    items = tuple(
        FailedAttempt(f"arm/p{number}/0", f"p{number}", "arm", f"I think {HOSTILE}", trace(number), "is not 29")
        for number in (1, 2)
    )
    return ErrorReading(
        items, {f"p{number}": problem(number) for number in (1, 2)}, {"p1": "teacher", "p2": "undecided"}
    )


def fill(store: ReviewStore, traces: Sequence[Trace], *, hostile: bool = False, **options: Any) -> int:
    problems = {one.problem_id: hostile_problem() if hostile else problem(int(one.problem_id[1:])) for one in traces}
    return store.fill("gsm8k", problems.values(), traces, validate(TASK, problems, traces, "correct"), **options)


def filled(path: Path, n: int = 6, teacher: str = "t") -> ReviewStore:
    store = ReviewStore(path)
    fill(store, [trace(number, teacher=teacher) for number in range(n)])
    return store


class Browser:
    """Opens pages and presses buttons as a form of a browser without scripts does."""

    def __init__(self, store: ReviewStore, reviewer: str = "ana", **more: Any) -> None:
        self.session = ReviewSession(store, reviewer)
        app = application(self.session, TOKEN, [HOST], **more)
        self.client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=True)
        self.page = ""
        self.at = ""
        self.status = 0

    def open(self, path: str = "/") -> str:
        return self._take(self.client.get(path if path.startswith(f"/{TOKEN}") else f"/{TOKEN}{path}"))

    def item(self, one: Trace, query: str = "") -> str:
        return self.open(f"/item/{self.session.find(one.trace_id)}{query}")

    def fields(self) -> dict[str, Any]:
        """The form's fields as they stand in the page."""
        found: dict[str, Any] = {"line": []}
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.page):
            found[name] = unescape(value)
        for name, text in re.findall(r'<textarea name="(\w+)"[^>]*>\n(.*?)</textarea>', self.page, re.DOTALL):
            if name == "line":
                found["line"].append(unescape(text))
            else:
                found[name] = unescape(text)
        return found

    def press(self, button: str, **changes: Any) -> str:
        """Send the page's form with some fields changed."""
        address = unescape(re.search(r'<form [^>]*method="post" action="([^"]+)"', self.page)[1])  # type: ignore[index]
        data = {**self.fields(), **changes, "do": button}
        return self._take(self.client.post(address, data=data, headers={"Origin": f"http://{HOST}"}))

    def _take(self, answer: Any) -> str:
        self.page, self.status, self.at = answer.text, answer.status_code, str(answer.url)
        return self.page
