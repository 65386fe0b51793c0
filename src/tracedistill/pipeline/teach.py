"""The teach stage: which teachers a study needs, on which problems, and how each is run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tracedistill.chat.prompts import TEACHER_PROMPTS, prompt_text
from tracedistill.compute import lookup
from tracedistill.engines import Request
from tracedistill.errors import InputError
from tracedistill.files import atomic, dumps, file_hash, read_json, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.interventions import NO_TRACE
from tracedistill.pipeline.engines import answered_by, teacher_engine
from tracedistill.pipeline.ordered_output import OrderedOutput, ResumeMark
from tracedistill.pipeline.paid_calls import Usage, announce, buy, open_cache
from tracedistill.pipeline.screen import with_progress
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import FREE_TEACHERS, OWN, TeacherConfig, candidates
from tracedistill.records import Problem, Trace
from tracedistill.teachers import (
    Failure,
    Sources,
    kind_by_majority,
    read_in_rows,
    read_recorded,
    recorded_texts,
    requests_for_teacher,
    sources_of,
    teach_by_rules,
    teach_gold_plans,
    trace_of,
)

NOTED = 1_000
"""Answers between two records of a run's progress."""


class Teachers:
    """The teachers of one study."""

    def __init__(self, work: StudyRun) -> None:
        self.work = work
        self.study = work.study

    def needed(self) -> list[str]:
        """Return the teachers that some arm uses and those whose traces they work on, sources first."""
        names: list[str] = []

        def add(teacher: str, below: tuple[str, ...] = ()) -> None:
            if teacher in below:
                raise InputError(f"teachers form a cycle through 'source': {' -> '.join((*below, teacher))}")
            source = self.source_of(teacher)
            if source is not None:
                add(source, (*below, teacher))
            if teacher not in names:
                names.append(teacher)

        for teacher in sorted(self._used()):
            add(teacher)
        return names

    def _used(self) -> dict[str, set[str]]:
        """Return teacher -> roles of the problems whose traces the arms need."""
        used: dict[str, set[str]] = {}
        chosen = candidates(self.study)
        for name, arm in self.study.arms.items():
            roles = set()
            if arm.tune not in (None, NO_TRACE) or (arm.prompt == "few-shot" and arm.shots_with_traces):
                roles.add("train")
            if self.work.shows_plan(arm) or arm.forced not in (None, OWN):
                roles.add("test")
            if self.work.shows_plan(arm) and name in chosen:
                roles.add("validation")
            if roles:
                used.setdefault(self.study.teacher_of(arm), set()).update(roles)
            shown = None if arm.context is None else self.study.arms[arm.context]
            if shown is not None and self.work.shows_plan(shown):
                used.setdefault(self.study.teacher_of(shown), set()).add("train")
            if arm.rejected not in (None, OWN):
                used.setdefault(self.study.teacher_of(arm), set()).add("train")
        return used

    def roles(self, teacher: str) -> list[str]:
        """Return the roles of a teacher's problems: all if it is free, else only the used ones."""
        if self.study.teachers[teacher].kind in FREE_TEACHERS:
            return ["test", "train", "validation"]
        used = self._used()
        roles = set(used.get(teacher, ()))
        for other, others in used.items():
            if other != teacher and teacher in self._chain(other):
                roles |= others
        return sorted(roles)

    def _chain(self, teacher: str) -> Iterator[str]:
        source = self.source_of(teacher)
        while source is not None:
            yield source
            source = self.source_of(source)

    def text(self, teacher: str) -> str:
        """Return the teacher's prompt template."""
        return prompt_text(self.study.teachers[teacher].prompt, self.study.prompts, TEACHER_PROMPTS)

    def source_of(self, teacher: str) -> str | None:
        """Return the teacher whose traces this one works on, if any."""
        config = self.study.teachers[teacher]
        return sources_of(self.text(teacher), config, teacher) if config.kind in ("model", "student") else None

    def params(self, teacher: str) -> dict[str, Any]:
        """Return the settings that the teacher's traces depend on."""
        config = self.work.plain["teachers"][teacher]
        params = answered_by(config)
        known: dict[str, Any] = {"teacher": params, "task": self.study.task.name, "roles": self.roles(teacher)}
        if config["kind"] == "recorded" and config["path"]:
            path = Path(self.work.beside_recipe(self.study.teachers[teacher].path or ""))
            known["file"] = file_hash(path) if path.is_file() else "missing"  # missing: an error on reading
        if config["kind"] in ("model", "student"):
            known |= {"prompt": self.text(teacher), "seed": self.study.seed, "hint": self.work.task.answer_hint}
        if config["kind"] == "student":
            student = self.work.plain["students"][self._student(self.study.teachers[teacher])]
            known["student"] = {key: value for key, value in student.items() if key != "vllm_command"}
        return known

    def _file(self, config: TeacherConfig) -> Path:
        path = Path(self.work.beside_recipe(config.path or ""))
        if not path.is_file():
            raise InputError(f"teacher's file {path}: no such file")
        return path

    def _student(self, config: TeacherConfig) -> str:
        return config.student or next(iter(self.study.students))

    # ---- making traces

    def make(self, teacher: str) -> None:
        """Write traces and counted failures of one teacher, in the problems' order."""
        config = self.study.teachers[teacher]
        lost = self._decompose(teacher, config) if config.kind in FREE_TEACHERS else self._ask(teacher, config)
        if lost:
            self.work.screen.say(f"  {teacher}: {lost} failures are listed in traces/{teacher}.failures.jsonl")

    def _decompose(self, teacher: str, config: TeacherConfig) -> int:
        """Write the traces and failures of a teacher that calls no model; return the number of failures."""
        problems = self.work.problems(*self.roles(teacher))
        run, failures = self.work.run, list[Failure]()
        taught: set[str] = set()
        with self.work.screen.bar(f"traces of {teacher}") as update:
            if config.kind == "rules":
                traces: Iterable[Trace] = teach_by_rules(self.work.task, problems, teacher)
            elif config.kind == "gold":
                traces = teach_gold_plans(self.work.task, problems, teacher)
            else:
                traces = self._recorded(teacher, config, problems)
            noted = _noted(with_progress(traces, update, len(problems)), taught)
            write_jsonl(run.path(f"traces/{teacher}.jsonl"), noted)
        if config.kind in ("rules", "gold"):
            cause = "the task has no rules for this problem" if config.kind == "rules" else "its gold gives no plan"
            missing = [problem.problem_id for problem in problems if problem.problem_id not in taught]
            failures = [Failure(problem_id, teacher, 0, "error", cause, "") for problem_id in missing]
        return write_jsonl(run.path(f"traces/{teacher}.failures.jsonl"), failures)

    def _recorded(self, teacher: str, config: TeacherConfig, problems: Sequence[Problem]) -> Iterator[Trace]:
        """Yield the traces of a file or of the problems' own rows.

        If the recipe does not say whether they are plans, their text decides.
        """
        path = self._file(config) if config.path else None
        reads: str = config.reads
        if reads == "auto":
            reads, why = kind_by_majority(recorded_texts(config, path, problems))
            self.work.screen.say(f"  {teacher}: read as {reads}s: {why} (set teachers.{teacher}.reads to change that)")
        if path is None:
            return read_in_rows(self.work.task, problems, teacher, reads, numbered=config.traces == "numbered")
        ids = {problem.problem_id: None for problem in problems}
        return read_recorded(self.work.task, config, path, ids, teacher, reads)

    def requests(self, teacher: str, sources: Sources) -> Iterator[Request]:
        """Yield a model teacher's requests, in the problems' order."""
        return (request for _, request in self._numbered(teacher, sources))

    def _numbered(
        self, teacher: str, sources: Sources, first: int = 0, count: int | None = None
    ) -> Iterator[tuple[int, Request]]:
        """Yield (position, request) for `count` lines of the problems' file, starting at line `first`."""
        config, roles, line = self.study.teachers[teacher], self.roles(teacher), first - 1
        rows = read_jsonl(self.work.run.path("problems.jsonl"), Problem, skip=first)

        def passing() -> Iterator[Problem]:
            nonlocal line
            for problem in itertools.islice(rows, count):
                line += 1
                if problem.split in roles:
                    yield problem

        task, text, seed = self.work.task, self.text(teacher), self.study.seed
        for request in requests_for_teacher(task, passing(), config, text, seed, sources):
            yield line * config.samples + request.sample, request

    def sources(self, teacher: str) -> Sources:
        """Return the traces that a teacher works on, by problem; empty if it works on problems alone."""
        source = self.source_of(teacher)
        return {} if source is None else lookup(self.work.run.path(f"traces/{source}.jsonl"), Trace)

    def _ask(self, teacher: str, config: TeacherConfig) -> int:
        """Call a model teacher; write traces, failures and usage, and return the number of failures.

        Answers arrive in any order and are written in the problems' order through a temporary file, so memory does not
        grow with the problems. An interrupted run resumes where it stopped; the cached part before that is processed at
        the end.
        """
        text, usage, run = self.text(teacher), Usage(), self.work.run
        output = run.path(f"traces/{teacher}.jsonl")
        places: dict[str, int] = {}
        mark = ResumeMark(output)
        start = mark.read()
        number = errors = 0
        sources = self.sources(teacher)
        with OrderedOutput(output) as spool:

            def placed() -> Iterator[Request]:
                ahead, behind = self._numbered(teacher, sources, start), self._numbered(teacher, sources, 0, start)
                for place, request in itertools.chain(ahead, behind):
                    places[request.request_id] = place
                    yield request

            total = self._count(teacher) if self.source_of(teacher) is None else None
            answers = buy(
                self.work, teacher, config, teacher_engine(self.work, teacher, config), placed(), usage, total
            )
            for number, generation in enumerate(answers, start=1):
                result = trace_of(self.work.task, generation, config, text, teacher, sources)
                kind = "t" if isinstance(result, Trace) else "f"
                errors += isinstance(result, Failure) and result.finish == "error"
                spool.put(places.pop(generation.request_id), kind, dumps(result))
                if number % NOTED == 0 and places:
                    oldest = next(iter(places.values())) // config.samples  # everything before it is answered
                    mark.note(max(start, oldest))
            with atomic(output) as stream:
                stream.writelines(spool.lines("t"))
            lost = 0
            with atomic(run.path(f"traces/{teacher}.failures.jsonl")) as stream:
                for line in itertools.chain(spool.lines("f"), self._without_source(teacher, sources)):
                    stream.write(line)
                    lost += 1
        mark.remove()
        # beside the traces, and no node's input: equal traces may have cost differently
        write_json(run.path(f"traces/{teacher}.usage.json"), to_json(usage, defaults=True))
        if errors and errors == number:
            raise InputError(
                f"teachers.{teacher}: no trace was made: all {number} requests failed; the causes are listed "
                "above and in "
                f"traces/{teacher}.failures.jsonl. Fix them, then run again with teachers.{teacher}.retry_failed=true"
            )
        return lost

    def _count(self, teacher: str) -> int | None:
        """Return the number of requests, as recorded when the problems were drawn; None if unknown."""
        path = self.work.run.path("problems.report.json")
        sizes = read_json(path).get("sizes", {}) if path.exists() else {}
        roles = self.roles(teacher)
        if not all(role in sizes for role in roles):
            return None
        return sum(int(sizes[role]) for role in roles) * self.study.teachers[teacher].samples

    def _without_source(self, teacher: str, sources: Sources) -> Iterator[str]:
        """Yield a failure for each problem without a source trace."""
        source = self.source_of(teacher)
        if source is None:
            return
        roles = self.roles(teacher)
        for problem in self.work.each_problem():
            if problem.split in roles and sources.get(problem.problem_id) is None:
                cause = f"{source} made no traces to work on"
                yield dumps(Failure(problem.problem_id, teacher, 0, "error", cause, "")) + "\n"

    def dry_run(self) -> None:
        """Print each model teacher's first prompt, calls, tokens and cost, without calling it."""
        judge = self.study.validation.judge
        if judge != "none":
            self.work.screen.say(f"  {judge}: judges what rules leave undecided; how much depends on the traces")
        models = [name for name in self.needed() if self.study.teachers[name].kind in ("model", "student")]
        if not models:
            self.work.screen.say("this study has no model teacher: teaching costs nothing")
        for teacher in models:
            source = self.source_of(teacher)
            if source is not None and not self.work.run.path(f"traces/{source}.jsonl").exists():
                self.work.screen.say(f"  {teacher}: works on the traces of {source}, which do not exist yet")
                continue
            engine = teacher_engine(self.work, teacher, self.study.teachers[teacher])
            with open_cache(self.work) as cache:
                announce(self.work, teacher, self.requests(teacher, self.sources(teacher)), engine, cache)


def _noted(traces: Iterable[Trace], taught: set[str]) -> Iterator[Trace]:
    """Yield the traces and record each problem's id."""
    for trace in traces:
        taught.add(trace.problem_id)
        yield trace
