r"""Task `math`: competition mathematics with boxed answers (Hendrycks et al. 2021, arXiv 2103.03874).

    {"id": "math-train-algebra-train2", "subject": "algebra", "level": "Level 3",
     "problem": "If $a$ is three times $b$, $b$ is twice $c$, and $c$ is four times $d$, what is the value of ...",
     "solution": "We have that $c=4d$, ... we get $\\frac{24d \\cdot 4d}{8d \\cdot d}=\\boxed{12}$.", "answer": "12"}

Steps are the sentences of the solution, formulas kept whole. The judge checks numeric calculations
(`3 \cdot 4 = 12`) and calls no symbolic line wrong. The sources of operands are a descriptor only, because algebra
derives them. A trace without numeric calculations is `not judged`, and the audit accepts it.

Two rows of train have an empty box: their answer is empty and ungradable, and the audit lists them.
Splits train, test, and math500 (500 of test). Ids are the row's own; one with a `/` (test/precalculus/807.json) is
replaced by `math_id` if the row has it, else its `/` by dashes. Files: math/<split>.jsonl; hub:
EleutherAI/hendrycks_math (seven subjects, ids math-<split>-<subject>-<split><row>) and HuggingFaceH4/MATH-500.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tracedistill.answers import AnswerPolicy
from tracedistill.arithmetic import gold_plans
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks._base import Source, Task
from tracedistill.tasks._steps import make_steps, one_line
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows
from tracedistill.tasks._word_problems import WordProblems

HUB_ID = "EleutherAI/hendrycks_math"
HUB_500 = "HuggingFaceH4/MATH-500"
SUBJECTS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
    "precalculus",
)  # fmt: skip

_FORMULA = re.compile(
    r"\[asy\].*?\[/asy\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\\\[.*?\\\]|\$\$.*?\$\$|(?<!\\)\$(?:\\.|[^$\\])*\$",
    re.DOTALL,
)
_BOUNDARY = re.compile(r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z$\\(\[])|\n\s*\n")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


class Math(WordProblems):
    """MATH: sentences as steps, LaTeX answers."""

    name = "math"
    splits = ("train", "test", "math500")
    answer_hint = "Give the final answer on the last line as `Answer: \\boxed{<answer>}`."
    answer_policy = AnswerPolicy(kind="math")
    need_grounds = False

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the problems of one split; level becomes difficulty, subject becomes category."""
        check_split(self.name, split, self.splits)
        for row in _rows(split, source):
            solution = row.text("solution")
            answer = row.get("answer") or last_boxed(solution)
            if answer is None:
                raise row.error("neither a column 'answer' nor \\boxed{} in 'solution'")
            level = re.search(r"\d", str(row.get("level", "")))
            yield Problem(
                problem_id=_identity(row, split),
                task=self.name,
                split=split,
                question=row.text("problem"),
                answers=(str(answer),),
                category=str(row.get("subject") or row.get("type") or ""),
                gold_steps=make_steps(solution_steps(solution)),
                gold_text=solution,
                difficulty=int(level.group()) if level else None,
            )

    def render_answer(self, problem: Problem) -> str:
        """Write the gold answer in a box, as the hint requests: bare LaTeX is parsed as text."""
        return f"\\boxed{{{super().render_answer(problem)}}}"

    def gold_plan(self, problem: Problem) -> Trace | None:
        """Return the solution's calculations if every step calculates and the last reaches the answer."""
        if any(step.kind != "calculation" for step in problem.gold_steps):
            return None
        if not WordProblems.answer_in_trace(self, problem, problem.gold_steps):
            return None
        return self.plan_trace(problem, gold_plans.calculation_plan(problem.question, problem.gold_steps))

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether the answer occurs verbatim in the steps, as it does in every boxed solution."""
        return Task.answer_in_trace(self, problem, steps)

    def audit(self, problem: Problem) -> list[str]:
        """Audit as everywhere, but accept a solution without numeric calculations."""
        errors = super().audit(problem)
        return [error for error in errors if "no calculation" not in error]


def _rows(split: str, source: Source) -> Iterator[TaskRow]:
    if split == "math500":
        yield from task_rows(source, "math", split, HUB_500, "test")
    elif source.data_dir is not None or source.path is not None:
        yield from task_rows(source, "math", split, HUB_ID, split)
    else:
        for subject in SUBJECTS:
            for row in task_rows(replace(source, path=None), "math", split, HUB_ID, split, subject):
                row.setdefault("id", f"math-{split}-{subject}-{split}{row.number - 1}")
                row.setdefault("subject", subject)
                yield row


def _identity(row: TaskRow, split: str) -> str:
    own = str(row.get("id") or row.get("unique_id") or f"math-{split}-{row.number - 1}")
    if "/" not in own:
        return own
    return str(row.get("math_id") or "math-" + own.removesuffix(".json").replace("/", "-"))


def solution_steps(solution: str) -> list[str]:
    """Return the sentences and paragraphs of a solution, one line each; formulas and drawings stay whole."""
    kept = [match.span() for match in _FORMULA.finditer(solution)]
    steps, start, index = [], 0, 0
    for boundary in _BOUNDARY.finditer(solution):
        while index < len(kept) and kept[index][1] <= boundary.start():
            index += 1
        if index < len(kept) and kept[index][0] < boundary.end() and kept[index][0] <= boundary.start():
            continue
        steps.append(solution[start : boundary.start()])
        start = boundary.end()
    steps.append(solution[start:])
    return [text for text in map(one_line, steps) if text]


def last_boxed(solution: str) -> str | None:
    r"""Return the content of the last `\boxed{}`, braces matched, or None."""
    content = None
    for match in _BOX.finditer(solution):
        depth = 0
        for at in range(match.end(), len(solution)):
            depth += {"{": 1, "}": -1}.get(solution[at], 0)
            if not depth:
                content = solution[match.end() + 1 : at] if at > match.end() else solution[at]
                break
    return content
