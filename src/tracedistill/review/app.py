"""Routes of the review page: queue, item, agreement, static files. Its forms also work without scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from tracedistill.errors import InputError
from tracedistill.review import queue
from tracedistill.review.access import AccessControl, bounded_body
from tracedistill.review.agreement import agreement_of
from tracedistill.review.drafts import received, sendable
from tracedistill.review.queue import NEEDS, PAGE, Filter
from tracedistill.review.session import Judgement, ReviewSession
from tracedistill.review.trace_review import Conflict, TraceReview

ASSETS = {"review.css": "text/css", "review.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""File in static/ -> its type; nothing else is served."""

MESSAGES = {
    "approved": "Approved.",
    "edited": "Approved with your changes.",
    "rejected": "Rejected.",
    "saved": "Saved.",
    "undone": "Undone.",
    "nothing": "There is nothing to undo.",
    "end": "That was the last one; this queue is empty.",
    "differs": "Saved. Another reviewer decided differently, so reviewers disagree on this trace.",
    "conflict": "This trace was changed in another tab or window since you opened it. Nothing was overwritten. The "
    "text below is yours and is not saved. Saving now replaces the other version; undo restores it.",
}
"""Key in an address -> message of the page after an action."""

MOST_SECONDS = 600.0
"""Most seconds counted per action by a page without scripts, which cannot tell reading from a break."""


def whole_number(text: str) -> int | None:
    """Return the number in an address or a form; None if invalid, or of more than 12 digits.

    A longer one fits neither the store nor, from 4,301 digits on, Python's own conversion.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


@dataclass(frozen=True, slots=True)
class PostedForm:
    """The form sent by a page."""

    fields: dict[str, list[str]]
    """Name -> values."""

    def text(self, name: str, default: str = "") -> str:
        """Return the first value, with normalised line ends."""
        return received(self.fields.get(name, [default])[0])

    def number(self, name: str) -> int:
        """Return a whole number. Raises HTTPException 400 if it is not one."""
        number = whole_number(self.text(name))
        if number is None:
            raise HTTPException(400, f"{name} must be a whole number")
        return number

    def seconds(self) -> float:
        """Return the time spent: counted by the script, else since the page was made."""
        try:
            if self.text("seconds"):
                return max(0.0, float(self.text("seconds")))
            return min(MOST_SECONDS, max(0.0, time.time() - float(self.text("opened", "nan"))))
        except ValueError:
            return 0.0


async def read_form(request: Request) -> PostedForm:
    """Parse a form (application/x-www-form-urlencoded). Raises HTTPException for another body."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "must be a form")
    body = await bounded_body(request)
    try:
        return PostedForm(parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=4000))
    except ValueError as error:
        raise HTTPException(400, "not a form") from error


