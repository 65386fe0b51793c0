"""Chat with an arm of a study: questions are rendered exactly as the study renders its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from tracedistill.chat.formats import parse_completion, split_reasoning
from tracedistill.chat.templates import system_in_user_turn
from tracedistill.engines import Engine, Request, Sampling
from tracedistill.errors import InputError
from tracedistill.evaluation.requests import requests_for
from tracedistill.files import content_id, read_json
from tracedistill.pipeline.engines import arm_engine, local_engine, teacher_engine
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.pipeline.paid_calls import Usage, buy
from tracedistill.pipeline.teach import Teachers
from tracedistill.recipes import SCRIPTED, run_name
from tracedistill.records import Message, Problem, Trace, Verdict
from tracedistill.teachers import Failure, requests_for_teacher, trace_of
from tracedistill.tools.open_study import FULL, OpenStudy, shown_model

AD_HOC = "asked"
"""Id and split of a problem that is not the study's."""


@dataclass(frozen=True, slots=True)
class Question:
    """A user's question."""

    text: str
    context: tuple[str, ...] = ()
    """Story lines, facts or passages before it."""
    choices: tuple[str, ...] = ()
    """Choices of a multiple-choice question, without letters."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question."""

    messages: tuple[Message, ...]
    """The chat as it was sent."""
    text: str
    """The student's text."""
    trace: str | None
    """The trace before its answer."""
    answer: str | None
    """Its final answer, if its format marks one."""
    finish: str
    """stop, or length: cut off."""
    tokens: int
    """Generated tokens."""
    plan: str | None = None
    """The plan that was shown."""
    gold: str | None = None
    """Gold answer of a problem of the study."""
    verdict: Verdict | None = None
    """Verdict on the answer to a problem of the study."""


