"""Import outputs of any model as an arm's attempts in a run folder, judged by the same judges as a study's.

python:  import_outputs(Path("outputs.jsonl"), "gsm8k", "theirs", Path("runs/theirs"), data_dir=Path("data"))
shell:   tracedistill import outputs.jsonl --task gsm8k --arm theirs --run-dir runs/theirs --data-dir data
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill import __version__
from tracedistill.chat.formats import bounded
from tracedistill.errors import InputError
from tracedistill.evaluation.scoring import score
from tracedistill.files import file_hash, locked, read_json, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.recipes.names import name_fault
from tracedistill.records import AnswerVerdicts, Attempt, Problem, Verdict
from tracedistill.report.runs import IMPORTED
from tracedistill.tasks import Policy, Task, get_task
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row, read_rows
from tracedistill.tools.grade import KnownProblems, problem_of

LOCK = ".lock"
"""Lock of a run folder, shared with a study's run."""
BEGUN = "begun"
"""Key of imported.json: arms being written, so that a killed import can be repeated."""
ROWS_NAMED = 20
"""Refused rows named in imported.json; all are counted."""

FINISHES: Mapping[str, str] = {
    "": "stop", "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "max_length": "length",
    "error": "error", "content_filter": "error", "too-long": "too-long", "no-plan": "no-plan",
}  # fmt: skip
"""Finish reasons of servers and libraries -> ours."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of the file's columns; missing columns are empty."""

    problem: str = "problem_id"
    """Problem id, which joins rows to problems and pairs arms."""
    gold: str = "gold"
    """Gold in the row, used if no known problem has the id."""
    text: str = "text"
    tokens_in: str = "tokens_in"
    tokens_out: str = "tokens_out"
    seconds: str = "seconds"
    """Seconds of one generation."""
    finish: str = "finish"
    """How the generation ended: see FINISHES."""
    sample: str = "sample"
    """Index among several samples of a problem; without the column, rows of a problem are numbered."""
    seed: str = "seed"
    """Index of the adapter's seed, from 0."""


@dataclass(slots=True)
class ImportedArm:
    """Result of an import; its entry in imported.json."""

    source: str
    """Name of the file."""
    sha256: str
    policy: Policy
    rows: int = 0
    problems: int = 0
    empty: int = 0
    """Of the rows: without text, counted as empty attempts."""
    refused: int = 0
    """Rows of problems that this run does not have; they are no attempts."""
    refused_rows: list[str] = field(default_factory=list)
    """The first of them, with reasons."""
    where: dict[str, str] = field(default_factory=dict)
    """Column -> value: only these rows were read."""
    skipped: int = 0
    """Rows that `where` left out."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns with other names than the default."""
    student: str | None = None
    """Student of the outputs, if given."""
    tracedistill: str = __version__
    """Version that judged them."""


def import_outputs(
    path: Path,
    task_name: str,
    arm: str,
    run_dir: Path,
    *,
    columns: ColumnNames | None = None,
    where: Mapping[str, str] | None = None,
    policy: Policy = "default",
    data_dir: Path | None = None,
    student: str | None = None,
    over: bool = False,
) -> ImportedArm:
    """Judge every row of a file and store it as an attempt of `arm` in `run_dir`, which is created if missing.

    Beside a study's arms a row is joined to the study's test problems, and refused (counted, named) if its problem is
    not among them. Elsewhere it is joined to a problem imported before, to the task's by `data_dir`, or uses its own
    gold; without any it counts as ungradable. An existing arm is replaced if it came from a file of the same name, or
    with `over`; an arm of the study never is. Raises InputError (file, row, remedy) and then leaves the run folder
    unchanged.
    """
    columns, where = columns or ColumnNames(), dict(where or {})
    task = get_task(task_name)
    with _held(run_dir):
        run = _ImportFolder(run_dir, task, task_name, policy, data_dir)
        run.check(arm, path, over=over)
        entry = ImportedArm(path.name, "", policy, where=where, student=student, columns=to_json(columns))
        attempts = [*_attempts(path, run, arm, columns, where, entry)]
        if not attempts:
            refused = f", {entry.refused} refused ({entry.refused_rows[0]})" if entry.refused else ""
            raise InputError(f"{path}: no row for arm {arm}: {entry.skipped} left out by --where{refused}")
        entry.sha256 = file_hash(path)
        entry.rows, entry.problems = len(attempts), len({attempt.problem_id for attempt in attempts})
        run.keep(arm, attempts, entry)
    return entry


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a run folder against a study's run and other imports."""
    new = not folder.exists()
    if not new and not (folder.is_dir() and (_is_run(folder) or _is_bare(folder))):
        raise InputError(f"{folder}: is not empty and not a run folder; choose another --run-dir")
    busy = f"{folder}: another tracedistill run or import is using this folder; wait until it ends"
    with locked(folder / LOCK, busy):
        try:
            yield
        except BaseException:
            if new and _is_bare(folder):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
            raise


