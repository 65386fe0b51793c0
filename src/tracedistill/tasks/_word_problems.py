"""What gsm8k, svamp and math share: traces of calculations, judged by `arithmetic`; plans, judged by `plans`."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

from tracedistill import answers
from tracedistill.answers import AnswerPolicy
from tracedistill.arithmetic import gold_plans, plans
from tracedistill.arithmetic import traces as arithmetic
from tracedistill.arithmetic.checking import check
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._base import ParsedTrace, Policy, Task
from tracedistill.tasks._steps import read_steps, render_steps


class WordProblems(Task):
    """Problems whose traces calculate; a subclass defines their source and gold."""

    answer_policy: ClassVar[AnswerPolicy] = answers.NUMBER
    """How answers are parsed and compared; no study published another metric for these tasks."""
    need_grounds: ClassVar[bool] = True
    """Whether an ungrounded operand makes a trace incorrect."""

    def render_problem(self, problem: Problem) -> str:
        """Return the question."""
        return problem.question

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write a numbered list, one line per step."""
        return render_steps(steps)

    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse numbered, bulleted or `Step 1:` lines, plain lines or sentences."""
        return read_steps(text)

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge the readings of the answer; both policies are the same here."""
        gold = problem.answers[0] if problem.answers else ""
        return answers.judge(gold, text, problem.question, policy=self.answer_policy)

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Check every calculation; a trace in words, strays aside, is `not judged`."""
        return arithmetic.judge(problem.question, steps, problem.gold_steps, need_grounds=self.need_grounds)

    def judge_plan(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge which operations act on which quantities in which order, against the gold's."""
        sub_questions = problem.meta.get("sub_questions", ())
        return plans.judge_plan(problem.question, steps, problem.gold_steps, tuple(sub_questions))

    def gold_plan(self, problem: Problem) -> Trace | None:
        """Return the gold calculations in words, without their results; None if they do not lead to the gold answer."""
        if not self.answer_in_trace(problem, problem.gold_steps):
            return None
        return self.plan_trace(problem, gold_plans.calculation_plan(problem.question, problem.gold_steps))

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether the last calculation's result is the gold answer."""
        result = arithmetic.last_result([step.text for step in steps])
        if result is None or not problem.answers:
            return False
        try:
            return Fraction(problem.answers[0].replace(",", "").strip("$% ")) == result
        except (ValueError, ZeroDivisionError):
            return False

    def audit(self, problem: Problem) -> list[str]:
        """Return gold that fails its own judges, and ungrounded gold operands."""
        errors = super().audit(problem)
        checked = check(problem.question, [step.text for step in problem.gold_steps])
        if self.need_grounds:
            lost = [
                operand.text
                for step in checked
                for check in step
                for operand, source in zip(check.calculation.operands, check.grounds, strict=True)
                if not source
            ]
            if lost:
                errors.append(
                    f"gold trace uses {', '.join(lost[:5])}: neither in the question, a result nor a constant"
                )
        return errors
