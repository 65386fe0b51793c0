"""What a run would stop at, a dry run says as well: the tracker, the student of a paid teacher, the context window."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.tuned_study import recipe_of
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.forecast.estimates import DEVICES

TEACHER = {"kind": "model", "base_url": "http://127.0.0.1:9/v1", "model": "m", "prompt": "chain-of-thought"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No speed is measured here."""
    monkeypatch.setattr("tracedistill.pipeline.study_run.choose", lambda: pytest.fail("the dtype is given"))


def study(place: Path, model: Path, **fields: Any) -> pipeline.LoadedStudy:
    arms = fields.pop("arms", {"standard": {}, "correct": {"tune": "correct"}})
    return pipeline.load(recipe_of(place, model, arms=arms, **fields))


def test_a_tracker_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise InputError(f"{name}: not logged in")

    for name in ("run", "dry_run"):
        monkeypatch.setattr(import_module(f"tracedistill.pipeline.{name}"), "check_tracker", broken)
    loaded = study(tmp_path, tiny.build(tmp_path / "model"), tracking="wandb")
    with pytest.raises(InputError, match="wandb: not logged in"):
        pipeline.run(loaded, quiet=True)
    assert "tracking: wandb: not logged in" in pipeline.dry_run(loaded, "h100").refused


def test_a_student_that_could_never_stop_before_a_teacher_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: object) -> int:
        raise InputError("no end-of-turn token")

    monkeypatch.setattr("tracedistill.chat.templates.end_id", endless)
    monkeypatch.setenv("SOME_KEY", "sk-not-a-real-key")
    teachers = {"paid": {**TEACHER, "key_env": "SOME_KEY"}}
    loaded = study(tmp_path, tiny.build(tmp_path / "model"), teachers=teachers)
    with pytest.raises(InputError, match="no end-of-turn token"):
        pipeline.run(loaded, quiet=True)
    assert "no end-of-turn token" in pipeline.dry_run(loaded, "h100").refused


@pytest.mark.parametrize(("max_tokens", "told"), [(12, False), (500, True)])
def test_prompts_that_leave_no_room_for_an_answer(tmp_path: Path, max_tokens: int, told: bool) -> None:
    loaded = study(
        tmp_path, tiny.build(tmp_path / "model", window=512), arms={"standard": {}}, base={"max_tokens": max_tokens}
    )
    lines = [line for line in pipeline.dry_run(loaded, "h100").unknown if "context window of student tiny" in line]
    assert bool(lines) is told
    if told:
        assert lines[0].startswith("arm standard: 6 of 6 prompts and max_tokens=500 exceed the context window")


NOT_HERE = {
    "FlashAttention": ({"attention": "flash_attention_2"}, r"attention: flash_attention_2 cannot be used: .*: auto"),
    "FlashAttention 3": ({"attention": "flash_attention_3"}, r"attention: flash_attention_3 cannot be used: .*: auto"),
    "a paged optimizer": ({"optimizer": "paged_adamw_8bit"}, r"optimizer: paged_adamw_8bit .* no GPU; use adamw"),
    "Liger": ({"liger": "on"}, r"liger: cannot be used: .*set training\.liger: auto"),
}


@pytest.mark.parametrize(("training", "told"), NOT_HERE.values(), ids=NOT_HERE)
def test_what_this_machine_lacks(
    training: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named for another machine they are no fault; nothing is made before they are refused."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    loaded = study(tmp_path, tiny.build(tmp_path / "model"), training=training)
    with pytest.raises(InputError, match=told):
        pipeline.run(loaded, quiet=True)
    assert not (loaded.study.folder / "problems.jsonl").exists()
    monkeypatch.setattr(import_module("tracedistill.pipeline.dry_run"), "device_of", lambda _name, *_: DEVICES["h100"])
    assert any(re.search(told, line) for line in pipeline.dry_run(loaded).refused)
    assert not any(re.search(told, line) for line in pipeline.dry_run(loaded, "h100").refused)
