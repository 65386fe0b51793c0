"""What the pieces of a study do: each method reads files of the run folder and writes others, whole or not at all."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.engines import Engine
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.errors import InputError, MissingSplitError
from tracedistill.interventions import NO_TRACE, intervene
from tracedistill.pipeline.graph import RunFolder, discard
from tracedistill.pipeline.screen import Screen, counted
from tracedistill.pipeline.teaching import SCRIPTED, Teaching
from tracedistill.prompts import PROMPTS, needs_plan, prompt_text
from tracedistill.recipes import Arm, Study, resolved
from tracedistill.records import Attempt, Example, Problem, Trace
from tracedistill.scoring import score
from tracedistill.sft import examples_for
from tracedistill.store import read_json, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.students import attempt_all, requests_for, shots_for
from tracedistill.tasks import Source, Task, get_task
from tracedistill.tasks.overlap import duplicates, overlap, sample
from tracedistill.validation import Validation, report_rejection, validate


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

    def arms_of(self, student: str) -> list[str]:
        """The tuned arms of a student."""
        return [name for name in self.study.tuned_arms() if self.study.student_of(self.study.arms[name]) == student]

    def make_problems(self) -> None:
        """Draw the study's problems; report overlaps, duplicates and golds that fail their own judge."""
        config, seed = self.study.task, self.study.seed
        data_dir = None if config.data_dir is None else Path(self.beside_recipe(config.data_dir))
        path = None if config.path is None else self.beside_recipe(config.path)
        source = Source(data_dir, path, config.columns, seed)
        train = self._load("train", config.train_split, source, config.train)
        test = self._load("test", config.test_split, source, config.test)
        validation: list[Problem] = []
        if config.validation != 0:
            validation = self._load_validation(source)
        if config.validation != 0 and not validation:
            # the source has none: a seeded part of train, so that the rest is still a sample of it
            size = min(config.validation or len(train) // 10, len(train) // 2)
            held = {problem.problem_id for problem in sample(train, size, seed + 1)}
            validation = [replace(problem, split="validation") for problem in train if problem.problem_id in held]
            train = [problem for problem in train if problem.problem_id not in held]
        shared = {"train/test": overlap(test, train), "train/validation": overlap(validation, train),
                  "validation/test": overlap(test, validation)}  # fmt: skip
        seen = {
            i for name in ("train/test", "train/validation") for repeat in shared[name].repeats for i in repeat.others
        }
        if self.study.validation.overlap == "drop":
            train = [problem for problem in train if problem.problem_id not in seen]
        problems = [*train, *validation, *test]
        _check_ids(problems)
        if not test:
            raise InputError(f"task {config.name}: split '{config.test_split}' has no problems")
        write_json(
            self.run.path("problems.report.json"),
            {
                "sizes": {"train": len(train), "validation": len(validation), "test": len(test)},
                "overlap": shared,
                "dropped_from_train": sorted(seen) if self.study.validation.overlap == "drop" else [],
                "duplicates": {"train": duplicates(train), "test": duplicates(test)},
                "audit": {p.problem_id: found for p in problems if (found := self.task.audit(p))},
            },
        )
        write_jsonl(self.run.path("problems.jsonl"), problems)

    def beside_recipe(self, path: str) -> str:
        """A path as given, or beside the recipe where it is not found from the working folder (hub ids stay)."""
        beside = self.recipe.parent / path
        # `{split}` stands for a name: what can be looked for is the folder
        found = beside.parent if "{" in path else beside
        given = Path(path).parent if "{" in path else Path(path)
        return str(beside) if not given.exists() and found.exists() else path

    def _load_validation(self, source: Source) -> list[Problem]:
        """The source's own validation split; empty where it has none."""
        config = self.study.task
        if config.validation_split not in self.task.splits:
            return []
        try:
            return self._load("validation", config.validation_split, source, config.validation)
        except MissingSplitError:
            return []

    def _load(self, role: str, split: str, source: Source, size: int | None) -> list[Problem]:
        """Problems of a source's split, sampled, under the role that they play in the study."""
        problems = list(self.task.load(split, replace(source, size=size)))
        chosen = problems if size is None else sample(problems, size, self.study.seed)
        return [replace(problem, split=role) for problem in chosen]

    def problems(self, *roles: str) -> list[Problem]:
        """Problems with these roles (train, validation, test; all where none is named), as the study drew them."""
        every = read_jsonl(self.run.path("problems.jsonl"), Problem)
        return [problem for problem in every if not roles or problem.split in roles]

    def make_validation(self, teacher: str) -> None:
        """Judge a teacher's traces, and report what the recipe's rule drops."""
        problems = {problem.problem_id: problem for problem in self.problems()}
        path, output = self.run.path(f"traces/{teacher}.jsonl"), self.run.path(f"validation/{teacher}.jsonl")
        rule = self.study.validation
        with self.screen.bar(f"judging traces of {teacher}") as update:
            verdicts = validate(self.task, problems, read_jsonl(path, Trace), rule.keep, rule.leaks)
            write_jsonl(output, counted(verdicts, update, len(problems)))
        judged = zip(read_jsonl(path, Trace), read_jsonl(output, Validation), strict=True)
        report = report_rejection(problems, judged)
        write_json(self.run.path(f"validation/{teacher}.report.json"), to_json(report, defaults=True))
        self.screen.say(f"  {teacher}: {report.accepted} of {report.traces} traces accepted")

    def _traces(self, teacher: str, *, accepted: bool) -> dict[str, Trace]:
        """One trace per problem; `accepted`: only what validation lets pass."""
        good = {
            verdict.trace_id
            for verdict in read_jsonl(self.run.path(f"validation/{teacher}.jsonl"), Validation)
            if verdict.accepted or not accepted
        }
        traces: dict[str, Trace] = {}
        for trace in read_jsonl(self.run.path(f"traces/{teacher}.jsonl"), Trace):
            if trace.trace_id in good:
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

    def make_adapter(self, name: str) -> None:
        """Runs inside the launched process."""
        from tracedistill.train import train_arm

        study = self.study
        student = study.student_of(study.arms[name])
        dropped = set(read_json(self.run.path(f"sft/{student}.preflight.json"))["dropped"])
        rows = [row for row in read_jsonl(self.run.path(f"sft/{name}.jsonl"), Example) if row.problem_id not in dropped]
        train_arm(
            name=name,
            rows=rows,
            student=study.students[student],
            training=study.training,
            seed=study.seed,
            output=self.run.path(f"adapters/{name}"),
            tracking=study.tracking,
            run_name=f"{study.study}/{name}",
        )

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

    def make_attempts(self, name: str) -> None:
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
        write_json(self.run.path(f"generations/{name}.engine.json"), engine.describe())
        discard(partial)

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

        write_report(self.study, self.task, self.run.folder, {p.problem_id: p for p in self.problems("test")})


def _check_ids(problems: Sequence[Problem]) -> None:
    seen: dict[str, str] = {}
    for problem in problems:
        if problem.problem_id in seen:
            raise InputError(
                f"problem id '{problem.problem_id}' stands twice ({seen[problem.problem_id]}, {problem.split})"
            )
        seen[problem.problem_id] = problem.split
