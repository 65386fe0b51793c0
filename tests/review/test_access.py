"""Who may speak to the page."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from tests.review.kit import HOST, TOKEN, Browser, filled
from tracedistill.review.access import HEADERS, MAX_BODY
from tracedistill.review.app import ASSETS
from tracedistill.review.server import application, serve
from tracedistill.review.session import ReviewSession
from tracedistill.review.trace_review import work_of

ORIGIN = {"Origin": f"http://{HOST}"}
ITEM = f"/{TOKEN}/item/2"


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(filled(tmp_path / "r.sqlite", 3))


@pytest.fixture
def client(browser: Browser) -> TestClient:
    return browser.client


REFUSED = [
    ("another site's name that leads here", "GET", f"/{TOKEN}/", {"Host": "evil.example:8123"}, 421),
    ("another port", "GET", f"/{TOKEN}/", {"Host": "127.0.0.1:8124"}, 421),
    ("no port", "GET", f"/{TOKEN}/", {"Host": "127.0.0.1"}, 421),
    ("no token", "GET", "/", {}, 403),
    ("wrong token", "GET", "/token-of-the-tesst/", {}, 403),
    ("wrong token, an asset", "GET", "/x/static/review.css", {}, 403),
    ("a token that is no text", "GET", "/%ff%fe/", {}, 403),
    ("a longer token", "GET", f"/{TOKEN}x/", {}, 403),
    ("another page's script", "GET", f"/{TOKEN}/", {"Origin": "http://evil.example"}, 403),
    ("another page's picture", "GET", f"/{TOKEN}/", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("a page on another port", "GET", f"/{TOKEN}/", {"Sec-Fetch-Site": "same-site"}, 403),
    ("a form of another page", "POST", ITEM, {"Origin": "http://evil.example"}, 403),
    ("a form of a page without an origin", "POST", ITEM, {"Origin": "null"}, 403),
    ("a form that hides where it comes from", "POST", ITEM, {}, 403),
    ("https, which we are not", "POST", ITEM, {"Origin": f"https://{HOST}"}, 403),
    ("another method", "PUT", ITEM, ORIGIN, 405),
    ("a lie about the length", "POST", ITEM, {**ORIGIN, "Content-Length": "-1"}, 413),
    ("an announced flood", "POST", ITEM, {**ORIGIN, "Content-Length": str(MAX_BODY + 1)}, 413),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_refused(client: TestClient, method: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert "pens" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_let_in(client: TestClient) -> None:
    assert client.get(f"/{TOKEN}/", headers={"Sec-Fetch-Site": "none"}).status_code == 200
    form = {"version": "0", "do": "save", "line": ["a", "b"], "comment": ""}
    assert client.post(ITEM, data=form, headers=ORIGIN).status_code == 200


def test_a_body_longer_than_it_said_is_not_read_to_its_end(browser: Browser) -> None:
    app, read, sent = browser.client.app, [0], []

    async def receive() -> dict[str, Any]:
        read[0] += 1
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode()), (b"origin", f"http://{HOST}".encode()),
               (b"content-type", b"application/x-www-form-urlencoded")]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": ITEM, "raw_path": ITEM.encode(), "query_string": b"",
             "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 8123)}  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert read[0] <= MAX_BODY / 100_000 + 2


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"version": "x", "do": "save"}, 400),
        ({"version": "-1", "do": "save"}, 400),
        ({"version": "0", "do": "explode"}, 400),
        ({"version": "0", "do": "save", "line": ["x"] * 2001}, 413),
        ({"version": "0", "do": "save", "line": ["x" * 200_001]}, 413),
        ({"version": "0", "do": "save", "line": ["x"] * 4001}, 400),
        ({"version": "0", "do": "approve", "line": ["  "]}, 422),
        ({"version": "7", "do": "save", "line": ["x"]}, 409),
    ],
)
def test_broken_forms_change_nothing(browser: Browser, form: dict[str, Any], status: int) -> None:
    answer = browser.client.post(ITEM, data=form, headers=ORIGIN)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert not work_of(browser.session.store, 2, "ana").changed


def test_other_bodies_and_pages(client: TestClient) -> None:
    assert client.post(ITEM, json={"do": "approve"}, headers=ORIGIN).status_code == 415
    assert client.post(ITEM, content=b"\xff", headers={**ORIGIN, "Content-Type": "application/x-www-form-urlencoded"})
    for place in ("nothing", "99", "-1", "9" * 30):
        assert client.get(f"/{TOKEN}/item/{place}").status_code == 404
    assert client.get(f"/{TOKEN}/static/../store.py").status_code in (403, 404)
    assert client.get(f"/{TOKEN}/static/%2e%2e%2fstore.py").status_code == 404


@pytest.mark.parametrize("path", ["/", "/agreement", "/item/2", *(f"/static/{one}" for one in ASSETS)])
def test_pages_ask_no_other_host_and_run_nothing_inline(client: TestClient, path: str) -> None:
    answer = client.get(f"/{TOKEN}{path}")
    assert answer.status_code == 200
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    plain = answer.text.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?://|//[a-z]", re.sub(r"// .*", "", plain)), path
    assert not re.findall(r"\son\w+=|<style|style=|<script>|javascript:", answer.text)


def test_only_loopback_is_listened_on(tmp_path: Path) -> None:
    """The real server in a thread: it prints the address, and no other address of this machine answers."""
    said: list[str] = []
    with filled(tmp_path / "r.sqlite", 1) as store:
        thread = threading.Thread(target=serve, args=(ReviewSession(store, "ana"),),
                                  kwargs={"browser": False, "say": said.append}, daemon=True)  # fmt: skip
        thread.start()
        while not said:
            time.sleep(0.01)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/", said[0])
        assert found
        assert httpx.get(found[0]).status_code == 200
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in {str(one) for one in others} - {"127.0.0.1"}:
            with socket.socket() as probe:
                probe.settimeout(2)
                assert probe.connect_ex((address, int(found[1]))) != 0
        listening = Path("/proc/net/tcp")
        if listening.exists():
            port = f":{int(found[1]):04X} "
            lines = [
                line.split()[1] for line in listening.read_text().splitlines() if f"{port}00000000:0000 0A" in line
            ]
            assert lines == [f"0100007F{port.strip()}"]


def test_every_start_has_another_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    said: list[str] = []
    with filled(tmp_path / "r.sqlite", 1) as store:
        for _ in range(2):
            serve(ReviewSession(store, "ana"), browser=False, say=said.append)
    tokens = re.findall(r"http://127\.0\.0\.1:\d+/([\w-]+)/", " ".join(said))
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 32


def test_hosts_are_what_the_server_was_told(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite", 1) as store:
        client = TestClient(application(ReviewSession(store, "ana"), TOKEN, ["127.0.0.1:5", "localhost:5"]))
        assert client.get(f"/{TOKEN}/", headers={"Host": "localhost:5"}).status_code == 200
        assert client.get(f"/{TOKEN}/", headers={"Host": "localhost:6"}).status_code == 421


# ---- the token, and connections that say nothing


def test_the_browser_is_not_started_with_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process is started with is seen by every user of the machine; a file of one's own is not."""
    from tracedistill.review import server

    opened: list[tuple[str, str, int]] = []

    def browser(address: str) -> bool:
        path = Path(address.removeprefix("file://"))
        opened.append((address, path.read_text(), path.stat().st_mode & 0o777))
        return True

    said: list[str] = []
    monkeypatch.setattr(server.webbrowser, "open", browser)
    monkeypatch.setattr(server, "has_screen", lambda: True)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    serve(ReviewSession(filled(tmp_path / "r.sqlite", 1), "ana"), say=said.append)
    token = said[0].split("/")[3]
    (address, page, mode), *others = opened
    assert not others
    assert token not in address
    assert token in page
    assert mode == 0o600
    assert not list(tmp_path.glob("open-*.html"))


