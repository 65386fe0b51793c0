"""Starts the page: a socket on loopback, an address with a random token, a store filled from a study or a file."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence

from starlette.routing import Route

from tracedistill import shown
from tracedistill.errors import InputError
from tracedistill.review.app import Pages, ReviewPages, build
from tracedistill.review.desk import Desk
from tracedistill.review.guard import Guard
from tracedistill.review.rating import Rating
from tracedistill.review.rating_pages import RatingPages
from tracedistill.review.reading import Reading
from tracedistill.review.reading_pages import ReadingPages

LOOPBACK = "127.0.0.1"
"""The only address that is ever listened on."""


def application(
    desk: Desk, token: str, hosts: Sequence[str], rating: Rating | None = None, reading: Reading | None = None
) -> Guard:
    """The whole application for one reviewer; `hosts`: what a request's Host may be."""
    links = [("rate", "Rate")] if rating else []
    links += [("read", "Read errors")] if reading else []
    pages = Pages(f"/{token}", desk.reviewer, links)
    routes: list[Route] = ReviewPages(desk, pages).routes()
    if rating:
        routes += RatingPages(desk.store, desk.reviewer, pages, rating).routes()
    if reading:
        routes += ReadingPages(desk.store, desk.reviewer, pages, reading).routes()
    return build(pages, token, hosts, routes)


def has_screen() -> bool:
    """Whether a browser would come up in a window of its own, and not in the terminal that this runs in."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def serve(
    desk: Desk,
    *,
    port: int = 0,
    browser: bool = True,
    rating: Rating | None = None,
    reading: Reading | None = None,
    say: Callable[[str], None] = shown.say,
) -> None:
    """Serve the page until interrupted; prints its address. `port` 0: any free one. InputError for a taken one."""
    import uvicorn

    # asyncio turns Nagle's delay off only for sockets that say TCP: without it every answer takes 40 ms longer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
            listening.listen(128)  # who reads the address below may come at once
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on {LOOPBACK}:{port}: {error}; give another --port, or none") from error
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = application(desk, token, [f"{LOOPBACK}:{port}", f"localhost:{port}"], rating, reading)
        start = "rate" if rating else "read" if reading else ""
        address = f"http://{LOOPBACK}:{port}/{token}/{start}"
        say(f"review of {desk.reviewer}: {address}")
        say("everything is saved as you go; Ctrl-C ends it, the same command goes on")
        if browser and has_screen():
            webbrowser.open(address)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="off",
            proxy_headers=False, ws="none", limit_concurrency=64, timeout_graceful_shutdown=2,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])
