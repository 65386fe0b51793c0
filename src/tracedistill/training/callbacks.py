"""Trainer callbacks: marks on whole checkpoints, progress with the time left, tracking."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from tracedistill import events
from tracedistill.events import ProgressEvent
from tracedistill.output import say
from tracedistill.training.tracking import TrackedRun

WHOLE = "whole"
"""Name of the mark in a completely written checkpoint."""
OFTEN = 0.2
"""Seconds between two progress events."""
LINES = 5
"""Progress lines of a run without a terminal."""


class WholeCheckpoints(TrainerCallback):
    """Marks each checkpoint once every process has written its part; checkpoints cut by a kill lack the mark."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Skip the checkpoint of the last step: resumed there in mid-epoch, a training would take one more step."""
        if state.global_step >= state.max_steps:
            control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint of this step."""
        PartialState().wait_for_everyone()
        if PartialState().is_main_process:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()


def last_whole_checkpoint(checkpoints: Path) -> str | None:
    """Return the newest completely written checkpoint, or None."""
    whole = [folder for folder in checkpoints.glob("checkpoint-*") if (folder / WHOLE).exists()]
    return str(max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]))) if whole else None


def drop_broken_checkpoints(checkpoints: Path) -> None:
    """Remove checkpoints truncated by a kill."""
    for folder in checkpoints.glob("checkpoint-*"):
        if not (folder / WHOLE).exists():
            shutil.rmtree(folder)


class ProgressCallback(TrainerCallback):
    """Steps, loss and time left: one updated line in a terminal, a few lines elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = 0.0
        self.first = 0
        self.loss: float | None = None
        self.heldout = ""
        self.due = 0.0
        self.live = sys.stdout.isatty()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock; a resumed run counts its own steps only."""
        self.started, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the last loss."""
        if logs and "eval_loss" in logs:
            self.heldout = f" (validation {logs['eval_loss']:.3f})"
        if logs and "loss" in logs:
            self.loss = float(logs["loss"])
            self._tell(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End the moving line."""
        if self.live and state.is_world_process_zero:
            say(flush=True)

    def _tell(self, state: Any) -> None:
        step, total = state.global_step, state.max_steps
        if events.parent_listens() and state.is_world_process_zero and (step == total or time.monotonic() >= self.due):
            self.due = time.monotonic() + OFTEN
            events.send(ProgressEvent(self.name, step, total, f"loss {self.loss:.3f}{self.heldout}"))
        if events.live():
            return
        every = max(1, total // LINES)
        if not state.is_world_process_zero or not (self.live or step % every == 0 or step == total):
            return
        left = (time.monotonic() - self.started) / max(1, step - self.first) * (total - step)
        loss, time_left = f"{self.loss:.3f}{self.heldout}", f"{int(left // 60)}:{int(left % 60):02d}"
        line = f"  {self.name}: step {step}/{total}, loss {loss}, {time_left} left"
        if self.live:
            sys.stdout.write("\r")  # overwrite the line before
        say(f"{line}   " if self.live else line, end="" if self.live else "\n", flush=True)


TRACKED = ("loss", "learning_rate", "grad_norm", "epoch")
"""Values sent to a tracker at each step."""


class TrackingCallback(TrainerCallback):
    """Sends each step and each evaluation to a tracker run, which the caller opens and closes."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Send what was logged."""
        if logs and state.is_world_process_zero:
            values = {f"train/{key}": logs[key] for key in TRACKED if key in logs} if "loss" in logs else {}
            if "eval_loss" in logs:
                values["eval/loss"] = logs["eval_loss"]
            if values:
                self.run.log(values, state.global_step)
