"""The pages for reading failed attempts beside plan and gold, with one key per kind of error."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tracedistill.review.app import Pages, PostedForm, place_of, read_form
from tracedistill.review.drafts import gold_lines, lines_of
from tracedistill.review.queue import ReviewProgress
from tracedistill.review.reading import (
    FAULTS,
    ErrorReading,
    label,
    labels_of,
    program_label,
    reading_agreement,
)
from tracedistill.review.store import ReviewStore
from tracedistill.review.work import Conflict
from tracedistill.tasks import get_task

SAYS = {
    "teacher": "Teacher: the plan is wrong",
    "student": "Student: the plan is right, its execution is not",
    "both": "Both",
    "neither": "Neither",
}
"""Label -> text of its button."""


class ReadingPages:
    """The failed attempts of one reader."""

    def __init__(self, store: ReviewStore, reader: str, pages: Pages, reading: ErrorReading) -> None:
        self.store = store
        self.reader = reader
        self.pages = pages
        self.reading = reading

    def routes(self) -> list[Route]:
        """Return address -> page."""
        return [
            Route("/read", self.first),
            Route("/read/{place}", self.one),
            Route("/read/{place}", self.act, methods=["POST"]),
        ]

    def first(self, _: Request) -> Response:
        """Show the first attempt without a label."""
        return RedirectResponse(self.address(self.open_from(0)), 303)

    def one(self, request: Request) -> Response:
        """Show one attempt; after the last one, the results."""
        return self.show(request, place_of(request))

    def show(self, request: Request, place: int, alert: str = "", status: int = 200) -> Response:
        """Render an attempt as a page."""
        items = self.reading.items
        if place > len(items):
            raise HTTPException(404, "no such attempt")
        mine = labels_of(self.store, self.reading).get(self.reader, {})
        item = items[place] if place < len(items) else None
        problem = self.reading.problems[item.problem_id] if item else None
        said, version = mine.get(item.attempt_id, ("", 0)) if item else ("", 0)
        answer = self.pages.html(
            "read.html.j2", request, status, item=item, problem=problem, place=place, said=said, version=version,
            gold=list(gold_lines(get_task(problem.task), problem)) if problem else [],
            plan=lines_of(item.plan) if item and item.plan else (), progress=ReviewProgress(len(mine), len(items)),
            # the program's label only after the reader's, to avoid bias
            program=program_label(self.reading, item) if item and said else None, faults=FAULTS, says=SAYS,
            agreement=reading_agreement(self.store, self.reading) if item is None else [], alert=alert,
            action=self.address(place),
        )  # fmt: skip
        answer.headers["X-Address"] = self.address(place)
        return answer

    async def act(self, request: Request) -> Response:
        """Store a label, or go back."""
        form = await read_form(request)
        return await run_in_threadpool(self._act, request, form)

    def _act(self, request: Request, form: PostedForm) -> Response:
        place = place_of(request)
        if place >= len(self.reading.items):
            raise HTTPException(404, "no such attempt")
        chosen = form.one("do")
        if chosen in ("prev", "next"):
            return self.go(request, max(0, place - 1) if chosen == "prev" else place + 1)
        try:
            item = self.reading.items[place]
            label(self.store, self.reading, self.reader, item, chosen, form.number("version"), form.seconds())
        except Conflict:
            return self.show(request, place, "It was labelled in another tab meanwhile: nothing was overwritten.", 409)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return self.go(request, self.open_from(place + 1))

    def open_from(self, place: int) -> int:
        """Find the next attempt without a label, from an index on and then from the start; the end if none is left."""
        mine = labels_of(self.store, self.reading).get(self.reader, {})
        left = [at for at, item in enumerate(self.reading.items) if item.attempt_id not in mine]
        return next((one for one in left if one >= place), left[0] if left else len(self.reading.items))

    def go(self, request: Request, place: int) -> Response:
        """Go to an attempt."""
        return (
            self.show(request, place) if request.headers.get("x-part") else RedirectResponse(self.address(place), 303)
        )

    def address(self, place: int) -> str:
        """Return the address of an attempt."""
        return f"{self.pages.base}/read/{place}"
