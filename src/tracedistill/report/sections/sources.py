"""Sources of the figures: teachers, data and rejections, question types, imports, several runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracedistill.files import read_json
from tracedistill.report.format import listed, percent
from tracedistill.report.records import Report, TeacherFigures, WithoutLeaks
from tracedistill.report.runs import RunView
from tracedistill.report.tables import Cell, Row, Section, Table, section
from tracedistill.validation.judge_verdicts import JudgeReport
from tracedistill.validation.leaks import LeakCounts

IDS_SHOWN = 5


def about(view: RunView, report: Report) -> list[Section]:
    """Build the sections about the run's data, teachers and imports that have content."""
    sections = (_types(report), _teachers(report), _data(view, report), _imports(report), _runs(report))
    return [section for section in sections if section is not None]


def _types(report: Report) -> Section | None:
    arms = report.arms
    if len(report.by_category) < 2:
        return None
    rows = []
    for stratum, cells in report.by_category.items():
        shown: list[Cell] = [stratum, max(cell[0] for cell in cells.values())]
        for arm in arms:
            cell = cells.get(arm.name)
            traces = f" ({cell[2]})" if cell and arm.judges_traces else ""
            shown.append(f"{cell[1]}{traces}" if cell else None)
        rows.append(tuple(shown))
    heads = ("type", "n", *(arm.name for arm in arms))
    note = "Right answers; right traces in brackets."
    return section("types", "By question type", (note,), (_table("", heads, rows),))


def _teachers(report: Report) -> Section | None:
    teachers = report.teachers
    heads = ("teacher", "requests", "failed", "tokens in", "tokens out", "US dollars", "traces", "accepted", "saw gold",
             "leaks (string matching)")  # fmt: skip
    rows = [
        (
            f"{teacher.name} ({teacher.prompt or teacher.kind})",
            teacher.requests,
            teacher.failed,
            teacher.tokens_in,
            teacher.tokens_out,
            None if teacher.usd is None else f"{teacher.usd:.2f}",
            teacher.traces,
            teacher.accepted,
            teacher.oracle,
            _leaks(teacher.leaks),
        )
        for teacher in teachers
    ]
    money = (
        "Calls, tokens and money as reported by the servers; cached answers at the price once paid. Leaks: plans that "
        "give the solution away, out of the plans whose gold is not in the question; in brackets, leaks by string "
        "matching alone."
    )
    notes = [money]
    notes += [f"{arm.label} {_without(arm.without_leaks)}" for arm in report.arms if arm.without_leaks]
    notes += [_judge(teacher.name, teacher.judge) for teacher in teachers if teacher.judge is not None]
    rejected = [(teacher.name, *cells) for teacher in teachers for cells in _rejections(teacher)]
    tables = [_table("", heads, rows)]
    strata = [(teacher.name, kind, stratum, cell[0], cell[1], percent(cell[0] / cell[1] if cell[1] else None))
              for teacher in teachers
              for kind, by in (("difficulty", teacher.by_difficulty), ("length", teacher.by_length))
              for stratum, cell in by.items()]  # fmt: skip
    tables.append(_table("Accepted traces", ("teacher", "by", "level", "accepted", "judged", "share"), strata))
    tables.append(_table("Failed and rejected traces", ("teacher", "what", "why", "traces"), rejected))
    return section("teachers", "Teachers", notes, tables)


def _leaks(leaks: LeakCounts | None) -> str | None:
    if leaks is None:
        return None
    return f"{leaks.genuine.successes} ({leaks.matched.successes}) of {leaks.eligible}"


def _without(without: WithoutLeaks) -> str:
    share, matched = without.accuracy, without.matched
    return (
        f"without the problems whose plan leaks ({without.leaking} left out): {without.correct} of {without.n} "
        f"right, {percent(share.value)} ({percent(share.low)} to {percent(share.high)}); by string matching "
        f"{matched.leaking} left out, {percent(matched.accuracy.value)}."
    )


def _judge(teacher: str, judge: JudgeReport) -> str:
    return (
        f"{teacher}: model judge {judge.judge} judged {judge.plans} plans. It decided {judge.decided} that the rules "
        f"left undecided, rejected {judge.refused}, and disagreed with a rule {judge.disagreements} times (the rule "
        "counts)."
    )


