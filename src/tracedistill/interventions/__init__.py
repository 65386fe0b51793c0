"""Controlled changes to traces. Each declares what it keeps and changes; corruptions are seeded draws.

declared          what an intervention declares
editing           a trace's text edited at its steps, the rest unchanged
dealing           generators per problem; labels, answers and traces redistributed
labels_and_facts  another class, other facts, the answer masked
numbers           another number, and its consequences
numerals          numbers in digits: their places, others of the same shape
order             steps in another order, or one dropped
exchange          another problem's trace or answer
filling           words without content
measuring         declarations checked on the rows
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from tracedistill.dotted import import_object
from tracedistill.errors import InputError
from tracedistill.interventions import exchange, filling, labels_and_facts, numbers, order
from tracedistill.interventions.declared import Intervention, Kept
from tracedistill.interventions.measuring import Measured, broken, compare_row, measure, measure_rows
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task, module_hash

__all__ = [
    "INTERVENTIONS",
    "NO_TRACE",
    "Intervention",
    "Kept",
    "Measured",
    "broken",
    "code_hashes",
    "compare_row",
    "find_intervention",
    "get_intervention",
    "intervene",
    "measure",
    "measure_rows",
]

NO_TRACE = "none"
"""The value of `tune` that trains on answers alone."""


def intervene(
    name: str, task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int
) -> list[Trace]:
    """Apply the named intervention to traces, in order; those it cannot apply to are left out."""
    return get_intervention(name).apply(task, problems, traces, seed)


def get_intervention(name: str) -> Intervention:
    """Return the intervention of this name or dotted path. Raises InputError if there is none."""
    if name in INTERVENTIONS:
        return INTERVENTIONS[name]
    if ":" not in name:
        raise InputError(
            f"unknown intervention '{name}'; known: {', '.join(sorted(INTERVENTIONS))}, or a dotted path "
            "package.module:NAME"
        )
    try:
        found = import_object(name)
    except Exception as error:  # a user's module may raise anything
        raise InputError(f"intervention '{name}': cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, Intervention):
        raise InputError(f"intervention '{name}': must be a tracedistill.interventions.Intervention")
    unknown = sorted(set(found.keeps) - set(get_args(Kept)))
    if unknown:
        raise InputError(f"intervention '{name}': keeps '{unknown[0]}'; known: {', '.join(get_args(Kept))}")
    return replace(found, name=name)


def find_intervention(name: str | None, known: Mapping[str, Intervention] | None = None) -> Intervention | None:
    """Return the intervention of this name or dotted path; None for other names (`none`, `own`) and lost modules."""
    found = (INTERVENTIONS if known is None else known).get(name or "")
    if found is not None or name is None or ":" not in name:
        return found
    try:
        return get_intervention(name)
    except InputError:
        return None


def code_hashes(names: Iterable[str | None]) -> dict[str, str]:
    """Return dotted path -> hash of its module, for interventions from outside the package."""
    paths = sorted({name for name in names if name is not None and ":" in name})
    return {path: module_hash(path.partition(":")[0]) for path in paths if find_intervention(path)}


def _as_it_is(_task: Task, _problems: Mapping[str, Problem], traces: Sequence[Trace], _seed: int) -> list[Trace]:
    return list(traces)


INTERVENTIONS: dict[str, Intervention] = {
    one.name: one
    for one in (
        Intervention("correct", ("everything",), (), _as_it_is),
        Intervention(
            "incorrect",
            (
                "format", "step kinds", "number of steps", "number of facts", "class frequencies",
                "length: mean within 5%",
            ),
            ("class of every trace", "facts cited: others of the same context, never the gold set"),
            labels_and_facts.incorrect,
            alone=False,
            note="class + retrieval traces; left out if the context has no other fact",
        ),
        Intervention(
            "wrong-class",
            (
                "format", "step kinds", "number of steps", "number of facts", "answer string", "class frequencies",
                "length: mean within 3%",
            ),
            ("class of every trace",),
            labels_and_facts.wrong_class,
            alone=False,
            note="traces that name a class; frequencies cannot be kept if one class has more than half",
        ),
        Intervention(
            "wrong-facts",
            (
                "format", "step kinds", "number of steps", "number of facts", "class frequencies",
                "length: mean within 5%",
            ),
            ("facts cited: others of the same context, never the gold set",),
            labels_and_facts.wrong_facts,
            note="class + retrieval traces; left out if the context has no other fact",
        ),
        Intervention(
            "wrong-facts-with-answer",
            (
                "format", "step kinds", "number of steps", "number of facts", "class frequencies", "answer string",
                "length: mean within 10%",
            ),
            ("facts cited: others of the same context that also contain the gold answer",),
            labels_and_facts.wrong_facts_with_answer,
            note="left out if the trace does not contain the answer, or no other facts of the context do",
        ),
        Intervention(
            "right-facts-answer-masked",
            ("format", "step kinds", "number of steps", "number of facts", "class frequencies", "length"),
            ("the gold answer in the cited facts: struck out, character for character",),
            labels_and_facts.mask_answer,
            note="left out if the cited facts do not contain the answer",
        ),
        Intervention(
            "wrong-number",
            ("format", "step kinds", "number of steps", "length"),
            ("one number, and every result that follows from it",),
            numbers.corrupt_consistently,
            note="traces that calculate, and plans that name numbers; others are left out",
        ),
        Intervention(
            "wrong-number-one-step",
            ("format", "step kinds", "number of steps", "length"),
            ("the result of one step, not the last if there are several; later steps are unchanged",),
            numbers.corrupt_one_step,
            note="traces that calculate; others are left out",
        ),
        Intervention(
            "shuffled",
            ("format", "steps", "number of steps", "number of lines", "number of facts", "class frequencies"),
            ("order of the steps",),
            order.shuffle_steps,
            note="left out if there are fewer than two different steps",
        ),
        Intervention(
            "dropped-step",
            ("steps but one",),
            ("one step is missing",),
            order.drop_step,
            note="left out if there is only one step; its length and answer string go with it",
        ),
        Intervention(
            "foreign",
            ("format", "traces", "class frequencies", "answer frequencies", "length: mean within 3%"),
            ("whose trace it is: another problem's, of the same category if there is one",),
            exchange.exchange_traces,
            alone=False,
        ),
        Intervention(
            "filler",
            ("number of lines", "length"),
            ("every word: the text becomes meaningless filler",),
            filling.fill,
        ),
        Intervention(
            "wrong-answer",
            ("trace", "answer frequencies"),
            ("the answer: another problem's, of the same category if there is one",),
            exchange.exchange_answers,
            alone=False,
            answers=True,
            plans=False,
            note="left out if no other problem has a different answer",
        ),
    )
}  # fmt: skip
"""Name -> intervention; others are given by dotted path. An arm with `tune: none` uses no trace and needs no
intervention."""
