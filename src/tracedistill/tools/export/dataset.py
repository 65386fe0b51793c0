"""Every tuned arm's SFT rows as one dataset folder: a configuration per arm, and a card that says where they are from.

from datasets import load_dataset
load_dataset(FOLDER, "correct-trace")["train"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import atomic, read_json, read_jsonl
from tracedistill.records import Example
from tracedistill.tools.export.card import bullets, counted, fenced, page, table
from tracedistill.tools.export.folder import CARD, new_folder, seal
from tracedistill.tools.export.licences import UNKNOWN
from tracedistill.tools.export.origin import (
    arm_blocks,
    arm_facts,
    made_with,
    source_blocks,
    source_facts,
    teacher_blocks,
    teacher_facts,
    teachers_of,
)
from tracedistill.tools.export.rows import held_out_rows, write_rows
from tracedistill.tools.open_study import OpenStudy

KIND = "dataset"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A written dataset folder."""

    folder: Path
    rows: Mapping[str, Mapping[str, int]]
    """Arm -> split -> rows."""
    without_validation: str
    """Why there is no validation split; empty if there is one."""


def export_dataset(opened: OpenStudy, out: Path) -> DatasetFolder:
    """Write the rows of all tuned arms, a card and a manifest; the same study gives the same bytes.

    Raises InputError if the study tunes nothing, its rows are missing, or `out` holds something else.
    """
    study = opened.study
    names = study.tuned_arms()
    if not names:
        raise InputError(f"{study.study}: no arm is tuned, so there is no dataset to export")
    for name in names:
        if not (opened.folder / "sft" / f"{name}.jsonl").is_file():
            raise InputError(f"{opened.folder}: no rows of arm {name} yet; first run: {opened.command('assemble')}")
    held, why = held_out_rows(opened)
    rows: dict[str, dict[str, int]] = {}
    with new_folder(out, KIND) as place:
        for name in names:
            train = read_jsonl(opened.folder / "sft" / f"{name}.jsonl", Example)
            rows[name] = {"train": write_rows(train, study.format, place / "data" / name / "train")}
            if held:
                rows[name]["validation"] = write_rows(held[name], study.format, place / "data" / name / "validation")
        facts = _facts(opened, rows, why)
        with atomic(place / CARD) as stream:
            stream.write(_card(opened, facts))
        seal(place, KIND, {**made_with(opened), **facts})
    return DatasetFolder(out, rows, why)


def _facts(opened: OpenStudy, rows: Mapping[str, Mapping[str, int]], why: str) -> dict[str, Any]:
    teachers: dict[str, dict[str, Any]] = {}
    for name in rows:
        for teacher in teachers_of(opened, name):
            teachers.setdefault(teacher, teacher_facts(opened, teacher))
    return {
        "source": source_facts(opened),
        "arms": {name: {**arm_facts(opened, name), "rows": dict(splits)} for name, splits in rows.items()},
        "teachers": teachers,
        "without_validation": why,
        "lengths": {name: _lengths(opened, name) for name in rows},
    }


def _lengths(opened: OpenStudy, name: str) -> dict[str, Any] | None:
    """Return the preflight's token counts of the arm's own student; None if there was no preflight."""
    student = opened.study.student_of(name)
    path = opened.folder / "sft" / f"{student}.preflight.json"
    if not path.exists():
        return None
    preflight = read_json(path)
    if name not in preflight["arms"]:
        return None
    arm = preflight["arms"][name]
    counts = {key: arm[key] for key in ("rows", "tokens", "supervised", "longest")}
    return {"student": student, **counts, "left_out": preflight["dropped"]}


def _card(opened: OpenStudy, facts: Mapping[str, Any]) -> str:
    licence = facts["source"]["licence"]["name"]
    most = max(sum(arm["rows"].values()) for arm in facts["arms"].values())
    head = {
        "license": UNKNOWN if licence == UNKNOWN else licence,
        "pretty_name": f"{opened.study.study}: traces of a distillation study",
        "task_categories": ["text-generation"],
        "tags": ["tracedistill", "distillation", "sft", "trl"],
        "size_categories": [next((label for size, label in SIZES if most < size), "n>1M")],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"data/{name}/{split}.parquet"} for split in arm["rows"]],
            }
            for name, arm in facts["arms"].items()
        ],
    }
    return page(head, _blocks(opened, facts))


