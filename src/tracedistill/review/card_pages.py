"""The pages of the two other modes: one card after another to rate, or one failed attempt after another to label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tracedistill.review.app import Pages, PostedForm, read_form, whole_number
from tracedistill.review.drafts import gold_lines, lines_of
from tracedistill.review.error_labels import (
    FAULTS,
    ErrorReading,
    label,
    labels_of,
    program_label,
    reading_agreement,
)
from tracedistill.review.queue import ReviewProgress
from tracedistill.review.rating import POINTS, Rating, order_for, rate, rater_number, ratings
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import Conflict
from tracedistill.tasks import get_task


class CardPages(ABC):
    """One reviewer's cards in a fixed order; a card without an answer comes next, and after the last one the end."""

    path: str
    """First part of the pages' addresses."""
    template: str
    """Template of a card and of the end."""

    def __init__(self, store: ReviewStore, reviewer: str, pages: Pages, count: int) -> None:
        self.store = store
        self.reviewer = reviewer
        self.pages = pages
        self.count = count

    @abstractmethod
    def answered(self) -> Collection[int]:
        """Return the places of the cards that the reviewer has answered."""

    @abstractmethod
    def content(self, place: int) -> dict[str, Any]:
        """Return the template's values for a place; the place after the last card is the end."""

    @abstractmethod
    def answer(self, request: Request, place: int, form: PostedForm) -> Response:
        """Store the form's answer to a card, and show what comes next."""

    def routes(self) -> list[Route]:
        """Return address -> page."""
        return [
            Route(f"/{self.path}", self.first),
            Route(f"/{self.path}/{{place}}", self.card),
            Route(f"/{self.path}/{{place}}", self.act, methods=["POST"]),
        ]

    def first(self, _: Request) -> Response:
        """Show the first card without an answer."""
        return RedirectResponse(self.address(self.open_from(0)), 303)

    def card(self, request: Request) -> Response:
        """Show one card, or the end."""
        return self.show(request, self.place_of(request, self.count))

    async def act(self, request: Request) -> Response:
        """Store an answer, or go back."""
        form = await read_form(request)
        return await run_in_threadpool(self._act, request, form)

    def _act(self, request: Request, form: PostedForm) -> Response:
        place = self.place_of(request, self.count - 1)
        return self.go(request, max(0, place - 1)) if form.text("do") == "prev" else self.answer(request, place, form)

    def place_of(self, request: Request, last: int) -> int:
        """Return the place in an address. Raises HTTPException 404 if it is none up to `last`."""
        place = whole_number(request.path_params["place"])
        if place is None or place > last:
            raise HTTPException(404, "no such page")
        return place

    def show(self, request: Request, place: int, alert: str = "", status: int = 200) -> Response:
        """Render a card, or the end."""
        progress = ReviewProgress(len(self.answered()), self.count)
        page = self.pages.html(
            self.template, request, status, progress=progress, alert=alert, action=self.address(place),
            **self.content(place),
        )  # fmt: skip
        page.headers["X-Address"] = self.address(place)
        return page

    def open_from(self, place: int) -> int:
        """Find the next card without an answer, from a place on and then from the start; the end if none is left."""
        answered = self.answered()
        left = [other for other in range(self.count) if other not in answered]
        return next((other for other in left if other >= place), left[0] if left else self.count)

    def go(self, request: Request, place: int) -> Response:
        """Go to a card: our script gets it directly, a browser is redirected."""
        if request.headers.get("x-part"):
            return self.show(request, place)
        return RedirectResponse(self.address(place), 303)

    def address(self, place: int) -> str:
        """Return the address of a card."""
        return f"{self.pages.base}/{self.path}/{place}"


class RatingPages(CardPages):
    """Traces to rate, without showing their kind."""

    path, template = "rate", "rate.html.j2"

    def __init__(self, store: ReviewStore, rater: str, pages: Pages, rating: Rating) -> None:
        self.rating = rating
        self.cards = order_for(rating, rater_number(store, rating, rater))
        super().__init__(store, rater, pages, len(self.cards))

    def answered(self) -> Collection[int]:
        """Return the places of the rated cards."""
        rated = ratings(self.store, self.rating, self.reviewer)
        return [card.place for card in self.cards if (self.reviewer, card.problem_id, card.kind) in rated]

    def content(self, place: int) -> dict[str, Any]:
        """Return a card's question and trace with the scales and the ratings given before."""
        values: dict[str, Any] = {"plan": self.rating.plan, "points": range(1, POINTS + 1)}
        if place == self.count:
            return {**values, "problem": None, "lines": (), "given": {}}
        card = self.cards[place]
        rated = ratings(self.store, self.rating, self.reviewer).get((self.reviewer, card.problem_id, card.kind), {})
        lines = lines_of(self.rating.traces[card.problem_id, card.kind])
        problem = self.rating.problems[card.problem_id]
        return {**values, "problem": problem, "lines": lines, "given": rated.get("values", {})}

    def answer(self, request: Request, place: int, form: PostedForm) -> Response:
        """Store a card's ratings."""
        texts = {scale.name: form.text(f"scale-{at}") for at, scale in enumerate(self.rating.plan.scales)}
        values = {name: int(text) for name, text in texts.items() if text in map(str, range(1, POINTS + 1))}
        try:
            rate(self.store, self.rating, self.reviewer, self.cards[place], values, form.seconds())
        except ValueError as error:
            return self.show(request, place, f"Not saved: {error}.", 422)
        return self.go(request, self.open_from(place + 1))


class ErrorLabelPages(CardPages):
    """Failed attempts beside plan and gold, with one key per label."""

    path, template = "read", "error_label.html.j2"

    def __init__(self, store: ReviewStore, reader: str, pages: Pages, reading: ErrorReading) -> None:
        self.reading = reading
        super().__init__(store, reader, pages, len(reading.items))

    def answered(self) -> Collection[int]:
        """Return the places of the labelled attempts."""
        mine = labels_of(self.store, self.reading).get(self.reviewer, {})
        return [place for place, item in enumerate(self.reading.items) if item.attempt_id in mine]

    def content(self, place: int) -> dict[str, Any]:
        """Return an attempt with its problem, gold, plan and label; at the end the readers' agreement."""
        if place == self.count:
            return {"item": None, "version": 0, "agreement": reading_agreement(self.store, self.reading)}
        item = self.reading.items[place]
        problem = self.reading.problems[item.problem_id]
        own, version = labels_of(self.store, self.reading).get(self.reviewer, {}).get(item.attempt_id, ("", 0))
        return {
            "item": item,
            "problem": problem,
            "gold": list(gold_lines(get_task(problem.task), problem)),
            "plan": lines_of(item.plan) if item.plan else (),
            "own": own,
            "version": version,
            # the program's label only after the reader's, to avoid bias
            "program": program_label(self.reading, item) if own else None,
            "faults": FAULTS,
        }

    def answer(self, request: Request, place: int, form: PostedForm) -> Response:
        """Store a label, or skip the attempt."""
        chosen, item = form.text("do"), self.reading.items[place]
        if chosen == "next":
            return self.go(request, place + 1)
        try:
            label(self.store, self.reading, self.reviewer, item, chosen, form.number("version"), form.seconds())
        except Conflict:
            return self.show(request, place, "It was labelled in another tab meanwhile; nothing was overwritten.", 409)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return self.go(request, self.open_from(place + 1))
