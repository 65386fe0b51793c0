"""Attribution over all items of one teacher and one student: counts with ids and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracedistill.errors import InputError
from tracedistill.evaluation.attribution.alignment import FATES, Adherence
from tracedistill.evaluation.attribution.labels import ALPHA, LABELS, Attributed, Label
from tracedistill.evaluation.attribution.propagation import Propagation
from tracedistill.stats import Share, share


@dataclass(frozen=True, slots=True)
class LabelCell:
    """The items of one label."""

    label: Label
    of_items: Share
    of_failures: Share | None
    """Share of the failures; None for `solved`."""
    by_counts_alone: int
    """Items labelled by the counts alone, without a verdict."""
    outcomes: Mapping[str, int]
    """Verdict on the plan -> items."""
    ids: tuple[str, ...]
    """Problem ids, in the order of the items."""


@dataclass(frozen=True, slots=True)
class AdherenceTotals:
    """Treatment of the steps of all plans."""

    steps: int
    fates: Mapping[str, int]
    """followed, split, redundant, ignored -> steps."""
    misaligned: Share
    """Share of examined items in which a step is ignored."""
    misaligned_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PropagationTotals:
    """Use of the wrong numbers of all plans."""

    plans: int
    """Items examined."""
    with_wrong_number: int
    """Of these, plans with a wrong number."""
    in_trace: Share
    """Of those, items whose student wrote one of them."""
    calculated_with: Share
    """Of those, items whose student calculated with one."""
    in_answer: Share
    """Of those, items whose answer is one."""
    carried: Share
    """Of those, items whose answer is one or is calculated from one."""
    carried_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttributionTable:
    """Attribution for one teacher and one student."""

    teacher: str
    student: str
    items: int
    failures: int
    """Items that are not solved."""
    cells: tuple[LabelCell, ...]
    """One per label, in a fixed order, including empty ones."""
    wrong_plans_among_failures: Share
    """Failures whose plan is judged incorrect."""
    wrong_plans_among_solved: Share
    """Solved items whose plan is nevertheless judged incorrect."""
    came_back_ids: tuple[str, ...]
    """Items solved with another sample of the teacher's plan but not with this one."""
    kinds: Mapping[str, int]
    """Kind of the first wrong step -> failures."""
    first_wrong_steps: Mapping[str, int]
    """Position of the first wrong step, from 1 -> failures."""
    by_chance_at_most: float
    """Most items expected to be called a teacher's by chance, from counts alone, if no plan were worse: level times
    items."""
    adherence: AdherenceTotals | None
    propagation: PropagationTotals | None


def summarise(
    attributed: Sequence[Attributed],
    teacher: str,
    student: str,
    adherences: Mapping[str, Adherence] | None = None,
    propagations: Mapping[str, Propagation] | None = None,
) -> AttributionTable:
    """Summarise the items as a table. The two mappings, by problem id, may cover fewer items.

    Raises InputError if an id is duplicated.
    """
    ids = Counter(item.problem_id for item in attributed)
    twice = next((name for name, count in ids.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{teacher} and {student}: problem '{twice}' is attributed twice; list each problem once")
    n = len(attributed)
    failures = [item for item in attributed if item.failed]
    solved = [item for item in attributed if not item.failed]
    return AttributionTable(
        teacher=teacher,
        student=student,
        items=n,
        failures=len(failures),
        cells=tuple(_cell(label, attributed, len(failures)) for label in LABELS),
        wrong_plans_among_failures=_wrong_plans(failures),
        wrong_plans_among_solved=_wrong_plans(solved),
        came_back_ids=tuple(item.problem_id for item in attributed if item.came_back),
        kinds=dict(Counter(item.kind for item in failures if item.kind).most_common()),
        first_wrong_steps={
            str(step): count
            for step, count in sorted(
                Counter(item.first_wrong_step for item in failures if item.first_wrong_step).items()
            )
        },
        by_chance_at_most=ALPHA * n,
        adherence=None if adherences is None else _adherence(adherences),
        propagation=None if propagations is None else _propagation(propagations),
    )


def _cell(label: Label, attributed: Sequence[Attributed], failures: int) -> LabelCell:
    own = [item for item in attributed if item.label == label]
    return LabelCell(
        label,
        share(len(own), len(attributed)),
        None if label == "solved" else share(len(own), failures),
        sum(item.basis == "counts" for item in own),
        dict(Counter(item.outcome for item in own).most_common()),
        tuple(item.problem_id for item in own),
    )


def _wrong_plans(items: Sequence[Attributed]) -> Share:
    return share(sum(item.outcome == "incorrect" for item in items), len(items))


def _adherence(adherence: Mapping[str, Adherence]) -> AdherenceTotals:
    fates = Counter(step.fate for adhered in adherence.values() for step in adhered.per_step)
    misaligned = tuple(name for name, adhered in adherence.items() if adhered.misaligned)
    return AdherenceTotals(
        fates.total(), {fate: fates[fate] for fate in FATES}, share(len(misaligned), len(adherence)), misaligned
    )


def _propagation(propagations: Mapping[str, Propagation]) -> PropagationTotals:
    wrong = {name: propagation for name, propagation in propagations.items() if propagation.wrong_numbers}
    carried = tuple(name for name, propagation in wrong.items() if propagation.carried)
    return PropagationTotals(
        len(propagations),
        len(wrong),
        share(sum(bool(propagation.reappear_in_trace) for propagation in wrong.values()), len(wrong)),
        share(sum(bool(propagation.calculated_with) for propagation in wrong.values()), len(wrong)),
        share(sum(bool(propagation.reappear_in_answer) for propagation in wrong.values()), len(wrong)),
        share(len(carried), len(wrong)),
        carried,
    )
