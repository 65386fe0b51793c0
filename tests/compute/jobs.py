"""Jobs that tests send to other processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracedistill.compute import Part, PartOutput
from tracedistill.errors import InputError
from tracedistill.records import Problem


@dataclass(frozen=True)
class Doubled:
    """Numbers doubled."""

    refused: int = -1
    """A number that the user has to do something about."""
    broken: int = -1
    """A number that nobody thought of."""

    def open(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            if number == self.refused:
                raise InputError(f"{number} is too large")
            if number == self.broken:
                raise ZeroDivisionError("nobody thought of it")
            return 2 * number

        return work


@dataclass(frozen=True)
class Where:
    """The process that works on an item."""

    def open(self) -> Callable[[int], int]:
        return lambda _: os.getpid()


@dataclass(frozen=True)
class Loaded:
    """The modules that a process has loaded."""

    def open(self) -> Callable[[int], list[str]]:
        return lambda _: sorted(sys.modules)


@dataclass(frozen=True)
class Noted:
    """A note of each item that is worked on."""

    folder: Path

    def open(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            (self.folder / str(number)).touch()
            return number

        return work


@dataclass(frozen=True)
class Dying:
    """A process that is killed over one item, a number of times."""

    item: int
    times: int
    folder: Path

    def open(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            died = len(list(self.folder.iterdir()))
            if number == self.item and died < self.times:
                (self.folder / str(died)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return number

        return work


@dataclass(frozen=True)
class Questions:
    """The question of each problem, and how many there were."""

    made: Path
    """A folder for a note of each part that is made."""
    dies: int = -1
    """A part whose process is killed."""
    refused: int = -1
    """A part that is refused."""

    def open(self) -> Callable[[Part], PartOutput]:
        def work(part: Part) -> PartOutput:
            if part.number == self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            if part.number == self.refused:
                raise InputError(f"{part}: no")
            questions = [problem.question for problem in part.records(Problem)]
            (self.made / f"{part.number}.{os.getpid()}").touch()
            return PartOutput([{"question": question} for question in questions], lambda: {"rows": len(questions)})

        return work
