"""Judge outputs of any model: rows are joined to a task's problems by id, or have the gold in the row.

python:  summary = grade(Path("outputs.jsonl"), "gsm8k", data_dir=Path("data"), out=Path("verdicts.jsonl"))
shell:   tracedistill grade outputs.jsonl --task gsm8k --data-dir data --out verdicts.jsonl --summary summary.json
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill import stats
from tracedistill.answers import UNREAD_ANSWER, UNREAD_GOLD
from tracedistill.chat.formats import bounded, parse_completion
from tracedistill.compute import choose_compute, chunks
from tracedistill.errors import InputError, MissingSplitError
from tracedistill.files import atomic, check_output, dumps, to_json, write_json
from tracedistill.records import AnswerVerdicts, Problem, Verdict
from tracedistill.tasks import Policy, Source, Task, get_task
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row, read_rows

MAX_SHOWN = 20
"""Most bad rows (unknown ids, ungradable golds) named in a summary; the verdicts file has all."""

BLOCK = 20_000
"""Rows read and judged at a time."""

SECOND_SECONDS = 2.0
"""Wall seconds allowed to a second checker per row."""

SecondChecker = Callable[[Problem, str], bool | None]
"""(problem, text) -> right or wrong; None if it finds nothing."""


@dataclass(frozen=True, slots=True)
class Graded:
    """One row judged."""

    id: str
    """The row's own id, else its problem's, else `row-<number>`."""
    problem: Problem
    """The problem it was joined to, or one made from the row."""
    text: str
    """The output judged."""
    answers: AnswerVerdicts
    """Verdicts on the readings of the answer."""
    trace: Verdict
    """Verdict on the output's trace."""

    def line(self) -> dict[str, Any]:
        """Return the row's line of the verdicts file."""
        reasons = [verdict.reason for verdict in (self.answers.answer, self.trace) if verdict.reason]
        return {
            "id": self.id,
            "problem_id": self.problem.problem_id,
            "answer": self.answers.answer.outcome,
            "derived": self.answers.derived.outcome,
            "candidate": self.answers.candidate.outcome,
            "extracted": self.answers.answer.extracted,
            "trace": self.trace.outcome,
            "steps": to_json(self.trace.steps, defaults=True),
            "reason": "; ".join(reasons),
        }


@dataclass(slots=True)
class Tally:
    """Running counts of graded rows; memory does not grow with the rows, except for tasks that summarise whole sets."""

    answers: Counter[str] = field(default_factory=Counter)
    traces: Counter[str] = field(default_factory=Counter)
    derived: Counter[str] = field(default_factory=Counter)
    candidates: Counter[str] = field(default_factory=Counter)
    cells: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    unparsed: Counter[bool] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    def add(self, row: Graded) -> None:
        """Count one row."""
        ok = row.answers.answer.ok
        self.answers[row.answers.answer.outcome] += 1
        self.derived[row.answers.derived.outcome] += 1
        self.candidates[row.answers.candidate.outcome] += 1
        self.traces[row.trace.outcome] += 1
        if row.trace.outcome != "not judged":
            self.cells[row.trace.ok, ok] += 1
        if row.trace.outcome == "unparsed":
            self.unparsed[ok] += 1
        for side in (UNREAD_GOLD, UNREAD_ANSWER):
            self.unread[side] += row.answers.answer.reason.endswith(side)
        if row.answers.answer.outcome == "ungradable" and len(self.troubles) < MAX_SHOWN:
            self.troubles.append(f"{row.id}: {row.answers.answer.reason}")

    def summary(self) -> dict[str, Any]:
        """Return the flat figures of the summary file."""
        cells = (self.cells[True, True], self.cells[True, False], self.cells[False, True], self.cells[False, False])
        joint = stats.joint_table_of_counts(cells, (self.unparsed[True], self.unparsed[False]))
        n = self.answers.total()
        return {
            "n": n,
            **{name: self.answers[name] for name in ("correct", "incorrect", "missing", "ungradable")},
            "unread_golds": self.unread[UNREAD_GOLD],
            "unread_answers": self.unread[UNREAD_ANSWER],
            "accuracy": _rounded(self.answers["correct"] / n if n else None),
            "accuracy_low": _rounded(stats.wilson(self.answers["correct"], n).low),
            "accuracy_high": _rounded(stats.wilson(self.answers["correct"], n).high),
            "derived_correct": self.derived["correct"],
            "candidate_correct": self.candidates["correct"],
            "trace_correct": self.traces["correct"],
            "trace_incorrect": self.traces["incorrect"],
            "trace_unparsed": self.traces["unparsed"],
            "trace_none": self.traces["none"],
            "trace_not_judged": self.traces["not judged"],
            "joint": list(cells),
            "p_answer_given_trace_ok": _rounded(joint.answer_if_trace_ok.value),
            "p_answer_given_trace_wrong": _rounded(joint.answer_if_trace_wrong.value),
            "phi": _rounded(joint.phi),
            "odds_ratio": _rounded(joint.odds_ratio),
            "fisher_p": joint.fisher_p,
        }


