"""The interfaces of jobs that can be sent to other processes, and of what runs them."""

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
        """Load what all items need (judges, a tokenizer) once per process; return the function for one item."""
        ...


class Compute(Protocol):
    """Runs jobs."""

    def map(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield the result for each item, in order, with a bounded number of items in progress.

        An item's exception is raised in its turn, after the results before it.
        """
        ...

    def close(self) -> None:
        """End the started processes; a later `map` starts them again."""
        ...
