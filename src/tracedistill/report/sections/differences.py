"""All differences between arms; undeclared ones in red."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tracedistill.report.runs import RunView
from tracedistill.report.sections.arm_differences import differences_of
from tracedistill.report.sections.compared_arms import ComparedArm
from tracedistill.report.sections.provenance import facts_of
from tracedistill.report.tables import Row, Section, Table, section


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
    groups = {
        "compared arms": compared,
        "arms used for error attribution": sets,
        "the other arms against the first": others,
    }
    tables = [_table(title, [(made[a], made[b]) for a, b in pairs]) for title, pairs in groups.items()]
    note = (
        "Declared: fields in which the two arms' entries in the recipe differ, and properties that an intervention "
        "does not declare to keep. Red: a difference that nothing declares. Compared are problems and their order, "
        "attempts, training rows and their order, prompts, answers taught, format, spacing, lines and length of "
        "traces, hyperparameters, seeds and generation settings; those not listed are equal."
    )
    return section("differences", "What differs between arms", (note,), [*tables, _broken(view)])


def _attributed(view: RunView, made: Collection[str]) -> list[tuple[str, str]]:
    """Return the arms under other plans, each with the arm under attribution, which must otherwise be equal."""
    entries = (view.recipe or {}).get("attribution") or ()
    pairs = [(entry.get(other), entry["plan"]) for entry in entries for other in ("gold", "again")]
    return [(arm, plan) for arm, plan in dict.fromkeys(pairs) if arm in made and plan in made]


def _table(title: str, pairs: Sequence[tuple[ComparedArm, ComparedArm]]) -> Table:
    rows: list[Row] = []
    flagged: set[tuple[int, int]] = set()
    for first, second in pairs:
        name, contrasts = f"{first.arm.name} - {second.arm.name}", differences_of(first, second)
        for contrast in contrasts:
            if contrast.flagged:
                flagged |= {(len(rows), column) for column in (1, 4)}
            rows.append((name, contrast.what, contrast.first, contrast.second, contrast.why))
        if not contrasts and first.arm.folder == second.arm.folder:
            flagged.add((len(rows), 4))
            rows.append((name, "nothing", None, None, "the same arm twice, so no comparison"))
        elif not contrasts:
            rows.append((name, "nothing that is recorded", None, None, "the same arm of two runs"))
    return Table(
        title, ("first - second", "what differs", "first", "second", "declared?"), tuple(rows), frozenset(flagged)
    )


def _broken(view: RunView) -> Table:
    """List the interventions' declarations that the rows of this study violate."""
    rows: list[Row] = []
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
    return Table(
        "interventions checked on their rows",
        ("arm", "traces", "n", "left out", "length relative to the original", "within 10%", "declarations"),
        tuple(rows),
        frozenset(flagged),
        "Each intervention is compared with the traces that it changed.",
    )
