"""Traces to SFT rows, one dataset per arm; and the preflight that proves what a student will be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracedistill.errors import InputError
from tracedistill.formats import FormatName, join
from tracedistill.recipes import Arm
from tracedistill.records import Example, Problem, Trace
from tracedistill.rendering import end_id, prompt_ids, render_example, same_as_template
from tracedistill.students import messages_for
from tracedistill.tasks import Task

SHOWN = 2
"""Rows that the preflight decodes for a person to read."""


def examples_for(
    task: Task,
    name: str,
    arm: Arm,
    text: str,
    problems: Sequence[Problem],
    traces: Mapping[str, Trace],
    system: str | None,
    style: FormatName,
) -> list[Example]:
    """One row per problem, in the problems' order; `traces` is empty for an arm that trains on answers alone."""
    rows = []
    for problem in problems:
        trace = traces.get(problem.problem_id)
        prompt = messages_for(task, problem, arm, text, system, style, plan=trace)
        completion = join(None if trace is None else trace.text, task.render_answer(problem), style)
        trace_id = None if trace is None else trace.trace_id
        rows.append(Example(problem.problem_id, name, prompt, completion, trace_id))
    return rows


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found before training."""

    rows: int
    """Rows that will be trained on."""
    tokens: int
    """Tokens of these rows."""
    supervised: int
    """Tokens that carry loss."""
    longest: int
    """Tokens of the longest row kept."""
    dropped: tuple[tuple[str, int], ...]
    """(problem_id, tokens) of rows over max_length."""
    shown: tuple[tuple[str, str], ...]
    """(prompt's end, supervised tokens) of a few rows, decoded."""


def preflight(tokenizer: Any, examples: Iterable[Example], max_length: int, too_long: str, arm: str) -> Preflight:
    """Render every row as training will, and check it.

    Raises InputError where the end token is not supervised, the prompt that inference renders is not a prefix of the
    row, the row differs from what the model's own template writes, a row is too long and the recipe says `error`, or
    nothing is left.
    """
    rows = tokens = supervised = longest = 0
    dropped: list[tuple[str, int]] = []
    shown: list[tuple[str, str]] = []
    end = end_id(tokenizer)
    if tokenizer.pad_token_id == end:
        # harmless here, since the mask and not the pad token says what carries loss; told because other tools trip
        shown.append(("note", "pad token = end token; the loss mask keeps the end token supervised"))
    for example in examples:
        row = render_example(tokenizer, example)
        where = f"arm {arm}, {example.problem_id}"
        _check(tokenizer, example, row.input_ids, row.completion_mask, end, where)
        length = len(row.input_ids)
        if length > max_length:
            if too_long == "error":
                raise InputError(
                    f"{where}: {length} tokens, over training.max_length={max_length}; raise it or set too_long to drop"
                )
            dropped.append((example.problem_id, length))
            continue
        if rows < SHOWN:
            start = row.completion_mask.index(1)
            shown.append((tokenizer.decode(row.input_ids[:start])[-160:], tokenizer.decode(row.input_ids[start:])))
        rows, tokens, longest = rows + 1, tokens + length, max(longest, length)
        supervised += sum(row.completion_mask)
    if not rows:
        cause = f"all {len(dropped)} rows are over training.max_length={max_length}" if dropped else "there are no rows"
        raise InputError(f"arm {arm}: nothing to train on: {cause}")
    return Preflight(rows, tokens, supervised, longest, tuple(dropped), tuple(shown))


def _check(tokenizer: Any, example: Example, ids: Sequence[int], mask: Sequence[int], end: int, where: str) -> None:
    prompt = prompt_ids(tokenizer, example.prompt)
    if list(ids[: len(prompt)]) != prompt or any(mask[: len(prompt)]):
        raise InputError(f"{where}: the inference prompt is not an unsupervised prefix of the training row")
    if ids[-1] != end or mask[-1] != 1:
        raise InputError(f"{where}: the end token is not supervised; the student would never learn to stop")
    if end in ids[len(prompt) : -1]:
        raise InputError(f"{where}: the completion holds the end token in its middle")
    if not same_as_template(tokenizer, example):
        raise InputError(f"{where}: the training row differs from what the model's own chat template writes")
