"""What can be sent to another process, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Job(Protocol[In_contra, Out_co]):
    """Work on one item at a time, as a frozen record of paths and settings that can be pickled."""

    def open(self) -> Callable[[In_contra], Out_co]:
        """Load what every item needs (judges, a tokenizer), once per process; return what works on one item."""
        ...


class Compute(Protocol):
    """What runs jobs."""

    def map(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield the result for each item, in the order of the items, with a bounded number of them at work.

        An exception of an item is raised in its turn, after the results before it.
        """
        ...

    def close(self) -> None:
        """End the processes that were started; a later `map` starts them again."""
        ...


class Here:
    """This process alone."""

    def map(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield work on one item after another."""
        return map(job.open(), items)

    def close(self) -> None:
        """Do nothing: no process was started."""
