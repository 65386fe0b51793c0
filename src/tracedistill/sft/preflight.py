"""The preflight: check a student's training rows one by one before tuning.

Every row is rendered as in training. The prompt must be the one that inference renders, the end token must be
supervised, and the text must be what the model family's template writes. The supervised text, decoded and parsed like
an attempt, must give back the row's own trace and answer; otherwise a perfect student would be judged wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tracedistill.chat.formats import Format, parse_completion, trace_in
from tracedistill.chat.rendering import (
    NO_REASONING,
    Rendered,
    difference,
    prompt_ids,
    read_completion,
    render_example,
    special_in,
)
from tracedistill.chat.templates import OWN_TEMPLATE, added_end, end_id, knows_reasoning, writes_the_day
from tracedistill.errors import InputError
from tracedistill.records import Example

SHOWN = 2
"""Rows that the preflight prints decoded."""
BAD_ROWS = 0.05
"""Share of rows that may be refused; above it the format or the data are at fault, and nothing is tuned."""
SHORT_ROWS = 0.01
"""Share of rows that may be longer than an arm's max_tokens."""

Judge = Callable[[Example, str], str]
"""(row, supervised text) -> why its answer is not judged like the row's bare answer; empty if it is."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """Result of the preflight."""

    rows: int
    tokens: int
    """Tokens of these rows."""
    supervised: int
    longest: int
    """Tokens of the longest row kept."""
    dropped: tuple[tuple[str, int], ...]
    """(problem_id, tokens) of rows over max_length."""
    shown: tuple[tuple[str, str], ...]
    """(prompt's end, supervised tokens) of a few rows, decoded."""
    refused: tuple[tuple[str, str], ...] = ()
    """(problem_id, why) of rows that cannot be learnt as they are."""
    short: tuple[tuple[str, int, int], ...] = ()
    """(arm, its max_tokens, rows with more supervised tokens) of arms evaluated with this training."""
    most: int = 0
    """Supervised tokens of the longest row; 0 if every arm's limit suffices."""
    crowded: tuple[tuple[str, int, int], ...] = ()
    """(arm, its max_tokens, rows whose prompt and max_tokens exceed the window, so that they are not run)."""


def preflight(
    tokenizer: Any,
    examples: Iterable[Example],
    max_length: int,
    too_long: str,
    arm: str,
    format: Format = "plain",
    window: int | None = None,
    limits: Mapping[str, int] = MappingProxyType({}),
    judge: Judge | None = None,
) -> Preflight:
    """Render every row as training will, and check it.

    `limits`: arm -> its max_tokens, of the arms evaluated with this training; `judge` also has the task judge the
    answer. A row that cannot be learnt as it is (a special token in its text, another trace or answer when parsed) is
    refused and counted.

    Raises InputError if the end token is not supervised, the prompt that inference renders is not a prefix of the row,
    more than BAD_ROWS of the rows are refused, a row is too long and the recipe says `error`, a kept one is longer than
    the student's `window` in tokens, or no row is left.
    """
    notes, tally = (
        notes_on(tokenizer, format),
        PreflightTally(Limits(max_length, too_long, arm, format, window, limits)),
    )
    for example in examples:
        tally.add(tokenizer, example, judge)
    return tally.report(notes)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that an arm's rows are checked against."""

    max_length: int
    too_long: str
    """Treatment of longer rows: drop or error."""
    arm: str
    format: Format = "plain"
    """Format of trace and answer in a completion."""
    window: int | None = None
    """Context window of the student in tokens, if known."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Arm -> its max_tokens, of the arms evaluated with this training."""
    drawn: int = 0
    """Most tokens that the student generates after each prompt during training; 0: none."""

    def check_room(self, prompt: int, where: str) -> None:
        """Raise InputError if a prompt of this length leaves too little room in the window for the completion."""
        if self.window and self.drawn and prompt + self.drawn > self.window:
            raise InputError(
                f"{where}: a prompt of {prompt} tokens with a completion of up to {self.drawn} while the student is "
                f"trained, but its context window is {self.window}: lower the arm's max_tokens, or show less"
            )


class PreflightTally:
    """Counts over checked rows, in one process or merged from several."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._rows = self._tokens = self._supervised = self._longest = self._most = 0
        self._dropped: list[tuple[str, int]] = []
        self._refused: list[tuple[str, str]] = []
        self._over = dict.fromkeys(limits.limits, 0)
        self._crowded = dict.fromkeys(limits.limits, 0)
        self._shown: list[tuple[str, str]] = []

    def add(self, tokenizer: Any, example: Example, judge: Judge | None = None) -> None:
        """Render a row and check it. Raises InputError as `preflight` does."""
        limits = self.limits
        row = render_example(tokenizer, example, limits.format)
        where = f"arm {limits.arm}, {example.problem_id}"
        _check(tokenizer, example, row, limits.format, where)
        length = len(row.input_ids)
        if length > limits.max_length:
            if limits.too_long == "error":
                raise InputError(
                    f"{where}: {length} tokens, over training.max_length={limits.max_length}; raise it or set "
                    "too_long: drop"
                )
            self._dropped.append((example.problem_id, length))
            return
        why = _fault(tokenizer, example, row, limits.format, judge)
        if why:
            self._refused.append((example.problem_id, why))
            return
        if limits.window and length > limits.window:
            raise InputError(
                f"{where}: {length} tokens, but the student's context window is {limits.window}; set "
                f"training.max_length to {limits.window} at most"
            )
        limits.check_room(row.completion_mask.index(1), where)
        if self._rows < SHOWN:
            start = row.completion_mask.index(1)
            prompt, learnt_text = tokenizer.decode(row.input_ids[:start]), tokenizer.decode(row.input_ids[start:])
            self._shown.append((prompt[-160:], learnt_text))
        learnt = sum(row.completion_mask)
        self._rows, self._tokens, self._supervised = self._rows + 1, self._tokens + length, self._supervised + learnt
        self._longest = max(self._longest, length)
        if example.answer is not None:  # a row that teaches only the trace has no answer to evaluate
            self._most = max(self._most, learnt)
            for user, limit in limits.limits.items():
                self._over[user] += learnt > limit
                self._crowded[user] += limits.window is not None and length - learnt + limit > limits.window

    def counts(self) -> dict[str, Any]:
        """Return the counts as JSON, for `add_counts`."""
        return {
            "sums": [self._rows, self._tokens, self._supervised],
            "most": [self._longest, self._most],
            "dropped": self._dropped,
            "refused": self._refused,
            "over": self._over,
            "crowded": self._crowded,
            "shown": self._shown,
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of another tally, whose rows follow these."""
        rows, tokens, supervised = counts["sums"]
        self._shown += [(prompt, learnt) for prompt, learnt in counts["shown"]][: max(0, SHOWN - self._rows)]
        self._rows += rows
        self._tokens += tokens
        self._supervised += supervised
        self._longest, self._most = map(max, zip((self._longest, self._most), counts["most"], strict=True))
        self._dropped += [(problem_id, length) for problem_id, length in counts["dropped"]]
        self._refused += [(problem_id, why) for problem_id, why in counts["refused"]]
        for here, there in ((self._over, counts["over"]), (self._crowded, counts["crowded"])):
            for user, count in there.items():
                here[user] += count

    def report(self, notes: Iterable[tuple[str, str]] = ()) -> Preflight:
        """Return the result. Raises InputError if too many rows are refused, or none is left."""
        limits = self.limits
        _refuse(self._refused, self._rows + len(self._dropped), limits.arm)
        if not self._rows:
            cause = "it has no rows"
            if self._dropped:
                cause = f"all {len(self._dropped)} rows are over training.max_length={limits.max_length}"
            raise InputError(f"arm {limits.arm}: nothing to train on: {cause}")
        short, crowded = (
            tuple((user, limits.limits[user], count) for user, count in counts.items() if count)
            for counts in (self._over, self._crowded)
        )
        return Preflight(
            self._rows,
            self._tokens,
            self._supervised,
            self._longest,
            tuple(self._dropped),
            (*notes, *self._shown),
            tuple(self._refused),
            short,
            self._most if short else 0,
            crowded,
        )


def notes_on(tokenizer: Any, format: Format) -> list[tuple[str, str]]:
    """Return warnings about the tokenizer. Raises InputError if it cannot write the format."""
    if format == "reasoning" and not knows_reasoning(tokenizer):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template does not write a message's reasoning_content; {NO_REASONING}"
        )
    notes = []
    if tokenizer.pad_token_id == end_id(tokenizer):
        # harmless here, since the mask decides what is supervised, not the pad token; reported because other tools trip
        notes.append(("note", "pad token = end token; the loss mask keeps the end token supervised"))
    if added_end(tokenizer):
        notes.append(("note", f"the chat template ends no turn with a token; rows end with {added_end(tokenizer)!r}"))
    if writes_the_day(tokenizer):
        notes.append(
            ("note", "the chat template writes the date into every prompt; train and evaluate on the same day")
        )
    return notes


