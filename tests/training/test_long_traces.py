"""recipes/long-traces: recorded thinking of thousands of tokens, dry-run at full size and run on a tiny model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.families import FOLDER
from tests.tiny import build
from tracedistill import pipeline
from tracedistill.chat.rendering import read_completion, render_example
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_jsonl
from tracedistill.records import Example, Trace

RECIPE = ROOT / "recipes" / "long-traces" / "study.yaml"


def thinking(a: int, b: int, turns: int) -> str:
    """Thinking as reasoning models write it: doubts, a list, code, a formula, blank lines."""
    doubts = (
        f"Wait, let me re-check that, time {turn + 1}:\n\n```python\ntotal = 0\nfor box in range({a}):\n"
        f"    total += {b}  # pens\nprint(total)\n```\n\nHmm.  So \\( {a} \\times {b} = {a * b} \\)."
        for turn in range(turns)
    )
    head = f"Okay, so there are {a} boxes of {b} pens.\n\n1. Let n = {a}\n\n2. Let p = {b}\n"
    return "\n\n".join((head, *doubts))


def write_rows(place: Path, count: int = 24, turns: int = 2) -> Path:
    """A file of the recipe's columns."""
    draw, path = random.Random(0), place / "openthoughts.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            a, b = draw.randint(2, 9) * 10 + number % 9 + 1, draw.randint(2, 9)
            said = f"There are\n\n\\[ {a} \\times {b} = \\boxed{{{a * b}}} \\]"
            row = {
                "id": f"ot-{number}",
                "problem": f"{a} boxes hold {b} pens each; box {number} is red. How many pens are there?",
                "answer": str(a * b),
                "trace": f"<think>\n{thinking(a, b, turns)}\n</think>\n\n{said}",
            }
            stream.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model under Qwen3's template."""
    folder = build(tmp_path_factory.mktemp("tiny"), window=4096)
    (folder / "chat_template.jinja").write_text((FOLDER / "qwen3.jinja").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.fixture
def load(model: Path, tmp_path: Path) -> Callable[..., pipeline.LoadedStudy]:
    def loaded(*changes: str, student: bool = True) -> pipeline.LoadedStudy:
        data = write_rows(tmp_path)
        items = [
            f"run_dir={tmp_path / 'run'}", f"task.path={data}", f"teachers.r1.path={data}",
            "task.train=12", "task.validation=2", "task.test=3", *changes,
        ]  # fmt: skip
        if student:
            items += [f"students.qwen3-1.7b.model={model}", "students.qwen3-1.7b.dtype=float32"]
        return pipeline.load(RECIPE, items)

    return loaded


SMALL = (
    "training.accelerate_config=cpu", "training.batch_size=4", "training.gradient_accumulation=2",
    "training.max_steps=1", "training.lora_r=4", "training.max_length=4096", "evaluation.batch_size=3",
)  # fmt: skip


def test_the_dry_run_says_how_long_rows_may_be(
    load: Callable[..., pipeline.LoadedStudy], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load(student=False)
    found = pipeline.dry_run(loaded, "h100")
    assert found.refused == ()
    assert [tuning.arm for tuning in found.tunings] == ["answer-only", "r1-traces"]
    # two rows of this length fit, in the recipe's own settings
    assert all(tuning.fits >= loaded.study.training.max_length for tuning in found.tunings)
    shared = pipeline.dry_run(load("training.accelerate_config=context_parallel", student=False), "h100")
    assert all(more.fits >= one.fits for more, one in zip(shared.tunings, found.tunings, strict=True))
    bare = pipeline.dry_run(load("training.activation_checkpointing=false", student=False), "h100")
    assert all(less.fits < one.fits for less, one in zip(bare.tunings, found.tunings, strict=True))
    assert "with these settings, rows of up to" in capsys.readouterr().out


def test_rows_hold_the_thinking_as_it_was_recorded(load: Callable[..., pipeline.LoadedStudy], model: Path) -> None:
    loaded = load(*SMALL)
    pipeline.dry_run(loaded)
    traces = {trace.problem_id: trace for trace in read_jsonl(loaded.study.folder / "traces" / "r1.jsonl", Trace)}
    assert all(
        trace.text.startswith("Okay, so there are") and "    total +=" in trace.text for trace in traces.values()
    )
    tokenizer = load_tokenizer(str(model))
    rows = list(read_jsonl(loaded.study.folder / "sft" / "r1-traces.jsonl", Example))
    assert len(rows) == 12
    for row in rows:
        made = render_example(tokenizer, row, "reasoning")
        said = read_completion(tokenizer, made.input_ids[made.completion_mask.index(1) :], "reasoning")
        assert said.strip() == f"<think>\n{traces[row.problem_id].text}\n</think>\n\nAnswer: {row.answer}"


def test_an_arm_that_may_write_too_little_is_refused_before_it_is_tuned(
    load: Callable[..., pipeline.LoadedStudy],
) -> None:
    found = pipeline.dry_run(load(*SMALL, "base.max_tokens=128"))
    assert any("arm r1-traces: 12 of 12 rows have more supervised tokens" in line for line in found.refused)
    with pytest.raises(
        InputError, match=r"arm r1-traces: 12 of 12 rows .* \(max_tokens: 128\).* set base.max_tokens to"
    ):
        pipeline.run(load(*SMALL, "base.max_tokens=128"), stage="train", quiet=True)


@pytest.mark.slow
def test_the_recipe_runs(load: Callable[..., pipeline.LoadedStudy]) -> None:
    loaded = load(*SMALL, "base.max_tokens=1500", "training.max_steps=2")
    pipeline.run(loaded, quiet=True)
    report = pipeline.report_of(loaded)
    assert {arm.name for arm in report.arms} == set(loaded.study.arms)
    training = read_json(loaded.study.folder / "adapters" / "r1-traces" / "training.json")
    assert (training["rows"], training["steps"], training["attention"]) == (12, 2, "eager")
    assert training["log"][-1]["learning_rate"] > 0
