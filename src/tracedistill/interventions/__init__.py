"""Controlled changes to traces. Each declares what it keeps and changes; corruptions are seeded draws.

declaration       what an intervention declares
text_edits        a trace's text edited at its steps, the rest unchanged
reassignment      a generator per problem; labels, answers and traces redistributed
labels_and_facts  another class, other facts, the answer masked
numbers           another number, and its consequences
numerals          numbers in digits: their places, others of the same shape
order             steps in another order, or one dropped
exchange          another problem's trace or answer
filler            words without content
invariants        declarations checked on the rows
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from tracedistill.errors import InputError
from tracedistill.interventions import exchange, filler, labels_and_facts, numbers, order
from tracedistill.interventions.declaration import Intervention, Kept, one_by_one
from tracedistill.interventions.invariants import Measured, broken, compare_row, measure, measure_rows
from tracedistill.plugins import import_object
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
        value = import_object(name)
    except Exception as error:  # a user's module may raise anything
        raise InputError(f"intervention '{name}': cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(value, Intervention):
        raise InputError(f"intervention '{name}': must be a tracedistill.interventions.Intervention")
    unknown = sorted(set(value.keeps) - set(get_args(Kept)))
    if unknown:
        raise InputError(f"intervention '{name}': keeps '{unknown[0]}'; known: {', '.join(get_args(Kept))}")
    return replace(value, name=name)


def find_intervention(name: str | None) -> Intervention | None:
    """Return the intervention of this name or dotted path; None for other names (`none`, `own`) and lost modules."""
    if name is None or ":" not in name:
        return INTERVENTIONS.get(name or "")
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


_SHAPE: tuple[Kept, ...] = ("format", "step kinds", "number of steps")
_CITING: tuple[Kept, ...] = (*_SHAPE, "number of facts", "class frequencies")
_OTHER_FACTS = "facts cited: others of the same context, never the gold set"
_NO_OTHER_FACT = "class + retrieval traces; left out if the context has no other fact"
_SAME_CATEGORY = "another problem's, of the same category if there is one"

INTERVENTIONS: dict[str, Intervention] = {
    intervention.name: intervention
    for intervention in (
        Intervention("correct", ("everything",), (), _as_it_is),
        Intervention(
            "incorrect",
            (*_CITING, "length: mean within 5%"),
            ("class of every trace", _OTHER_FACTS),
            labels_and_facts.incorrect,
            alone=False,
            note=_NO_OTHER_FACT,
        ),
        Intervention(
            "wrong-class",
            (*_CITING, "answer string", "length: mean within 3%"),
            ("class of every trace",),
            labels_and_facts.wrong_class,
            alone=False,
            note="traces that name a class; frequencies cannot be kept if one class has more than half",
        ),
        Intervention(
            "wrong-facts",
            (*_CITING, "length: mean within 5%"),
            (_OTHER_FACTS,),
            one_by_one(labels_and_facts.wrong_facts),
            note=_NO_OTHER_FACT,
        ),
        Intervention(
            "wrong-facts-with-answer",
            (*_CITING, "answer string", "length: mean within 10%"),
            ("facts cited: others of the same context that also contain the gold answer",),
            one_by_one(labels_and_facts.wrong_facts_with_answer),
            note="left out if the trace does not contain the answer, or no other facts of the context do",
        ),
        Intervention(
            "right-facts-answer-masked",
            (*_CITING, "length"),
            ("the gold answer in the cited facts: masked, character for character",),
            one_by_one(labels_and_facts.mask_answer),
            note="left out if the cited facts do not contain the answer",
        ),
        Intervention(
            "wrong-number",
            (*_SHAPE, "length"),
            ("one number, and every result that follows from it",),
            one_by_one(numbers.corrupt_consistently),
            note="traces that calculate, and plans that name numbers; others are left out",
        ),
        Intervention(
            "wrong-number-one-step",
            (*_SHAPE, "length"),
            ("the result of one step, not the last if there are several; later steps are unchanged",),
            one_by_one(numbers.corrupt_one_step),
            note="traces that calculate; others are left out",
        ),
        Intervention(
            "shuffled",
            ("format", "steps", "number of steps", "number of lines", "number of facts", "class frequencies"),
            ("order of the steps",),
            one_by_one(order.shuffle_steps),
            note="left out if there are fewer than two different steps",
        ),
        Intervention(
            "dropped-step",
            ("steps but one",),
            ("one step is missing",),
            one_by_one(order.drop_step),
            note="left out if there is only one step; its length and answer string go with it",
        ),
        Intervention(
            "foreign",
            ("format", "traces", "class frequencies", "answer frequencies", "length: mean within 3%"),
            (f"the whole trace: {_SAME_CATEGORY}",),
            exchange.exchange_traces,
            alone=False,
        ),
        Intervention(
            "filler",
            ("number of lines", "length"),
            ("every word: the text becomes meaningless filler",),
            one_by_one(filler.fill),
        ),
        Intervention(
            "wrong-answer",
            ("trace", "answer frequencies"),
            (f"the answer: {_SAME_CATEGORY}",),
            exchange.exchange_answers,
            alone=False,
            answers=True,
            plans=False,
            note="left out if no other problem has a different answer",
        ),
    )
}
"""Name -> intervention; others are given by dotted path. An arm with `tune: none` uses no trace and needs no
intervention."""
