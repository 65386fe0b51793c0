"""Marks of thinking and control tokens: taken out where they are known, else a counted failure, before any training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill import pipeline
from tracedistill.engines.thinking_marks import THINKING, leftover, split_thinking, without_controls
from tracedistill.engines.tokenizers import special_tokens
from tracedistill.files import read_json, read_lines
from tracedistill.tasks import get_task
from tracedistill.teachers.parser import parse_teacher_text

StudyFile = Callable[..., Path]

LEFT = [
    # (text, the mark that is found; empty: none)
    ("Step 1: 2 + 2 = 4.", ""),
    ("half <think> of it", "<think>"),
    ("half </thinking> of it", "</thinking>"),
    ("half </Thought> of it", "</Thought>"),
    ("[THINK] so", "[THINK]"),
    ("so [/INST] then", "[/INST]"),
    ("4<|im_end|>\n<|im_start|>user\nAnd 5?", "<|im_end|>"),
    ("<|channel|>analysis", "<|channel|>"),
    ("4 <|eot_id|> more", "<|eot_id|>"),
    ("4<｜end▁of▁sentence｜>5", "<｜end▁of▁sentence｜>"),
    ("4 <end_of_turn> more", "<end_of_turn>"),
    ("4</s>5", "</s>"),
    ("◁/think▷ 4", "◁/think▷"),
    ("<unused95> 4", "<unused95>"),
    ("<tool_call>{}</tool_call>", "<tool_call>"),
    ("a <repo_name> b", "<repo_name>"),
    # nothing of the kind
    ("a < b | c > d, <<48/2=24>>24, |x| <= 3", ""),
    ("<b>bold</b> [1] [INSTALL] <answer>4</answer> <s1>", ""),
    ("if x <| y |> z", ""),
    ("I think; <thinker>", ""),
]


@pytest.mark.parametrize(("text", "mark"), LEFT)
def test_what_is_left_over_is_found(text: str, mark: str) -> None:
    assert leftover(text, {"<repo_name>"}) == mark


@pytest.mark.parametrize(
    "unit",
    ["<think></think>", "<|im_end|>", " <|im_end|> \n", "<|", "<｜", "<|channel|>analysis<|message|>", "[THINK]",
     "</think>", "analysis", "<think>", " ", "<|channel|>", "<s>", "</s> ", "assistantfinal", "<|x", "◁"],
)  # fmt: skip
def test_a_megabyte_of_marks_takes_no_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    split_thinking(text)
    without_controls(text)
    leftover(text, {"<repo_name>"})
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("opening", "closing"), THINKING)
def test_thinking_is_split_off_whatever_its_marks(opening: str, closing: str) -> None:
    assert split_thinking(f" {opening}why{closing}\n\n4") == ("4", "why")
    assert split_thinking(f"why{closing}4") == ("4", "why")
    assert split_thinking(f"{opening}why") == ("", "why")
    assert split_thinking(f"4 and {opening}") == (f"4 and {opening}", None), "not at the beginning: left for validate"


def test_special_tokens_are_read_out_of_a_tokenizers_files(tmp_path: Path) -> None:
    assert special_tokens(tmp_path) == frozenset()
    tokens = [
        {"content": "<fim>", "special": True},
        {"content": "<tool>", "special": False},
        {"content": " ", "special": True},
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"added_tokens_decoder": {"1": {"content": "<e>", "special": true}}}'
    )
    assert special_tokens(tmp_path) == {"<fim>", "<e>"}
    (tmp_path / "tokenizer.json").write_text("[1]")
    assert special_tokens(tmp_path) == {"<e>"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("<|im_end|>", "left-over marker: <|im_end|>"),
        ("<fim>", "left-over marker: <fim>"),
        ("\ud800", "lone surrogate"),
    ],
)
@pytest.mark.parametrize("keep", ["correct", "all"])
def test_a_trace_with_such_a_mark_is_a_counted_failure_before_any_training(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str, keep: str
) -> None:
    student = tmp_path / "student"
    student.mkdir()
    (student / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": "<fim>", "special": True}]}))
    (student / "config.json").write_text("{}")
    settings: dict[str, Any] = {
        "students": {"small": {"model": str(student)}},
        "arms": {"tuned": {"tune": "correct"}},
        "comparisons": [],
        "validation": {"keep": keep},
        "task": {"name": "babi", "train": 5, "validation": 0, "test": 3},
    }
    pipeline.run(pipeline.load(study_file(**settings, teachers={"rules": {"kind": "rules"}})), "teach", quiet=True)
    traces = [row for _, row in read_lines(tmp_path / "run" / "traces" / "rules.jsonl")]
    recorded = tmp_path / "recorded.jsonl"
    rows = [
        {"problem_id": row["problem_id"], "text": row["text"] + (f"\n{line}" if number == 0 else "")}
        for number, row in enumerate(traces)
    ]
    recorded.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    loaded = pipeline.load(study_file(**settings, teachers={"file": {"kind": "recorded", "path": str(recorded)}}))
    pipeline.run(loaded, "validate")
    verdicts = [row for _, row in read_lines(tmp_path / "run" / "validation" / "file.jsonl")]
    assert [row["accepted"] for row in verdicts].count(False) == 1 if keep == "all" else True
    assert words in verdicts[0]["reason"]
    reasons = read_json(tmp_path / "run" / "validation" / "file.report.json")["reasons"]
    assert reasons[words.split(":")[0]] == 1
    assert "1 traces contain thinking marks" in capsys.readouterr().out


# ---- what a teacher wrote, read within bounds

TASK = get_task("gsm8k")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 2 = 4.\nThe final answer is: 4.", "4"),
        ("2 + 2 = 4. So the answer is 4", "4"),
        ("The answer is\n\n 4 apples . ", "4 apples"),
        ("the answer is 3, no: the answer is 4.", "3, no: the answer is 4"),
        ("The answer is " + "x" * 201, None),
        ("The answer is", None),
        ("2 + 2 = 4", None),
    ],
)
def test_the_answer_that_a_text_ends_with(text: str, answer: str | None) -> None:
    assert parse_teacher_text(TASK, text, "solution").answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "So the answer is" + " " * 400 + "x" * 300,
        "the final " * 100_000,
        "answer is " * 100_000,
        "The answer is" + " " * 1_000_000,
    ],
)
def test_a_megabyte_of_statements_takes_no_time(text: str) -> None:
    start = time.process_time()
    parse_teacher_text(TASK, text, "solution")
    assert time.process_time() - start < 10  # the task's own reading included


@pytest.mark.parametrize(
    "text",
    [
        '{"steps": [], "answer": ' + "9" * 4301 + "}",
        "{" * 1_000_000,
        "{" * 500_000 + "}" * 500_000,
        '{"steps": [{"text": "\ud800"}]}',
        "}{",
    ],
)
def test_hostile_json_of_a_teacher_is_unreadable_and_ends_no_run(text: str) -> None:
    start = time.process_time()
    read = parse_teacher_text(TASK, text, "structured")
    assert time.process_time() - start < 2
    assert read.steps == () or read.text