@dataclass(slots=True)
class Conversation:
    """A chat with one arm of a study."""

    opened: OpenStudy
    arm: str
    seed: int = 0
    """Seed of the adapter."""
    plain: bool = False
    """Send the bare question as the user's turn, without the arm's prompt; the student's system message stays."""
    plan: str | None = None
    """A plan to show instead of the teacher's."""
    how: str = ""
    """Description of the student and its adapter, merged or separate."""
    _engine: Engine | None = None
    _history: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Load the arm's engine. Raises InputError for an arm that cannot chat."""
        study, arm = self.opened.study, self.opened.study.arms[self.opened.arm(self.arm)]
        if arm.forced is not None:
            twin = study.twin_of(self.arm)
            raise InputError(
                f"arm {self.arm} prefills its student's answer with a trace; chat with "
                f"{twin or 'an arm that does not'} instead"
            )
        if self.plan is not None and not self.opened.work.shows_plan(arm):
            raise InputError(f"--plan: the prompt of arm {self.arm} shows no plan")
        if arm.prompt == "few-shot" and not self.plain and not (self.opened.folder / "problems.jsonl").exists():
            raise InputError(f"arm {self.arm} shows solved problems; first run: {self.opened.command('validate')}")
        self._engine, self.how = self._load()

    # ---- questions

    def ask(self, question: Question) -> Reply:
        """Send a question after the conversation so far, and add it with its answer to the conversation.

        Raises InputError if the task cannot render it, no plan is available, or the student does not answer.
        """
        if self.plain:
            return self._send(self._plain(question.text), None)
        problem = self._problem(question)
        plan = self._plan_for(problem)
        return self._send(self._request(problem, plan), plan)

    def ask_known(self, problem_id: str) -> Reply:
        """Send a problem of the study exactly as the study does (its plan included), and judge the answer."""
        path = self.opened.folder / "problems.jsonl"
        if not path.exists():
            raise InputError(f"--problem {problem_id}: no problems yet; first run: {self.opened.command('teach')}")
        problem = next(
            (candidate for candidate in self.opened.work.problems() if candidate.problem_id == problem_id), None
        )
        if problem is None:
            raise InputError(f"--problem {problem_id}: {path} has no problem of this id")
        plan = self._known_plan(problem)
        request = self._plain(self._rendered(problem)) if self.plain else self._request(problem, plan)
        reply = self._send(request, plan)
        task = self.opened.work.task
        verdict = task.judge_answer(problem, reply.text).answer
        return replace(reply, gold=task.render_answer(problem), verdict=verdict)

    def forget(self) -> None:
        """Start a new conversation."""
        self._history.clear()

    def _send(self, request: Request, plan: Trace | None) -> Reply:
        *before, last = request.messages
        request = replace(request, messages=(*before, *self._history, last))
        if self._engine is None:
            self._engine, self.how = self._load()
        (reply,) = self._engine.generate([request])
        if reply.finish == "too-long":
            advice = "; an empty line starts a new conversation" if self._history else ""
            raise InputError(f"question plus max_tokens exceeds the student's context window{advice}")
        if reply.finish in ("error", "refusal"):
            raise InputError(f"arm {self.arm}: no answer ({reply.finish}): {reply.error or 'no cause given'}")
        parts = parse_completion(reply.text)
        self._history += [last, Message("assistant", self._remembered(reply.text))]
        shown = None if plan is None else plan.text
        return Reply(request.messages, reply.text, parts.trace, parts.answer, reply.finish, reply.tokens_out, shown)

    def _remembered(self, text: str) -> str:
        """Return what later turns show of an answer: thinking families do not show earlier thinking."""
        if self.opened.study.format != "reasoning":
            return text
        parts = split_reasoning(text)
        return parts[1] if parts else text

    # ---- prompts

    def _plain(self, text: str) -> Request:
        study = self.opened.study
        arm = study.arms[self.arm]
        student = study.student_config(arm)
        head = (Message("system", student.system),) if student.system else ()
        messages = (*head, Message("user", text))
        if student.system_role == "user":
            messages = system_in_user_turn(messages)
        temperature = study.evaluation.temperature if arm.temperature is None else arm.temperature
        seed = int(content_id(study.seed, AD_HOC)[:12], 16)
        return Request(AD_HOC, messages, Sampling(arm.max_tokens, temperature), seed)

    def _request(self, problem: Problem, plan: Trace | None) -> Request:
        spec = replace(Evaluation(self.opened.work).prompt_spec(self.arm), samples=1)
        self._rendered(problem)
        plans = {} if plan is None else {problem.problem_id: [plan]}
        return requests_for(replace(spec, arm=replace(spec.arm, plans=1)), [problem], plans, {}).requests[0]

    def _problem(self, question: Question) -> Problem:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        if len(question.choices) > len(letters):
            raise InputError(f"--choice: {len(question.choices)} choices, at most {len(letters)}")
        choices = tuple(zip(letters, question.choices, strict=False))
        name = self.opened.study.task.name
        return Problem(AD_HOC, name, AD_HOC, question.text, context=question.context, choices=choices)

    def _rendered(self, problem: Problem) -> str:
        try:
            return self.opened.work.task.render_problem(problem)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"task {problem.task} cannot render a new question ({type(error).__name__}: {error}); ask one of the "
                "study's own problems with --problem ID, or send your text as it is with --plain"
            ) from error

    # ---- plans

    def _known_plan(self, problem: Problem) -> Trace | None:
        arm = self.opened.study.arms[self.arm]
        if self.plain or not self.opened.work.shows_plan(arm):
            return None
        path = self.opened.folder / "plans" / f"{self.arm}.jsonl"
        if self.plan is None and path.exists():
            prompts = Evaluation(self.opened.work).requests_of(self.arm, [problem])
            if prompts.requests:
                return prompts.shown[prompts.requests[0].request_id]
        return self._plan_for(problem.blind())

    def _plan_for(self, problem: Problem) -> Trace | None:
        """Return the plan for the arm's prompt, made by its teacher now if possible."""
        work, study = self.opened.work, self.opened.study
        arm = study.arms[self.arm]
        if not work.shows_plan(arm):
            return None
        if self.plan is not None:
            return Trace(content_id(AD_HOC, self.plan), problem.problem_id, AD_HOC, (), self.plan)
        teacher = study.teacher_of(arm)
        config = study.teachers[teacher]
        remedy = "give one with --plan FILE, or ask one of the study's test problems with --problem ID"
        if arm.plan != "correct":
            raise InputError(f"arm {self.arm} shows plans changed by '{arm.plan}', among a study's problems; {remedy}")
        if config.kind == "rules":
            trace = work.task.decompose(problem)
            if trace is None:
                raise InputError(
                    f"arm {self.arm} shows a plan, but the rules cannot make one for this question; {remedy}"
                )
            return trace
        text = Teachers(work).text(teacher) if config.kind in ("model", "student") else ""
        if config.kind not in ("model", "student") or "{answer}" in text or "{trace}" in text:
            raise InputError(
                f"arm {self.arm} shows a plan, but teacher {teacher} cannot make one for a new question; {remedy}"
            )
        request = next(requests_for_teacher(work.task, [problem], config, text, study.seed, {}))
        self._engine = None  # a student that plans for itself does so without adapter
        (reply,) = buy(work, teacher, config, teacher_engine(work, teacher, config), [request], Usage())
        plan = trace_of(work.task, reply, config, text, teacher, {})
        if isinstance(plan, Failure):
            raise InputError(f"arm {self.arm} shows a plan, but {teacher} made none: {plan.cause}; {remedy}")
        return plan

    # ---- engines

    def _dtype(self, student: str) -> str:
        """Return the student's dtype as stored in the run folder."""
        return self.opened.work.study.students[student].dtype

    def _load(self) -> tuple[Engine, str]:
        """Load the arm's engine and describe it in words."""
        study, work = self.opened.study, self.opened.work
        student = study.student_of(self.arm)
        config, owner = study.students[student], study.adapter_of(self.arm)
        name = f"{student} ({shown_model(config.model)}"
        if config.base_url is not None:
            return arm_engine(work, self.arm, self.seed), f"{name} at its endpoint)"
        if owner is None or config.model.startswith(SCRIPTED):
            of = "" if config.model.startswith(SCRIPTED) else f", {self._dtype(student)}"
            return local_engine(work, student), f"{name}{of}), untuned"
        folder = self.opened.adapter(self.arm, self.seed)
        tuned = f"tuned on arm {owner}" if owner != self.arm else "tuned"
        if (folder / FULL).is_file():
            return local_engine(work, student, folder), f"{name}, {self._dtype(student)}), {tuned}, all weights"
        merged, why = _may_be_merged(self.opened.folder / "adapters" / f"{run_name(owner, self.seed)}.parity.json")
        four = ", 4-bit" if config.quantization == "nf4" else ""
        how = (
            f"{name}, {self._dtype(student)}{four}), {tuned}; adapter {'merged' if merged else 'kept separate'}: {why}"
        )
        return local_engine(work, student, folder, merge=merged), how


def _may_be_merged(path: Path) -> tuple[bool, str]:
    """Return (whether the study runs this adapter merged, why)."""
    if not path.exists():
        return False, "merging was not checked yet (`tracedistill evaluate` does)"
    parity = read_json(path)
    if not parity["n"]:
        return bool(parity["merged"]), str(parity.get("why", ""))
    return bool(parity["merged"]), f"merging changes {parity['verdicts_changed']} of {parity['n']} verdicts"


def context_of(text: str) -> tuple[str, ...]:
    """Split a context into lines, without empty ones."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
