"""The page in a real browser: Debian's chromium, headless, driven by playwright; the server is a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from tests.conftest import ROOT
from tests.review.kit import HOSTILE, TOKEN, fill, filled, hostile_trace, small_rating, small_reading
from tracedistill import pipeline
from tracedistill.files import read_jsonl
from tracedistill.records import Example, Problem, Trace
from tracedistill.review.outcomes import ReviewOutcome, reviewed_of, revision
from tracedistill.review.server import application
from tracedistill.review.session import ReviewSession
from tracedistill.tasks import Source, get_task
from tracedistill.tasks.babi.grammar import COMPACT

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")
expect = sync_api.expect
WRONG = "agents-motivations"


class Server:
    """`tracedistill review` as a user starts it."""

    def __init__(self, study: Path, *more: str) -> None:
        self.command = [sys.executable, "-m", "tracedistill.cli", "review", str(study), "--no-browser", *more]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\S+", line):
                self.address = found[0]
                return
        raise AssertionError("the server said no address")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def again(self) -> None:
        self.kill()
        self.start()


@pytest.fixture
def study(study_file: Callable[..., Path], tmp_path: Path) -> Path:
    """A study on recorded traces of which every fourth names a wrong question type."""
    task = get_task("babi")
    rows = []
    for number, problem in enumerate(task.load("train", Source(size=20))):
        steps = list(problem.gold_steps)
        if number % 4 == 1:
            steps[0] = COMPACT.class_step(WRONG)
        text = task.render_trace(tuple(steps))
        rows.append({"problem_id": problem.problem_id, "text": f"{text}\nAnswer: {', '.join(problem.answers)}"})
    (tmp_path / "recorded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return study_file(
        teachers={"recorded": {"kind": "recorded", "path": str(tmp_path / "recorded.jsonl"), "reads": "solution"}},
        arms={"corrected": {"tune": "correct", "traces": "reviewed"}},
        comparisons=[],
    )


@pytest.fixture
def server(study: Path) -> Iterator[Server]:
    running = Server(study, "--reviewer", "ana")
    yield running
    running.kill()


class Served:
    """The application in a thread of the test, on a store of six traces and a hostile one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = filled(path)
        fill(self.store, [hostile_trace()], hostile=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/{TOKEN}/"
        self.start()

    def start(self) -> None:
        session = ReviewSession(self.store, "ana")
        app = application(session, TOKEN, [f"127.0.0.1:{self.port}"], small_rating(), small_reading())
        if self.socket.fileno() < 0:
            self.socket = socket.create_server(("127.0.0.1", self.port))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()
        self.socket.close()

    def statuses(self) -> dict[str, str]:
        query = "SELECT problem_id, status FROM work JOIN items ON items.id = item WHERE status != 'open'"
        return dict(self.store.rows(query))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    running = Served(tmp_path / "review.sqlite")
    yield running
    running.stop()
    running.store.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A page that fails the test where a script fails, a dialog opens or another host is asked."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    troubles: list[str] = []
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("dialog", lambda dialog: (troubles.append(f"dialog {dialog.message}"), dialog.dismiss()))
    context.on("request", lambda request: request.url.startswith("http://127.0.0.1:") or troubles.append(request.url))
    yield context.new_page()
    context.close()
    assert troubles == []


def store_of(study: Path) -> Path:
    return study.parent / "run" / "review" / "review.sqlite"


def stored(study: Path) -> dict[str, ReviewOutcome]:
    """Problem id -> what its review comes to."""
    traces = read_jsonl(study.parent / "run" / "traces" / "recorded.jsonl", Trace)
    known = {trace.trace_id: trace.problem_id for trace in traces}
    return {known[one.trace_id]: one for one in reviewed_of(store_of(study), "recorded")}


def open_failed(page: sync_api.Page, server: Server) -> None:
    """Filter by failed validation and open the first."""
    page.goto(server.address)
    page.get_by_label("validation failed").check()
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Start with the first").click()
    expect(page.locator("#heading")).to_have_text("babi-s0-train-1")
    expect(page.locator("#heading")).to_be_focused()


def begin(page: sync_api.Page, address: str) -> None:
    """Open an item and wait until the script is there: it goes to the heading."""
    page.goto(address)
    expect(page.locator("#heading")).to_be_focused()


def right_type(study: Path, problem_id: str) -> str:
    problems = read_jsonl(study.parent / "run" / "problems.jsonl", Problem)
    return next(one.category for one in problems if one.problem_id == problem_id)


def test_an_edit_from_the_filter_to_the_pipeline(study: Path, server: Server, page: sync_api.Page) -> None:
    open_failed(page, server)
    expect(page.locator("#mark-0")).to_contain_text("wrong")
    before = revision(store_of(study))
    good = f"Question type: {right_type(study, 'babi-s0-train-1')}."
    page.get_by_label("Step 1 of 2").fill(good)
    expect(page.locator("#mark-0")).to_contain_text("right")
    expect(page.locator("#parts")).to_contain_text("trace ✓ right")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.locator("#heading")).to_have_text("babi-s0-train-5")
    expect(page.locator(".note")).to_have_text("Approved with your changes.")
    assert stored(study)["babi-s0-train-1"].status == "edited"
    page.keyboard.press("u")
    expect(page.locator("#heading")).to_have_text("babi-s0-train-1")
    expect(page.locator("#state")).to_have_text("open, with a draft")
    page.get_by_label("Comment").fill("the type was wrong")
    expect(page.locator("#saved")).to_have_text("saved")
    server.again()  # kill -9, then the same command
    open_failed(page, server)
    expect(page.get_by_label("Step 1 of 2")).to_have_value(good)
    expect(page.get_by_label("Comment")).to_have_value("the type was wrong")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#heading")).to_have_text("babi-s0-train-5")
    expect(page.locator(".progress").first).to_contain_text("1 of 5 done")
    one = stored(study)["babi-s0-train-1"]
    assert one.status == "edited"
    assert one.trace is not None
    assert one.trace.text.startswith(good)
    assert one.trace.parent_id == one.trace_id
    assert one.trace.meta["reviewer"] == "ana"
    assert not one.trace.oracle
    assert revision(store_of(study)) != before
    # the next stage uses it: validation refuses the teacher's other four wrong traces
    pipeline.run(pipeline.load(study), "assemble", quiet=True)
    rows = {row.problem_id: row for row in read_jsonl(study.parent / "run" / "sft" / "corrected.jsonl", Example)}
    assert len(rows) == 16
    assert good in rows["babi-s0-train-1"].completion
    assert rows["babi-s0-train-1"].trace_id == one.trace.trace_id


