"""The definition of a task: the source of its problems, its trace grammar, and its judges."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from tracedistill.chat.formats import write_completion
from tracedistill.files import content_id
from tracedistill.recipes import TaskConfig, ToleranceConfig
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._spans import locate

Policy = Literal["default", "published"]
"""published: the answer metric of the study a task comes from, for comparison; default: the corrected one."""


@dataclass(frozen=True, slots=True)
class Source:
    """Source of a task's problems."""

    data_dir: Path | None = None
    """Folder with one folder per task (files as the task documents them); None: the hub or the generator."""
    path: str | None = None
    """A single file (task `file`), or another hub id than the task's own."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our field name -> the file's column name (task `file`)."""
    judge: str = "auto"
    """How answers are judged (task `file`): a rule's name, or `module:function`; auto: inferred from the golds."""
    relative: float | None = None
    """judge number: allowed relative difference from the gold."""
    absolute: float | None = None
    """judge number: allowed absolute difference from the gold."""
    labels: tuple[str, ...] = ()
    """judge label: the closed set; empty: the golds of the file."""
    instruction: str = ""
    """Instruction at the head of every problem (task `file`)."""
    first_choice: int | None = None
    """The number of the first choice if golds are numbers of choices (task `file`); None: inferred from the golds."""
    seed: int = 0
    """Seed of a generator task."""
    size: int | None = None
    """Problems that a generator makes for the split; None: the task's default."""

    @classmethod
    def of(cls, config: TaskConfig, seed: int, find: Callable[[str], str] = str) -> Source:
        """Return the source of a recipe's problems; `find` resolves a path of the recipe."""
        tolerance = config.tolerance if config.tolerance != ToleranceConfig() else None
        return cls(
            data_dir=None if config.data_dir is None else Path(find(config.data_dir)),
            path=None if config.path is None else find(config.path),
            columns=config.columns,
            judge=config.judge,
            relative=None if tolerance is None else tolerance.relative,
            absolute=None if tolerance is None else tolerance.absolute,
            labels=config.labels,
            instruction=config.instruction or "",
            first_choice=config.first_choice,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class ParsedTrace:
    """A parsed trace, or the reason why it could not be parsed."""

    steps: tuple[Step, ...]
    reason: str = ""
    """Why it could not be parsed; empty if it was."""


class Task(ABC):
    """One family of problems. Subclasses hold no state and are read from top to bottom."""

    name: ClassVar[str]
    """Key in `tracedistill.tasks.TASKS`."""
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    """Splits that `load` knows."""
    classes: ClassVar[tuple[str, ...]] = ()
    """All labels that the class step may name; empty if traces have no class step."""
    answer_hint: ClassVar[str] = "Give the final answer on the last line as `Answer: <answer>`."
    """Last sentence of every in-context prompt."""

    # ---- problems

    @abstractmethod
    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield problems of one split in the source's order, with stable ids. Raises InputError with file and row."""

    @abstractmethod
    def render_problem(self, problem: Problem) -> str:
        """Render context and question as the student reads them, without gold."""

    def about(self, source: Source) -> list[str]:  # noqa: ARG002
        """Return how this source is read and judged, as lines for a person; empty for most tasks."""
        return []

    def problem_of_row(self, problem_id: str, question: str, answers: tuple[str, ...]) -> Problem:
        """Build a problem from a row with its own gold, to judge outputs without a known problem."""
        return Problem(problem_id, self.name, "row", question, answers)

    def render_answer(self, problem: Problem) -> str:
        """Write the gold answer as a student should."""
        return ", ".join(problem.answers)

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:  # noqa: ARG002
        """Return all possible answers of a closed set (for the candidate reading); empty if the set is open."""
        return ()

    # ---- traces

    def decompose(self, problem: Problem) -> Trace | None:
        """Return a rule-based trace, or None if the rules give none; by default the gold steps, marked as oracle.

        A task whose rules read only the problem overrides this, with `oracle=False`.
        """
        if not problem.gold_steps:
            return None
        return self.rule_trace(problem, problem.gold_steps, self.render_answer(problem) or None, oracle=True)

    def gold_plan(self, problem: Problem) -> Trace | None:  # noqa: ARG002
        """Return a plan from gold without results, or None: the plan of a perfect teacher."""
        return None

    def plan_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Trace | None:
        """Build a gold plan of these steps, marked as oracle and without an answer; None if there are no steps."""
        return self.rule_trace(problem, steps, None, oracle=True) if steps else None

    def rule_trace(self, problem: Problem, steps: tuple[Step, ...], answer: str | None, *, oracle: bool) -> Trace:
        """Build a trace by rules; `oracle` if gold was needed. Gold steps keep the source's own text."""
        gold = bool(problem.gold_text) and steps == problem.gold_steps
        text = problem.gold_text if gold else self.render_trace(steps)
        trace_id = content_id("rules", problem.problem_id, text)
        located = steps if gold and any(step.spans for step in steps) else locate(text, steps)
        return Trace(trace_id, problem.problem_id, "rules", located, text, answer=answer, oracle=oracle)

    @abstractmethod
    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write steps as text; `parse_trace(render_trace(steps))` gives the same steps."""

    @abstractmethod
    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse steps, with or without their spans, from a model's text in any style; `reason` says why it failed."""

    def read_trace(self, text: str) -> tuple[Step, ...]:
        """Return the steps of `parse_trace`, each with its spans; no steps if the text cannot be parsed."""
        steps = self.parse_trace(text).steps
        return steps if any(step.spans for step in steps) else locate(text, steps)

    # ---- judges: judge_trace never sees the answer, judge_answer never sees the trace's verdict

    @abstractmethod
    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:
        """Judge the three readings of the answer in a whole output (see `formats.parse_completion`)."""

    @abstractmethod
    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge parsed steps one by one against this problem's own gold (joined by id, never by answer)."""

    def judge_output_trace(self, problem: Problem, text: str | None, *, tagged: bool = False) -> Verdict:  # noqa: ARG002
        """Parse, then judge: `none` for no text, `unparsed` with the reason if the text cannot be parsed.

        `tagged`: think tags mark the text as a trace.
        """
        if text is None or not text.strip():
            return Verdict("none", reason="no trace")
        parsed = self.parse_trace(text)
        if not parsed.steps:
            return Verdict("unparsed", extracted=text[:200], reason=parsed.reason)
        return self.judge_trace(problem, parsed.steps)

    def judge_plan(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:  # noqa: ARG002
        """Judge a plan without calculations; `undecided` if rules cannot tell."""
        return Verdict("undecided", reason=f"task {self.name} has no rules for plans")

    # ---- ties between trace and answer, and the gold itself

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether the gold answer occurs verbatim in the steps, so that copying would suffice."""
        text = " ".join(step.text for step in steps).casefold()
        return bool(problem.answers) and all(answer.casefold() in text for answer in problem.answers)

    def gold_fault(self, problem: Problem) -> str:
        """Return why the gold answer fails its own judge, without naming it; empty if it passes."""
        if not problem.answers:
            return "blank"
        verdict = self.judge_answer(problem, write_completion(None, self.render_answer(problem))).answer
        return "" if verdict.ok else f"{verdict.outcome}, {verdict.reason}"

    def audit(self, problem: Problem) -> list[str]:
        """Return the errors of this problem's own gold, one sentence each; empty if it passes its own judges."""
        errors = []
        fault = self.gold_fault(problem)
        if fault:
            errors.append(f"gold answer does not pass its own judge: {fault}")
        if problem.gold_steps:
            trace = self.judge_trace(problem, problem.gold_steps)
            if not trace.ok:
                errors.append(f"gold trace does not pass its own judge: {trace.outcome}, {trace.reason}")
        return errors

    def summarise(
        self,
        problems: list[Problem],  # noqa: ARG002
        texts: list[str],  # noqa: ARG002
        policy: Policy = "default",  # noqa: ARG002
    ) -> dict[str, float]:
        """Return further metrics of the field over all outputs (ROUGE-L, F1, ...), in percent; empty for most tasks."""
        return {}


def content(value: Any) -> str:
    """Write a JSON value as the string of a question or answer field: numbers lose `.0`, objects are JSON."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
