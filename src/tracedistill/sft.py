"""Traces to SFT rows, one dataset per arm; and the preflight that proves what a student will be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from tracedistill.errors import InputError
from tracedistill.formats import ANSWER_TASK, RATIONALE_TASK, FormatName, join
from tracedistill.recipes import Arm
from tracedistill.records import Example, Problem, Trace
from tracedistill.rendering import (
    NO_REASONING,
    Rendered,
    added_end,
    difference,
    end_id,
    knows_reasoning,
    prompt_ids,
    render_example,
    writes_the_day,
)
from tracedistill.store import content_id
from tracedistill.students import behind, messages_for
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
    answers: Mapping[str, str] = MappingProxyType({}),
    system_role: Literal["system", "user"] = "system",
) -> list[Example]:
    """One row per problem, in the problems' order; `traces` is empty for an arm that trains on answers alone.

    `answers`: problem_id -> the answer to train on, where an intervention has put another one in the gold's place.
    """
    rows = []
    for problem in problems:
        trace = traces.get(problem.problem_id)
        prompt = messages_for(task, problem, arm, text, system, style, plan=trace, system_role=system_role)
        answer = answers.get(problem.problem_id) or task.render_answer(problem)
        completion = join(None if trace is None else trace.text, answer, style)
        trace_id = None if trace is None else trace.trace_id
        rows.append(Example(problem.problem_id, name, prompt, completion, trace_id))
    return rows


def dealt(problem_ids: Sequence[str], name: str, mix: Mapping[str, float], seed: int) -> dict[str, str]:
    """Problem -> the arm whose row it gives to the arm `name`: itself, or one of `mix` (arm -> share of the problems).

    Each share is met exactly, rounded to whole problems. Arms that mix the same shares at one seed deal alike; of the
    arm that is named first a larger share has all problems of a smaller one.
    """
    order = sorted(problem_ids, key=lambda problem_id: content_id("mix", seed, problem_id))
    whose, start, reached = dict.fromkeys(problem_ids, name), 0, 0.0
    for other, share in mix.items():
        reached += share
        end = min(len(order), round(reached * len(order)))
        whose.update(dict.fromkeys(order[start:end], other))
        start = end
    return whose


def two_targets(answers: Sequence[Example], traces: Mapping[str, Trace]) -> list[Example]:
    """Two rows per problem instead of one: its answer behind ANSWER_TASK, its trace behind RATIONALE_TASK.

    `answers` are the rows of an arm that trains on answers alone; a problem without a trace keeps its one row. The
    student is then asked behind ANSWER_TASK and writes no trace (Distilling step-by-step, arXiv 2305.02301).
    """
    rows = []
    for row in answers:
        rows.append(replace(row, prompt=behind(ANSWER_TASK, row.prompt)))
        trace = traces.get(row.problem_id)
        if trace is not None:
            prompt = behind(RATIONALE_TASK, row.prompt)
            rows.append(replace(row, prompt=prompt, completion=trace.text, trace_id=trace.trace_id))
    return rows


def target_weights(answers: int, rationales: int, rationale_weight: float) -> tuple[float, float]:
    """The weights of answers' and of rationales' tokens, so that the loss is that of both, each a mean over its tokens.

    `answers`, `rationales`: supervised tokens of all rows. The sum over all rows of weight times loss, over all tokens,
    is (answers' mean + rationale_weight * rationales' mean) / (1 + rationale_weight): the sum of two losses, scaled so
    that one learning rate suits every weight. Raises InputError where there is no answer or no rationale.
    """
    if not rationales or not answers:
        raise InputError("two targets: the rows need answers and rationales, made by sft.two_targets")
    share = (answers + rationales) / (1 + rationale_weight)
    return share / answers, rationale_weight * share / rationales


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


def preflight(
    tokenizer: Any,
    examples: Iterable[Example],
    max_length: int,
    too_long: str,
    arm: str,
    style: FormatName = "plain",
    window: int | None = None,
) -> Preflight:
    """Render every row as training will, and check it.

    Raises InputError where the end token is not supervised, the prompt that inference renders is not a prefix of the
    row, the row differs from what the model's own template writes, a row is too long and the recipe says `error`, one
    that is kept is longer than the student's `window` in tokens, or nothing is left.
    """
    rows = tokens = supervised = longest = 0
    dropped: list[tuple[str, int]] = []
    shown: list[tuple[str, str]] = []
    end = end_id(tokenizer)
    if style == "reasoning" and not knows_reasoning(tokenizer):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template does not write a message's reasoning_content; {NO_REASONING}"
        )
    if tokenizer.pad_token_id == end:
        # harmless here, since the mask and not the pad token says what carries loss; told because other tools trip
        shown.append(("note", "pad token = end token; the loss mask keeps the end token supervised"))
    if added_end(tokenizer):
        shown.append(("note", f"the chat template ends no turn with a token; rows end with {added_end(tokenizer)!r}"))
    if writes_the_day(tokenizer):
        shown.append(("note", "the chat template writes the day into every prompt; train and ask on one day"))
    for example in examples:
        row = render_example(tokenizer, example, style)
        where = f"arm {arm}, {example.problem_id}"
        _check(tokenizer, example, row, style, where)
        length = len(row.input_ids)
        if length > max_length:
            if too_long == "error":
                raise InputError(
                    f"{where}: {length} tokens, over training.max_length={max_length}; raise it or set too_long to drop"
                )
            dropped.append((example.problem_id, length))
            continue
        if window and length > window:
            raise InputError(
                f"{where}: {length} tokens, and the student's window has {window}: it could not be asked what it is to "
                f"learn; set training.max_length to {window} at most"
            )
        if rows < SHOWN:
            start = row.completion_mask.index(1)
            shown.append((tokenizer.decode(row.input_ids[:start])[-160:], tokenizer.decode(row.input_ids[start:])))
        rows, tokens, longest = rows + 1, tokens + length, max(longest, length)
        supervised += sum(row.completion_mask)
    if not rows:
        cause = f"all {len(dropped)} rows are over training.max_length={max_length}" if dropped else "there are no rows"
        raise InputError(f"arm {arm}: nothing to train on: {cause}")
    return Preflight(rows, tokens, supervised, longest, tuple(dropped), tuple(shown))


def _check(tokenizer: Any, example: Example, row: Rendered, style: FormatName, where: str) -> None:
    prompt, end = prompt_ids(tokenizer, example.prompt, style=style), end_id(tokenizer)
    if row.input_ids[: len(prompt)] != prompt or any(row.completion_mask[: len(prompt)]):
        raise InputError(f"{where}: the inference prompt is not an unsupervised prefix of the training row")
    if row.input_ids[-1] != end or row.completion_mask[-1] != 1:
        raise InputError(f"{where}: the end token is not supervised; the student would never learn to stop")
    if end in row.input_ids[len(prompt) : -1]:
        raise InputError(f"{where}: the completion holds the end token in its middle")
    found = difference(tokenizer, example, style)
    if found:
        remedy = ""
        if style != "reasoning" and "</think>" in example.completion and knows_reasoning(tokenizer):
            remedy = "; this family keeps its thinking apart: use format: reasoning"
        raise InputError(
            f"{where}: the training row differs from what the model's own chat template writes: {found}{remedy}"
        )
