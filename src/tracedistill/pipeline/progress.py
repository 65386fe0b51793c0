"""Progress of a run: complete nodes, the current one, and the time left.

Two live lines in a terminal, elsewhere a line a minute. Both update on a thread of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracedistill.output import printable
from tracedistill.spinner import PLAIN, clock, every

if TYPE_CHECKING:
    from rich.console import Console

LIGHT = 2.0
"""Assumed seconds of a node without a forecast."""
WIDTH = 24
"""Columns of a bar."""


@dataclass
class CurrentWork:
    """The work in progress."""

    label: str
    since: float
    done: int = 0
    total: int | None = None
    note: str = ""
    """Figures beside it."""

    @property
    def fraction(self) -> float:
        """Share that is done."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def line(self) -> str:
        """Format the progress as text."""
        far = f"{self.done} of {self.total}" if self.total else ""
        return ", ".join(filter(None, (far, self.note, clock(time.monotonic() - self.since))))


class StudyProgress:
    """Progress of one run, and its display."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.names: list[str] = []
        self.ended: set[str] = set()
        self.piece = ""
        self.current = CurrentWork("checking what is complete", time.monotonic())
        self.expected: dict[str, float] = {}
        self.began = time.monotonic()
        self._piece_began = self.began
        self._spent: dict[str, float] = {}

    # ---- input from the pipeline

    def plan(self, names: Sequence[str]) -> None:
        """Add nodes that are to be made."""
        self.names += [name for name in names if name not in self.names]

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Record forecast seconds of nodes."""
        self.expected |= seconds

    def begin(self, name: str) -> None:
        """Mark a node as begun."""
        self.plan([name])
        self.piece, self._piece_began = name, time.monotonic()
        self.current = CurrentWork(name, self._piece_began)

    def end(self, name: str) -> None:
        """Mark a node as complete."""
        self.ended.add(name)
        self._spent[name] = time.monotonic() - self._piece_began
        self.piece, self.current = "", CurrentWork("checking what is next", time.monotonic())

    def work(self, label: str, done: int, total: int | None, note: str = "") -> None:
        """Update the progress of the current work."""
        if label != self.current.label:
            self.current = CurrentWork(label, time.monotonic())
        self.current.done, self.current.total, self.current.note = done, total, note

    # ---- derived values

    def left(self) -> float | None:
        """Return the seconds left; None while no long node has a forecast.

        Forecasts are corrected by the times of complete nodes.
        """
        open_names = [name for name in self.names if name not in self.ended]
        if any(name.startswith(("train:", "generate:", "teach:")) and name not in self.expected for name in open_names):
            return None
        known = [name for name in self._spent if name in self.expected]
        forecast = sum(self.expected[name] for name in known)
        slower = sum(self._spent[name] for name in known) / forecast if forecast else 1.0
        seconds = sum(self._expected(name, slower) for name in open_names)
        if self.piece in open_names:
            whole, spent = self._expected(self.piece, slower), time.monotonic() - self._piece_began
            fraction = self.current.fraction
            seconds -= whole - (spent / fraction - spent if fraction > 0.1 else max(0.0, whole - spent))
        return max(0.0, seconds)

    def _expected(self, name: str, slower: float) -> float:
        return self.expected[name] * slower if name in self.expected else LIGHT

    def line(self) -> str:
        """Format the overall progress as text."""
        left = self.left()
        parts = [f"{len(self.ended)} of {len(self.names)} pieces"] if self.names else []
        parts.append(clock(time.monotonic() - self.began))
        if left is not None and len(self.ended) < len(self.names):
            parts.append(f"about {clock(left)} left")
        return ", ".join(parts)

    # ---- display

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress while the block lasts."""
        if not self.console.is_terminal:
            with every(PLAIN, self._plain_line):
                yield
            return
        from rich.live import Live

        with Live(get_renderable=self.rendered, console=self.console, transient=True, refresh_per_second=4):
            yield

    def _plain_line(self) -> None:
        self.console.print(printable(f"  {self.line()}; {self.current.label}: {self.current.line()}"), markup=False)

    def rendered(self) -> Any:
        """Render the two lines for a terminal."""
        from rich.markup import escape
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        whole = len(self.ended) + (self.current.fraction if self.piece else 0.0)
        grid.add_row("  study", ProgressBar(max(1, len(self.names)), whole, WIDTH), escape(self.line()))
        now = self.current
        bar = ProgressBar(now.total or 1, now.done if now.total else 0, WIDTH, pulse=not now.total)
        grid.add_row(f"  {escape(printable(now.label))}", bar, escape(printable(now.line())))
        return grid
