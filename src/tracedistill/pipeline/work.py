"""What the pieces of a study do: each method reads files of the run folder and writes others, whole or not at all."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tracedistill.engines import Engine
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.errors import InputError
from tracedistill.interventions import NO_TRACE, intervene
from tracedistill.pipeline.drawing import draw_problems
from tracedistill.pipeline.graph import RunFolder, discard
from tracedistill.pipeline.judging import judge_traces
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.teaching import SCRIPTED, Teaching
from tracedistill.prompts import PROMPTS, needs_plan, prompt_text
from tracedistill.recipes import Arm, Study, resolved
from tracedistill.records import Attempt, Example, Problem, Trace
from tracedistill.scoring import score
from tracedistill.sft import examples_for
from tracedistill.store import content_id, read_json, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.students import attempt_all, requests_for, shots_for
from tracedistill.tasks import Task, get_task
from tracedistill.validation import Validation


class Workshop:
    """One study's run folder with what its stages share: the task, the problems, the engine at work."""

    def __init__(self, study: Study, recipe: Path, screen: Screen, overrides: Sequence[str] = ()) -> None:
        self.study = study
        self.recipe = recipe
        self.overrides = tuple(overrides)
        self.screen = screen
        self.run = RunFolder(study.folder, study.study)
        self.plain = resolved(study)
        self._engine: tuple[tuple[str, str | None], Engine] | None = None

    @functools.cached_property
    def task(self) -> Task:
        """The study's task."""
        return get_task(self.study.task.name)

    @functools.cached_property
    def teaching(self) -> Teaching:
        """The study's teachers."""
        return Teaching(self)

    def prompt(self, arm: Arm) -> str:
        """The text of an arm's prompt."""
        return prompt_text(arm.prompt, self.study.prompts, PROMPTS)

    def shows_plan(self, arm: Arm) -> bool:
        """Whether the arm shows its student a teacher's steps."""
        return needs_plan(self.prompt(arm))

    def trace_wanted(self, arm: Arm) -> bool:
        """Whether the arm asks its student for a trace."""
        if arm.tune is not None:
            return arm.tune != NO_TRACE
        return arm.prompt == "chain-of-thought" or self.shows_plan(arm) or arm.shots_with_traces

    def facts(self) -> dict[str, Any]:
        """What every manifest says beside its node's own settings: the whole recipe, the seed, which problems."""
        data = {}
        if self.run.path("problems.jsonl").exists():
            by_role: dict[str, list[str]] = {}
            for problem in self.problems():
                by_role.setdefault(problem.split, []).append(problem.problem_id)
            data = {role: {"n": len(ids), "ids": content_id(ids)} for role, ids in by_role.items()}
        return {"recipe": self.plain, "seed": self.study.seed, "data": data}

    def arms_of(self, student: str) -> list[str]:
        """The tuned arms of a student."""
        return [name for name in self.study.tuned_arms() if self.study.student_of(self.study.arms[name]) == student]

    def make_problems(self) -> None:
        """Draw the study's problems."""
        draw_problems(self)

    def beside_recipe(self, path: str) -> str:
        """A path as given, or beside the recipe where it is not found from the working folder (hub ids stay)."""
        beside = self.recipe.parent / path
        # `{split}` stands for a name: what can be looked for is the folder
        found = beside.parent if "{" in path else beside
        given = Path(path).parent if "{" in path else Path(path)
        return str(beside) if not given.exists() and found.exists() else path

    def problems(self, *roles: str) -> list[Problem]:
        """Problems with these roles (train, validation, test; all where none is named), as the study drew them."""
        every = read_jsonl(self.run.path("problems.jsonl"), Problem)
        return [problem for problem in every if not roles or problem.split in roles]

    def make_validation(self, teacher: str) -> None:
        """Judge a teacher's traces."""
        judge_traces(self, teacher)

    def _traces(self, teacher: str, *, accepted: bool) -> dict[str, Trace]:
        """One trace per problem; `accepted`: only what validation lets pass."""
        traces: dict[str, Trace] = {}
        verdicts = read_jsonl(self.run.path(f"validation/{teacher}.jsonl"), Validation)
        for trace, verdict in zip(read_jsonl(self.run.path(f"traces/{teacher}.jsonl"), Trace), verdicts, strict=True):
            assert trace.trace_id == verdict.trace_id, "verdicts stand in the order of the traces"
            if verdict.accepted or not accepted:
                traces.setdefault(trace.problem_id, trace)
        return traces

    def _changed(
        self, teacher: str, intervention: str, problems: Sequence[Problem], *, accepted: bool
    ) -> dict[str, Trace]:
        by_id = {problem.problem_id: problem for problem in problems}
        traces = self._traces(teacher, accepted=accepted)
        ordered = [traces[problem.problem_id] for problem in problems if problem.problem_id in traces]
        changed = intervene(intervention, self.task, by_id, ordered, self.study.seed)
        return {trace.problem_id: trace for trace in changed}

    def make_datasets(self) -> None:
        """Assemble one SFT dataset per tuned arm, all with the same rows, and the plans that arms show."""
        study, task = self.study, self.task
        train, test = self.problems("train"), self.problems("test")
        tuned = {name: study.arms[name] for name in study.tuned_arms()}
        traces = {
            name: {} if arm.tune == NO_TRACE else
            self._changed(study.teacher_of(arm), arm.tune or "correct", train, accepted=True)
            for name, arm in tuned.items()
        }  # fmt: skip
        # arms share their rows: a problem that one arm has no trace for is in none
        kept = [p for p in train if all(p.problem_id in traces[n] for n, arm in tuned.items() if arm.tune != NO_TRACE)]
        if tuned and not kept:
            raise InputError(
                f"no row to tune on: of {len(train)} training problems none has an accepted trace for every arm; "
                f"look into {self.run.path('validation')}, or set validation.keep"
            )
        facts: dict[str, Any] = {"rows": len(kept), "train_problems": len(train), "arms": {}, "plans": {}}
        for name, arm in tuned.items():
            system = study.students[study.student_of(arm)].system
            rows = examples_for(task, name, arm, self.prompt(arm), kept, traces[name], system, study.format)
            write_jsonl(self.run.path(f"sft/{name}.jsonl"), rows)
            used = [traces[name][p.problem_id] for p in kept if p.problem_id in traces[name]]
            facts["arms"][name] = self._facts(kept, used)
        for name, arm in study.arms.items():
            if self.shows_plan(arm):
                plans = self._changed(study.teacher_of(arm), arm.plan, test, accepted=False)
                if not plans:
                    raise InputError(f"arm {name}: {study.teacher_of(arm)} made no plan for any test problem")
                write_jsonl(self.run.path(f"plans/{name}.jsonl"), plans.values())
                facts["plans"][name] = self._facts(test, list(plans.values()))
        write_json(self.run.path("assembly.json"), facts)

    def _facts(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> dict[str, Any]:
        """What the report says of an arm's traces: how many, by whom, how long, and whether they hold the answer."""
        by_id = {problem.problem_id: problem for problem in problems}
        holding = sum(self.task.answer_in_trace(by_id[trace.problem_id], trace.steps) for trace in traces)
        return {
            "traces": len(traces),
            "oracle": sum(trace.oracle for trace in traces),
            "holding_answer": holding,
            "steps": sum(len(trace.steps) for trace in traces),
            "characters": sum(len(trace.text) for trace in traces),
            "judged_correct": sum(self.task.judge_trace(by_id[trace.problem_id], trace.steps).ok for trace in traces),
        }

    def make_preflight(self, student: str) -> None:
        """Check every row as the student will see it, and show a few."""
        training = self.study.training
        arms = {name: list(read_jsonl(self.run.path(f"sft/{name}.jsonl"), Example)) for name in self.arms_of(student)}
        output = self.run.path(f"sft/{student}.preflight.json")
        if self.study.students[student].model.startswith(SCRIPTED):
            raise InputError(f"student {student}: a scripted student cannot be tuned")
        from tracedistill.sft import preflight
        from tracedistill.train import load_tokenizer

        tokenizer = load_tokenizer(self.study.students[student].model)
        found = {
            name: preflight(tokenizer, rows, training.max_length, training.too_long, name)
            for name, rows in arms.items()
        }
        # a row too long in one arm is in none: arms share their rows
        dropped = sorted({problem_id for result in found.values() for problem_id, _ in result.dropped})
        for name, result in found.items():
            self.screen.say(
                f"  preflight {name}: {result.rows} rows, {result.tokens} tokens, {result.supervised} supervised"
            )
            for prompt, supervised in result.shown:
                self.screen.say(f"    ...{prompt[-60:]!r} -> {supervised!r}")
        if dropped:
            self.screen.say(
                f"  {len(dropped)} rows over {training.max_length} tokens are in no arm: {', '.join(dropped[:5])}"
            )
        write_json(output, {"dropped": dropped, "arms": to_json(found)})

    def make_adapter(self, name: str) -> dict[str, Any]:
        """Runs inside the launched process."""
        from tracedistill.train import train_arm

        study = self.study
        student = study.student_of(study.arms[name])
        dropped = set(read_json(self.run.path(f"sft/{student}.preflight.json"))["dropped"])
        rows = [row for row in read_jsonl(self.run.path(f"sft/{name}.jsonl"), Example) if row.problem_id not in dropped]
        template = train_arm(
            name=name,
            rows=rows,
            student=study.students[student],
            training=study.training,
            seed=study.seed,
            output=self.run.path(f"adapters/{name}"),
            tracking=study.tracking,
            run_name=f"{study.study}/{name}",
        )
        return {"template_hash": template}

    def engine(self, student: str, adapter: Path | None) -> Engine:
        """The engine of a student, with an arm's adapter or without; the last one is kept."""
        key = (student, None if adapter is None else str(adapter))
        if self._engine is not None and self._engine[0] == key:
            return self._engine[1]
        self._engine = None  # let go of the last model before the next is loaded
        config = self.study.students[student]
        if config.model.startswith(SCRIPTED):
            engine: Engine = ScriptedEngine.from_path(config.model.removeprefix(SCRIPTED))
        else:
            from tracedistill.engines.local import LocalEngine

            engine = LocalEngine.load(config.model, config.dtype, adapter, config.quantization)
        self._engine = (key, engine)
        return engine

    def make_attempts(self, name: str) -> dict[str, Any]:
        """Ask an arm's student about every test problem."""
        study, arm = self.study, self.study.arms[name]
        student = study.student_of(arm)
        test = self.problems("test")
        plans: dict[str, Trace] = {}
        asked = test
        if self.shows_plan(arm):
            plans = {trace.problem_id: trace for trace in read_jsonl(self.run.path(f"plans/{name}.jsonl"), Trace)}
            asked = [problem for problem in test if problem.problem_id in plans]
        shots: list[tuple[Problem, Trace | None]] = []
        if arm.prompt == "few-shot":
            chosen = shots_for(arm, self.problems("train"), study.seed)
            known = self._traces(study.teacher_of(arm), accepted=True) if arm.shots_with_traces else {}
            shots = [(problem, known.get(problem.problem_id)) for problem in chosen]
        system = study.students[student].system
        requests = requests_for(
            self.task, asked, arm, self.prompt(arm), study.evaluation, study.seed, system, study.format, plans, shots
        )  # fmt: skip
        engine = self.engine(student, self.run.path(f"adapters/{name}") if arm.tune is not None else None)
        partial = self.run.path(f"generations/{name}.partial.jsonl")
        with self.screen.bar(f"{name}") as update:
            attempts = attempt_all(
                engine, requests, study.evaluation.batch_size, name, student, partial, plans, update
            )  # fmt: skip
            write_jsonl(self.run.path(f"generations/{name}.jsonl"), [*attempts, *self._unasked(name, test, asked)])
        discard(partial)
        return {"engine": engine.describe()}

    def _unasked(self, name: str, test: Sequence[Problem], asked: Sequence[Problem]) -> Iterable[Attempt]:
        """Problems without a plan stay in the denominator: nothing was asked, so nothing was answered."""
        ids = {problem.problem_id for problem in asked}
        student = self.study.student_of(self.study.arms[name])
        for problem in test:
            if problem.problem_id not in ids:
                for number in range(self.study.evaluation.samples):
                    key = f"{name}/{problem.problem_id}/{number}"
                    yield Attempt(key, problem.problem_id, name, student, "", "no-plan", 0, 0, 0.0, number)

    def make_scores(self, name: str) -> None:
        """Judge an arm's attempts."""
        problems = {problem.problem_id: problem for problem in self.problems("test")}
        wanted = self.trace_wanted(self.study.arms[name])

        def judged() -> Iterable[dict[str, Any]]:
            for attempt in read_jsonl(self.run.path(f"generations/{name}.jsonl"), Attempt):
                result = score(self.task, problems[attempt.problem_id], attempt, trace_wanted=wanted)
                yield {
                    **to_json(attempt),
                    "answer": to_json(result.answers.answer, defaults=True),
                    "derived": to_json(result.answers.derived, defaults=True),
                    "candidate": to_json(result.answers.candidate, defaults=True),
                    "trace": to_json(result.trace, defaults=True),
                    "cut_off": result.cut_off,
                    "answer_in_trace": result.answer_in_trace,
                }

        write_jsonl(self.run.path(f"attempts/{name}.jsonl"), judged())

    def make_report(self) -> None:
        """Write the report."""
        from tracedistill.report import write_report

        problems = {problem.problem_id: problem for problem in self.problems("test")}
        write_report(self.study, self.task, self.run.folder, problems, self.teaching.needed())