def test_silent_connections_are_closed_and_others_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.review import server

    monkeypatch.setattr(server, "SILENT_SECONDS", 0.5)
    said: list[str] = []
    session = ReviewSession(filled(tmp_path / "r.sqlite", 1), "ana")
    stopped = threading.Event()
    original = __import__("uvicorn").Server.run

    def run(self: Any, sockets: list[socket.socket]) -> None:
        stopped.server = self  # type: ignore[attr-defined]
        original(self, sockets)

    monkeypatch.setattr("uvicorn.Server.run", run)
    thread = threading.Thread(target=lambda: serve(session, browser=False, say=said.append), daemon=True)
    thread.start()
    while not said:
        time.sleep(0.01)
    address = said[0].removeprefix("review of ana: ")
    port = int(address.split(":")[2].split("/")[0])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    assert httpx.get(address, headers={"Host": f"127.0.0.1:{port}"}).status_code == 200
    for each in silent:
        each.settimeout(30)
        assert each.recv(1) == b"", "closed by the server"
        each.close()
    stopped.server.should_exit = True  # type: ignore[attr-defined]
    thread.join(30)
    assert not thread.is_alive()


NUMBERS = ["9" * 13, "9" * 5000, "-1", "1e3", "٣", "0x10", "x"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_no_place(browser: Browser, number: str) -> None:
    for path in (f"/item/{number}", f"/?after={number}", f"/?sample={number}&seed={number}&least={number}"):
        answer = browser.client.get(f"/{TOKEN}{path}")
        assert answer.status_code == (404 if path.startswith("/item") else 200), path
    sent = browser.client.post(ITEM, data={"do": f"up:{number}", "version": number}, headers=ORIGIN)
    assert sent.status_code == 400