def grade(
    path: Path,
    task_name: str,
    *,
    policy: Policy = "default",
    data_dir: Path | None = None,
    problem_field: str = "problem_id",
    gold_field: str = "gold",
    text_field: str = "text",
    by: tuple[str, ...] = (),
    out: Path | None = None,
    summary: Path | None = None,
    second: SecondChecker | None = None,
    cores: int | None = None,
) -> dict[str, Any]:
    """Judge every row of a file; return the summary, and write verdicts and summary if paths are given.

    Rows are judged on `cores` cores of this machine (None: all) if that takes more than a few seconds.

    A row is joined to its problem by `problem_field` over all splits of the task; a row without one, or with an unknown
    one, is judged against its own `gold_field`. If there is neither it counts as `ungradable`: no row ever leaves the
    denominator. `by` names columns to group the summary by. Raises InputError (file, row, remedy) for a missing text
    column, broken rows and an empty file.
    """
    if cores is not None and cores < 1:
        raise InputError(f"--cores {cores}: must be at least 1; leave it out for all cores")
    for target in filter(None, (out, summary)):
        check_output(target, path)
    if out is not None and summary is not None:
        check_output(summary, out)
    task = get_task(task_name)
    job = GradeJob(path, task_name, policy, data_dir, problem_field, gold_field, text_field, by)
    whole, groups = Tally(), dict[tuple[str, ...], Tally]()
    keeps = type(task).summarise is not Task.summarise
    kept: dict[tuple[str, ...], tuple[list[Problem], list[str]]] = {}
    agreement = _Agreement(second) if second else None
    with atomic(out) if out else nullcontext() as stream:
        for graded, group in _graded(job, cores):
            if stream is not None:
                stream.write(dumps(graded.line()) + "\n")
            for tally in (whole, groups.setdefault(group, Tally())) if by else (whole,):
                tally.add(graded)
            if keeps:
                for key in {(), group}:
                    texts = kept.setdefault(key, ([], []))
                    texts[0].append(graded.problem)
                    texts[1].append(graded.text)
            if agreement:
                agreement.add(graded)
    figures: dict[str, Any] = {"task": task_name, "policy": policy, "file": path.name, **whole.summary()}
    figures |= _task_figures(task, kept.get(()), policy)
    if by:
        figures["groups"] = [
            {**dict(zip(by, key, strict=True)), **tally.summary(), **_task_figures(task, kept.get(key), policy)}
            for key, tally in groups.items()
        ]
    if agreement:
        figures["second"] = agreement.summary()
    if whole.troubles:
        figures["troubles"] = whole.troubles
    if summary:
        write_json(summary, figures)
    return figures


@dataclass(frozen=True, slots=True)
class GradeJob:
    """Judges rows in any process; its fields are the arguments of `grade`."""

    path: Path
    task: str
    policy: Policy
    data_dir: Path | None
    problem_field: str
    gold_field: str
    text_field: str
    by: tuple[str, ...]

    def open(self) -> Callable[[Sequence[tuple[int, Row]]], list[tuple[Graded, tuple[str, ...]]]]:
        """Load the task; its problems are read on demand."""
        task = get_task(self.task)
        problems = KnownProblems(task, self.data_dir)

        def judge(rows: Sequence[tuple[int, Row]]) -> list[tuple[Graded, tuple[str, ...]]]:
            return [
                (_grade_row(task, problems, self, number, row), tuple(content(row.get(name)) for name in self.by))
                for number, row in rows
            ]

        return judge


def _graded(job: GradeJob, cores: int | None) -> Iterator[tuple[Graded, tuple[str, ...]]]:
    """Yield each judged row with its group, in the order of the file; one block of rows is in memory."""
    compute, rows = choose_compute("local", cores), read_rows(job.path)
    try:
        while block := list(itertools.islice(rows, BLOCK)):
            for graded in compute.map(job, chunks(block)):
                yield from graded
    finally:
        compute.close()


