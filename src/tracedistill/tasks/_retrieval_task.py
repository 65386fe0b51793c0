"""What acre, babi, cotempqa and msmarco share: class + retrieval traces, their plans and their judge."""

from __future__ import annotations

from typing import ClassVar

from tracedistill.arithmetic.gold_plans import retrieval_plan
from tracedistill.records import Problem, Step, StepVerdict, Trace, Verdict
from tracedistill.tasks._base import ParsedTrace, Task
from tracedistill.tasks._retrieval import Grammar, normalise_class, normalise_fact


class RetrievalTask(Task):
    """A task whose traces name a class and cite facts."""

    grammar: ClassVar[Grammar]
    """How its traces are written and parsed."""
    plan: ClassVar[tuple[str, str, str]]
    """The lines of a gold plan; `{}` in the second is the number of facts."""
    answers_alone: ClassVar[bool] = False
    """Whether a text without step cues or think tag is an answer alone, and not a trace that cannot be parsed."""

    def gold_plan(self, problem: Problem) -> Trace | None:
        """Plan what to determine and how many facts to find, without naming the class or a fact."""
        return self.plan_trace(problem, retrieval_plan(problem, *self.plan))

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write class and facts in the grammar's own words, a line each."""
        return self.grammar.render(steps)

    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse class and facts in every form that the grammar accepts; parsed parts are kept if others are missing."""
        return self.grammar.parse(text)

    def judge_output_trace(self, problem: Problem, text: str | None, *, tagged: bool = False) -> Verdict:
        """Judge as every task does; with `answers_alone`, an answer alone is `none`."""
        if self.answers_alone and text is not None and not tagged and not self.grammar.holds_trace(text):
            return Verdict("none", reason="no trace: the text contains neither a step's cue nor a think tag")
        return super().judge_output_trace(problem, text)

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge that the class is right and the cited facts are exactly the gold set; with precision and recall."""
        return judge_class_retrieval(problem, steps)


def judge_class_retrieval(problem: Problem, steps: tuple[Step, ...]) -> Verdict:
    """Judge as correct if the class is the gold's and the cited facts are exactly the gold's.

    All class steps must be right, and the facts of all retrieval steps count together, as sets of normalised texts.
    Figures (0 to 1): `class`, `facts_exact`, `precision` and `recall`. `ungradable` if the problem has no gold steps.
    """
    gold_class = next((step.value for step in problem.gold_steps if step.kind == "class"), None)
    retrieval = [step for step in problem.gold_steps if step.kind == "retrieval"]
    gold_facts = {normalise_fact(fact) for step in retrieval for fact in step.facts}
    if gold_class is None and not retrieval:
        return Verdict("ungradable", reason=f"{problem.problem_id} has no gold class or facts to judge against")
    cited = {normalise_fact(fact) for step in steps if step.kind == "retrieval" for fact in step.facts}
    right = len(cited & gold_facts)
    precision = right / len(cited) if cited else 0.0
    recall = right / len(gold_facts) if gold_facts else 1.0
    exact = cited == gold_facts and any(step.kind == "retrieval" for step in steps)
    verdicts = tuple(_judge_step(index, step, gold_class, gold_facts) for index, step in enumerate(steps))
    labels = [verdict for verdict in verdicts if verdict.kind == "class"]
    class_ok = bool(labels) and all(verdict.outcome == "correct" for verdict in labels)
    wrong = []
    if gold_class is not None and not class_ok:
        wrong.append(labels[-1].reason if labels else "no class step")
    if retrieval and not exact:
        wrong.append(_facts_reason(cited, gold_facts) if cited else "no facts cited")
    figures = {"class": float(class_ok), "facts_exact": float(exact), "precision": precision, "recall": recall}
    return Verdict("incorrect" if wrong else "correct", reason="; ".join(wrong), steps=verdicts, figures=figures)


def _judge_step(index: int, step: Step, gold_class: str | None, gold_facts: set[str]) -> StepVerdict:
    if step.kind == "class" and gold_class is not None:
        same = step.value is not None and normalise_class(step.value) == normalise_class(gold_class)
        reason = "" if same else f"class is {gold_class}, not {step.value}"
        return StepVerdict(index, "class", "correct" if same else "incorrect", reason)
    if step.kind == "retrieval":
        cited = {normalise_fact(fact) for fact in step.facts}
        right = len(cited & gold_facts)
        figures = {
            "precision": right / len(cited) if cited else 0.0,
            "recall": right / len(gold_facts) if gold_facts else 1.0,
        }
        if cited == gold_facts:
            return StepVerdict(index, "retrieval", "correct", figures=figures)
        return StepVerdict(index, "retrieval", "incorrect", _facts_reason(cited, gold_facts), figures)
    return StepVerdict(index, step.kind, "undecided", "not judged: neither class nor retrieval")


def _facts_reason(cited: set[str], gold: set[str]) -> str:
    return f"facts: {len(cited & gold)} of {len(gold)} gold cited, {len(cited - gold)} others"
