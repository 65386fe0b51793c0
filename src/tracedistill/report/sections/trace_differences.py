"""Differences between the traces that two arms were tuned on, are shown or have forced on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracedistill.report.format import number
from tracedistill.report.sections.compared_arms import ComparedArm, Contrast, start_of
from tracedistill.report.sections.kept_form import Preserved, answers_change, kept_by
from tracedistill.report.sections.provenance import ArmText, adapter_of, facts_of, mix_of
from tracedistill.report.sections.text_form import (
    TENTH,
    alike_in_length,
    around_answer,
    frame_of,
    other_frames,
    other_marks,
    other_spacing,
)


def trace_differences(first: ComparedArm, second: ComparedArm, kind: str, factors: Sequence[str]) -> list[Contrast]:
    """Compare rows, prompts, answers, format, lines and length of `kind` (tuned on, shown, forced).

    Empty if an arm has none.
    """
    first_rows, second_rows = first.texts(kind), second.texts(kind)
    if not first_rows or not second_rows or (first.arm is second.arm):
        return []
    by = {"tuned on": "tune", "shown": "plan", "forced": "forced"}[kind]
    if kind == "tuned on" and _mixes(first) != _mixes(second):
        factors = [*factors, "mix"]
    contrasts = _rows(first_rows, second_rows, kind, factors)
    if kind == "tuned on":
        contrasts += _prompts(first_rows, second_rows, factors)
        contrasts += _answers(first, second, first_rows, second_rows, factors)
        contrasts += _frames(first_rows, second_rows, factors)
    with_trace = [any(row.trace is not None for row in rows.values()) for rows in (first_rows, second_rows)]
    if with_trace[0] != with_trace[1]:
        why = "comes with tune" if by in factors or "adapter" in factors else "not declared"
        why = "comes with mix" if why == "not declared" and "mix" in factors else why
        shown = ["traces" if there else "answers alone" for there in with_trace]
        return [*contrasts, Contrast(f"{kind}: what", shown[0], shown[1], why, why == "not declared")]
    if not with_trace[0]:
        return contrasts
    return contrasts + _forms(first, second, kind, by, factors)


def _rows(
    first_rows: Mapping[str, ArmText], second_rows: Mapping[str, ArmText], kind: str, factors: Sequence[str]
) -> list[Contrast]:
    if list(first_rows) == list(second_rows):
        return []
    common = len(first_rows.keys() & second_rows.keys())
    if common == len(first_rows) == len(second_rows):
        return [
            Contrast(
                f"{kind}: order of the rows",
                start_of(list(first_rows)),
                start_of(list(second_rows)),
                "not declared",
                True,
            )
        ]
    # several plans of a problem are several rows, and a sample may lack one where another has it
    problems = [{row.problem_id for row in rows.values()} for rows in (first_rows, second_rows)]
    alike = kind == "shown" and "plans" in factors and (problems[0] <= problems[1] or problems[1] <= problems[0])
    why = "comes with plans" if alike else f"not declared; {common} in common"
    return [Contrast(f"{kind}: rows", len(first_rows), len(second_rows), why, not alike)]


def _prompts(
    first_rows: Mapping[str, ArmText], second_rows: Mapping[str, ArmText], factors: Sequence[str]
) -> list[Contrast]:
    changed = [key for key, row in first_rows.items() if key in second_rows and row.prompt != second_rows[key].prompt]
    if not changed:
        return []
    by = [name for name in ("prompt", "student", "adapter", "mix") if name in factors]
    why = f"comes with {by[0]}" if by else "not declared"
    n = sum(key in second_rows for key in first_rows)
    return [Contrast("tuned on: prompts", "", f"{len(changed)} of {n} differ", why, not by)]


def _answers(
    first: ComparedArm,
    second: ComparedArm,
    first_rows: Mapping[str, ArmText],
    second_rows: Mapping[str, ArmText],
    factors: Sequence[str],
) -> list[Contrast]:
    changed = sum(key in second_rows and row.answer != second_rows[key].answer for key, row in first_rows.items())
    if not changed:
        return []
    tuned = [adapter_of(made.view, made.arm) for made in (first, second)]
    wanted = any(arm is not None and answers_change(arm.tune) for arm in tuned)
    why = "comes with tune" if wanted else "not declared"
    if not wanted and "mix" in factors:
        wanted, why = True, "comes with mix"
    n = sum(key in second_rows for key in first_rows)
    return [Contrast("tuned on: answers taught", "", f"{changed} of {n} differ", why, not wanted)]


def _frames(
    first_rows: Mapping[str, ArmText], second_rows: Mapping[str, ArmText], factors: Sequence[str]
) -> list[Contrast]:
    """Compare the text around trace and answer exactly; around the answer only if an arm has no traces."""
    frames = [
        [frame_of(row.completion, row.trace, row.answer) for row in rows.values() if row.completion is not None]
        for rows in (first_rows, second_rows)
    ]
    if not all(frames):
        return []
    if len({any(row.trace is not None for row in rows.values()) for rows in (first_rows, second_rows)}) > 1:
        frames = [[around_answer(frame) for frame in every] for every in frames]
    apart = other_frames(frames[0], frames[1])
    if not apart:
        return []
    by = [name for name in ("rationale_weight", "mix", "adapter", "teacher") if name in factors]
    why = f"comes with {by[0]}" if by else "not declared"
    return [Contrast("tuned on: around trace and answer", *_shares(apart), why, not by)]


def _shares(apart: Sequence[tuple[str, float, float]]) -> tuple[str, str]:
    """Format the first distinguishing mark as a cell for each arm: `a list in brackets 98%`."""
    few = apart[:3]
    return ", ".join(f"{what} {share:.0%}" for what, share, _ in few), ", ".join(
        f"{what} {share:.0%}" for what, _, share in few
    )


def _forms(first: ComparedArm, second: ComparedArm, kind: str, by: str, factors: Sequence[str]) -> list[Contrast]:
    """Compare format, lines and length of traces with what the arms' interventions declare to keep."""
    a, b = first.form(kind), second.form(kind)
    # other teachers and samples write other traces: all of it may differ then
    source = [name for name in ("teacher", "plan_sample", "plans", "mix") if name in factors]
    names = [_intervention(made, by) for made in (first, second)]
    kept = [Preserved() if source else kept_by(name) for name in names]
    comes = f"comes with {source[0]}" if source else f"comes with {by}, which does not keep it"
    contrasts = []
    marks = other_marks(a, b)
    if marks:
        declared = not all(declaration.format for declaration in kept)
        why = comes if declared else f"{_names(names)} keep the format"
        contrasts.append(Contrast(f"{kind}: format", *_shares(marks), why, not declared))
    spacing = other_spacing(a, b)
    if spacing:
        # no intervention changes white space: it may differ only if another teacher writes
        why = f"comes with {source[0]}" if source else "not declared"
        contrasts.append(Contrast(f"{kind}: spacing", *_shares(spacing), why, not source))
    means = {"lines": (a.lines, b.lines), "steps": (_steps(first, kind), _steps(second, kind))}
    for what, (left, right) in means.items():
        if left is not None and right is not None and abs(left - right) > 0.005 * max(left, right):
            declared = not all(declaration.lines for declaration in kept)
            why = comes if declared else f"{_names(names)} keep the number of {what}"
            contrasts.append(
                Contrast(f"{kind}: {what} of a trace, mean", number(left), number(right), why, not declared)
            )
    return contrasts + _lengths(first, second, kind, kept, names, comes)


