"""SFT rows in TRL's format: conversational prompt and completion, equal in Parquet and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import Format, split_reasoning
from tracedistill.chat.templates import TODAY
from tracedistill.errors import InputError
from tracedistill.files import atomic, dumps
from tracedistill.interventions import NO_TRACE
from tracedistill.pipeline.sft_rows import rows_of, shared_traces
from tracedistill.pipeline.trace_selection import places, select_traces
from tracedistill.records import Example
from tracedistill.tools.open_study import OpenStudy

GROUP = 10_000
"""Rows held in memory at once."""


def row_of(example: Example, format: Format) -> dict[str, Any]:
    """Build one row; in the format `reasoning` the trace is in the message's `reasoning_content`.

    `chat_template_kwargs` is what this study passes to every chat template; TRL passes it on row by row.
    """
    message = {"role": "assistant", "content": example.completion}
    if format == "reasoning":
        trace, answer = split_reasoning(example.completion) or ("", example.completion)
        message |= {"content": answer, "reasoning_content": trace}
    return {
        "prompt": [{"role": turn.role, "content": turn.content} for turn in example.prompt],
        "completion": [message],
        "problem_id": example.problem_id,
        "trace_id": example.trace_id,
        "chat_template_kwargs": {"enable_thinking": format == "reasoning", "date_string": TODAY},
    }


def write_rows(examples: Iterable[Example], format: Format, stem: Path) -> int:
    """Write `<stem>.jsonl` and `<stem>.parquet`; return the number of rows. The same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(format)
    stem.parent.mkdir(parents=True, exist_ok=True)
    count, left = 0, iter(examples)
    files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("jsonl", "parquet")]
    with atomic(files[0]) as lines, pq.ParquetWriter(files[1], schema, compression="zstd") as parquet:
        while group := [row_of(example, format) for example in islice(left, GROUP)]:
            lines.writelines(dumps(row) + "\n" for row in group)
            try:
                parquet.write_table(pa.Table.from_pylist(group, schema=schema))
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{stem.name}: {_unreadable(group)}: contains lone surrogates, which Parquet cannot store"
                ) from error
            count += len(group)
    return count


def _schema(format: Format) -> Any:
    import pyarrow as pa

    turn = [("role", pa.string()), ("content", pa.string())]
    answer = [*turn, ("reasoning_content", pa.string())] if format == "reasoning" else turn
    return pa.schema(
        [
            ("prompt", pa.list_(pa.struct(turn))),
            ("completion", pa.list_(pa.struct(answer))),
            ("problem_id", pa.string()),
            ("trace_id", pa.string()),
            ("chat_template_kwargs", pa.struct([("enable_thinking", pa.bool_()), ("date_string", pa.string())])),
        ]
    )


def _unreadable(rows: Sequence[dict[str, Any]]) -> str:
    def bad(row: dict[str, Any]) -> bool:
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return True
        return False

    return next((str(row["problem_id"]) for row in rows if bad(row)), "a row")


def held_out_rows(opened: OpenStudy) -> tuple[dict[str, list[Example]], str]:
    """Return arm -> rows of the validation problems, made like the training rows; or none, and why.

    All tuned arms have the same problems, or none has any, so that losses are comparable between arms.
    """
    work, study = opened.work, opened.study
    problems = work.ids("validation")
    if not problems:
        return {}, "the study has no validation problems"
    for name in study.tuned_arms():
        teacher = study.teacher_of(name)
        if study.arms[name].tune != NO_TRACE and not select_traces(work, teacher, places(problems), accepted=True):
            return {}, f"teacher {teacher} has no accepted trace of a validation problem"
    shared = shared_traces(work, problems)
    if not shared.kept:
        return {}, "no validation problem has an accepted trace for every arm"
    return {name: list(rows_of(work, name, shared.kept, shared.traces)) for name in study.tuned_arms()}, ""
