"""Fill the store from a run folder's files or a file of traces; unchanged sources are skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.files import content_id, file_hash, from_json, read_jsonl
from tracedistill.records import Problem, Trace
from tracedistill.review.store import ReviewStore
from tracedistill.tasks import Source, Task, get_task
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import read_rows
from tracedistill.validation import Keep, Validation, validate


def fill_from_run(
    store: ReviewStore, folder: Path, task_name: str, teachers: Sequence[str], labels: Mapping[str, str] | None = None
) -> int:
    """Add a run's traces and their verdicts; return the number of new traces.

    `labels`: problem id -> attribution of its failures; `teacher` and `both` make the trace suspect. Raises InputError
    if a file is missing or broken.
    """
    blamed = None if labels is None else {key for key, label in labels.items() if label in ("teacher", "both")}
    added = 0
    for teacher in teachers:
        files = [folder / "problems.jsonl", folder / "traces" / f"{teacher}.jsonl"]
        files.append(folder / "validation" / f"{teacher}.jsonl")
        for file in files:
            if not file.is_file():
                raise InputError(f"{file}: no such file; first run: tracedistill validate STUDY.yaml")
        hashed = content_id([file_hash(file) for file in files], sorted(blamed or ()), blamed is None)
        if store.filled_from(f"teacher {teacher}") == hashed:
            continue
        wanted = {trace.problem_id for trace in read_jsonl(files[1], Trace)}
        problems = (problem for problem in read_jsonl(files[0], Problem) if problem.problem_id in wanted)
        verdicts = read_jsonl(files[2], Validation)
        traces = read_jsonl(files[1], Trace)
        added += store.fill(task_name, problems, traces, verdicts, whole=teacher, blamed=blamed)
        store.note_source(f"teacher {teacher}", hashed)
    return added


def fill_from_file(
    store: ReviewStore, path: Path, task_name: str, data_dir: Path | None = None, keep: Keep = "correct"
) -> int:
    """Add the traces of a file (records, or rows with problem_id and text), judged now; return the number of new ones.

    Problems are joined by id over all splits of the task. Raises InputError that names rows with unknown problems.
    """
    hashed = content_id(file_hash(path) if path.is_file() else "", task_name, str(data_dir), keep)
    if store.filled_from(f"file {path.name}") == hashed:
        return 0
    task = get_task(task_name)
    # read three times and never held whole: a file may have a million rows
    rows = {trace.problem_id: number for number, trace in _traces(task, path)}
    problems = find_problems(task, data_dir, rows)
    for problem_id, number in rows.items():
        if problem_id not in problems:
            raise InputError(
                f"{path}, row {number}: no problem '{problem_id}' in task {task_name}; "
                "give the folder of its files with --data-dir"
            )
    verdicts = validate(task, problems, (trace for _, trace in _traces(task, path)), keep)
    added = store.fill(task_name, problems.values(), (trace for _, trace in _traces(task, path)), verdicts)
    store.note_source(f"file {path.name}", hashed)
    return added


def read_labels(path: Path) -> dict[str, str]:
    """Read problem (or attempt) id -> label (teacher, student, both, neither, ...) from a file with these columns.

    Raises InputError that names a row without one.
    """
    labels = {}
    for number, row in read_rows(path):
        key = row.get("attempt_id", row.get("problem_id"))
        if key is None or row.get("label") is None:
            raise InputError(f"{path}, row {number}: needs the columns problem_id (or attempt_id) and label")
        labels[content(key)] = content(row["label"])
    return labels


def problems_of(folder: Path, wanted: Collection[str]) -> dict[str, Problem]:
    """Return a run's problems of these ids."""
    problems = read_jsonl(folder / "problems.jsonl", Problem)
    return {problem.problem_id: problem for problem in problems if problem.problem_id in wanted}


def _traces(task: Task, path: Path) -> Iterator[tuple[int, Trace]]:
    for number, row in read_rows(path):
        problem_id, text = row.get("problem_id"), row.get("text")
        if problem_id is None or not isinstance(text, str):
            raise InputError(f"{path}, row {number}: a trace needs the columns problem_id and text")
        if "trace_id" in row and isinstance(row.get("steps"), list):
            try:
                trace = from_json(Trace, row)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, row {number}: not a trace ({error})") from error
            if not trace.trace_id:
                raise InputError(f"{path}, row {number}: an empty trace_id; remove the column to get generated ids")
            yield number, trace
            continue
        teacher = content(row.get("teacher") or path.stem)
        answer = row.get("answer")
        trace = Trace(
            trace_id="",
            problem_id=content(problem_id),
            teacher=teacher,
            steps=task.read_trace(text),
            text=text,
            answer=None if answer in (None, "") else content(answer),
            oracle=str(row.get("oracle", "")).lower() in ("true", "1", "yes"),
        )
        yield number, replace(trace, trace_id=content_id(teacher, trace.problem_id, 0, text))


def find_problems(task: Task, data_dir: Path | None, wanted: Iterable[str]) -> dict[str, Problem]:
    """Return the wanted problems by id, over the available splits."""
    left, problems, missing = set(wanted), dict[str, Problem](), list[str]()
    # ids mostly name their split: try that one first, so that test traces read no train split
    for name in sorted(task.splits, key=lambda name: not any(name in problem_id for problem_id in list(left)[:20])):
        if not left:
            break
        try:
            for problem in task.load(name, Source(data_dir=data_dir)):
                if problem.problem_id in left:
                    problems[problem.problem_id] = problem
                    left.discard(problem.problem_id)
        except MissingSplitError as error:
            missing.append(str(error))
    if not problems:
        raise InputError(f"no problems of task {task.name}: {'; '.join(missing) or 'none of the ids is known'}")
    return problems