def test_what_is_not_saved_is_said_and_sent_again(served: Served, page: sync_api.Page) -> None:
    begin(page, f"{served.address}start")
    served.stop()
    page.get_by_label("Comment").fill("typed while nobody listened")
    expect(page.locator("#saved")).to_contain_text("NOT saved")
    served.start()
    expect(page.locator("#saved")).to_have_text("saved")
    page.reload()
    expect(page.get_by_label("Comment")).to_have_value("typed while nobody listened")


def test_by_keyboard_alone(served: Served, page: sync_api.Page) -> None:
    page.goto(served.address)
    page.keyboard.press("s")
    expect(page.locator("#heading")).to_have_text("p0")
    expect(page.locator("#heading")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("e")
    expect(page.get_by_label("Step 1 of 2")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("A step more")
    expect(page.get_by_label("Step 2 of 3")).to_have_value("A step more")
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_label("Step 1 of 3")).to_have_value("A step more")
    expect(page.get_by_label("Step 1 of 3")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    expect(page.locator("li.step")).to_have_count(2)
    expect(page.locator("#step-0")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    expect(page.locator("ol.gold")).to_be_focused()
    page.keyboard.press("c")
    page.keyboard.type("hm")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.locator("#heading")).to_have_text("p1")
    page.keyboard.press("n")
    expect(page.locator("#heading")).to_have_text("p2")
    page.keyboard.press("p")
    expect(page.locator("#heading")).to_have_text("p1")
    page.keyboard.press("a")
    expect(page.locator("#heading")).to_have_text("p2")
    assert served.statuses() == {"p0": "rejected", "p1": "approved"}


def test_two_tabs(served: Served, page: sync_api.Page) -> None:
    begin(page, f"{served.address}start")
    other = page.context.new_page()
    begin(other, page.url)
    first = page.get_by_label("Step 1 of 2")
    first.fill("Mine 1+1 = 2")
    expect(page.locator("#saved")).to_have_text("saved")
    other.get_by_label("Step 1 of 2").fill("Theirs 2+2 = 4")
    expect(other.get_by_role("alert")).to_contain_text("changed in another tab")
    expect(other.get_by_label("Step 1 of 2")).to_have_value("Theirs 2+2 = 4")
    page.reload()
    expect(first).to_have_value("Mine 1+1 = 2")
    other.get_by_label("Step 1 of 2").fill("Theirs, once told")  # goes over it, and undo brings it back
    expect(other.locator("#saved")).to_have_text("saved")
    page.reload()
    expect(first).to_have_value("Theirs, once told")
    page.get_by_role("button", name="Undo").click()
    expect(first).to_have_value("Mine 1+1 = 2")


def test_without_scripts(served: Served, browser: sync_api.Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served.address}?need=failed")
    page.get_by_role("link", name="Start with the first").click()
    expect(page.locator("#mark-0")).to_contain_text("wrong")
    page.get_by_label("Step 1 of 2").fill("They pack 11*3 = 33 pens.")
    page.get_by_role("button", name="Add a step below step 2").click()
    page.get_by_label("Step 3 of 3").fill("One more")
    page.get_by_role("button", name="Move step 3 up").click()
    expect(page.get_by_label("Step 2 of 3")).to_have_value("One more")
    page.get_by_role("button", name="Delete step 2").click()
    expect(page.locator("#mark-0")).to_contain_text("right")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#heading")).to_have_text("p4")
    context.close()
    assert served.statuses() == {"p1": "edited"}


def test_hostile_text_is_text(served: Served, page: sync_api.Page) -> None:
    """The last trace of the store is hostile from its problem's id to its steps."""
    page.goto(f"{served.address}?sample=0")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("#heading")).to_have_text(HOSTILE)
    expect(page.locator("#heading")).to_be_focused()
    field = page.get_by_label(re.compile("^Step 1 of"))
    expect(field).to_have_value(f"1 + 1 = 2 {HOSTILE}")
    field.fill(HOSTILE)
    page.get_by_label("Comment").fill(HOSTILE)
    expect(page.locator("#saved")).to_have_text("saved")
    page.reload()
    expect(field).to_have_value(HOSTILE)
    page.get_by_role("button", name="Show the gold").click()
    expect(page.locator("ol.gold")).to_contain_text(HOSTILE)
    assert page.locator("main img, main script, main a[href^=javascript]").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (390, "light"), (1400, "light"), (1400, "dark")])
