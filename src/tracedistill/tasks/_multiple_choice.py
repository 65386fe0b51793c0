"""What the multiple-choice tasks share; each of them is a short file that shows its real row.

Rows have this project's form, {"id": ..., "question": ..., "choices": [["A", "dry palms"], ...], "answer": "A"}, or the
hub's, {"id": ..., "question": ..., "choices": {"text": [...], "label": [...]}, "answerKey": "A"}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tracedistill import answers
from tracedistill.arithmetic.traces import not_judged
from tracedistill.records import AnswerVerdicts, Problem, Step, Verdict
from tracedistill.tasks._base import ParsedTrace, Policy, Source, Task
from tracedistill.tasks._retrieval import trace_body
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows

CHOICE = answers.AnswerPolicy(kind="choice")
"""Answers are choice letters; the words of a choice count as its letter."""


class MultipleChoice(Task):
    """A question with lettered choices. There are no decomposition rules and no gold traces."""

    hub_id: ClassVar[str]
    hub_config: ClassVar[str | None] = None
    question_column: ClassVar[str] = "question"
    """The hub's column of the question; files use `question`."""
    stems: ClassVar[dict[str, str]] = {}
    """Split -> the file's stem, if it is not the split's name."""
    answer_hint = "Give the letter of the right choice on the last line as `Answer: <letter>`."

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield questions of a split from `<data_dir>/<task>/<split>` or `other/<task>_<split>`, or from the hub."""
        check_split(self.name, split, self.splits)
        stem = self.stems.get(split, split)
        for row in task_rows(source, self.name, stem, self.hub_id, split, self.hub_config):
            yield self._problem(row, split)

    def _problem(self, row: TaskRow, split: str) -> Problem:
        choices = _choices(row)
        gold = _letter(str(row.value("answerKey" if "answerKey" in row else "answer")))
        # an empty key in a test split of the hub: a problem without gold, not a bad row
        if gold and gold not in {letter for letter, _ in choices}:
            raise row.error(f"answer '{gold}' is none of the choices")
        return Problem(
            problem_id=row.text("id"),
            task=self.name,
            split=split,
            question=row.text("question" if "question" in row else self.question_column),
            answers=(gold,) if gold else (),
            choices=choices,
            meta={key: row[key] for key in ("concept", "question_concept") if key in row},
        )

    def render_problem(self, problem: Problem) -> str:
        """Write the question, then the choices, a line each."""
        return "\n".join((problem.question, *self.closed_answers(problem)))

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:
        """Return every choice as `A. its words`."""
        return tuple(f"{letter}. {words}" for letter, words in problem.choices)

    # ---- traces: plain text, and no rule to judge them

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write the steps as they are, a line each."""
        return "\n".join(step.text for step in steps)

    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse every non-blank line as a step of kind text."""
        lines = [line.strip() for line in trace_body(text).splitlines()]
        steps = tuple(Step("text", line) for line in lines if line)
        return ParsedTrace(steps, "" if steps else "empty trace")

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:  # noqa: ARG002
        """Return `not judged`: no rule tells a right trace."""
        return not_judged(steps, f"task {self.name} has no gold traces")

    # ---- answers

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge the letter of the final statement; `candidate`: exactly one choice is named. There is one policy."""
        gold = problem.answers[0] if problem.answers else ""
        return answers.judge(gold, text, problem.question, CHOICE, self.closed_answers(problem))

    def audit(self, problem: Problem) -> list[str]:
        """Add missing gold, and two choices with the same words."""
        if not problem.answers:
            return ["no gold answer: ungradable"]
        words = [text.strip() for _, text in problem.choices]
        same = sorted({text for text in words if words.count(text) > 1})
        return super().audit(problem) + [f"two choices have the same words: {text}" for text in same]


def _choices(row: TaskRow) -> tuple[tuple[str, str], ...]:
    value = row.value("choices")
    try:
        pairs = zip(value["label"], value["text"], strict=True) if isinstance(value, dict) else value
        return tuple((_letter(str(letter)), str(text)) for letter, text in pairs)
    except (KeyError, TypeError, ValueError) as error:
        raise row.error(
            "column 'choices' must list pairs of letter and text (or be the hub's object of "
            f"'label' and 'text'): {error}"
        ) from error


def _letter(label: str) -> str:
    """Return a label as a letter: some rows number their choices from 1."""
    label = label.strip().upper()
    return chr(ord("A") + int(label) - 1) if label.isascii() and label.isdigit() and 1 <= int(label) <= 26 else label
