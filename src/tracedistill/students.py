"""Students turn problems into attempts: an arm's prompts, run through an engine by whole batches.

Also the target of `accelerate launch -m tracedistill.students RECIPE [--arm NAME] [key=value]`, which spreads the
batches over its processes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tracedistill.chat.formats import FormatName, begun, join
from tracedistill.chat.prompts import TAGS_HINT, fill, needs_plan
from tracedistill.chat.rendering import system_in_user_turn
from tracedistill.engines import Engine, Generation, Request, Sampling
from tracedistill.engines.schedule import batches_of
from tracedistill.errors import InputError
from tracedistill.files import content_id, disk_error, dumps, from_json, unlinked
from tracedistill.launched import run_launched
from tracedistill.recipes import Arm
from tracedistill.records import Attempt, Message, Problem, Trace
from tracedistill.tasks import Task

Progress = Callable[[int, int], None]
"""(done, of how many)"""


@runtime_checkable
class PlannedEngine(Protocol):
    """An engine that wants to see all prompts of a plan before the first batch (to share work between them)."""

    def begin(self, requests: Sequence[Request]) -> None:
        """Told once per plan, also when the plan is resumed."""
        ...


def shots_for(arm: Arm, train: Sequence[Problem], seed: int) -> list[Problem]:
    """The solved problems that a few-shot arm shows, the same for all test problems: of different categories first."""
    if arm.prompt != "few-shot":
        return []
    if len(train) < arm.shots:
        raise InputError(f"few-shot wants {arm.shots} training problems, the study has {len(train)}")
    order = sorted(train, key=lambda problem: content_id(seed, "shot", problem.problem_id))
    first_of_kind = {problem.category: problem for problem in reversed(order)}
    kinds = sorted(first_of_kind.values(), key=order.index)
    return (kinds + [problem for problem in order if problem not in kinds])[: arm.shots]


def messages_for(
    task: Task,
    problem: Problem,
    arm: Arm,
    text: str,
    system: str | None,
    style: FormatName,
    plan: Trace | None = None,
    shots: Sequence[tuple[Problem, Trace | None]] = (),
    system_role: Literal["system", "user"] = "system",
) -> tuple[Message, ...]:
    """The chat that one student sees for one problem under one arm; no gold but in the solved examples.

    `text` is the arm's prompt. Raises InputError where it shows a plan and there is none.
    """
    head = (Message("system", system),) if system else ()
    turns: list[Message] = []
    for shot, trace in shots:
        turns.append(Message("user", _turn(task, shot, text, style)))
        shown = trace.text if trace is not None and arm.shots_with_traces else None
        turns.append(Message("assistant", join(shown, task.render_answer(shot), style)))
    if needs_plan(text) and plan is None:
        raise InputError(f"{problem.problem_id}: the arm shows a plan, but its teacher made none for this problem")
    messages = (*head, *turns, Message("user", _turn(task, problem, text, style, plan)))
    return system_in_user_turn(messages) if system_role == "user" else messages


def behind(mark: str, prompt: Sequence[Message]) -> tuple[Message, ...]:
    """The prompt with a task's mark before its last turn."""
    *before, last = prompt
    return (*before, replace(last, content=mark + last.content))


def _turn(task: Task, problem: Problem, text: str, style: FormatName, plan: Trace | None = None) -> str:
    steps = "" if plan is None else plan.text
    hint = TAGS_HINT if style == "tags" else task.answer_hint
    return fill(text, problem=task.render_problem(problem), hint=hint, steps=steps)


@dataclass(frozen=True, slots=True)
class Asking:
    """How one arm asks."""

    task: Task
    """The study's task."""
    arm: Arm
    """The arm."""
    text: str
    """Its prompt."""
    system: str | None
    """The student's system message."""
    style: FormatName
    """How trace and answer stand together."""
    samples: int
    """Attempts per problem and plan."""
    temperature: float
    """0: greedy."""
    seed: int
    """The study's."""
    shots: Sequence[tuple[Problem, Trace | None]] = ()
    """Solved examples."""
    system_role: Literal["system", "user"] = "system"
    """Where the system message stands."""
    mark: str = ""
    """What stands before the last turn, for a student that has learnt several tasks by their marks."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one arm asks: requests, and what they show."""

    requests: list[Request]
    """One per problem, plan and sample, in the problems' order; the id is `<problem_id>/<number>`."""
    shown: dict[str, Trace]
    """Request id -> the plan that it shows, or the trace that it forces."""


