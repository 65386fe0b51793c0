r"""Task `gsm8k`: grade-school word problems with worked solutions (Cobbe et al. 2021, arXiv 2110.14168).

    {"id": "gsm8k-train-0",
     "question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. ...",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 ...\n#### 72",
     "final": "72"}

One calculation step per annotation `<<...>>` (no line holds two), one text step per line without: `1. Natalia sold
48/2 = 24 clips in May.` Difficulty is the number of annotations. The splits `*_socratic` are the same problems under
the same ids, with a sub-question per step. Files: gsm8k/<split>.jsonl; hub: openai/gsm8k (main, socratic).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracedistill.arithmetic.calculations import find_calculations, visible
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks._steps import make_steps, one_line
from tracedistill.tasks._task_rows import check_split, task_rows
from tracedistill.tasks._word_problems import WordProblems

HUB_ID = "openai/gsm8k"

_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_FINAL = re.compile(r"^####\s*(.+?)\s*$", re.MULTILINE)


class Gsm8k(WordProblems):
    """GSM8K: every line of a solution is a step."""

    name = "gsm8k"
    splits = ("train", "test", "train_socratic", "test_socratic")

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the problems of one split; a socratic split has `sub_questions` in meta."""
        check_split(self.name, split, self.splits)
        base = split.removesuffix("_socratic")
        config = "socratic" if base != split else "main"
        for row in task_rows(source, self.name, split, HUB_ID, base, config):
            solution = row.text("answer")
            final = row.get("final") or final_of(solution)
            if not final:
                raise row.error("column 'answer' has no line `#### <answer>`")
            questions, lines = solution_lines(solution)
            meta = {"sub_questions": questions} if config == "socratic" else {}
            yield Problem(
                problem_id=str(row.get("id") or f"gsm8k-{base}-{row.number - 1}"),
                task=self.name,
                split=split,
                question=row.text("question"),
                answers=(str(final).replace(",", ""),),
                gold_steps=make_steps([step_text(line) for line in lines]),
                difficulty=solution.count("<<"),
                meta=meta,
            )


def final_of(solution: str) -> str | None:
    """Return the answer after `####`, or None."""
    match = _FINAL.search(solution)
    return match[1] if match else None


def solution_lines(solution: str) -> tuple[list[str], list[str]]:
    """Return (sub-questions, lines) of a solution; the sub-questions are empty if the split is not socratic."""
    questions, lines = [], []
    for line in _FINAL.sub("", solution).split("\n"):
        question, mark, statement = line.partition(" ** ")
        if mark:
            questions.append(question.strip())
        text = statement.strip() if mark else line.strip()
        if text:
            lines.append(text)
    return questions, lines


def step_text(line: str) -> str:
    """Rewrite a line without `<<...>>`, writing out an annotated calculation that its words lack."""
    text = one_line(visible(line))
    match = _ANNOTATION.search(line)
    if match is None:
        return text
    annotated = find_calculations(match[1])
    written = find_calculations(text)
    if not annotated or any(annotated[0].result in calculation.values for calculation in written):
        return text
    if any(written) and line[: match.start()].rstrip(" $").endswith("="):
        return text  # `38 million/19 = <<38/19=2>>2 million`
    return f"{text.rstrip('.')} ({match[1]})."
