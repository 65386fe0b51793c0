"""Convert traces to SFT rows, one dataset per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tracedistill.chat.formats import ANSWER_TASK, RATIONALE_TASK, write_completion
from tracedistill.errors import InputError
from tracedistill.files import content_id
from tracedistill.records import Example, Problem, Trace
from tracedistill.sft.messages import PromptSpec, messages_for, with_prefix


def examples_for(
    spec: PromptSpec, name: str, problems: Sequence[Problem], traces: Mapping[str, Trace], *, own_answers: bool = False
) -> list[Example]:
    """Build the rows of the arm `name` in the problems' order: one each, or two targets if the arm has them.

    `traces` is empty for an arm trained on answers alone. `own_answers`: whether a trace's answer replaces the gold,
    since an intervention changed it.
    """
    two = spec.arm.rationale_weight is not None
    rows = []
    for problem in problems:
        trace = traces.get(problem.problem_id)
        own = trace.answer if own_answers and trace is not None else None
        answer, shown = own or spec.task.render_answer(problem), None if two else trace
        completion = write_completion(None if shown is None else shown.text, answer, spec.format)
        trace_id = None if shown is None else shown.trace_id
        prompt = messages_for(spec, problem, shown)
        rows.append(Example(problem.problem_id, name, prompt, completion, trace_id, answer))
    return two_targets(rows, traces) if two else rows


def assign_mix(problem_ids: Sequence[str], name: str, mix: Mapping[str, float], seed: int) -> dict[str, str]:
    """Return problem -> the arm whose row the arm `name` uses: its own, or one of `mix` (arm -> share of the problems).

    Each share is met exactly, rounded to whole problems. The same shares and seed give the same assignment, and
    increasing the first arm's share only adds problems to it.
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
    """Build two rows per problem: its answer after ANSWER_TASK, its trace after RATIONALE_TASK.

    `answers` are the rows of an arm that trains on answers alone; a problem without a trace keeps its one row. The
    student is then prompted with ANSWER_TASK and writes no trace (Distilling step-by-step, arXiv 2305.02301).
    """
    rows = []
    for row in answers:
        rows.append(replace(row, prompt=with_prefix(ANSWER_TASK, row.prompt)))
        trace = traces.get(row.problem_id)
        if trace is not None:
            prompt = with_prefix(RATIONALE_TASK, row.prompt)
            rows.append(replace(row, prompt=prompt, completion=trace.text, trace_id=trace.trace_id, answer=None))
    return rows


def target_weights(answers: int, rationales: int, rationale_weight: float) -> tuple[float, float]:
    """Return token weights of answers and rationales, so that the loss sums both means.

    `answers`, `rationales`: supervised tokens of all rows. The sum over all rows of weight times loss, over all tokens,
    is (answers' mean + rationale_weight * rationales' mean) / (1 + rationale_weight): the sum of two losses, scaled so
    that one learning rate suits every weight. Raises InputError if there is no answer or no rationale.
    """
    if not rationales or not answers:
        raise InputError("two targets: the rows need answers and rationales, made by sft.examples.two_targets")
    share = (answers + rationales) / (1 + rationale_weight)
    return share / answers, rationale_weight * share / rationales