def _steps(made: ComparedArm, kind: str) -> float | None:
    """Return the mean steps of a trace as counted at assembly; None if not counted."""
    arm = adapter_of(made.view, made.arm) if kind == "tuned on" else made.arm
    part = {"tuned on": "arms", "shown": "plans", "forced": "forced"}[kind]
    facts = {} if arm is None else facts_of(made.view, arm, part)
    return facts["steps"] / facts["traces"] if facts.get("traces") and "steps" in facts else None


def _lengths(
    first: ComparedArm,
    second: ComparedArm,
    kind: str,
    kept: Sequence[Preserved],
    names: Sequence[str | None],
    comes: str,
) -> list[Contrast]:
    a, b = first.form(kind), second.form(kind)
    ratio = b.characters / a.characters if a.characters else 1.0
    within, both = alike_in_length(first.texts(kind), second.texts(kind))
    if abs(ratio - 1) <= 0.001 and within == both:
        return []
    known = [declaration.length for declaration in kept]
    beside = f"{within} of {both} within 10%"
    if any(length is None for length in known):
        # length follows lines; otherwise a longer text is a second, undeclared factor
        odd = all(declaration.lines for declaration in kept) and abs(ratio - 1) > TENTH
        why = f"{_names(names)} do not declare it; {beside}" if odd else f"{comes}; {beside}"
    else:
        wide = (1 + (known[0] or 0)) * (1 + (known[1] or 0))
        odd = not 1 / wide - 1e-9 <= ratio <= wide + 1e-9
        why = f"more than {_names(names)} declare; {beside}" if odd else f"as much as {_names(names)} declare; {beside}"
    return [Contrast(f"{kind}: characters of a trace, mean", number(a.characters), number(b.characters), why, odd)]


def _mixes(made: ComparedArm) -> Mapping[str, float]:
    """Return what the arm of this one's adapter mixes in."""
    tuned = adapter_of(made.view, made.arm)
    return {} if tuned is None else mix_of(tuned)


def _intervention(made: ComparedArm, by: str) -> str | None:
    """Return the intervention that made an arm's traces."""
    if by == "tune":
        tuned = adapter_of(made.view, made.arm)
        return None if tuned is None else tuned.tune
    value: str | None = getattr(made.arm, by)
    return value


def _names(names: Sequence[str | None]) -> str:
    return " and ".join(dict.fromkeys(str(name) for name in names))