def _is_run(folder: Path) -> bool:
    return (folder / "study.json").exists() or (folder / IMPORTED).exists()


def _is_bare(folder: Path) -> bool:
    """Return whether the folder has only the lock, or the remains of an import killed before its first file."""
    return all(child.name in (LOCK, f".{IMPORTED}.partial") for child in folder.iterdir())


class _ImportFolder:
    """A run folder that accepts imports: a study's, or one of imports alone."""

    def __init__(self, folder: Path, task: Task, task_name: str, policy: Policy, data_dir: Path | None) -> None:
        self.folder, self.task, self.policy = folder, task, policy
        self.of_study = (folder / "study.json").exists()
        self.entries: dict[str, Any] = {"task": task_name, "arms": {}}
        if (folder / IMPORTED).exists():
            self.entries = read_json(folder / IMPORTED)
        path = folder / "problems.jsonl"
        self.problems = {p.problem_id: p for p in read_jsonl(path, Problem)} if path.exists() else {}
        if self.of_study:
            self.problems = {key: p for key, p in self.problems.items() if p.split == "test"}
            if not self.problems:
                raise InputError(f"{folder}: the study there has drawn no problems yet; run it first")
        if data_dir is not None and not data_dir.is_dir():
            raise InputError(f"--data-dir {data_dir}: no such folder")
        self.data_dir, self.known = data_dir, KnownProblems(task, data_dir)
        here = next(iter(self.problems.values())).task if self.of_study else self.entries["task"]
        if here not in (task_name, task.name):
            raise InputError(f"{folder}: contains outputs on task {here}, not {task_name}; choose another --run-dir")

    def check(self, arm: str, path: Path, *, over: bool) -> None:
        """Check that this arm may be written here. Raises InputError otherwise."""
        if fault := name_fault(arm):
            raise InputError(f"--arm {arm!r}: {fault}")
        known = self.entries["arms"].get(arm)
        attempts = self.folder / "attempts" / f"{arm}.jsonl"
        ours = known is not None or arm in self.entries.get(BEGUN, [])
        if attempts.with_name(f"{attempts.name}.manifest.json").exists() or (attempts.exists() and not ours):
            raise InputError(f"{self.folder}: '{arm}' is an arm of the study in this folder; choose another --arm")
        if known is not None and known["source"] != path.name and not over:
            raise InputError(
                f"{self.folder}: arm '{arm}' came from {known['source']}; add --replace, or choose another --arm"
            )
        if self.of_study and self.policy != "default":
            raise InputError(
                f"--policy {self.policy}: the study in {self.folder} is judged by the default metric; import into a "
                "--run-dir of its own"
            )
        others = {name: other["policy"] for name, other in self.entries["arms"].items() if name != arm}
        differing = next((name for name, used in others.items() if used != self.policy), None)
        if differing is not None:
            raise InputError(
                f"--policy {self.policy}: arm '{differing}' in {self.folder} is judged by {others[differing]}; a run "
                "has one metric, so give another --run-dir"
            )

    def problem(self, row: Row, problem_id: str, gold: str, place: str) -> Problem | None:
        """Return the problem of a row; None if the study does not have it."""
        here = self.problems.get(problem_id)
        if self.of_study:
            return here
        own = row.get(gold) is not None
        if here is None or (own and self.data_dir is None):
            # as in `grade`: without data_dir the hub is only used if the row has no gold of its own
            looked_up = self.known.find(problem_id) if self.data_dir is not None or not own else None
            other = looked_up or problem_of(self.task, row, problem_id, gold)
            if here is not None and other.answers != here.answers:
                raise InputError(
                    f"{place}: gold {_brief(other.answers)} of problem '{problem_id}' differs from "
                    f"{_brief(here.answers)} in {self.folder / 'problems.jsonl'}: an id must be one problem; join with "
                    "--data-dir, or choose another --run-dir"
                )
        return self.problems.setdefault(problem_id, here or other)

    def keep(self, arm: str, attempts: Sequence[Attempt], entry: ImportedArm) -> None:
        """Judge and write; the entry comes last, so that an interrupted import is no arm and can be repeated."""
        others = [name for name in self.entries.pop(BEGUN, []) if name != arm]
        write_json(self.folder / IMPORTED, {**self.entries, BEGUN: [*others, arm]})
        if not self.of_study:
            write_jsonl(self.folder / "problems.jsonl", self.problems.values())
        write_jsonl(self.folder / "attempts" / f"{arm}.jsonl", (self._judged(attempt) for attempt in attempts))
        if others:
            self.entries[BEGUN] = others
        self.entries["arms"][arm] = to_json(entry, defaults=True)
        write_json(self.folder / IMPORTED, self.entries)

    def _judged(self, attempt: Attempt) -> dict[str, Any]:
        problem = self.problems[attempt.problem_id]
        if not problem.answers and not problem.gold_steps and not problem.meta:
            nothing = Verdict("ungradable", reason="no gold: the problem is unknown and its row has none")
            answers, trace, copied = AnswerVerdicts(nothing, nothing, nothing), Verdict("none", reason="no gold"), None
        else:
            result = score(self.task, problem, attempt, trace_wanted=True)
            answers, trace, copied = result.answers, result.trace, result.answer_in_trace
            if self.policy != "default":
                answers = self.task.judge_answer(problem, bounded(attempt.text), self.policy)
        return {
            **to_json(attempt),
            "answer": to_json(answers.answer, defaults=True),
            "derived": to_json(answers.derived, defaults=True),
            "candidate": to_json(answers.candidate, defaults=True),
            "trace": to_json(trace, defaults=True),
            "cut_off": attempt.cut_off,
            "answer_in_trace": copied,
        }


