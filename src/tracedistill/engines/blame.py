"""Decide whether a row or the run is at fault: failures since the last answer are held until other rows show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tracedistill.engines import Generation
from tracedistill.engines.calls import StopRunError
from tracedistill.engines.remedies import remedy_of

EQUAL = 8
"""Consecutive failures with the same message, without an answer, that put the run at fault."""
ANY = 20
"""The same for failures with any message."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Held(Generic[R]):
    """A row that has failed permanently, if the run is sound."""

    row: R
    """The row."""
    generation: Generation
    """The failure to return for it."""
    gist: str
    """What equal failures have in common."""
    again: bool
    """Whether it deserves another try once the server answers: an outage, not a refusal."""


class Blame(Generic[R]):
    """The failures since the last answer.

    Once an answer arrives, they were the rows' own. After `EQUAL` of the same message, or `ANY` of any, nothing more
    should be sent until the calls in flight are over (`deciding`); if none of these is answered, the run is at fault,
    and no row counts as failed.
    """

    def __init__(self) -> None:
        self.held: list[Held[R]] = []

    def hold(self, row: R, generation: Generation, gist: str, *, again: bool) -> None:
        """Hold a failure back."""
        self.held.append(Held(row, generation, gist, again))

    def release(self) -> list[Held[R]]:
        """Release the held failures, once the run is known to be sound or over."""
        released, self.held = self.held, []
        return released

    @property
    def deciding(self) -> bool:
        """Whether enough failures are held to doubt the run."""
        return len(self.held) >= ANY or self._most() >= EQUAL

    def stop(self) -> StopRunError:
        """Explain why the run ends, quoting the server, and what to do."""
        cause = self.held[-1].generation.error
        equal = sum(each.gist == self.held[-1].gist for each in self.held)
        same = "with the same error" if equal == len(self.held) else "the last with this error"
        remedy = remedy_of(cause) or "check the server and the recipe's request settings"
        return StopRunError(
            f"{len(self.held)} requests in a row failed and none was answered, {same}: {cause}; {remedy}. None of them "
            "counts as failed: run the same command again to continue"
        )

    def _most(self) -> int:
        counts: dict[str, int] = {}
        for each in self.held:
            counts[each.gist] = counts.get(each.gist, 0) + 1
        return max(counts.values(), default=0)
