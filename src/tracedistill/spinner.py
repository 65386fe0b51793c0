"""Show that a long step is running: a live line in a terminal, elsewhere a plain line every minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tracedistill.output import console, printable

PLAIN = 60.0
"""Seconds between plain lines if the output is not a terminal."""


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show on stderr what is running, and for how long, while the block lasts."""
    out, since = console(stderr=True, soft_wrap=True), time.monotonic()

    def line() -> str:
        return printable(f"{label}, {clock(time.monotonic() - since)}")

    if not out.is_terminal:
        with every(PLAIN, lambda: out.print(line(), markup=False)):
            yield
        return
    from rich.live import Live
    from rich.text import Text

    with Live(
        get_renderable=lambda: Text(line()), console=out, transient=True, redirect_stdout=False, refresh_per_second=4
    ):
        yield


@contextmanager
def every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` every `seconds`, from a separate thread, while the block lasts."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=beat, name="tracedistill-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def clock(seconds: float) -> str:
    """Format a duration as `0:41`, `12:03` or `3:02:10`."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