def _attempts(
    path: Path, run: _ImportFolder, arm: str, columns: ColumnNames, where: Mapping[str, str], entry: ImportedArm
) -> Iterator[Attempt]:
    """Yield rows as attempts in file order, and count those refused, skipped or empty."""
    first: Row = {}
    any_text = False
    samples = Counter[tuple[str, int]]()
    seen: dict[tuple[str, int, int], int] = {}
    for number, row in read_rows(path):
        place = f"{path}, row {number}"
        first = first or row
        missing = next((column for column in where if column not in row), None)
        if missing is not None:
            raise InputError(f"{place}: no column '{missing}', which --where names; it has: {', '.join(row)}")
        if any(content(row[column]) != value for column, value in where.items()):
            entry.skipped += 1
            continue
        if row.get(columns.problem) in (None, ""):
            raise InputError(
                f"{place}: no problem id in column '{columns.problem}'; it has: {', '.join(row)}; name it with "
                "--problem-field (arms are paired by it; `tracedistill grade` judges rows without ids)"
            )
        problem_id = content(row[columns.problem])
        if run.problem(row, problem_id, columns.gold, place) is None:
            entry.refused += 1
            if len(entry.refused_rows) < ROWS_NAMED:
                entry.refused_rows.append(f"row {number}: problem '{problem_id}' is not a test problem of the study")
            continue
        any_text = any_text or columns.text in row
        text = _text(row, columns.text, place)
        entry.empty += not text
        seed = _whole(row, columns.seed, place) or 0
        sample = _whole(row, columns.sample, place)
        if sample is None:
            sample = samples[problem_id, seed]
            samples[problem_id, seed] += 1
        before = seen.setdefault((problem_id, sample, seed), number)
        if before != number:
            raise InputError(
                f"{place}: problem '{problem_id}', sample {sample}, seed {seed} is already in row {before}; "
                "distinguish them with the sample or seed column, or select rows with --where"
            )
        yield Attempt(
            attempt_id=f"{arm}{f'.seed{seed}' if seed else ''}/{problem_id}/{sample}",
            problem_id=problem_id,
            arm=arm,
            student=entry.student or "",
            text=text,
            finish=_finish(row, columns.finish, place),
            tokens_in=_whole(row, columns.tokens_in, place) or 0,
            tokens_out=_whole(row, columns.tokens_out, place) or 0,
            seconds=_number(row, columns.seconds, place) or 0.0,
            sample=sample,
            seed=seed,
        )
    if first and not any_text and not entry.refused and entry.skipped == 0:
        raise InputError(f"{path}: no column '{columns.text}'; it has: {', '.join(first)}; name it with --text-field")


def _text(row: Row, column: str, place: str) -> str:
    value = row.get(column)
    if value is None or _is_nan(value):
        return ""
    if not isinstance(value, str):
        raise InputError(
            f"{place}: column '{column}' contains {type(value).__name__}, not text; name it with --text-field"
        )
    return value


def _finish(row: Row, column: str, place: str) -> Any:
    value = row.get(column)
    reason = "" if value is None or _is_nan(value) else str(value).strip().lower()
    if reason not in FINISHES:
        known = ", ".join(name for name in FINISHES if name)
        raise InputError(f"{place}: column '{column}' contains {value!r}; allowed: {known} (or name another column)")
    return FINISHES[reason]


def _number(row: Row, column: str, place: str) -> float | None:
    """Read a figure of the row, at least 0; None if the row has none."""
    value = row.get(column)
    if value is None or value == "" or _is_nan(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise InputError(
            f"{place}: column '{column}' contains {value!r}, not a number >= 0; fix it or name another column"
        )
    return number


def _whole(row: Row, column: str, place: str) -> int | None:
    number = _number(row, column, place)
    if number is None:
        return None
    if number != int(number) or number >= 2**31:
        raise InputError(f"{place}: column '{column}' contains {row[column]!r}, not a whole number that fits")
    return int(number)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _brief(answers: Sequence[str]) -> str:
    text = ", ".join(answers)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