def requests_for(
    asking: Asking,
    problems: Sequence[Problem],
    plans: Mapping[str, Sequence[Trace | None]],
    forced: Mapping[str, Trace],
) -> Asked:
    """The requests of an arm; what has no plan though the arm shows one, or no trace though it forces one, has none.

    `plans`: problem_id -> its plans, `arm.plans` of them; number n shows plan n // samples. `forced`: problem_id ->
    the trace that the student's answer is made to go on from.
    """
    arm, samples = asking.arm, asking.samples
    shows = needs_plan(asking.text)
    sampling = Sampling(max_tokens=arm.max_tokens, temperature=asking.temperature)
    requests: list[Request] = []
    shown: dict[str, Trace] = {}
    for problem in problems:
        trace = forced.get(problem.problem_id)
        if arm.forced is not None and trace is None:
            continue
        prefill = "" if trace is None else begun(trace.text, asking.style)
        seed = int(content_id(asking.seed, problem.problem_id)[:12], 16)
        own = plans.get(problem.problem_id, ()) if shows else (None,) * arm.plans
        for number, plan in enumerate(own):
            if shows and plan is None:
                continue
            messages = messages_for(
                asking.task,
                problem,
                arm,
                asking.text,
                asking.system,
                asking.style,
                plan,
                asking.shots,
                asking.system_role,
            )
            messages = behind(asking.mark, messages)
            for sample in range(number * samples, (number + 1) * samples):
                key = f"{problem.problem_id}/{sample}"
                requests.append(Request(key, messages, sampling, seed=seed, sample=sample % samples, prefill=prefill))
                found = trace if trace is not None else plan
                if found is not None:
                    shown[key] = found
    return Asked(requests, shown)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm's requests through an engine, resumable by whole batches."""

    name: str
    """The arm's name, for a further seed of its adapter `<arm>.seed<k>`: the run's files bear it."""
    arm: str
    """The arm."""
    student: str
    """Its student."""
    asked: Asked
    """What is asked."""
    batch_size: int
    """Requests per batch."""
    folder: Path
    """Where its partial files lie."""
    seed: int = 0
    """Which of the adapter's seeds."""

    def partial(self, rank: int = 0) -> Path:
        """The file to which one process appends its finished batches."""
        return self.folder / f"{self.name}.partial{rank}.jsonl"

    def partials(self) -> list[Path]:
        """All partial files there are, of however many processes."""
        mine = re.compile(rf"{re.escape(self.name)}\.partial\d+\.jsonl")
        return sorted(path for path in self.folder.glob("*.jsonl") if mine.fullmatch(path.name))

    def plan(self, engine: Engine) -> tuple[str, list[list[Request]]]:
        """(id of the plan, its batches): fixed by engine, requests and arm."""
        batches = batches_of(self.asked.requests, self.batch_size)
        return content_id("plan", engine.describe(), batches, self.name), batches


def attempt_batches(
    engine: Engine,
    run: Run,
    progress: Progress = lambda _done, _total: None,
    share: tuple[int, int] = (0, 1),
    barrier: Callable[[], object] = lambda: None,
) -> None:
    """Run the batches that no partial file holds yet; of these, those that fall to this process.

    `share`: (this process, of how many); `barrier` waits for the others. Whole batches are appended to the process's
    partial file as they end; a partial file of another plan is thrown away, an unfinished last line redone. Raises
    InputError where the disk is full; what is in the partial files stays.
    """
    rank, world = share
    plan_id, batches = run.plan(engine)
    if rank == 0:
        _tidy(run.partials(), plan_id)
    barrier()  # nobody reads what is being tidied up
    done = finished_batches(run.partials(), plan_id, [len(batch) for batch in batches])
    barrier()  # nobody writes while others still read
    todo = [number for number in range(len(batches)) if number not in done and number % world == rank]
    if isinstance(engine, PlannedEngine):
        engine.begin(run.asked.requests)
    total = len(run.asked.requests)
    ready = sum(len(attempts) for attempts in done.values())
    progress(ready, total)
    partial = run.partial(rank)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        fresh = not unlinked(partial).exists()
        with partial.open("a", encoding="utf-8") as stream:
            if fresh:
                stream.write(dumps({"plan": plan_id}) + "\n")
            for number in todo:
                batch = batches[number]
                by_id = {generation.request_id: generation for generation in engine.generate(batch)}
                attempts = [_attempt(by_id[request.request_id], request, run) for request in batch]
                stream.write(dumps({"batch": number, "attempts": attempts}) + "\n")
                stream.flush()
                ready += len(attempts)
                progress(ready, total)
    except OSError as error:
        raise disk_error(partial, error) from error
    barrier()  # all is written


def collected(engine: Engine, run: Run) -> Iterator[Attempt]:
    """Every request's attempt out of the partial files, in the requests' order."""
    plan_id, batches = run.plan(engine)
    done = finished_batches(run.partials(), plan_id, [len(batch) for batch in batches])
    lacking = len(batches) - len(done)
    if lacking:
        raise InputError(
            f"{run.folder}: {lacking} of {len(batches)} batches of {run.name} were not finished; run again"
        )
    attempts = {attempt.attempt_id: attempt for batch in done.values() for attempt in batch}
    for request in run.asked.requests:
        yield attempts[f"{run.name}/{request.request_id}"]


def finished_batches(partials: Iterable[Path], plan_id: str, sizes: Sequence[int]) -> dict[int, list[Attempt]]:
    """Number -> attempts of the batches that earlier or other processes have finished of this plan; changes nothing."""
    found: dict[int, list[Attempt]] = {}
    for partial in partials:
        if not _begins_with(partial, plan_id):
            continue
        with partial.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                value = json.loads(line)
                if "batch" in value and len(value["attempts"]) == sizes[value["batch"]]:
                    found[value["batch"]] = [from_json(Attempt, item) for item in value["attempts"]]
    return found


def _tidy(partials: Iterable[Path], plan_id: str) -> None:
    """Remove files of other plans, and cut off a half-written last line."""
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


def _attempt(generation: Generation, request: Request, run: Run) -> Attempt:
    problem_id, _, number = request.request_id.rpartition("/")
    shown = run.asked.shown.get(request.request_id)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of every launched process."""
    from tracedistill import pipeline  # the entry point alone reaches up: what makes missing files is the pipeline

    def work(recipe: str, overrides: Sequence[str], arms: Sequence[str], state: Any) -> None:
        share, barrier = (state.process_index, state.num_processes), state.wait_for_everyone
        pipeline.attempt_in_this_process(pipeline.load(recipe, overrides), arms, share=share, barrier=barrier)

    return run_launched("tracedistill.students", "Ask the students of a study, batches shared.", work, argv)


if __name__ == "__main__":
    sys.exit(main())
