"""Learning curves: greedy attempts at validation problems between steps, judged as in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from tracedistill.training.methods.verdicts import TokenJudge
from tracedistill.training.methods.writer import CompletionWriter

ATTEMPTS = "attempts"
"""Key of a log entry that is a point of the curve: the number of problems attempted."""


class Curve(TrainerCallback):
    """Attempts the same validation problems every few steps and after the last.

    Attempts are greedy and draw no random number, so the training is unchanged. Only the first process makes them.
    """

    def __init__(self, prompts: Mapping[str, list[int]], judge: TokenJudge, every: int) -> None:
        """`prompts`: problem id -> tokens."""
        self.prompts = dict(prompts)
        self.judge = judge
        self.every = every
        self.writer: CompletionWriter | None = None

    def attach(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        """Set the model of the curve. Call it after the trainer has made the adapter."""
        self.writer = CompletionWriter(model, tokenizer, max_tokens, temperature=0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Record the point before the first step."""
        if state.global_step == 0:
            self._attempt(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Record a point of the curve."""
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._attempt(state)

    def _attempt(self, state: Any) -> None:
        if self.writer is not None and PartialState().is_main_process:
            ids = list(self.prompts)
            written = self.writer.write([self.prompts[item] for item in ids], [(0, 0)] * len(ids))
            judged = self.judge(ids, written)
            state.log_history.append({
                "step": state.global_step,
                "epoch": round(float(state.epoch or 0.0), 6),
                ATTEMPTS: len(ids),
                "answers_right": sum(item.answer == 1 for item in judged),
                "traces_right": sum(item.trace == 1 for item in judged),
                "tokens": sum(map(len, written)),
            })  # fmt: skip
        PartialState().wait_for_everyone()
