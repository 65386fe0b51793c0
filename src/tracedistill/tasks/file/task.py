"""Task `file`: your own questions and answers, from any of the files that `rows` reads.

    question,answer,steps
    "Ana has 3 boxes of 4 pens. How many pens?",12,"3 * 4 = 12 pens"

The recipe gives `path` and, if columns have other names, `columns: {question: prompt, answer: target}`. The judge of
answers is inferred from all golds of the file, or set by `judge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tracedistill.arithmetic import gold_plans, plans
from tracedistill.arithmetic import traces as arithmetic
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._base import ParsedTrace, Policy, Source, Task
from tracedistill.tasks._retrieval import body_span
from tracedistill.tasks._spans import moved
from tracedistill.tasks._steps import one_line, read_steps, render_steps
from tracedistill.tasks.file.judge_choice import describe_judge, judged_by
from tracedistill.tasks.file.judges import is_pattern, judge_output
from tracedistill.tasks.file.table import load_split, read_table

NO_STEPS = "no gold steps: a model judge or gold steps are needed"
NOT_COMPARABLE = "no calculation, and rules cannot compare free text with the gold steps: a model judge is needed"


class UserFile(Task):
    """A user's own questions; any alternative answer counts."""

    name = "file"
    splits = ("train", "validation", "test")

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the problems of a split of the file at `source.path`."""
        yield from load_split(split, source)

    def about(self, source: Source) -> list[str]:
        """Describe how answers are judged, why, and their tolerance."""
        return describe_judge(read_table(source).judged, source.relative, source.absolute)

    def problem_of_row(self, problem_id: str, question: str, answers: tuple[str, ...]) -> Problem:
        """Build a problem from a row; the kind of answer is inferred from this row's gold alone."""
        problem = super().problem_of_row(problem_id, question, answers)
        return replace(problem, meta={"judge": judged_by(answers, 0).rule})

    def render_problem(self, problem: Problem) -> str:
        """Write instruction, context, question, lettered choices or the closed set of labels, a line each."""
        instruction, labels = str(problem.meta.get("instruction", "")), problem.meta.get("labels", ())
        head = (instruction,) if instruction else ()
        closed = (f"Answer with one of: {', '.join(labels)}",) if labels and not problem.choices else ()
        choices = self.closed_answers(problem) if problem.choices else ()
        return "\n".join((*head, *problem.context, problem.question, *choices, *closed))

    def render_answer(self, problem: Problem) -> str:
        """Return the first of the gold answers."""
        return problem.answers[0] if problem.answers else ""

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:
        """Return the choices as `B. text`; otherwise the labels of a closed set (yes, no)."""
        choices = tuple(f"{letter}. {text}" for letter, text in problem.choices)
        return choices or tuple(problem.meta.get("labels", ()))

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write a numbered list, one line per step."""
        return render_steps(tuple(Step(step.kind, one_line(step.text)) for step in steps))

    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse numbered lists, bullets, lines or sentences; a calculating step carries its result."""
        start, end = body_span(text)
        read = read_steps(text[start:end])
        return replace(read, steps=moved(read.steps, start)) if start else read

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge by the gold steps word for word, else by every written calculation; else say why it is not judged.

        Without calculations a trace is not judged: rules cannot compare words. A stray calculation in a text can only
        refute it. Operands must be grounded if the answer is a number; otherwise calculations only have to be true.
        """
        gold = problem.gold_steps
        if gold and _texts(steps) == _texts(gold):
            # gold steps are right even if they do not calculate
            return Verdict("correct", reason="the gold steps, word for word")
        if not any(step.kind == "calculation" for step in steps):
            return arithmetic.not_judged(steps, NOT_COMPARABLE if gold else NO_STEPS)
        rule = problem.meta.get("judge")
        verdict = arithmetic.judge(_given(problem), steps, gold, need_grounds=rule == "number")
        if verdict.outcome == "incorrect" or _calculates(rule, steps, gold):
            return verdict
        return arithmetic.not_judged(steps, arithmetic.STRAY)

    def judge_plan(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge against the calculations of the gold steps; `undecided` if there are none."""
        return plans.judge_plan(_given(problem), steps, problem.gold_steps)

    def gold_plan(self, problem: Problem) -> Trace | None:
        """Return the gold steps' calculations in words, without results; None if they do not lead to the answer."""
        result = arithmetic.last_result([step.text for step in problem.gold_steps])
        golds = [answer.replace(",", "").strip("$% ") for answer in problem.answers]
        if result is None or arithmetic.spell(result) not in golds:
            return None
        return self.plan_trace(problem, gold_plans.calculation_plan(_given(problem), problem.gold_steps))

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge by the rule of the file; any of several golds is right, and without one it is `ungradable`."""
        return judge_output(problem, text, self.closed_answers(problem))

    def gold_fault(self, problem: Problem) -> str:
        """Return the error of a gold; a pattern need only be valid, since it does not match itself."""
        if problem.meta.get("judge") == "regex" and problem.answers:
            return "" if all(map(is_pattern, problem.answers)) else "the gold is not a regular expression"
        return super().gold_fault(problem)

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether the steps contain a gold answer, or the text of the right choice, as words of their own."""
        text = " ".join(step.text for step in steps).casefold()
        spelled = dict(problem.choices)
        golds = (spelled.get(answer, answer).casefold() for answer in problem.answers)
        return any(re.search(rf"(?<![\w.]){re.escape(answer)}(?!\w|\.\d)", text) is not None for answer in golds)


def _calculates(rule: object, steps: tuple[Step, ...], gold: tuple[Step, ...]) -> bool:
    """Return whether a trace consists of calculations, and not of a text with stray ones."""
    if any(step.kind == "calculation" for step in gold):
        return True
    if rule in ("number", "math") and not gold:
        return True
    return 2 * sum(step.kind == "calculation" for step in steps) > len(steps)


def _given(problem: Problem) -> str:
    return "\n".join((*problem.context, problem.question))


def _texts(steps: tuple[Step, ...]) -> list[str]:
    return [one_line(step.text).casefold() for step in steps]
