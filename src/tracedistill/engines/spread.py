"""A local student on every GPU or machine of a Ray cluster: the batches of one machine, wherever each is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.compute.actors import Actors
from tracedistill.compute.cluster import RayCluster
from tracedistill.engines import Generation, Request
from tracedistill.errors import InputError


@dataclass(frozen=True, slots=True)
class GeneratedBatch:
    """One batch, and what generated it."""

    generations: list[Generation]
    """One per request, in their order."""
    description: dict[str, Any]
    """The engine's description of itself."""
    note: str
    """What to tell the user about its layout; empty: nothing."""


@dataclass(frozen=True, slots=True)
class EngineJob:
    """A local engine for any process; the fields are those of `LocalEngine.load`."""

    model: str
    dtype: str
    quantization: str
    format: Format
    revision: str | None
    chat_template: str | None
    adapter: Path | None = None
    merge: bool = True
    schedule: tuple[Request, ...] = ()
    """All requests of the schedule, for their shared prefix."""

    def open(self) -> Callable[[Sequence[Request]], GeneratedBatch]:
        """Load the model."""
        from tracedistill.engines.local import LocalEngine

        engine = LocalEngine.load(
            self.model,
            self.dtype,
            self.adapter,
            self.quantization,
            self.merge,
            self.format,
            self.revision,
            self.chat_template,
        )
        engine.prepare(self.schedule)
        return lambda batch: GeneratedBatch(list(engine.generate(batch)), engine.describe(), engine.tried.note)


class SpreadEngine:
    """One engine per GPU or machine; each batch is generated whole by one of them."""

    def __init__(self, cluster: RayCluster, job: EngineJob, say: Callable[[str], object]) -> None:
        """`say` receives notes for the user."""
        self._cluster, self._job, self._say = cluster, job, say
        self._actors: Actors[Sequence[Request], GeneratedBatch] | None = None
        self._description: dict[str, Any] | None = None

    def prepare(self, requests: Sequence[Request]) -> None:
        """Receive all prompts of a schedule; the engines are loaded with the first batch."""
        job = replace(self._job, schedule=tuple(requests))
        if job != self._job:
            self._job, self._actors = job, None

    def describe(self) -> dict[str, Any]:
        """Describe the engine. The first call loads it on one machine of the cluster."""
        if self._description is None:
            list(self.generate_all([[]]))
        assert self._description is not None, "every batch brings it"
        return dict(self._description)

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Generate one batch."""
        for _, generations in self.generate_all([requests]):
            yield from generations

    def generate_all(self, batches: Sequence[Sequence[Request]]) -> Iterator[tuple[int, list[Generation]]]:
        """Yield (place, generations) of each batch as it is finished.

        Raises InputError if machines of the cluster load different engines: their texts would not be comparable.
        """
        if self._actors is None:
            self._actors = self._cluster.hold(self._job)
        for place, made in self._actors.map(batches):
            if self._description is None:
                self._description = made.description
                if made.note:
                    self._say(made.note)
            if made.description != self._description:
                raise InputError(
                    f"the machines of the Ray cluster load student {self._job.model} differently: {self._description} "
                    f"and {made.description}. Give them the same hardware, libraries and weights"
                )
            yield place, made.generations
