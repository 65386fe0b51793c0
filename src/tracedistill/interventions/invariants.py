"""Check an intervention's declaration on the rows, by the task's parsing of the texts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from tracedistill.files import content_id
from tracedistill.interventions.declaration import Intervention, Kept
from tracedistill.interventions.reassignment import label_of
from tracedistill.interventions.text_edits import parse_alike
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._retrieval import normalise_class
from tracedistill.tasks._spans import one_line

TENTH = 0.1
"""A length counts as kept within this relative difference."""
MEANS: Mapping[str, float] = {
    "length: mean within 3%": 0.03,
    "length: mean within 5%": 0.05,
    "length: mean within 10%": 0.10,
}
"""A mean length counts as kept within this relative difference."""

_OF_ALL = ("traces", "class frequencies", "answer frequencies")
"""Declarations about all rows together: their share is that of the rows in both sets."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Properties of an intervention's rows compared with the original rows."""

    n: int
    """Original rows that have a changed counterpart."""
    left_out: int
    """Original rows without one."""
    changed: float
    """Share of rows whose text or answer differs."""
    holds: Mapping[str, float]
    """Declaration -> share of rows for which it holds; for a mean 1 or 0."""
    length_ratio: float
    """Characters of all texts after divided by before."""
    within_tenth: float
    """Share of rows whose length differs by at most 10 %."""
    answer_before: float
    """Share of rows whose trace contained the gold answer before (`answer_in_trace`)."""
    answer_after: float
    """Share of rows whose trace contains it after."""
    classes_before: Mapping[str, int]
    """Class label -> traces that named it before; empty if traces name no classes."""
    classes_after: Mapping[str, int]
    """Class label -> traces that name it after."""


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """Measured properties of one row."""

    holds: Mapping[str, bool]
    """Declaration -> whether it holds."""
    ratio: float
    """Length after divided by length before."""
    answer_before: bool
    """Whether the trace contained the gold answer before."""
    answer_after: bool
    """Whether it contains it after."""
    changed: bool
    """Whether text, steps or answer differ."""


Compared = tuple[Problem, Trace, Trace]
"""A problem with its trace before and after."""
Compare = Callable[[Sequence[Compared]], Iterable[MeasuredRow]]
"""Rows -> what `compare_row` finds in each."""


def measure(task: Task, problems: Mapping[str, Problem], before: Sequence[Trace], after: Sequence[Trace]) -> Measured:
    """Measure every declaration of `Kept` on the rows in both, joined by problem and sample."""
    changed = {(trace.problem_id, trace.sample): trace for trace in after}
    rows = [
        (problems[trace.problem_id], trace, changed[key])
        for trace in before
        if (key := (trace.problem_id, trace.sample)) in changed
    ]
    return measure_rows(task, rows, len(before) - len(rows))


def measure_rows(task: Task, rows: Sequence[Compared], left_out: int = 0, compare: Compare | None = None) -> Measured:
    """Measure every declaration of `Kept` on these rows, which are iterated twice and not held in memory.

    `left_out`: traces before that have none after. `compare`: compares the rows elsewhere (in several processes);
    None: here.
    """
    compared = (compare_row(task, *row) for row in rows) if compare is None else compare(rows)
    kept, flags = Counter[str](), Counter[str]()
    names: tuple[str, ...] = ()
    texts, classes, answers = ([Counter[str](), Counter[str]()] for _ in range(3))
    lengths = [0, 0]
    n = 0
    for (problem, *sides), row in zip(rows, compared, strict=True):
        n += 1
        names = names or tuple(row.holds)
        kept.update(name for name in names if row.holds[name])
        flags["changed"] += row.changed
        flags["within"] += abs(row.ratio - 1) <= TENTH
        flags["before"] += row.answer_before
        flags["after"] += row.answer_after
        answers[0][task.render_answer(problem)] += 1
        answers[1][sides[1].answer or ""] += 1
        for side, trace in enumerate(sides):
            texts[side][content_id(trace.text)] += 1
            lengths[side] += len(trace.text)
            if label := normalise_class(label_of(trace.steps)):
                classes[side][label] += 1
    holds = {name: _share(kept[name], n) for name in names}
    holds["traces"] = _overlap(texts[0], texts[1], n)
    # traces without a class keep theirs: none
    holds["class frequencies"] = _overlap(classes[0], classes[1], max(classes[0].total(), classes[1].total()))
    holds["answer frequencies"] = _overlap(answers[0], answers[1], n)
    ratio = lengths[1] / lengths[0] if lengths[0] else 1.0
    holds["length"] = within = _share(flags["within"], n)
    holds |= {name: float(abs(ratio - 1) <= most) for name, most in MEANS.items()}
    return Measured(
        n=n,
        left_out=left_out,
        changed=_share(flags["changed"], n),
        holds={name: holds.get(name, 1.0) for name in get_args(Kept)},
        length_ratio=ratio,
        within_tenth=within,
        answer_before=_share(flags["before"], n),
        answer_after=_share(flags["after"], n),
        classes_before=dict(sorted(classes[0].items())),
        classes_after=dict(sorted(classes[1].items())),
    )


