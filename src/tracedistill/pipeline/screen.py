"""What a person sees while stages run: one line per piece of work, a bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tracedistill.engines.progress import Statistics
from tracedistill.engines.remedies import remedy_of
from tracedistill.shown import console, printable

T = TypeVar("T")

SHOWN = 3
"""Causes of failures that are shown at the end of a teacher's run."""
PLAIN = 60.0
"""Seconds between plain lines that say where a piece of work is, where there is no terminal for a bar."""


class Screen:
    """The terminal; `quiet` says nothing but errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = console(quiet=quiet, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line of plain text."""
        self.console.print(escape(text))

    @contextmanager
    def panel(self, label: str) -> Iterator[Callable[[Statistics], None]]:
        """Yield a function that shows a teacher's figures in a live line: counts, speed, money, time left."""
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[told]}"))
        progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        last: Statistics | None = None
        plain = self._plainly(label)
        with progress:
            task = progress.add_task(escape(printable(label)), total=None, told="starting")

            def update(figures: Statistics) -> None:
                nonlocal last
                last = figures
                line = escape(printable(told(figures)))
                progress.update(task, completed=figures.finished, total=figures.total, told=line)
                plain(lambda: told(figures))

            yield update
        if last is not None:
            self.say(f"  {label}: {told(last)}")
            for line in troubles(last):
                self.say(f"  {label}: {line}")

    def _plainly(self, label: str) -> Callable[[Callable[[], str]], None]:
        """Return a function that prints a line now and then; on a terminal, where a bar moves, it prints nothing."""
        due = time.monotonic() + PLAIN

        def say(line: Callable[[], str]) -> None:
            nonlocal due
            if not self.console.is_terminal and (now := time.monotonic()) >= due:
                due = now + PLAIN
                self.say(f"  {label}: {line()}")

        return say

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function that moves a progress bar: (done, total)."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # a bar in a file or pipe would be an empty line
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=not live) as progress:
            task = progress.add_task(escape(printable(label)), total=None)
            plain = self._plainly(label)

            def update(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)
                plain(lambda: f"{done} of {total}")

            yield update


def told(figures: Statistics) -> str:
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


def counted(items: Iterable[T], update: Callable[[int, int], None], total: int) -> Iterator[T]:
    """Yield the items and update the progress bar at most ten times a second."""
    number, due = 0, 0.0
    for number, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) >= due:
            due = now + 0.1
            update(number, max(number, total))
    update(number, max(number, total))
