"""Run an arm's requests through an engine in whole batches, resumable after any interruption."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tracedistill.engines import Engine, Generation, Request, batches_of
from tracedistill.errors import InputError
from tracedistill.evaluation.requests import ArmRequests
from tracedistill.files import content_id, disk_error, dumps, from_json, unlinked
from tracedistill.records import Attempt

Progress = Callable[[int, int], None]
"""(done, total)"""


@runtime_checkable
class ScheduledEngine(Protocol):
    """An engine that needs all prompts of a schedule before the first batch, to share work between batches."""

    def prepare(self, requests: Sequence[Request]) -> None:
        """Receive the batches of a schedule, once per schedule, also when it is resumed."""
        ...


@runtime_checkable
class ParallelEngine(Protocol):
    """An engine that generates several batches at a time, each as it would alone."""

    def generate_all(self, batches: Sequence[Sequence[Request]]) -> Iterator[tuple[int, list[Generation]]]:
        """Yield (place, generations) of each batch as it is finished."""
        ...


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One run of an arm's requests through an engine, resumable by whole batches."""

    name: str
    """Arm name, `<arm>.seed<k>` for a further seed of its adapter; the run's files are named after it."""
    arm: str
    student: str
    prompts: ArmRequests
    batch_size: int
    folder: Path
    seed: int = 0

    def partial(self, rank: int = 0) -> Path:
        """Return the file to which one process appends its finished batches."""
        return self.folder / f"{self.name}.partial{rank}.jsonl"

    def partials(self) -> list[Path]:
        """Return all existing partial files, of any number of processes."""
        mine = re.compile(rf"{re.escape(self.name)}\.partial\d+\.jsonl")
        return sorted(path for path in self.folder.glob("*.jsonl") if mine.fullmatch(path.name))

    def plan(self, engine: Engine) -> tuple[str, list[list[Request]]]:
        """Return the schedule as (id, batches), fixed by engine, requests and arm."""
        batches = batches_of(self.prompts.requests, self.batch_size)
        return content_id("plan", engine.describe(), batches, self.name), batches


def attempt_batches(
    engine: Engine,
    run: ArmRun,
    progress: Progress = lambda _done, _total: None,
    share: tuple[int, int] = (0, 1),
    barrier: Callable[[], object] = lambda: None,
) -> None:
    """Run this process's share of the batches that are in no partial file yet.

    `share`: (this process, number of processes); `barrier` waits for the others. Whole batches are appended to the
    process's partial file as they finish; a partial file of another schedule is deleted, an unfinished last line
    redone. Raises InputError if the disk is full; the partial files keep their content.
    """
    rank, world = share
    if isinstance(engine, ScheduledEngine):
        engine.prepare(run.prompts.requests)
    plan_id, batches = run.plan(engine)
    if rank == 0:
        _tidy(run.partials(), plan_id)
    barrier()  # before anything is tidied up
    done = finished_batches(run.partials(), plan_id, [len(batch) for batch in batches])
    barrier()  # before anything is written
    todo = [number for number in range(len(batches)) if number not in done and number % world == rank]
    total = len(run.prompts.requests)
    ready = sum(len(attempts) for attempts in done.values())
    progress(ready, total)
    partial = run.partial(rank)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        fresh = not unlinked(partial).exists()
        with partial.open("a", encoding="utf-8") as stream:
            if fresh:
                stream.write(dumps({"plan": plan_id}) + "\n")
            for place, generations in _generated(engine, [batches[number] for number in todo]):
                number = todo[place]
                by_id = {generation.request_id: generation for generation in generations}
                attempts = [_attempt(by_id[request.request_id], request, run) for request in batches[number]]
                stream.write(dumps({"batch": number, "attempts": attempts}) + "\n")
                stream.flush()
                ready += len(attempts)
                progress(ready, total)
    except OSError as error:
        raise disk_error(partial, error) from error
    barrier()  # after everything is written


def _generated(engine: Engine, batches: Sequence[Sequence[Request]]) -> Iterator[tuple[int, list[Generation]]]:
    """Yield (place, generations) of each batch."""
    if isinstance(engine, ParallelEngine):
        return engine.generate_all(batches)
    return ((place, list(engine.generate(batch))) for place, batch in enumerate(batches))


def merged_attempts(engine: Engine, run: ArmRun) -> Iterator[Attempt]:
    """Yield the attempt of every request from the partial files, in the requests' order."""
    plan_id, batches = run.plan(engine)
    done = finished_batches(run.partials(), plan_id, [len(batch) for batch in batches])
    lacking = len(batches) - len(done)
    if lacking:
        raise InputError(
            f"{run.folder}: {lacking} of {len(batches)} batches of {run.name} are missing; run the command again"
        )
    attempts = {attempt.attempt_id: attempt for batch in done.values() for attempt in batch}
    for request in run.prompts.requests:
        yield attempts[f"{run.name}/{request.request_id}"]


def finished_batches(partials: Iterable[Path], plan_id: str, sizes: Sequence[int]) -> dict[int, list[Attempt]]:
    """Return number -> attempts of this schedule's batches that any process finished."""
    batches: dict[int, list[Attempt]] = {}
    for partial in partials:
        if not _begins_with(partial, plan_id):
            continue
        with partial.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                value = json.loads(line)
                if "batch" in value and len(value["attempts"]) == sizes[value["batch"]]:
                    batches[value["batch"]] = [from_json(Attempt, item) for item in value["attempts"]]
    return batches


def _tidy(partials: Iterable[Path], plan_id: str) -> None:
    """Delete files of other schedules, and cut off a half-written last line."""
    for partial in partials:
        if not _begins_with(partial, plan_id):
            partial.unlink()
            continue
        with partial.open("rb+") as stream:
            good = sum(len(line) for line in stream if line.endswith(b"\n"))
            stream.truncate(good)


def _begins_with(partial: Path, plan_id: str) -> bool:
    with partial.open("rb") as stream:
        first = stream.readline()
    return first.endswith(b"\n") and plan_id.encode() in first


def _attempt(generation: Generation, request: Request, run: ArmRun) -> Attempt:
    problem_id, _, number = request.request_id.rpartition("/")
    shown = run.prompts.shown.get(request.request_id)
    finish = "error" if generation.finish == "refusal" else generation.finish
    return Attempt(
        attempt_id=f"{run.name}/{request.request_id}",
        problem_id=problem_id,
        arm=run.arm,
        student=run.student,
        text=request.prefill + generation.text,
        finish=finish,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        seconds=round(generation.seconds, 6),
        sample=int(number),
        seed=run.seed,
        trace_id=None if shown is None else shown.trace_id,
        error=generation.error if generation.finish == "error" else "",
    )
