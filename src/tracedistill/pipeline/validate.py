"""The validate stage: rules judge every trace, a model judges what they leave open; and that model's audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.prompts import JUDGE_PROMPTS
from tracedistill.compute import Part, PartOutput, lookup
from tracedistill.engines import Engine, Generation, Request, Sampling
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl, to_json, write_json, write_jsonl
from tracedistill.pipeline.engines import answered_by, teacher_engine
from tracedistill.pipeline.paid_calls import Usage, buy
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import SCRIPTED, TeacherConfig
from tracedistill.records import Message, Problem, Trace
from tracedistill.tasks import get_task
from tracedistill.validation import Keep, RejectionTally, Validation, validate, with_judged
from tracedistill.validation.judge_audit import JudgeAudit, audit_judge
from tracedistill.validation.judge_verdicts import items_for, judged_of
from tracedistill.validation.labels import read_labels
from tracedistill.validation.model_judge import JudgeItem, ModelVerdict, judge_items


def judge_params(work: StudyRun) -> dict[str, Any]:
    """Return what verdicts depend on: the recipe's rule and, with a model judge, all that shapes its answers."""
    plain = work.plain["validation"]
    params: dict[str, Any] = {"keep": plain["keep"], "leaks": plain["leaks"]}
    if plain["judge"] != "none":
        config = answered_by(work.plain["teachers"][plain["judge"]])
        params |= {
            "judge": plain["judge"],
            "asks": plain["judge_asks"],
            "model": config,
            "prompts": JUDGE_PROMPTS,
            "seed": work.study.seed,
        }
    return params


@dataclass(frozen=True, slots=True)
class RulesJob:
    """The judging of traces by rules, for any process."""

    task: str
    problems: Path
    keep: Keep
    """Which traces the recipe's rule accepts."""
    leaks: str
    """Treatment of plans that give away the solution."""
    special: frozenset[str]
    """Special tokens of the students, which no trace may contain."""
    tallied: bool
    """Whether the verdicts are counted; they are not final if a model judges after the rules."""

    def open(self) -> Callable[[Part], PartOutput]:
        """Load the judges."""
        task, problems = get_task(self.task), lookup(self.problems, Problem)

        def judge(part: Part) -> PartOutput:
            tally = RejectionTally(problems)

            def verdicts() -> Iterator[Validation]:
                for trace in part.records(Trace):
                    (verdict,) = validate(task, problems, (trace,), self.keep, self.leaks, self.special)
                    if self.tallied:
                        tally.add(trace, verdict)
                    yield verdict

            return PartOutput(verdicts(), tally.counts)

        return judge


def judge_traces(work: StudyRun, teacher: str) -> None:
    """Judge a teacher's traces part by part, and report what the recipe's rule drops."""
    path, output = work.run.path(f"traces/{teacher}.jsonl"), work.run.path(f"validation/{teacher}.jsonl")
    rule, where = work.study.validation, work.run.path("problems.jsonl")
    problems = lookup(where, Problem)
    tally, by_rules = RejectionTally(problems, rule.judge), RejectionTally(problems)

    def tallied(trace: Trace, verdict: Validation) -> Validation:
        tally.add(trace, verdict)
        return verdict

    special = _special_tokens(work, teacher)
    job = RulesJob(work.study.task.name, where, rule.keep, rule.leaks, special, rule.judge == "none")
    with work.screen.bar(f"judging traces of {teacher}") as update:
        work.write_by_parts(job, [path], output, take=by_rules.add_counts, progress=update)

    def judged() -> Iterator[tuple[Trace, Validation]]:
        return zip(read_jsonl(path, Trace), read_jsonl(output, Validation), strict=True)

    if rule.judge != "none":
        ask_all = rule.judge_asks == "all"
        items = [
            item
            for trace, verdict in judged()
            for item in items_for(
                work.task.render_problem(problems[trace.problem_id]), trace, verdict.trace, ask_all=ask_all
            )
        ]
        answers = _ask(work, teacher, items)
        del items
        write_jsonl(
            output,
            (
                tallied(trace, with_judged(
                    verdict, judged_of(rule.judge, trace.trace_id, verdict.trace, answers), rule.keep
                ))
                for trace, verdict in judged()
            ),
        )  # fmt: skip
    report = (tally if rule.judge != "none" else by_rules).report()
    write_json(work.run.path(f"validation/{teacher}.report.json"), to_json(report, defaults=True))
    work.screen.say(f"  {teacher}: {report.accepted} of {report.traces} traces accepted")
    marked = sum(count for reason, count in report.reasons.items() if reason in ("left-over marker", "lone surrogate"))
    if marked:
        work.screen.say(
            f"  {teacher}: {marked} traces contain thinking marks, control tokens or broken characters and "
            "are not used "
            f"(reasons in validation/{teacher}.jsonl)"
        )
    if report.judge is not None:
        work.screen.say(
            f"  {report.judge.judge} judged {report.judge.plans} plans and {report.judge.steps} steps, decided "
            f"{report.judge.decided} of the plans, disagreed with the rules {report.judge.disagreements} times"
        )


