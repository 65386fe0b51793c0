"""Serve the page: a socket on loopback, and an address with a random token."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from starlette.routing import Route

from tracedistill import output
from tracedistill.errors import InputError
from tracedistill.files import disk_error
from tracedistill.review.access import AccessControl
from tracedistill.review.app import Pages, ReviewPages, build
from tracedistill.review.card_pages import ErrorLabelPages, RatingPages
from tracedistill.review.error_labels import ErrorReading
from tracedistill.review.rating import Rating
from tracedistill.review.session import ReviewSession

LOOPBACK = "127.0.0.1"
"""The only address listened on."""
MOST_CONNECTIONS = 512
"""Most concurrent connections and requests; further ones get a reply to retry."""
SILENT_SECONDS = 10.0
"""Seconds until a connection without a request is closed."""


def application(
    session: ReviewSession,
    token: str,
    hosts: Sequence[str],
    rating: Rating | None = None,
    reading: ErrorReading | None = None,
) -> AccessControl:
    """Build the whole application for one reviewer; `hosts`: the allowed Host headers."""
    links = [("rate", "Rate")] if rating else []
    links += [("read", "Failed attempts")] if reading else []
    pages = Pages(f"/{token}", session.reviewer, links)
    routes: list[Route] = ReviewPages(session, pages).routes()
    if rating:
        routes += RatingPages(session.store, session.reviewer, pages, rating).routes()
    if reading:
        routes += ErrorLabelPages(session.store, session.reviewer, pages, reading).routes()
    return build(pages, token, hosts, routes)


def has_screen() -> bool:
    """Return whether a browser would open in its own window, not in this terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def serve(
    session: ReviewSession,
    *,
    port: int = 0,
    browser: bool = True,
    rating: Rating | None = None,
    reading: ErrorReading | None = None,
    say: Callable[[str], None] = output.say,
) -> None:
    """Serve the page until interrupted; print its address.

    `port` 0: any free one. Raises InputError if the port is taken.
    """
    import uvicorn

    # asyncio disables Nagle's delay only for sockets created as TCP; otherwise every answer takes 40 ms longer
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
            listening.listen(128)  # the printed address may be opened immediately
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot listen on {LOOPBACK}:{port}: {error}; choose another --port, or leave it out"
            ) from error
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = application(session, token, [f"{LOOPBACK}:{port}", f"localhost:{port}"], rating, reading)
        start = "rate" if rating else "read" if reading else ""
        address = f"http://{LOOPBACK}:{port}/{token}/{start}"
        say(f"review of {session.reviewer}: {address}")
        say("everything is saved as you go; Ctrl-C ends the session, the same command continues it")
        with opening_page(session.store.path.with_name(f"open-{port}.html"), address) as page:
            if browser and has_screen():
                webbrowser.open(page.resolve().as_uri())
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="off",
                proxy_headers=False, ws="none", limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=2,
                http=_impatient(),
            )  # fmt: skip
            uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def opening_page(path: Path, address: str) -> Iterator[Path]:
    """Yield a temporary page that redirects to the address; only its owner can read it.

    All users of a machine see a browser's command line, and the address holds the token.
    """
    path.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">\n')
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _impatient() -> type[asyncio.Protocol]:
    """Return the server's HTTP protocol with a time-out for silent connections."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.timeout_keep_alive_task = self.loop.call_later(SILENT_SECONDS, self.timeout_keep_alive_handler)

    return Impatient
