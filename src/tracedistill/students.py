"""Students turn problems into attempts: an arm's prompts, run through an engine by whole batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from tracedistill.engines import Engine, Generation, Request, Sampling
from tracedistill.errors import InputError
from tracedistill.formats import FormatName, join
from tracedistill.prompts import TAGS_HINT, fill, needs_plan
from tracedistill.recipes import Arm, EvaluationConfig
from tracedistill.records import Attempt, Message, Problem, Trace
from tracedistill.store import content_id, disk_error, dumps, from_json
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
    return (*head, *turns, Message("user", _turn(task, problem, text, style, plan)))


def _turn(task: Task, problem: Problem, text: str, style: FormatName, plan: Trace | None = None) -> str:
    steps = "" if plan is None else plan.text
    hint = TAGS_HINT if style == "tags" else task.answer_hint
    return fill(text, problem=task.render_problem(problem), hint=hint, steps=steps)


def requests_for(
    task: Task,
    problems: Sequence[Problem],
    arm: Arm,
    text: str,
    config: EvaluationConfig,
    seed: int,
    system: str | None,
    style: FormatName,
    plans: Mapping[str, Trace],
    shots: Sequence[tuple[Problem, Trace | None]],
) -> list[Request]:
    """One request per problem and sample; the id is `<problem_id>/<sample>`."""
    sampling = Sampling(max_tokens=arm.max_tokens, temperature=config.temperature)
    out = []
    for problem in problems:
        messages = messages_for(task, problem, arm, text, system, style, plans.get(problem.problem_id), shots)
        own = int(content_id(seed, problem.problem_id)[:12], 16)
        out += [
            Request(f"{problem.problem_id}/{sample}", messages, sampling, seed=own, sample=sample)
            for sample in range(config.samples)
        ]
    return out


def batches_of(requests: Sequence[Request], size: int) -> list[list[Request]]:
    """Batches of like length. Fixed by the requests alone, so that an interruption changes nothing."""
    order = sorted(requests, key=lambda item: (sum(len(message.content) for message in item.messages), item.request_id))
    return [order[start : start + size] for start in range(0, len(order), size)]


def attempt_all(
    engine: Engine,
    requests: Sequence[Request],
    batch_size: int,
    arm: str,
    student: str,
    partial: Path,
    plans: Mapping[str, Trace],
    progress: Progress = lambda _done, _total: None,
) -> Iterator[Attempt]:
    """Every request's attempt, in the requests' order.

    Whole batches are appended to `partial` as they end. A partial file of the same plan is gone on with, its last
    unfinished batch redone whole; a partial file of another plan is thrown away. Raises InputError where the disk
    is full; what is in `partial` stays.
    """
    plan = batches_of(requests, batch_size)
    plan_id = content_id("plan", engine.describe(), plan, arm)
    done = _resume(partial, plan_id, [len(batch) for batch in plan])
    if isinstance(engine, PlannedEngine):
        engine.begin([request for batch in plan for request in batch])
    progress(sum(len(batch) for batch in plan[: len(done)]), len(requests))
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("a" if done else "w", encoding="utf-8") as stream:
            if not done:
                stream.write(dumps({"plan": plan_id}) + "\n")
            for number in range(len(done), len(plan)):
                by_id = {generation.request_id: generation for generation in engine.generate(plan[number])}
                batch = [_attempt(by_id[request.request_id], request, arm, student, plans) for request in plan[number]]
                done.append(batch)
                stream.write(dumps({"batch": number, "attempts": batch}) + "\n")
                stream.flush()
                progress(sum(map(len, done)), len(requests))
    except OSError as error:
        raise disk_error(partial, error) from error
    attempts = {attempt.attempt_id: attempt for batch in done for attempt in batch}
    for request in requests:
        yield attempts[f"{arm}/{request.request_id}"]


def _resume(partial: Path, plan_id: str, sizes: Sequence[int]) -> list[list[Attempt]]:
    """Batches that an interrupted run of the same plan has finished; the file is cut back to them."""
    if not partial.exists():
        return []
    whole: list[list[Attempt]] = []
    good = 0
    with partial.open("rb") as stream:
        for number, line in enumerate(stream):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                if plan_id.encode() not in line:
                    return []
            else:
                value = json.loads(line)
                batch = [from_json(Attempt, item) for item in value["attempts"]]
                if len(batch) != sizes[number - 1]:
                    return []
                whole.append(batch)
            good += len(line)
    with partial.open("rb+") as stream:
        stream.truncate(good)
    return whole


def _attempt(generation: Generation, request: Request, arm: str, student: str, plans: Mapping[str, Trace]) -> Attempt:
    problem_id = request.request_id.rsplit("/", 1)[0]
    plan = plans.get(problem_id)
    finish = "error" if generation.finish == "refusal" else generation.finish
    return Attempt(
        attempt_id=f"{arm}/{request.request_id}",
        problem_id=problem_id,
        arm=arm,
        student=student,
        text=generation.text,
        finish=finish,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        seconds=round(generation.seconds, 6),
        sample=request.sample,
        trace_id=None if plan is None else plan.trace_id,
    )
