"""Check a task's own gold with the task's own judges: failures are listed by id with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.records import Problem
from tracedistill.tasks import Source, Task, get_task
from tracedistill.tasks._overlap import duplicates, overlap

_NUMBERS = re.compile(r"(?<!\w)[\d.,%]*\d%?(?:, [\d.,%]*\d%?)*")


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """One split of one task."""

    task: str
    split: str
    n: int
    """Problems in it."""
    listed: dict[str, list[str]]
    """problem_id -> errors of its gold; empty if every gold passes."""
    with_steps: int
    """Problems with a gold trace."""
    answer_in_trace: int
    """Of these, gold traces that contain the gold answer, which ties trace to answer by construction."""
    duplicates: int
    """Texts that occur more than once in the split."""
    in_train: int
    """Problems that also occur in the task's train split (0 for train itself)."""

    @property
    def kinds(self) -> dict[str, int]:
        """Errors counted by their first words, the most frequent first."""
        kinds = Counter(kind_of(error) for errors in self.listed.values() for error in errors)
        return dict(kinds.most_common())


def audit_task(name: str, data_dir: Path | None) -> list[SplitAudit]:
    """Audit every available split of a task. Raises InputError if there is none."""
    task = get_task(name)
    splits = dict(_splits(task, Source(data_dir=data_dir)))
    if not splits:
        raise InputError(f"task {name}: no split found{f' in {data_dir}' if data_dir else ''}")
    train = next((problems for split, problems in splits.items() if split in ("train", "training")), [])
    audits = []
    for split, problems in splits.items():
        gold = [problem for problem in problems if problem.gold_steps]
        audits.append(
            SplitAudit(
                task=name,
                split=split,
                n=len(problems),
                listed={problem.problem_id: errors for problem in problems if (errors := task.audit(problem))},
                with_steps=len(gold),
                answer_in_trace=sum(task.answer_in_trace(problem, problem.gold_steps) for problem in gold),
                duplicates=len(duplicates(problems)),
                in_train=0 if problems is train else overlap(problems, train).found,
            )
        )
    return audits


def _splits(task: Task, source: Source) -> Iterator[tuple[str, list[Problem]]]:
    for split in task.splits:
        try:
            yield split, list(task.load(split, source))
        except MissingSplitError:
            continue


def audit_page(audits: list[SplitAudit], shown: int = 40) -> str:
    """Render the audits as Markdown: one table, then at most `shown` listed ids per split and kind."""
    heads = ("task", "split", "problems", "listed", "gold traces", "with the answer", "duplicates", "also in train")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for audit in audits:
        share = f"{audit.answer_in_trace} ({audit.answer_in_trace / audit.with_steps:.0%})" if audit.with_steps else "-"
        lines.append(
            f"| {audit.task} | {audit.split} | {audit.n} | {len(audit.listed)} | {audit.with_steps} | {share} | "
            f"{audit.duplicates} | {audit.in_train} |"
        )
    for audit in audits:
        if not audit.listed:
            continue
        lines += ["", f"## {audit.task}, {audit.split}: {len(audit.listed)} of {audit.n} listed", ""]
        for kind, count in audit.kinds.items():
            rows = [
                (problem_id, error)
                for problem_id, errors in audit.listed.items()
                for error in errors
                if kind_of(error) == kind
            ]
            lines += [f"### {kind} ({count})", ""]
            lines += [f"- `{problem_id}`: {_one_line(error)}" for problem_id, error in rows[:shown]]
            if len(rows) > shown:
                lines += [f"- and {len(rows) - shown} more: {', '.join(problem_id for problem_id, _ in rows[shown:])}"]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def kind_of(error: str) -> str:
    """Return an error without the numbers and names that vary between problems."""
    return _NUMBERS.sub("N", error.split(":")[0])


def _one_line(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= 240 else f"{flat[:237]}..."