def _blocks(opened: OpenStudy, facts: Mapping[str, Any]) -> Iterator[str]:
    study, arms = opened.study, facts["arms"]
    first = next(iter(arms))
    yield f"# {study.study}"
    yield (
        f"SFT rows of {counted(len(arms), 'arm')} of the study `{study.study}`, made by tracedistill: one "
        "configuration per arm. All have the same problems in the same order; the table shows how they differ."
    )
    yield fenced(
        f'from datasets import load_dataset\n\nrows = load_dataset("THIS FOLDER OR REPOSITORY", "{first}")["train"]',
        "python",
    )
    yield "The same rows are in `data/<arm>/<split>.jsonl`."
    yield table(
        ("arm", "student", "prompt", "teacher", "intervention", "train rows", "validation rows", "teacher saw gold"),
        [
            (
                name,
                f"{arm['student']} ({arm['model']})",
                arm["prompt"],
                arm["teacher"],
                arm["intervention"],
                arm["rows"]["train"],
                arm["rows"].get("validation"),
                "no traces" if arm["teacher"] is None else ("yes" if arm["assembly"]["oracle"] else "no"),
            )
            for name, arm in arms.items()
        ],
    )
    if facts["without_validation"]:
        yield f"No validation split: {facts['without_validation']}."
    reasoning = " The trace is in `reasoning_content`." if study.format == "reasoning" else ""
    yield "## Columns"
    yield bullets(
        (
            "`prompt`: the chat up to the student's turn, as in the study.",
            f"`completion`: the student's turn; only this part has a loss.{reasoning}",
            "`problem_id`, `trace_id`: the problem and the trace (no trace in an arm on answers alone).",
            "`chat_template_kwargs`: what the study passes to every chat template; TRL's SFTTrainer passes it on.",
        )
    )
    yield "## Source"
    yield from source_blocks(facts["source"])
    rows, problems = arms[first]["rows"]["train"], arms[first]["train_problems"]
    yield (
        f"Rows: {rows} of {problems} training problems; a problem without an accepted trace for one of the arms is in "
        "no arm."
    )
    yield "## Traces"
    for teacher in facts["teachers"].values():
        yield from teacher_blocks(opened, teacher)
    for arm in arms.values():
        yield from arm_blocks(arm)
    yield from _length_blocks(facts["lengths"])
    yield "## One row of each arm"
    for name in arms:
        example = next(read_jsonl(opened.folder / "sft" / f"{name}.jsonl", Example))
        yield f"`{name}`, {example.problem_id}:"
        yield fenced("\n".join(f"[{turn.role}] {turn.content}" for turn in example.prompt))
        yield fenced(f"[assistant] {example.completion}")
    yield "## How it was made"
    yield (
        f"Seed {study.seed} (problems, interventions, order); format `{study.format}`. `manifest.json` has the whole "
        "recipe, counts, library versions and the hash of every file."
    )
    yield "Whether a student learns from these rows is in the study's report, not in this card."


def _length_blocks(lengths: Mapping[str, Any]) -> Iterator[str]:
    yield "## Token lengths"
    known = {name: counts for name, counts in lengths.items() if counts is not None}
    if not known:
        yield "Not counted: no student's tokenizer was available when this folder was written."
        return
    yield table(
        ("arm", "tokenizer of", "rows trained on", "tokens", "supervised", "mean", "longest", "left out"),
        [
            (
                name,
                *(counts[key] for key in ("student", "rows", "tokens", "supervised")),
                round(counts["tokens"] / counts["rows"], 1),
                counts["longest"],
                len(counts["left_out"]),
            )
            for name, counts in known.items()
        ],
    )
    left_out = sorted({problem_id for counts in known.values() for problem_id in counts["left_out"]})
    if left_out:
        yield (
            "Rows over the study's token limit, or that would be parsed as another trace or answer, are in these files "
            f"but no arm was tuned on them: {', '.join(left_out[:5])}."
        )
