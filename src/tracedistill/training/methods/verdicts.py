"""The judges' verdicts on a completion, given as text or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import read_completion
from tracedistill.chat.templates import end_id

PARTS = ("answer", "trace", "format")
"""Parts of a verdict on a completion; their weights are the arm's."""


@dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """One completion, judged."""

    answer: float
    """1: the answer is right."""
    trace: float | None
    """1: the trace is right; None: no rule decides."""
    format: float
    """1: an answer was parsed, and a trace if one is wanted."""
    copied: bool = False
    """Whether the trace contains the answer verbatim."""
    ended: bool = True
    """Whether it ended by itself, and was not cut off."""

    def accepted(self, by: Literal["answer", "trace", "both"]) -> bool:
        """Return whether the required parts are right."""
        wanted = {"answer": (self.answer,), "trace": (self.trace,), "both": (self.answer, self.trace)}[by]
        return all(part == 1 for part in wanted)


TextJudge = Callable[[Sequence[str], Sequence[str], Sequence[bool]], list[JudgedCompletion]]
"""(problem ids, texts, whether each ended by itself) -> verdicts."""
TokenJudge = Callable[[Sequence[str], Sequence[list[int]]], list[JudgedCompletion]]
"""(problem ids, completions in tokens) -> verdicts."""


def by_tokens(judge: TextJudge, tokenizer: Any, format: Format, max_tokens: int) -> TokenJudge:
    """Return a judge of completions in tokens; one with `max_tokens` of them and no end is cut off."""
    end = end_id(tokenizer)

    def judge_tokens(problem_ids: Sequence[str], completions: Sequence[list[int]]) -> list[JudgedCompletion]:
        texts = [read_completion(tokenizer, tokens, format) for tokens in completions]
        ended = [len(tokens) < max_tokens or tokens[-1] == end for tokens in completions]
        judged = judge(problem_ids, texts, ended)
        return [replace(verdict, ended=whole) for verdict, whole in zip(judged, ended, strict=True)]

    return judge_tokens