def broken(intervention: Intervention, measured: Measured) -> list[str]:
    """Return one sentence per declaration that the rows do not satisfy; empty if all hold or there are no rows."""
    if not measured.n:
        return []
    sentences = []
    for name in intervention.keeps:
        share = measured.holds[name]
        if share >= 1:
            continue
        if name in MEANS:
            observed = f"the mean is {measured.length_ratio:.3f} times the original's"
        elif name in _OF_ALL:
            observed = f"{share:.1%} of them are the same"
        else:
            observed = f"{round((1 - share) * measured.n)} of {measured.n} rows do not"
        sentences.append(f"{intervention.name} must keep {name}: {observed}")
    if intervention.changes and measured.changed < 1:
        same = round((1 - measured.changed) * measured.n)
        sentences.append(f"{intervention.name} must change every row: {same} of {measured.n} are unchanged")
    return sentences


def compare_row(task: Task, problem: Problem, before: Trace, after: Trace) -> MeasuredRow:
    """Compare one row with its original."""
    same = before.text == after.text and before.steps == after.steps
    old_parse, new_parse = (parse_alike(task, before, trace.text) for trace in (before, after))
    # what the task cannot parse, such as a plan in the place of a trace, is taken as its steps say
    parsable = old_parse.steps == before.steps
    old, new = (old_parse.steps, new_parse.steps) if parsable else (before.steps, after.steps)
    in_before, in_after = task.answer_in_trace(problem, old), task.answer_in_trace(problem, new)
    holds = {
        "everything": same and before.answer == after.answer,
        "trace": same,
        "steps": sorted(_words(old)) == sorted(_words(new)),
        "steps but one": _one_less(_words(old), _words(new)),
        "format": new_parse.reason == old_parse.reason and (new_parse.steps == after.steps or not parsable),
        "step kinds": [step.kind for step in new] == [step.kind for step in old],
        "number of steps": len(new) == len(old),
        "number of lines": before.text.count("\n") == after.text.count("\n"),
        "number of facts": _facts(new) == _facts(old),
        "answer string": in_before == in_after,
    }
    ratio = len(after.text) / len(before.text) if before.text else 1.0
    return MeasuredRow(holds, ratio, in_before, in_after, not same or before.answer != after.answer)


def _words(steps: Sequence[Step]) -> list[str]:
    """Return the steps' texts without a final full stop."""
    return [one_line(step.text).removesuffix(".") for step in steps]


def _one_less(before: list[str], after: list[str]) -> bool:
    return any(before[:place] + before[place + 1 :] == after for place in range(len(before)))


def _facts(steps: Sequence[Step]) -> list[int]:
    return [len(step.facts) for step in steps if step.kind == "retrieval"]


def _share(count: int, n: int) -> float:
    return count / n if n else 1.0


def _overlap(first: Counter[str], second: Counter[str], n: int) -> float:
    """Return the size of the sets' overlap as a share of n."""
    return (first & second).total() / n if n else 1.0
