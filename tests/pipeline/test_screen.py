"""What a person sees of a run: a bar for the whole and one for the piece at work, or a plain line a minute."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tracedistill import events, output, spinner
from tracedistill.events import ProgressEvent
from tracedistill.pipeline import launch, progress
from tracedistill.pipeline.progress import CurrentWork, StudyProgress
from tracedistill.pipeline.screen import Screen
from tracedistill.training.callbacks import ProgressCallback


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def drawn(state: StudyProgress) -> str:
    out = output.console(file=io.StringIO(), width=120)
    out.print(state.rendered())
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def test_the_time_left_is_a_forecast_corrected_by_what_was_seen(clock: list[float]) -> None:
    state = StudyProgress(output.console(file=io.StringIO()))
    state.plan(["assemble", "train:a", "train:b", "report"])
    assert state.left() is None  # nothing is known of what takes long
    assert "left" not in state.line()
    state.expect({"train:a": 100.0, "train:b": 100.0})
    assert state.left() == 204.0
    state.begin("assemble")
    state.end("assemble")
    state.begin("train:a")
    state.work("a", 50, 200)
    clock[0] += 50
    # a quarter in 50 s: 150 s are left of it
    assert state.left() == 150.0 + 100.0 + 2.0
    clock[0] += 150
    state.end("train:a")
    # it took twice as long as forecast, and so will the other one
    assert state.left() == 202.0
    assert state.line() == "2 of 4 pieces, 3:20, about 3:22 left"


def test_both_lines_are_drawn_and_names_cannot_be_markup(clock: list[float]) -> None:
    state = StudyProgress(output.console(file=io.StringIO()))
    state.plan(["train:[red]a", "report"])
    state.begin("train:[red]a")
    state.work("[red]a\x1b[31m", 12, 72, "loss 1.2")
    clock[0] += 61
    first, second = drawn(state).splitlines()
    assert first.split()[0] == "study"
    assert "0 of 2 pieces, 1:01" in first
    assert "[red]a[U+001B][31m" in second
    assert "12 of 72, loss 1.2, 1:01" in second


def test_work_of_unknown_length_is_shown_all_the_same(clock: list[float]) -> None:
    clock[0] += 4000
    assert CurrentWork("loading", clock[0] - 3725).line() == "1:02:05"
    assert "loading" in drawn(_at(ProgressEvent("loading")))


def _at(event: ProgressEvent) -> StudyProgress:
    screen = Screen()
    with screen.overall():
        screen.hear(event)
        assert screen._overall is not None
        return screen._overall


def test_without_a_terminal_a_plain_line_comes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the work says nothing for long: a thread of its own says where it is."""
    said, seen = io.StringIO(), threading.Event()

    class Console:
        is_terminal = False

        def print(self, text: str, **_: Any) -> None:
            said.write(f"{text}\n")
            seen.set()

    monkeypatch.setattr(progress, "PLAIN", 0.01)
    state = StudyProgress(Console())  # type: ignore[arg-type]
    with state.shown():
        state.begin("validate:rules")
        state.work("judging", 3, 9)
        assert seen.wait(30)
    assert "pieces, 0:0" in said.getvalue()


def test_waiting_says_so_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spinner, "PLAIN", 0.01)
    said = threading.Event()
    monkeypatch.setattr(spinner, "clock", lambda _: said.set() or "0:05")
    with spinner.waiting("reading big.jsonl"):
        assert said.wait(30)
    assert "reading big.jsonl, 0:05" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [False, True])
def test_a_launched_process_tells_its_parent(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(events.LISTENING, events.LIVE)
    screen = Screen(quiet=quiet)
    with screen.overall(), screen.piece("train:a"), screen.bar("a") as update:
        update(1, 2)
    found = [events.parse(line) for line in capsys.readouterr().out.split("\n") if line]
    wanted = [ProgressEvent(begun="train:a"), ProgressEvent("a", 1, 2), ProgressEvent(ended="train:a")]
    assert found == ([] if quiet else wanted)


def test_no_text_is_taken_for_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """What a model writes goes through `say`, which shows the mark as what it is."""
    events.send(ProgressEvent("a"))
    forged = capsys.readouterr().out
    output.say(forged)
    assert events.parse(capsys.readouterr().out) is None
    assert events.parse("\x1enot JSON") is None
    assert events.parse('\x1e{"strange": 1}') is None
    assert events.parse(forged) == ProgressEvent("a")


CHILD = """
import sys
from tracedistill import events
print("world_size=1", flush=True)
events.send(events.ProgressEvent(begun="train:a"))
events.send(events.ProgressEvent("a", 1, 2, "loss 0.5"))
print("a word for people", flush=True)
events.send(events.ProgressEvent(ended="train:a"))
sys.exit(7)
"""


def test_what_a_launched_process_prints_stands_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    heard: list[ProgressEvent] = []
    screen = Screen()
    said: list[str] = []
    monkeypatch.setattr(screen, "hear", heard.append)
    monkeypatch.setattr(screen, "say", said.append)
    code = launch._watched([sys.executable, "-c", CHILD], dict(os.environ), screen)
    assert code == 7
    assert said == ["world_size=1", "a word for people"]
    assert heard == [
        ProgressEvent(begun="train:a"),
        ProgressEvent("a", 1, 2, "loss 0.5"),
        ProgressEvent(ended="train:a"),
    ]


@pytest.mark.parametrize(("parent", "lines"), [(events.LIVE, 0), (events.LINES, 5), ("", 5)])
def test_steps_of_a_launched_training_are_told_and_without_a_terminal_printed_too(
    parent: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(events.LISTENING, parent)
    callback = ProgressCallback("a")
    state = SimpleNamespace(global_step=0, max_steps=10, is_world_process_zero=True)
    callback.on_train_begin(None, state, None)
    for state.global_step in range(1, 11):
        callback.on_log(None, state, None, {"loss": 0.5})
    printed = [line for line in capsys.readouterr().out.split("\n") if line]
    told = [event for line in printed if (event := events.parse(line)) is not None]
    assert len(printed) - len(told) == lines
    assert [event.done for event in told][-1:] == ([10] if parent else [])


def test_time_left_of_a_slow_piece_follows_its_steps(clock: list[float]) -> None:
    """A forecast for an idle machine is corrected by what a launched training tells, before its end."""
    whole = StudyProgress(output.console())
    whole.expect({"train:a": 60.0})
    whole.begin("train:a")
    clock[0] += 100.0
    whole.work("a", 25, 100)
    assert whole.left() == pytest.approx(300.0)