def _rejections(teacher: TeacherFigures) -> Iterator[tuple[str, str, int]]:
    for cause, count in teacher.failures.items():
        yield "failed", cause, count
    for reason, count in teacher.reasons.items():
        yield "rejected", reason, count


def _data(view: RunView, report: Report) -> Section | None:
    """Describe what was drawn, overlap of splits, failing golds, and problems no arm was tuned on."""
    path = view.folder / "problems.report.json"
    if view.recipe is None or not path.exists():
        return None
    data = read_json(path)
    sizes = data["sizes"]
    rows: list[Row] = [
        (f"{first} problems that also occur in {second}", part["found"], part["n"], _ids(_first_ids(part["repeats"])))
        for name, part in data["overlap"].items()
        for second, first in (name.split("/"),)
    ]
    rows += [
        (f"{name}: duplicate problems", sum(len(repeat["ids"]) for repeat in repeats), sizes.get(name),
         _ids(_first_ids(repeats)))
        for name, repeats in data["duplicates"].items()
    ]  # fmt: skip
    near = data.get("near") or {}
    if near:
        rows.append(("train: nearly equal to a validation or test problem", near["train_problems"], sizes["train"],
                     _ids(pair["train_id"] for pair in near["pairs"])))  # fmt: skip
    rows.append(("golds that fail the audit", len(data["audit"]), sum(sizes.values()), _ids(data["audit"])))
    tables = [_table("", ("what", "found", "of", "first ids"), rows)]
    dropped = len(data["dropped_from_train"])
    drawn = (
        f"{sizes['train']} problems to train on, {sizes['validation']} to validate, {sizes['test']} to test; "
        f"{dropped} left out of train because they also occur in validation or test."
    )
    notes = [drawn]
    assembly = report.assembly
    if assembly is not None and assembly.rows is not None and any(arm.kind == "tuned" for arm in report.arms):
        notes.append(
            f"Tuned on {assembly.rows} of {assembly.train_problems} training problems: a problem without an accepted "
            "trace in every arm is in none."
        )
    for student in view.recipe["students"]:
        preflight = view.folder / "sft" / f"{student}.preflight.json"
        checked = read_json(preflight) if preflight.exists() else {"dropped": [], "arms": {}}
        refused = {problem_id for arm in checked["arms"].values() for problem_id, _ in arm.get("refused", ())}
        for ids, why in (
            (sorted(set(checked["dropped"]) - refused), "were too long"),
            (sorted(refused), "cannot be learnt as they are (reasons in sft/*.preflight.json)"),
        ):
            if ids:
                notes.append(f"{student}: {len(ids)} rows {why} and are left out of every arm ({_ids(ids)}).")
    return section("data", "Data", notes, tables)


def _imports(report: Report) -> Section | None:
    arms = [(arm.name, arm.source) for arm in report.arms if arm.source is not None]
    rows = [
        (
            name,
            source["source"],
            source["sha256"][:16],
            *(source[key] for key in ("policy", "rows", "refused", "empty")),
        )
        for name, source in arms
    ]
    note = "Imported outputs are judged by the same judges as a study's. How they were made was not checked."
    heads = ("arm", "file", "sha-256", "answer metric", "rows", "refused", "without text")
    return section("imports", "Imported outputs", (note,), (_table("", heads, rows),))


def _runs(report: Report) -> Section | None:
    heads = ("run", "folder", "problems", "left out here", "same id, other content")
    rows = [(r.name, r.folder, r.problems, r.left_out, r.asked_otherwise) for r in report.runs]
    note = "All figures are over the problems that are identical in every run and attempted by every arm."
    return section("runs", "Runs", (note,), (_table("", heads, rows),))


def _table(title: str, heads: Iterable[str], rows: Iterable[Row]) -> Table:
    return Table(title, tuple(heads), tuple(rows))


def _first_ids(repeats: Iterable[Mapping[str, Any]]) -> list[str]:
    return [problem_id for repeat in repeats for problem_id in repeat["ids"]]


def _ids(ids: Iterable[str]) -> str | None:
    return listed(list(ids), IDS_SHOWN) or None