def test_both_widths_and_schemes(
    served: Served, browser: sync_api.Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    """Nothing sticks out, every control has a name; TRACEDISTILL_SCREENSHOTS names a folder to keep the pictures in."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    folder = Path(os.environ.get("TRACEDISTILL_SCREENSHOTS", tmp_path))
    for name, path in (("queue", "?need=failed"), ("item", "start?need=failed"), ("agreement", "agreement"),
                       ("rate", "rate"), ("read", "read")):  # fmt: skip
        page.goto(served.address + path)
        if name == "item":
            page.get_by_role("button", name="Show the gold").click()
            expect(page.locator("ol.gold")).to_be_focused()
            page.keyboard.press("j")
            expect(page.locator("#step-0")).to_be_focused()
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        unnamed = """[...document.querySelectorAll('main button, main input:not([type=hidden]), main textarea')].filter(
          (one) => !one.hasAttribute('aria-hidden') && !one.getAttribute('aria-label') && !one.textContent.trim()
            && !one.labels?.length).map((one) => one.outerHTML)"""
        assert page.evaluate(unnamed) == [], name
    context.close()


def test_rating_and_reading_by_keys(served: Served, page: sync_api.Page) -> None:
    begin(page, f"{served.address}rate")
    for key in "35":
        page.keyboard.press(key)
    page.keyboard.press("n")
    expect(page.locator(".progress")).to_contain_text("1 of 4 done")
    begin(page, f"{served.address}read")
    page.keyboard.press("2")
    expect(page.locator(".progress")).to_contain_text("1 of 2 done")
