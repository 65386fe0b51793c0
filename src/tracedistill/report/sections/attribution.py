"""Attribution of errors to teacher, student or both, from attribution/<arm>.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracedistill.files import read_json
from tracedistill.report.records import Cell, Section, Table

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView

IDS_SHOWN = 5
"""Most ids in a cell; attribution/<arm>.json lists all."""


def attribution(view: RunView) -> Section | None:
    """Build one row per attribution of the run: items per label, and related figures."""
    entries = [(path.stem, read_json(path)) for path in sorted((view.folder / "attribution").glob("*.json"))]
    wanted = {entry["plan"] for entry in (view.recipe or {}).get("attribution", ())}
    tables = [(arm, table) for arm, table in entries if arm in wanted]
    if not tables:
        return None
    how = (
        "Each problem is tried several times under the teacher's plan, under a plan made from gold that holds no "
        "result, and, where the recipe says so, under the same teacher's plan drawn again. The differences and the "
        "plan's own verdict decide; where they do not, the item is undecided. A success that comes back with a mere "
        "second draw is not read as an error of the teacher's."
    )
    notes = (
        how,
        *(_chance(arm, table) for arm, table in tables),
        *(
            f"{arm}: {len(table['without_plan'])} further problems have no plan of the teacher's, so that there is "
            "nothing to attribute; they count as not answered in the arms table."
            for arm, table in tables
            if table["without_plan"]
        ),
        *(f"{arm}: failures to read by hand are in attribution/{arm}.failures.md." for arm, _ in tables),
    )
    return Section("attribution", "Whose error was it?", notes, (_labels(tables), *_beside(tables)))


def _chance(arm: str, table: Mapping[str, Any]) -> str:
    return (
        f"{arm}: if no plan were worse than gold's, the counts alone would still blame the teacher for at most "
        f"{table['by_chance_at_most']:.1f} of {table['items']} items."
    )


def _labels(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    labels = [cell["label"] for cell in tables[0][1]["cells"]]
    rows = []
    for arm, table in tables:
        counts = [_counted(cell) for cell in table["cells"]]
        rows.append((arm, table["teacher"], table["student"], table["items"], *counts))
    heads = ("arm", "teacher", "student", "items", *labels)
    return Table("Items by whose error it was", heads, tuple(rows), note="In brackets: resting on the counts alone.")


def _counted(cell: Mapping[str, Any]) -> str:
    share = cell["of_items"]
    alone = f" ({cell['by_counts_alone']})" if cell["by_counts_alone"] and cell["label"] != "solved" else ""
    if share["value"] is None or not share["n"]:
        return "0"
    return (
        f"{len(cell['ids'])}{alone}: {100 * share['value']:.1f}% [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
    )


def _beside(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """Return adherence, propagation and first wrong steps, with the first item ids of each label."""
    adherence: list[tuple[Cell, ...]] = []
    propagation: list[tuple[Cell, ...]] = []
    ids: list[tuple[Cell, ...]] = []
    for arm, table in tables:
        steps, numbers = table["adherence"], table["propagation"]
        if steps is not None:
            fates = [steps["fates"].get(fate, 0) for fate in ("followed", "split", "redundant", "ignored")]
            adherence.append((arm, steps["steps"], *fates, _of(steps["misaligned"])))
        if numbers is not None:
            shares = [_of(numbers[key]) for key in ("in_trace", "calculated_with", "in_answer", "carried")]
            propagation.append((arm, numbers["plans"], numbers["with_wrong_number"], *shares))
        for cell in table["cells"]:
            if cell["ids"] and cell["label"] != "solved":
                more = f" and {len(cell['ids']) - IDS_SHOWN} more" if len(cell["ids"]) > IDS_SHOWN else ""
                ids.append((arm, cell["label"], ", ".join(cell["ids"][:IDS_SHOWN]) + more))
    kinds = tuple((arm, kind, count) for arm, table in tables for kind, count in table["kinds"].items())
    made = [
        Table(
            "What became of the plans' steps",
            ("arm", "steps", "followed", "split further", "skipped as redundant", "ignored", "items with one ignored"),
            tuple(adherence),
            note="One output per item, one that failed where there is one; aligned by rules, not by a person.",
        ),
        Table(
            "Wrong numbers of the plans",
            (
                "arm",
                "items",
                "plans with one",
                "in the output",
                "calculated with",
                "is the answer",
                "carried to answer",
            ),
            tuple(propagation),
            note="Wrong: neither in the question, nor a listed constant, nor the result of a true calculation.",
        ),
        Table("First wrong step of the plan, over failures", ("arm", "kind", "items"), kinds),
        Table("Which items", ("arm", "label", "problem ids"), tuple(ids)),
    ]
    return [table for table in made if table.rows]


def _of(share: Mapping[str, Any]) -> str:
    return f"{share['successes']} of {share['n']}"
