"""Terminal output of stages: a line per node, a bar for the whole and one for the current node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.markup import escape

from tracedistill import events
from tracedistill.engines.progress import Statistics
from tracedistill.engines.remedies import remedy_of
from tracedistill.events import ProgressEvent
from tracedistill.output import console
from tracedistill.pipeline.progress import StudyProgress
from tracedistill.spinner import PLAIN

T = TypeVar("T")

SHOWN = 3
"""Causes of failures shown at the end of a teacher's run."""
OFTEN = 0.2
"""Seconds between two events of a launched process."""


class Screen:
    """The terminal; `quiet` prints errors only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = console(quiet=quiet, soft_wrap=True)
        self._overall: StudyProgress | None = None

    def say(self, text: str) -> None:
        """Print one line of plain text."""
        self.console.print(escape(text))

    # ---- the whole

    @contextmanager
    def overall(self) -> Iterator[None]:
        """Show the overall progress while the block lasts, unless another process does."""
        if self._overall is not None or self.console.quiet or events.parent_listens():
            yield
            return
        self._overall = StudyProgress(self.console)
        try:
            with self._overall.shown():
                yield
        finally:
            self._overall = None

    @property
    def shows_whole(self) -> bool:
        """Whether overall progress is shown here."""
        return self._overall is not None

    @property
    def live(self) -> bool:
        """Whether live lines are at the bottom of the terminal, so that only `say` may print."""
        return self._overall is not None and self.console.is_terminal

    def plan(self, names: Sequence[str]) -> None:
        """Add nodes to be made."""
        if self._overall is not None:
            self._overall.plan(names)

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Record forecast seconds of nodes."""
        if self._overall is not None:
            self._overall.expect(seconds)

    @contextmanager
    def piece(self, name: str) -> Iterator[None]:
        """Make a node of the study inside the block."""
        self._hear(ProgressEvent(begun=name))
        yield
        self._hear(ProgressEvent(ended=name))

    def doing(self, label: str) -> None:
        """Show work in progress that has no bar."""
        self._hear(ProgressEvent(label))

    def _hear(self, event: ProgressEvent) -> None:
        if events.parent_listens() and not self.console.quiet:
            events.send(event)
        self.hear(event)

    def hear(self, event: ProgressEvent) -> None:
        """Show an event of this or a launched process."""
        if self._overall is None:
            return
        if event.begun:
            self._overall.begin(event.begun)
        if event.label:
            self._overall.work(event.label, event.done, event.total, event.note)
        if event.ended:
            self._overall.end(event.ended)

    # ---- the current node

    @contextmanager
    def panel(self, label: str) -> Iterator[Callable[[Statistics], None]]:
        """Yield a function that shows a teacher's figures in a live line: counts, speed, cost, time left."""
        last: Statistics | None = None
        plain = self._plainly(label)

        def update(figures: Statistics) -> None:
            nonlocal last
            last = figures
            if self._overall is not None:
                self.hear(ProgressEvent(label, figures.finished, figures.total, progress_line(figures)))
            plain(lambda: progress_line(figures))

        yield update
        if last is not None:
            self.say(f"  {label}: {progress_line(last)}")
            for line in troubles(last):
                self.say(f"  {label}: {line}")

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function that updates a progress bar: (done, total)."""
        plain, due = self._plainly(label), 0.0

        def update(done: int, total: int) -> None:
            nonlocal due
            if self._overall is not None:
                self.hear(ProgressEvent(label, done, total))
            elif events.parent_listens() and not self.console.quiet and (now := time.monotonic()) >= due:
                due = now + OFTEN
                events.send(ProgressEvent(label, done, total))
            plain(lambda: f"{done} of {total}")

        yield update

    def _plainly(self, label: str) -> Callable[[Callable[[], str]], None]:
        """Return a function that prints a line now and then; it prints nothing on a terminal, which has a bar."""
        due = time.monotonic() + PLAIN

        def say(line: Callable[[], str]) -> None:
            nonlocal due
            if self._overall is None and not events.parent_listens() and (now := time.monotonic()) >= due:
                due = now + PLAIN
                self.say(f"  {label}: {line()}")

        return say


def progress_line(figures: Statistics) -> str:
    """Format the figures of a teacher's run as one line."""
    parts = [f"{figures.finished}/{figures.total}" if figures.total is not None else str(figures.finished)]
    for name, count in (("cached", figures.cached), ("failed", figures.failed), ("refused", figures.refused),
                        ("cut off", figures.cut_off), ("retried", figures.retried)):  # fmt: skip
        if count:
            parts.append(f"{name} {count}")
    if figures.tokens_per_minute:
        parts.append(f"{figures.tokens_per_minute:,.0f} tokens/min")
    if figures.usd:
        projected = figures.usd_projected
        parts.append(f"${figures.usd:.2f}" + (f" of about ${projected:.2f}" if projected else ""))
    if figures.in_flight or figures.concurrency:
        parts.append(f"{figures.in_flight} in flight, at most {figures.concurrency} now")
    left = figures.seconds_left
    if left:
        parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
    if figures.waiting:
        parts.append(f"waiting: {figures.waiting}")
    return ", ".join(parts)


def troubles(figures: Statistics) -> Iterator[str]:
    """Yield the most frequent causes of failures with their remedies, one line each."""
    commonest = sorted(figures.causes.items(), key=lambda item: -item[1])
    for cause, count in commonest[:SHOWN]:
        remedy = remedy_of(cause)
        yield f"{count} failed: {cause}" + (f"; {remedy}" if remedy else "")
    if len(commonest) > SHOWN:
        yield f"and {len(commonest) - SHOWN} less frequent causes"
    if figures.failed:
        yield "to retry failed requests, set retry_failed: true"
    if figures.cut_off:
        yield f"{figures.cut_off} cut off: raise max_tokens (this repeats them), or set retry_cut_off: true"


def with_progress(items: Iterable[T], update: Callable[[int, int], None], total: int) -> Iterator[T]:
    """Yield the items and update the progress bar at most ten times a second."""
    number, due = 0, 0.0
    for number, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) >= due:
            due = now + 0.1
            update(number, max(number, total))
    update(number, max(number, total))
