"""What the multiple-choice tasks share; each of them is a file of a few lines beside its real row.

Rows come in this project's form, {"id": ..., "question": ..., "choices": [["A", "dry palms"], ...], "answer": "A"}, or
in the hub's, {"id": ..., "question": ..., "choices": {"text": [...], "label": [...]}, "answerKey": "A"}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracedistill import answers
from tracedistill.errors import InputError
from tracedistill.records import AnswerVerdicts, Problem, Step, StepVerdict, Verdict
from tracedistill.tasks._base import ParsedTrace, Policy, Source, Task
from tracedistill.tasks._fields import check_split, text_field, where
from tracedistill.tasks._retrieval import trace_body
from tracedistill.tasks._rows import Row, field_of, task_rows

CHOICE = answers.AnswerPolicy(kind="choice")
"""Answers are choice letters; the words of a choice count as its letter."""


class MultipleChoice(Task):
    """A question with lettered choices. There are no decomposition rules and no gold traces."""

    hub_id: ClassVar[str]
    """The data set's id on the hub."""
    hub_config: ClassVar[str | None] = None
    """Its configuration there."""
    question_column: ClassVar[str] = "question"
    """The hub's column of the question; files use `question`."""
    stems: ClassVar[dict[str, str]] = {}
    """Split -> the file's stem, if it is not the split's name."""
    answer_hint = "Give the letter of the right choice on the last line as `Answer: <letter>`."

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield questions of a split from `<data_dir>/<task>/<split>` or `other/<task>_<split>`, or from the hub."""
        check_split(self.name, split, self.splits)
        stem = self.stems.get(split, split)
        path = where(source, f"other/{self.name}_{stem}", self.hub_id)
        for number, row in task_rows(source, self.name, stem, self.hub_id, split, self.hub_config):
            yield self._problem(row, split, path, number)

    def _problem(self, row: Row, split: str, path: str, number: int) -> Problem:
        choices = _choices(field_of(row, "choices", path, number), path, number)
        gold = _letter(str(row["answerKey"] if "answerKey" in row else field_of(row, "answer", path, number)))
        # the hub's test splits hide the answer behind an empty key: a problem without gold, not a bad row
        if gold and gold not in {letter for letter, _ in choices}:
            raise InputError(f"{path}, row {number}: answer '{gold}' is none of the choices")
        return Problem(
            problem_id=text_field(row, "id", path, number),
            task=self.name,
            split=split,
            question=text_field(row, "question" if "question" in row else self.question_column, path, number),
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
        """Return `not judged`: there is a trace, but no rule for a right one."""
        reason = f"task {self.name} has no gold trace: {len(steps)} steps are not judged"
        undecided = tuple(
            StepVerdict(index, step.kind, "undecided", "no gold trace") for index, step in enumerate(steps)
        )
        return Verdict("not judged", reason=reason, steps=undecided)

    # ---- answers

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge the letter of the final statement. `candidate`: exactly one choice is named anywhere.

        There is one policy only.
        """
        gold = problem.answers[0] if problem.answers else ""
        return answers.judge(gold, text, problem.question, CHOICE, self.closed_answers(problem))

    def audit(self, problem: Problem) -> list[str]:
        """Add to the task's own judges: no gold, or two choices with the same words."""
        if not problem.answers:
            return ["no gold answer: ungradable"]
        words = [text.strip() for _, text in problem.choices]
        same = sorted({text for text in words if words.count(text) > 1})
        return super().audit(problem) + [f"two choices have the same words: {text}" for text in same]


def _choices(value: Any, path: str, number: int) -> tuple[tuple[str, str], ...]:
    try:
        pairs = zip(value["label"], value["text"], strict=True) if isinstance(value, dict) else value
        return tuple((_letter(str(letter)), str(text)) for letter, text in pairs)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, row {number}: column 'choices' must list pairs of letter and text (or be the hub's object of "
            f"'label' and 'text'): {error}"
        ) from error


def _letter(label: str) -> str:
    """Return a label as a letter: some rows number their choices from 1."""
    label = label.strip().upper()
    return chr(ord("A") + int(label) - 1) if label.isascii() and label.isdigit() and 1 <= int(label) <= 26 else label