class Pages:
    """Templates and the common base address of a page."""

    def __init__(self, base: str, reviewer: str, links: Sequence[tuple[str, str]] = ()) -> None:
        self.base = base
        self.environment = Environment(
            loader=PackageLoader("tracedistill.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # everything printed passes here, so no lone surrogate breaks the page
            finalize=lambda value: sendable(value) if type(value) is str else value,
        )
        self.environment.globals.update(
            base=base, reviewer=reviewer, NEEDS=NEEDS, links=[("", "Queue"), ("agreement", "Agreement"), *links]
        )
        self.environment.filters["clock"] = clock

    def html(self, name: str, request: Request, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a page, or only its main part for our script."""
        layout = "part.html.j2" if request.headers.get("x-part") else "base.html.j2"
        here = request.url.path.removeprefix(self.base)
        text = self.environment.get_template(name).render(layout=layout, here=here, now=time.time(), **values)
        return HTMLResponse(text, status)


class ReviewPages:
    """The pages for reading, correcting and approving traces."""

    def __init__(self, session: ReviewSession, pages: Pages) -> None:
        self.session = session
        self.pages = pages

    def routes(self) -> list[Route]:
        """Return address -> page."""
        return [
            Route("/", self.queue),
            Route("/start", self.start),
            Route("/agreement", self.agreement),
            Route("/item/{item}", self.item),
            Route("/item/{item}", self.act, methods=["POST"]),
        ]

    def chosen(self, request: Request) -> Filter:
        """Return the filter of an address, or the one of the command line."""
        return Filter.read(request.query_params, None if request.query_params else self.session.default)

    def queue(self, request: Request) -> Response:
        """Show the queue: filters with their counts, and a page of traces."""
        session, chosen = self.session, self.chosen(request)
        after = whole_number(request.query_params.get("after", "0")) or 0
        lines = queue.lines(session.store, session.reviewer, chosen, after)
        progress, median = session.progress(chosen)
        return self.pages.html(
            "queue.html.j2", request, chosen=chosen, lines=lines, progress=progress, median=median,
            counts=queue.needs(session.store, session.reviewer, chosen), values=queue.choices(session.store),
            more=lines[-1].item if len(lines) == PAGE else None, message=message_of(request),
        )  # fmt: skip

    def start(self, request: Request) -> Response:
        """Show the first trace of a filter."""
        chosen = self.chosen(request)
        first = self.session.next(chosen, 0)
        return RedirectResponse(self.address(first, chosen, "" if first else "end"), 303)

    def agreement(self, request: Request) -> Response:
        """Show the agreement of reviewers of the same traces."""
        return self.pages.html("agreement.html.j2", request, agreement=agreement_of(self.session.store))

    def item(self, request: Request) -> Response:
        """Show one trace."""
        return self.show(request, self.place(request), self.chosen(request), message_of(request))

    def show(
        self, request: Request, item: int, chosen: Filter, message: str = "", *, status: int = 200, goto: str = "",
        unsaved: TraceReview | None = None, alert: str = "",
    ) -> Response:  # fmt: skip
        """Render one trace as a page; `goto`: the id of the element to go to."""
        progress, median = self.session.progress(chosen)
        page = self.pages.html(
            "item.html.j2", request, status, view=self.session.view(item, unsaved), progress=progress, median=median,
            goto=goto, message=message, alert=alert or (MESSAGES["conflict"] if unsaved is not None else ""),
            action=self.address(item, chosen),
        )  # fmt: skip
        page.headers["X-Address"] = self.address(item, chosen)
        return page

    async def act(self, request: Request) -> Response:
        """Perform one action on one trace."""
        form = await read_form(request)
        return await run_in_threadpool(self._act, request, form)

    def _act(self, request: Request, form: PostedForm) -> Response:
        session, chosen, item = self.session, self.chosen(request), self.place(request)
        lines = [received(line) for line in form.fields.get("line", [])]
        answer = form.text("answer") if "answer" in form.fields else None
        verb, _, at = form.text("do", "save").partition(":")
        try:
            text = session.text(item, form.number("version"), lines, answer, form.text("comment"))
        except InputError as error:
            raise HTTPException(413, str(error)) from error
        try:
            return self._perform(request, item, chosen, verb, whole_number(at) or 0, text, form)
        except Conflict as conflict:
            mine = TraceReview(lines=text.lines, answer=text.answer, comment=text.comment)
            if request.headers.get("x-part") == "verdicts":
                return JSONResponse({"conflict": MESSAGES["conflict"], "version": conflict.stored.version}, 409)
            return self.show(request, item, chosen, status=409, unsaved=mine)
        except InputError as error:
            return self.show(request, item, chosen, status=422, alert=str(error))

    def _perform(
        self, request: Request, item: int, chosen: Filter, verb: str, at: int, text: TraceReview, form: PostedForm
    ) -> Response:
        session, seconds = self.session, form.seconds()
        if verb in ("approve", "reject"):
            decided = (session.approve if verb == "approve" else session.reject)(item, text, seconds)
            outcome = "differs" if session.view(item).differs else decided.status
            following = session.next(chosen, item)
            return self.go(request, following, chosen, outcome if following else "end")
        if verb in ("next", "prev"):
            session.save(item, text, seconds)
            following = session.next(chosen, item, back=verb == "prev")
            return self.go(request, following, chosen, "" if following else "end")
        if verb == "undo":
            undone = session.undo(item, text)
            return self.go(request, undone or item, chosen, "undone" if undone else "nothing")
        if verb in ("add", "delete", "up", "down"):
            _, to = session.arrange(item, text, verb, at, seconds)
            return self.go(request, item, chosen, "", f"line-{to}" if to >= 0 else "")
        if verb == "gold":
            session.show_gold(item, text, seconds)
            return self.go(request, item, chosen, "", "gold")
        if verb == "restore":
            session.restore(item, text, seconds)
            return self.go(request, item, chosen, "saved")
        if verb != "save":
            raise HTTPException(400, "no such action")
        if request.headers.get("x-part") == "verdicts":
            # over: it replaces what another tab has saved, which must stay an action of its own
            saved = session.save(item, text, seconds) if form.text("over") else session.type(item, text, seconds)
            return JSONResponse(verdicts(session.view(item).judgement, saved))
        session.save(item, text, seconds)
        return self.go(request, item, chosen, "saved")

    def go(self, request: Request, item: int | None, chosen: Filter, key: str, goto: str = "") -> Response:
        """Go to an item (None: the queue), with a message: our script gets it directly, a browser is redirected."""
        if item is not None and request.headers.get("x-part"):
            return self.show(request, item, chosen, MESSAGES.get(key, ""), goto=goto)
        address = self.address(item, chosen, key) + (f"#{goto}" if goto else "")
        if request.headers.get("x-part"):
            return Response(status_code=204, headers={"X-Address": address})
        return RedirectResponse(address, 303)

    def place(self, request: Request) -> int:
        """Return the place of the trace in an address. Raises HTTPException 404 if there is none."""
        item = whole_number(request.path_params["item"])
        if item is None or not self.session.holds(item):
            raise HTTPException(404, "no such trace")
        return item

    def address(self, item: int | None, chosen: Filter, message: str = "") -> str:
        """Return the address of an item (None: the queue) in a filter; `message`: a key of MESSAGES."""
        query = chosen.address() + (f"&message={message}" if message else "")
        path = "/" if item is None else f"/item/{item}"
        return f"{self.pages.base}{path}?{query}"


def message_of(request: Request) -> str:
    """Return the message that an address names; empty if it names none."""
    return MESSAGES.get(request.query_params.get("message", ""), "")


def verdicts(judgement: Judgement, saved: TraceReview) -> dict[str, Any]:
    """Return what the script shows beside the lines while the reviewer types."""
    return {
        "version": saved.version,
        "status": saved.status,
        "changed": saved.changed,
        "marks": [[mark.outcome, sendable(mark.reason)] for mark in judgement.marks],
        "parts": [[name, mark.outcome, sendable(mark.reason)] for name, mark in judgement.parts],
    }


def build(pages: Pages, token: str, hosts: Sequence[str], routes: Sequence[Route]) -> AccessControl:
    """Build the application with its access control."""

    def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(404, "no such file")
        content = resources.files("tracedistill.review").joinpath("static", name).read_bytes()
        return Response(content, media_type=ASSETS[name])

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return pages.html("message.html.j2", request, error.status_code, message=error.detail)

    def broken(request: Request, error: Exception) -> Response:
        assert isinstance(error, InputError)
        return pages.html("message.html.j2", request, 500, message=str(error))

    handlers: dict[Any, Callable[[Request, Exception], Response]] = {HTTPException: refused, InputError: broken}
    all_routes = [*routes, Route("/static/{name}", asset)]
    app = Starlette(routes=[Mount(f"/{token}", routes=all_routes)], exception_handlers=handlers)
    return AccessControl(app, token, hosts)


def clock(seconds: float | None) -> str:
    """Format seconds as minutes and seconds; a dash for None."""
    return "–" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
