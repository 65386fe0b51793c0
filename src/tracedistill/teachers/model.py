"""A model as teacher: convert problems to requests, and generations to traces or counted failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tracedistill.chat.prompts import STEPS_SCHEMA, TEACHER_READS, fill
from tracedistill.engines import Generation, Request, Sampling
from tracedistill.engines.thinking_marks import split_thinking
from tracedistill.errors import InputError
from tracedistill.files import content_id
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Message, Problem, Trace
from tracedistill.tasks import Task
from tracedistill.teachers.parser import parse_teacher_text, trace_from


@dataclass(frozen=True, slots=True)
class Failure:
    """A problem without a trace from a teacher, and why."""

    problem_id: str
    teacher: str
    sample: int
    finish: str
    """length (cut off), refusal, error or too-long."""
    cause: str
    """The engine's message, or `finish`."""
    text: str
    """The returned text, kept for the record and never used."""


class Sources(Protocol):
    """The traces that a teacher works on, for example a mapping."""

    def get(self, problem_id: str, /) -> Trace | None:
        """Return the trace of a problem, or None."""
        ...


def reads_of(config: TeacherConfig) -> str:
    """Return how the teacher's answer is parsed: plan, solution, structured or reasoning."""
    return TEACHER_READS.get(config.prompt, "solution") if config.reads == "auto" else config.reads


def sources_of(template: str, config: TeacherConfig, teacher: str) -> str | None:
    """Return the teacher whose traces this prompt works on. Raises InputError if it needs one and names none."""
    if "{trace}" in template and config.source is None:
        raise InputError(
            f"teachers.{teacher}: prompt '{config.prompt}' works on another teacher's traces: set `source`"
        )
    return config.source if "{trace}" in template else None


def requests_for_teacher(
    task: Task,
    problems: Iterable[Problem],
    config: TeacherConfig,
    template: str,
    seed: int,
    sources: Sources,
) -> Iterator[Request]:
    """Yield one request per problem and sample, in the problems' order; the id is `<problem_id>/<sample>`.

    `template` is the prompt. Problems without a trace of the source teacher get no request; the caller counts them.
    """
    sampling = Sampling(config.max_tokens, config.temperature, config.top_p)
    schema = STEPS_SCHEMA if reads_of(config) == "structured" else None
    head = (Message("system", config.system),) if config.system else ()
    for problem in problems:
        source = sources.get(problem.problem_id)
        if "{trace}" in template and source is None:
            continue
        user = fill(
            template,
            problem=task.render_problem(problem),
            hint=task.answer_hint,
            answer=task.render_answer(problem),
            trace="" if source is None else source.text,
        )
        own = int(content_id(seed, problem.problem_id)[:7], 16)
        for sample in range(config.samples):
            yield Request(
                f"{problem.problem_id}/{sample}",
                (*head, Message("user", user)),
                sampling,
                seed=own + sample,
                sample=sample,
                schema=schema,
            )


def trace_of(
    task: Task, generation: Generation, config: TeacherConfig, template: str, teacher: str, sources: Sources
) -> Trace | Failure:
    """Turn a finished generation into a trace or a failure."""
    problem_id, _, number = generation.request_id.rpartition("/")
    sample = int(number)
    if generation.finish != "stop" or not (generation.text.strip() or generation.reasoning):
        finish = "error" if generation.finish == "stop" else generation.finish
        cause = generation.error or ("empty answer" if finish == "error" else finish)
        return Failure(problem_id, teacher, sample, finish, cause, generation.text)
    reads = reads_of(config)
    source = sources.get(problem_id)
    written, thought = generation.text, generation.reasoning
    if thought is None and reads != "solution":  # a solution's tags are a format that its parser knows
        written, thought = split_thinking(written)
    return trace_from(
        task,
        problem_id,
        teacher,
        parse_teacher_text(task, written, reads, thought),
        numbered=config.traces == "numbered",
        sample=sample,
        # true if the prompt showed the gold, or the source trace was made from it
        oracle="{answer}" in template or (source is not None and source.oracle),
        # token usage is left out: it differs between servers, and equal texts must make equal files
        meta={"reads": reads, "prompt": config.prompt},
    )
