"""The evaluate stage: parity of merged adapters, every arm's attempts, and their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import ANSWER_TASK, parse_completion
from tracedistill.engines.vllm import lora_obstacle
from tracedistill.evaluation.batches import ArmRun, attempt_batches, merged_attempts
from tracedistill.evaluation.requests import ArmRequests, requests_for, shots_for
from tracedistill.evaluation.scoring import ScoreJob
from tracedistill.files import content_id, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.pipeline.engines import Endpoint, arm_engine, local_engine
from tracedistill.pipeline.graph import UNFINISHED, discard
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.trace_selection import places, select_traces
from tracedistill.recipes import OWN, Arm, arm_of, arm_of_run, choose_on, run_name
from tracedistill.records import Attempt, Problem, Trace
from tracedistill.sft.messages import PromptSpec
from tracedistill.tasks._overlap import sample_ids

PAYS = 10
"""A check of n prompts generates and scores each of them twice; merging saves about a fifth of an attempt's time."""


SERVED_AS_IT_IS = "vLLM serves it as a LoRA module"
"""Reason for not merging an adapter."""


class Evaluation:
    """The evaluation of one study's arms."""

    def __init__(self, work: StudyRun) -> None:
        self.work = work
        self.study = work.study

    # ---- requests

    def prompt_spec(self, name: str) -> PromptSpec:
        """Return how an arm is prompted."""
        study, work, arm = self.study, self.work, self.study.arms[name]
        shots: list[tuple[Problem, Trace | None]] = []
        if arm.prompt == "few-shot":
            train = work.problems("train")
            chosen = shots_for(arm, train, study.seed)
            known: Mapping[str, Trace] = {}
            if arm.shots_with_traces:
                person = arm.traces == "reviewed"
                order = places(problem.problem_id for problem in chosen)
                known = select_traces(work, study.teacher_of(arm), order, accepted=True, reviewed=person)
            shots = [(problem, known.get(problem.problem_id)) for problem in chosen]
        config, adapter = study.evaluation, study.adapter_of(name)
        return replace(
            work.prompt_spec(arm),
            mark=ANSWER_TASK if adapter is not None and study.arms[adapter].rationale_weight is not None else "",
            samples=config.samples if arm.samples is None else arm.samples,
            temperature=config.temperature if arm.temperature is None else arm.temperature,
            shots=shots,
        )

    def runs_of(self, name: str) -> list[str]:
        """Return the runs of an arm, or of an arm `on_validation`."""
        return [run_name(name, seed) for seed in range(len(self.study.runs_of(arm_of(name))))]

    def problems_of(self, name: str) -> list[Problem]:
        """Return the problems that an arm is evaluated on: test problems, or validation problems to choose arms by."""
        if name == arm_of(name):
            return self.work.problems("test")
        held = self.work.problems("validation")
        most = choose_on(self.study.task.name, self.study.evaluation.choose_on)
        return [held[place] for place in sample_ids([problem.problem_id for problem in held], most, self.study.seed)]

    def requests_of(self, name: str, problems: Sequence[Problem], seed: int = 0) -> ArmRequests:
        """Build the requests of an arm, or of an arm `on_validation`, for these problems.

        Problems without a required plan or forced trace are left out.
        """
        arm, plans = self.study.arms[arm_of(name)], dict[str, list[Trace | None]]()
        if self.work.shows_plan(arm):
            for trace in read_jsonl(self.work.run.path(f"plans/{name}.jsonl"), Trace):
                plans.setdefault(trace.problem_id, []).append(trace)
        return requests_for(self.prompt_spec(arm_of(name)), problems, plans, self._forced(name, arm, problems, seed))

    def _forced(self, name: str, arm: Arm, problems: Sequence[Problem], seed: int) -> dict[str, Trace]:
        if arm.forced is None:
            return {}
        if arm.forced != OWN:
            traces = read_jsonl(self.work.run.path(f"forced/{name}.jsonl"), Trace)
            return {trace.problem_id: trace for trace in traces}
        twin = self.study.twin_of(name)
        assert twin is not None, "checked by the recipe reader"
        by_id, forced = {problem.problem_id: problem for problem in problems}, dict[str, Trace]()
        for attempt in read_jsonl(self.work.run.path(f"generations/{run_name(twin, seed)}.jsonl"), Attempt):
            problem, body = by_id.get(attempt.problem_id), parse_completion(attempt.text).trace
            if problem is not None and body and not attempt.cut_off and attempt.problem_id not in forced:
                extracted = self.work.task.judge_answer(problem, attempt.text).answer.extracted
                steps = self.work.task.read_trace(body)
                trace_id = content_id(OWN, attempt.attempt_id, body)
                forced[attempt.problem_id] = Trace(
                    trace_id, attempt.problem_id, attempt.student, steps, body, extracted, intervention=OWN
                )
        return forced

    # ---- the nodes of the graph

    def make_parity(self, name: str, seed: int) -> None:
        """Decide whether an adapter may be merged, from greedy answers both ways on problems outside the test set."""
        study, work, run = self.study, self.work, run_name(name, seed)
        output, folder = work.run.path(f"adapters/{run}.parity.json"), work.run.path(f"adapters/{run}")
        student = study.student_of(name)
        limit, wanted = study.evaluation.parity_limit, study.evaluation.parity
        served = SERVED_AS_IT_IS if self.is_served_as_it_is(run) else ""
        why = served or self._why_apart(name, student, needed=self._is_served(student))
        if why:
            write_json(output, {"merged": False, "why": why, "n": 0})
            return
        from tracedistill.engines.local import LocalEngine
        from tracedistill.engines.parity import allowed, parity

        problems = (work.problems("validation") or work.problems("train"))[:wanted]
        requests = requests_for(replace(self.prompt_spec(name), samples=1, temperature=0.0), problems, {}, {}).requests
        engine = local_engine(work, student)
        assert isinstance(engine, LocalEngine), "a scripted student cannot be tuned"
        measured = parity(engine, folder, requests, self.judge(problems), study.evaluation.batch_size)
        merged = allowed(measured, limit)
        write_json(output, {"merged": merged, **to_json(measured, defaults=True), "limit": limit})
        work.screen.say(
            f"  {run}: merged weights change {measured.verdicts_changed} of {measured.n} verdicts, "
            f"so the adapter is {'merged' if merged else 'kept apart'}"
        )

    def attempts_with(self, adapter: str) -> int:
        """Count the attempts per test problem that use one adapter, over all its arms."""
        study = self.study
        return sum(study.samples_of(name) for name in study.arms if study.adapter_of(name) == adapter)

    def _is_served(self, student: str) -> bool:
        return self.study.students[student].engine == "vllm"

    def is_served_as_it_is(self, run: str) -> bool:
        """Return whether vLLM serves a run's adapter as a LoRA module, which needs no merging or checking."""
        student = self.study.student_of(arm_of_run(run))
        adapter = self.work.run.path(f"adapters/{run}")
        lora = self.study.training.method == "lora" and adapter.exists()
        return self._is_served(student) and lora and not lora_obstacle(adapter)

    def _why_apart(self, name: str, student: str, *, needed: bool) -> str:
        """Return why an adapter stays separate without a check; empty if it must be checked.

        `needed`: the engine only takes merged adapters, however few prompts there are.
        """
        config = self.study.evaluation
        if config.merge == "never":
            return "evaluation.merge is never"
        if self.study.training.method == "full":
            return "all weights were tuned: there is nothing to merge"
        if self.study.students[student].quantization != "none":
            return "4-bit weights keep the adapter apart"
        attempts = self.attempts_with(name) * len(self.work.problems("test"))
        if config.merge == "auto" and not needed and attempts < PAYS * config.parity:
            return f"{attempts} attempts do not pay for the check, which needs {PAYS} times its {config.parity} prompts"
        return ""

    def judge(self, problems: Sequence[Problem]) -> Callable[[str, str], str]:
        """Return a function of (request id, text) that judges the answer."""
        by_id = {problem.problem_id: problem for problem in problems}

        def judge(request_id: str, text: str) -> str:
            return self.work.task.judge_answer(by_id[request_id.rpartition("/")[0]], text).answer.outcome

        return judge

    def make_attempts(self, name: str, seed: int) -> dict[str, Any]:
        """Generate an arm's attempts; each of several processes takes its share of the batches."""
        study, run, own = self.study, run_name(name, seed), arm_of(name)
        student, problems = study.student_of(own), self.problems_of(name)
        prompts = self.requests_of(name, problems, seed)
        engine = arm_engine(self.work, own, seed)
        facts: dict[str, Any] = {"engine": engine.describe(), "processes": self.work.share[1]}
        todo = ArmRun(
            name=run,
            arm=own,
            student=student,
            prompts=prompts,
            batch_size=max(study.evaluation.batch_size, 4 * study.students[student].concurrency)
            if isinstance(engine, Endpoint)
            else study.evaluation.batch_size,
            folder=self.work.run.path("generations"),
            seed=seed,
        )
        with self.work.screen.bar(run) as update:
            attempt_batches(engine, todo, update, self.work.share, self.work.barrier)
        if self.work.share[0] == 0:
            done = [*merged_attempts(engine, todo), *self._unasked(todo, problems)]
            write_jsonl(self.work.run.path(f"generations/{run}.jsonl"), done)
            for partial in todo.partials():
                discard(partial)
            facts |= self._failed_calls(run, done)
            if isinstance(engine, Endpoint):
                facts |= engine.facts()
        return facts

    def _failed_calls(self, run: str, done: Sequence[Attempt]) -> dict[str, str]:
        """Report failed calls to an endpoint, and have the next run repeat them."""
        causes = Counter(attempt.error for attempt in done if attempt.error and attempt.finish == "error")
        if not causes:
            return {}
        cause, times = causes.most_common(1)[0]
        message = f"{causes.total()} of {len(done)} calls failed, {times} of them by: {cause}"
        self.work.screen.say(f"  {run}: {message}. They count as missing answers; run the same command to repeat them.")
        return {UNFINISHED: f"{message}; they are repeated"}

    def _unasked(self, run: ArmRun, problems: Sequence[Problem]) -> Iterator[Attempt]:
        """Yield empty attempts for problems without a plan or forced trace, so that they stay in the denominator."""
        requested = {request.request_id for request in run.prompts.requests}
        for problem in problems:
            for number in range(self.study.samples_of(run.arm)):
                key = f"{problem.problem_id}/{number}"
                if key not in requested:
                    yield Attempt(
                        attempt_id=f"{run.name}/{key}",
                        problem_id=problem.problem_id,
                        arm=run.arm,
                        student=run.student,
                        text="",
                        finish="no-plan",
                        tokens_in=0,
                        tokens_out=0,
                        seconds=0.0,
                        sample=number,
                        seed=run.seed,
                    )

    def make_scores(self, name: str) -> None:
        """Judge the attempts of all runs of an arm, or of an arm `on_validation`."""
        arm, runs = self.study.arms[arm_of(name)], self.runs_of(name)
        sources = tuple(self.work.run.path(f"generations/{run}.jsonl") for run in runs)
        job = ScoreJob(
            self.study.task.name,
            self.work.run.path("problems.jsonl"),
            self.work.trace_wanted(arm),
            sources,
            tuple(self._forced_file(name, arm, seed) for seed in range(len(runs))),
        )
        with self.work.screen.bar(f"judging attempts of {name}") as update:
            self.work.write_by_parts(job, sources, self.work.run.path(f"attempts/{name}.jsonl"), progress=update)

    def _forced_file(self, name: str, arm: Arm, seed: int) -> Path | None:
        """Return the file of traces that an arm's student is prefilled with, or None."""
        if arm.forced is None:
            return None
        if arm.forced != OWN:
            return self.work.run.path(f"forced/{name}.jsonl")
        own = self.work.parts / f"own.{seed}.jsonl"
        write_jsonl(own, self._forced(name, arm, self.work.problems("test"), seed).values())
        return own

    def determinism(self, name: str, n: int) -> list[Any]:
        """Count how many of n texts and verdicts of an arm change with the batch size."""
        from tracedistill.engines.parity import determinism

        size = self.study.evaluation.batch_size
        problems = self.work.problems("test")[:n]
        requests = self.requests_of(name, problems).requests
        others = sorted({1, max(1, size // 2), 2 * size} - {size})
        return list(determinism(arm_engine(self.work, name), requests, size, others, self.judge(problems)))