def _refuse(refused: list[tuple[str, str]], others: int, arm: str) -> None:
    """Raise InputError if too many rows are refused to blame single rows."""
    total = others + len(refused)
    if len(refused) <= BAD_ROWS * total:
        return
    problem_id, why = refused[0]
    many = f" ({len(refused)} of {total} rows are affected)" if total > 1 else ""
    raise InputError(f"arm {arm}, {problem_id}: {why}{many}")


def _check(tokenizer: Any, example: Example, row: Rendered, format: Format, where: str) -> None:
    """Raise InputError for a fault of this row that every row of the student shares."""
    prompt, end = prompt_ids(tokenizer, example.prompt, format=format), end_id(tokenizer)
    if row.input_ids[: len(prompt)] != prompt or any(row.completion_mask[: len(prompt)]):
        raise InputError(f"{where}: the inference prompt is not an unsupervised prefix of the training row")
    if row.input_ids[-1] != end or row.completion_mask[-1] != 1:
        raise InputError(f"{where}: the end token is not supervised, so the student would never learn to stop")


def _fault(tokenizer: Any, example: Example, row: Rendered, format: Format, judge: Judge | None) -> str:
    """Return why this row cannot be learnt; empty if it can."""
    start = row.completion_mask.index(1)
    token = special_in(tokenizer, example.completion)
    if end_id(tokenizer) in row.input_ids[start:-1]:
        return "the completion contains the end token before its end; remove it from the trace or the answer"
    if token is not None:
        return f"the completion contains {token!r}, which is no text to this student but one of its special tokens"
    fault = difference(tokenizer, example, format)
    if fault:
        remedy = OWN_TEMPLATE
        if format != "reasoning" and "</think>" in example.completion and knows_reasoning(tokenizer):
            remedy = "this model family separates its thinking: use format: reasoning"
        return f"the training row differs from what the model's own chat template writes: {fault}; {remedy}"
    text = read_completion(tokenizer, row.input_ids[start:], format)
    if example.answer is None:
        return "" if text.strip() == example.completion.strip() else _unlike("text", example.completion, text)
    trace, parts = trace_in(example.completion, example.answer, format), parse_completion(text)
    if (parts.trace or "").strip() != (trace or "").strip():
        return _unlike("trace", trace or "", parts.trace or "")
    if (parts.answer or "").strip() != example.answer.strip():
        return _unlike("answer", example.answer, parts.answer or "")
    return "" if judge is None else judge(example, text)


def _unlike(what: str, learnt: str, read: str) -> str:
    """Explain how a row is parsed differently from what it was made of."""
    both = min(len(learnt), len(read))
    at = next((place for place in range(both) if learnt[place] != read[place]), both)
    start = max(0, at - 20)
    return (
        f"its {what} is {learnt[start : at + 40]!r} and would be parsed as {read[start : at + 40]!r} from what the "
        "student learns to write; remove such marks from the text, or choose another format (plain, tags, reasoning)"
    )