def _grade_row(task: Task, problems: KnownProblems, job: GradeJob, number: int, row: Row) -> Graded:
    if not isinstance(row.get(job.text_field), str):
        columns = ", ".join(map(str, row))
        raise InputError(
            f"{job.path}, row {number}: no text in column '{job.text_field}'; it has: {columns}; name it with "
            "--text-field"
        )
    text = row[job.text_field]
    problem_id = "" if row.get(job.problem_field) is None else content(row[job.problem_field])
    # without data_dir the hub is only used if the row has no gold of its own
    look_up = problem_id and (problems.data_dir is not None or row.get(job.gold_field) is None)
    known = problems.find(problem_id) if look_up else None
    problem = known or problem_of(task, row, problem_id or f"row-{number}", job.gold_field)
    row_id = content(row["id"]) if row.get("id") is not None else problem.problem_id
    if not problem.answers and known is None:
        why = f"problem '{problem_id}' is unknown" if problem_id else f"no column '{job.problem_field}'"
        nothing = Verdict("ungradable", reason=f"row {number}: {why} and column '{job.gold_field}' has no gold")
        return Graded(
            row_id, problem, text, AnswerVerdicts(nothing, nothing, nothing), Verdict("none", reason="no gold")
        )
    judged = bounded(text)
    answers = task.judge_answer(problem, judged, job.policy)
    parts = parse_completion(judged)
    trace = task.judge_output_trace(problem, parts.trace, tagged=parts.tagged)
    return Graded(row_id, problem, text, answers, trace)


def problem_of(task: Task, row: Row, problem_id: str, gold_field: str) -> Problem:
    """Build a problem from the row's own gold and, if it has one, question."""
    gold = row.get(gold_field)
    if gold is None or gold == []:
        answers: tuple[str, ...] = ()
    elif isinstance(gold, list):
        answers = tuple(content(item) for item in gold)
    else:
        answers = (content(gold),)
    question = row.get("question")
    return task.problem_of_row(problem_id, question if isinstance(question, str) else "", answers)


class KnownProblems:
    """A task's problems by id, over all available splits, which are read on demand."""

    def __init__(self, task: Task, data_dir: Path | None) -> None:
        self.task = task
        self.data_dir = data_dir
        self._known: dict[str, Problem] = {}
        self._left: list[str] = list(task.splits)
        self._missing: list[str] = []

    def find(self, problem_id: str) -> Problem | None:
        """Return the problem of this id, or None if no split has it."""
        while problem_id not in self._known and self._left:
            # ids mostly name their split: try that one first, so that test outputs read no train split
            self._left.sort(key=lambda name: name not in problem_id)
            self._read(self._left.pop(0))
        if not self._left and not self._known:
            where = f"--data-dir {self.data_dir}" if self.data_dir else "no --data-dir"
            raise InputError(f"{where}: no problems of task {self.task.name}: {'; '.join(self._missing)}")
        return self._known.get(problem_id)

    def _read(self, split_name: str) -> None:
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise InputError(f"--data-dir {self.data_dir}: no such folder")
        try:
            for problem in self.task.load(split_name, Source(data_dir=self.data_dir)):
                self._known.setdefault(problem.problem_id, problem)
        except MissingSplitError as error:
            self._missing.append(str(error))


def second_checker(name: str) -> SecondChecker:
    """Return the checker of this name: `math-verify` on the whole output, in its guarded process.

    Raises InputError for others.
    """
    if name != "math-verify":
        raise InputError(f"unknown second checker '{name}'; known: math-verify")
    from tracedistill.answers.symbolic import WORKER

    def check(problem: Problem, text: str) -> bool | None:
        finding = WORKER.compare_texts(", ".join(problem.answers), text, SECOND_SECONDS)
        return finding.outcome == "equal" if finding.outcome in ("equal", "different") else None

    return check


class _Agreement:
    """Agreement of a second checker on the same rows."""

    def __init__(self, second: SecondChecker) -> None:
        self.second = second
        self.cells: Counter[tuple[bool, bool]] = Counter()
        self.silent = 0
        self.queue: list[str] = []

    def add(self, row: Graded) -> None:
        """Check one row with the second checker."""
        ours, theirs = row.answers.answer.ok, self.second(row.problem, row.text)
        self.silent += theirs is None
        self.cells[ours, bool(theirs)] += 1
        if ours != bool(theirs):
            self.queue.append(row.id)

    def summary(self) -> dict[str, Any]:
        """Count both / only ours / only theirs / neither right, with the ids that differ."""
        return {
            "both": self.cells[True, True],
            "only_ours": self.cells[True, False],
            "only_theirs": self.cells[False, True],
            "neither": self.cells[False, False],
            "second_found_nothing": self.silent,
            "disagreements": self.queue,
        }


def _task_figures(task: Task, kept: tuple[list[Problem], list[str]] | None, policy: Policy) -> dict[str, float]:
    if kept is None:
        return {}
    return {name: round(value, 1) for name, value in task.summarise(*kept, policy).items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