def learning(work: StudyRun, teacher: str) -> list[str]:
    """Return the models of the students tuned here, unless rules make the teacher's texts."""
    study = work.study
    if study.teachers[teacher].kind in ("rules", "gold"):
        return []
    students = {study.student_of(name) for name in study.tuned_arms()}
    return sorted({study.students[name].model for name in students})


def _special_tokens(work: StudyRun, teacher: str) -> frozenset[str]:
    """Return the special tokens of these students whose tokenizers are on this machine."""
    from tracedistill.engines.sizes import local_folder
    from tracedistill.engines.tokenizers import special_tokens

    tokens: set[str] = set()
    for model in learning(work, teacher):
        if not model.startswith(SCRIPTED):
            folder = local_folder(model)
            tokens |= special_tokens(folder) if folder is not None else frozenset()
            if folder is None:
                work.screen.say(f"  {model} is not on this machine yet: only common control tokens are checked")
    return frozenset(tokens)


def _ask(work: StudyRun, teacher: str, items: Sequence[JudgeItem]) -> Mapping[str, ModelVerdict]:
    """Judge a teacher's plans and steps with the model judge; return verdicts by item id."""
    name = work.study.validation.judge
    engine = JudgeEngine(work, name, f"judging-{teacher}")
    verdicts = judge_items(items, engine, sampling=engine.sampling, seed=work.study.seed)
    # the cache has its output; kept here only if it does not count
    answers = {v.item_id: v if v.void else replace(v, said="") for v in verdicts}
    write_json(work.run.path(f"validation/{teacher}.usage.json"), to_json(engine.usage, defaults=True))
    return answers


class JudgeEngine:
    """A teacher's model as judge: its calls go through the client, so that nothing is paid twice.

    `label` names the work for the panel and for the state of a batch.
    """

    def __init__(self, work: StudyRun, name: str, label: str) -> None:
        self._work, self._label = work, label
        self._config: TeacherConfig = work.study.teachers[name]
        self._engine: Engine | None = None
        self.sampling = Sampling(self._config.max_tokens, self._config.temperature, self._config.top_p)
        self.usage = Usage()

    @property
    def engine(self) -> Engine:
        """The model, opened on first use."""
        if self._engine is None:
            self._engine = teacher_engine(self._work, self._label, self._config)
        return self._engine

    def describe(self) -> dict[str, Any]:
        """Describe the judge as its model's engine does, with the recipe's system message."""
        return {**self.engine.describe(), **({"system": self._config.system} if self._config.system else {})}

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield generations, called or cached; failures are returned as such."""
        head = (Message("system", self._config.system),) if self._config.system else ()
        prompts = [replace(request, messages=(*head, *request.messages)) for request in requests] if head else requests
        yield from buy(self._work, self._label, self._config, self.engine, prompts, self.usage)


def audit_of(work: StudyRun, judge: str, labels: Path) -> JudgeAudit:
    """Measure a judge of the recipe against labelled rows. Raises InputError if it is not a model, and for bad rows."""
    config = work.study.teachers.get(judge)
    if config is None or config.kind != "model":
        models = ", ".join(name for name, teacher in work.study.teachers.items() if teacher.kind == "model")
        raise InputError(f"--judge {judge}: no such teacher of kind model in the recipe; it has: {models or 'none'}")
    rows = list(read_labels(labels))
    engine = JudgeEngine(work, judge, f"audit-{judge}")
    return audit_judge(rows, engine, sampling=engine.sampling, seed=work.study.seed)
