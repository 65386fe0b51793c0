"""The pages for rating traces, one at a time, without showing their kind."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tracedistill.review.app import Pages, PostedForm, place_of, read_form
from tracedistill.review.drafts import lines_of
from tracedistill.review.queue import ReviewProgress
from tracedistill.review.rating import POINTS, Card, Rating, order_for, rate, rater_number, ratings
from tracedistill.review.store import ReviewStore


class RatingPages:
    """The cards of one rater, in the rater's own order."""

    def __init__(self, store: ReviewStore, rater: str, pages: Pages, rating: Rating) -> None:
        self.store = store
        self.rater = rater
        self.pages = pages
        self.rating = rating
        self.cards = order_for(rating, rater_number(store, rating, rater))

    def routes(self) -> list[Route]:
        """Return address -> page."""
        return [
            Route("/rate", self.first),
            Route("/rate/{place}", self.card),
            Route("/rate/{place}", self.act, methods=["POST"]),
        ]

    def first(self, _: Request) -> Response:
        """Show the first card without a rating."""
        return RedirectResponse(self.address(self.open_from(0)), 303)

    def card(self, request: Request) -> Response:
        """Show one card; after the last one, the end."""
        return self.show(request, place_of(request))

    def show(self, request: Request, place: int, alert: str = "", status: int = 200) -> Response:
        """Render a card as a page."""
        if place > len(self.cards):
            raise HTTPException(404, "no such card")
        said = ratings(self.store, self.rating, self.rater)
        progress = ReviewProgress(len(said), len(self.cards))
        card = self.cards[place] if place < len(self.cards) else None
        problem = self.rating.problems[card.problem_id] if card else None
        lines = lines_of(self.rating.traces[card.problem_id, card.kind]) if card else ()
        given = said.get((self.rater, card.problem_id, card.kind), {}).get("values", {}) if card else {}
        answer = self.pages.html(
            "rate.html.j2", request, status, plan=self.rating.plan, place=place, problem=problem, lines=lines,
            given=given, progress=progress, points=range(1, POINTS + 1), alert=alert, action=self.address(place),
        )  # fmt: skip
        answer.headers["X-Address"] = self.address(place)
        return answer

    async def act(self, request: Request) -> Response:
        """Store a card's ratings, or go back."""
        form = await read_form(request)
        return await run_in_threadpool(self._act, request, form)

    def _act(self, request: Request, form: PostedForm) -> Response:
        place = place_of(request)
        if place >= len(self.cards):
            raise HTTPException(404, "no such card")
        if form.one("do") == "prev":
            return self.go(request, max(0, place - 1))
        card: Card = self.cards[place]
        values = {}
        for number, scale in enumerate(self.rating.plan.scales):
            text = form.one(f"scale-{number}")
            if text in map(str, range(1, POINTS + 1)):
                values[scale.name] = int(text)
        try:
            rate(self.store, self.rating, self.rater, card, values, form.seconds())
        except ValueError as error:
            return self.show(request, place, f"Not saved: {error}.", 422)
        return self.go(request, self.open_from(place + 1))

    def open_from(self, place: int) -> int:
        """Find the next card without a rating, from an index on and then from the start; the end if none is left."""
        said = ratings(self.store, self.rating, self.rater)
        left = [card.place for card in self.cards if (self.rater, card.problem_id, card.kind) not in said]
        return next((one for one in left if one >= place), left[0] if left else len(self.cards))

    def go(self, request: Request, place: int) -> Response:
        """Go to a card."""
        return (
            self.show(request, place) if request.headers.get("x-part") else RedirectResponse(self.address(place), 303)
        )

    def address(self, place: int) -> str:
        """Return the address of a card."""
        return f"{self.pages.base}/rate/{place}"
