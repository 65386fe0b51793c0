"""Access control: only a browser on this machine with the token in the address, and no page of another site."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 2_000_000
"""Most bytes of a request; longer ones are refused unread."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: only our own files; no inline script or style, no other host, no frame around us."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # same-origin, not no-referrer, with which a browser hides the Origin of a form, checked here
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class AccessControl:
    """Wraps the application; every response gets the headers above."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self.app = app
        self.token = token
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        await self.app(scope, receive, sending)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        # a foreign host name that resolves to this machine: DNS rebinding
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return PlainTextResponse("this page is only available on this machine: open the address as printed", 421)
        token = scope["path"].split("/")[1] if scope["path"].count("/") else ""
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.token.encode()):
            return PlainTextResponse("wrong token: open the address as printed", 403)
        origins = headers.getlist("origin")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            return PlainTextResponse("requests of other pages are refused", 403)
        if scope["method"] not in ("GET", "HEAD"):
            if scope["method"] != "POST":
                return PlainTextResponse("only GET and POST", 405)
            if len(origins) != 1:
                return PlainTextResponse("a change must name its page (Origin header)", 403)
        elif headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse("requests of other pages are refused", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return PlainTextResponse(f"more than {MAX_BODY} bytes", 413)
        return None


async def bounded_body(request: Request) -> bytes:
    """Read the body of a request. Raises HTTPException 413 if it is longer than declared or allowed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"more than {MAX_BODY} bytes")
    return bytes(body)
