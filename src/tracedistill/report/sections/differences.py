"""All differences between arms; undeclared ones in red."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tracedistill.report.records import Cell, Section, Table
from tracedistill.report.runs import RunView
from tracedistill.report.sections.compared_arms import ComparedArm
from tracedistill.report.sections.difference_rules import differences_of
from tracedistill.report.sections.provenance import facts_of


def differences(view: RunView) -> Section | None:
    """List the differences of each compared pair, and of every arm against the first; None with fewer than two arms."""
    if len(view.arms) < 2:
        return None
    made = {arm.name: ComparedArm(arm, view) for arm in view.arms}
    compared = [pair for pair in view.comparisons if pair[0] in made and pair[1] in made]
    first = view.arms[0].name
    sets = _attributed(view, made)
    known = [set(pair) for pair in (*compared, *sets)]
    apart = {name for pair in sets for name in pair}
    others = [(name, first) for name in made if name != first and {name, first} not in known and name not in apart]
    tables = []
    for title, pairs in (
        ("compared arms", compared),
        ("arms that attribution is read off", sets),
        ("the other arms against the first", others),
    ):
        if pairs:
            tables.append(_table(title, [(made[one], made[other]) for one, other in pairs]))
    broken = _broken(view)
    if broken is not None:
        tables.append(broken)
    notes = (
        (
            "Declared: the fields in which the two arms' entries in the recipe differ, and what an intervention "
            "says that it does not keep. Red: a difference that nothing declares. Whatever is compared and not "
            "listed is the same: problems, their order, attempts, rows tuned on and their order, prompts, answers "
            "taught, format, spacing, lines and length of traces, hyperparameters, seeds, generation settings."
        ),
    )
    return Section("differences", "What differs between arms", notes, tuple(tables))


def _attributed(view: RunView, made: Collection[str]) -> list[tuple[str, str]]:
    """Return the arms under other plans, each with the arm under attribution, which must otherwise be equal."""
    entries = (view.recipe or {}).get("attribution") or ()
    pairs = [(entry.get(other), entry["plan"]) for entry in entries for other in ("gold", "again")]
    return [(one, plan) for one, plan in dict.fromkeys(pairs) if one in made and plan in made]


def _table(title: str, pairs: Sequence[tuple[ComparedArm, ComparedArm]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    flagged: set[tuple[int, int]] = set()
    for first, second in pairs:
        name, contrasts = f"{first.arm.name} - {second.arm.name}", differences_of(first, second)
        for contrast in contrasts:
            if contrast.flagged:
                flagged |= {(len(rows), column) for column in (1, 4)}
            rows.append((name, contrast.what, contrast.first, contrast.second, contrast.why))
        if not contrasts and first.arm.folder == second.arm.folder:
            flagged.add((len(rows), 4))
            rows.append((name, "nothing", None, None, "the same arm twice: no comparison"))
        elif not contrasts:
            rows.append((name, "nothing that is written down", None, None, "the same arm of two runs"))
    return Table(
        title, ("first - second", "what differs", "first", "second", "declared?"), tuple(rows), frozenset(flagged)
    )


def _broken(view: RunView) -> Table | None:
    """List the interventions' declarations that the rows of this study violate."""
    rows: list[tuple[Cell, ...]] = []
    flagged: set[tuple[int, int]] = set()
    for arm in view.arms:
        for part, kind in (("arms", "tuned on"), ("plans", "shown"), ("forced", "forced")):
            facts = facts_of(view, arm, part)
            measured = facts.get("measured")
            if not measured:
                continue
            sentences = facts.get("broken") or []
            if sentences:
                flagged.add((len(rows), 6))
            within, longer = measured.get("within_tenth"), measured.get("length_ratio")
            rows.append(
                (
                    arm.name,
                    kind,
                    measured.get("n"),
                    measured.get("left_out"),
                    None if longer is None else f"{longer:.3f}",
                    None if within is None else f"{within:.0%}",
                    "; ".join(sentences) or "all hold",
                )
            )
    if not rows:
        return None
    return Table(
        "interventions held against their rows",
        ("arm", "traces", "n", "left out", "length, times the original", "within 10%", "declarations"),
        tuple(rows),
        frozenset(flagged),
        "Each intervention against the traces that it was made from.",
    )
