"""A small run folder with real files, out of which the report's sections are tested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tracedistill.files import content_id, to_json, write_json, write_jsonl
from tracedistill.recipes import Arm, StudentConfig, Study, TaskConfig, TeacherConfig, resolved
from tracedistill.records import Attempt, Example, Message, Problem, Step, StepVerdict, Trace, Verdict
from tracedistill.report.attempts import AttemptColumns, AttemptLine, columns_of
from tracedistill.report.runs import RunView, view_of_folder
from tracedistill.report.tables import Section, Table

STUDENT = StudentConfig(model="scripted:tests.scripts:solver")


def problems_of(n: int, difficulty: Sequence[int] = (1,), category: Sequence[str] = ("",)) -> list[Problem]:
    """n problems, difficulties and categories dealt out in turn."""
    return [
        Problem(
            f"p{place}",
            "babi",
            "test",
            f"Question {place}?",
            answers=(f"gold {place % 4}",),
            difficulty=difficulty[place % len(difficulty)],
            category=category[place % len(category)],
        )
        for place in range(n)
    ]


def columns_from(rows: Iterable[Mapping[str, Any]]) -> AttemptColumns:
    """Lines of an attempts file as the report reads them."""
    return columns_of(msgspec.convert(row, AttemptLine) for row in rows)


def line(
    problem_id: str,
    answer: str | bool = "correct",
    trace: str | bool = "none",
    *,
    said: str | None = "same",
    steps: Sequence[tuple[str, str]] = (),
    text: str = "...",
    copied: bool | None = None,
    follows: bool | None = None,
    finish: Any = "stop",
    sample: int = 0,
    seed: int = 0,
    tokens: tuple[int, int] = (10, 5),
    seconds: float = 0.5,
) -> dict[str, Any]:
    """One line of attempts/<arm>.jsonl; True and False stand for correct and incorrect."""
    outcome, of_trace = ({True: "correct", False: "incorrect"}.get(each, each) for each in (answer, trace))  # type: ignore[call-overload]
    attempt = Attempt(
        attempt_id=f"arm/{problem_id}/{sample}",
        problem_id=problem_id,
        arm="arm",
        student="s",
        text=text,
        finish=finish,
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        seconds=seconds,
        sample=sample,
    )
    judged = tuple(StepVerdict(place, kind, found) for place, (kind, found) in enumerate(steps))  # type: ignore[arg-type]
    return {
        **to_json(attempt),
        "seed": seed,
        "answer": to_json(Verdict(outcome, said, reason=text), defaults=True),
        "derived": to_json(Verdict("missing"), defaults=True),
        "candidate": to_json(Verdict("missing"), defaults=True),
        "trace": to_json(Verdict(of_trace, steps=judged), defaults=True),
        "cut_off": attempt.cut_off,
        "answer_in_trace": copied,
        "follows": follows,
    }


def verdicts(flags: Iterable[bool], **fields: Any) -> list[dict[str, Any]]:
    """One attempt a problem, right or wrong as the flags say."""
    return [line(f"p{place}", flag, **fields) for place, flag in enumerate(flags)]


class FakeRun:
    """A run folder in the making."""

    def __init__(
        self,
        folder: Path,
        arms: Mapping[str, Arm],
        attempts: Mapping[str, Sequence[Mapping[str, Any]]],
        problems: Sequence[Problem] | None = None,
        comparisons: Sequence[tuple[str, str]] = (),
        students: Mapping[str, StudentConfig] | None = None,
        teachers: Mapping[str, TeacherConfig] | None = None,
    ) -> None:
        self.folder = folder
        self.study = Study(
            study="fake",
            task=TaskConfig(name="babi"),
            students=dict(students or {"s": STUDENT}),
            arms=dict(arms),
            teachers=dict(teachers or {"rules": TeacherConfig()}),
            comparisons=tuple(comparisons),
        )
        self.assembly: dict[str, Any] = {"rows": 0, "train_problems": 0, "arms": {}, "plans": {}, "forced": {}}
        most = max(len({row["problem_id"] for row in rows}) for rows in attempts.values())
        write_jsonl(folder / "problems.jsonl", problems if problems is not None else problems_of(most))
        for name, rows in attempts.items():
            write_jsonl(folder / "attempts" / f"{name}.jsonl", rows)
            self.manifest(f"generate:{name}", f"generations/{name}.jsonl", self._asked(name))

    def _asked(self, name: str) -> dict[str, Any]:
        plain, arm = resolved(self.study), self.study.arms[name]
        student = plain["students"][self.study.student_of(arm)]
        return {
            "student": student,
            "evaluation": plain["evaluation"],
            "seed": 0,
            "format": "plain",
            "prompt": arm.prompt,
        }

    def manifest(self, node: str, output: str, params: Mapping[str, Any], seconds: float = 1.0) -> None:
        """Write a node's manifest beside its output."""
        write_json(
            self.folder / f"{output}.manifest.json",
            {
                "node": node,
                "params": params,
                "inputs": {},
                "outputs": {output: {"sha256": content_id(output), "bytes": 1, "mtime_ns": 1}},
                "seconds": seconds,
                "peak_memory_bytes": 1,
                "libraries": {},
                "recipe": resolved(self.study),
            },
        )

    def tuned(
        self, name: str, rows: Mapping[str, str], seconds: float = 100.0, prompt: str = "Q", **training: Any
    ) -> None:
        """An adapter's rows (problem -> completion) and manifest; keyword arguments change its hyperparameters."""
        examples = [Example(key, name, (Message("user", f"{prompt} {key}"),), text) for key, text in rows.items()]
        write_jsonl(self.folder / "sft" / f"{name}.jsonl", examples)
        student = self.study.student_of(name)
        plain = resolved(replace(self.study))
        seed = training.pop("seed", 0)
        params = {"training": {**plain["training"], **training}, "student": plain["students"][student], "seed": seed}
        self.manifest(f"train:{name}", f"adapters/{name}", params, seconds)

    def plans(self, name: str, texts: Mapping[str, Sequence[str]], folder: str = "plans") -> None:
        """The plans that an arm shows (or, in another folder, forces): problem -> texts."""
        traces = [
            Trace(content_id(key, text), key, "rules", tuple(Step("plan", part) for part in text.split("\n")), text)
            for key, several in texts.items()
            for text in several
        ]
        write_jsonl(self.folder / folder / f"{name}.jsonl", traces)

    def view(self) -> RunView:
        """The run as the report sees it."""
        write_json(self.folder / "assembly.json", self.assembly)
        return view_of_folder(self.folder)


def table(section: Section | None, title: str) -> Table:
    """The section's table of this title (its beginning); every row has the heads' length."""
    assert section is not None
    for found in section.tables:
        assert all(len(row) == len(found.heads) for row in found.rows), found.title
        assert all(row < len(found.rows) and column < len(found.heads) for row, column in found.flagged), found.title
    return next(found for found in section.tables if found.title.startswith(title))


def column(found: Table, head: str) -> list[Any]:
    """One column of a table: the first of this head."""
    return [row[found.heads.index(head)] for row in found.rows]
