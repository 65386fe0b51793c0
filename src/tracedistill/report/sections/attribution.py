"""Attribution of errors to teacher, student or both, from attribution/<arm>.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracedistill.files import read_json
from tracedistill.report.format import listed
from tracedistill.report.tables import Row, Section, Table, section

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
        "Each problem is attempted several times with the teacher's plan, with a plan made from gold that contains no "
        "result, and, if the recipe has that arm, with a second plan of the same teacher. The differences and the "
        "verdict on the plan decide; otherwise the item is undecided. If a second plan of the same teacher already "
        "succeeds, the failure is not attributed to the teacher."
    )
    notes = (
        how,
        *(_chance(arm, table) for arm, table in tables),
        *(
            f"{arm}: {len(table['without_plan'])} further problems have no plan of the teacher, so there is nothing to "
            "attribute; they count as not answered in the arms table."
            for arm, table in tables
            if table["without_plan"]
        ),
        *(f"{arm}: attribution/{arm}.failures.md has failures to read." for arm, _ in tables),
    )
    return section("attribution", "Whose error was it?", notes, (_labels(tables), *_details(tables)))


def _chance(arm: str, table: Mapping[str, Any]) -> str:
    return (
        f"{arm}: even if no plan were worse than gold's, chance alone would attribute at most "
        f"{table['by_chance_at_most']:.1f} of {table['items']} items to the teacher."
    )


def _labels(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    labels = [cell["label"] for cell in tables[0][1]["cells"]]
    rows = []
    for arm, table in tables:
        counts = [_counted(cell) for cell in table["cells"]]
        rows.append((arm, table["teacher"], table["student"], table["items"], *counts))
    heads = ("arm", "teacher", "student", "items", *labels)
    return Table("Items by source of the error", heads, tuple(rows), note="In brackets: decided by the counts alone.")


def _counted(cell: Mapping[str, Any]) -> str:
    share = cell["of_items"]
    alone = f" ({cell['by_counts_alone']})" if cell["by_counts_alone"] and cell["label"] != "solved" else ""
    if share["value"] is None or not share["n"]:
        return "0"
    return (
        f"{len(cell['ids'])}{alone}: {100 * share['value']:.1f}% [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
    )


def _details(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """Return adherence, propagation and first wrong steps, with the first item ids of each label."""
    adherence: list[Row] = []
    propagation: list[Row] = []
    ids: list[Row] = []
    for arm, table in tables:
        steps, numbers = table["adherence"], table["propagation"]
        if steps is not None:
            fates = [steps["fates"].get(fate, 0) for fate in ("followed", "split", "redundant", "ignored")]
            adherence.append((arm, steps["steps"], *fates, _of(steps["misaligned"])))
        if numbers is not None:
            shares = [_of(numbers[key]) for key in ("in_trace", "calculated_with", "in_answer", "carried")]
            propagation.append((arm, numbers["plans"], numbers["with_wrong_number"], *shares))
        failures = [cell for cell in table["cells"] if cell["ids"] and cell["label"] != "solved"]
        ids += [(arm, cell["label"], listed(cell["ids"], IDS_SHOWN)) for cell in failures]
    kinds = tuple((arm, kind, count) for arm, table in tables for kind, count in table["kinds"].items())
    return [
        Table(
            "What the outputs did with the plans' steps",
            ("arm", "steps", "followed", "split further", "skipped as redundant", "ignored", "items with one ignored"),
            tuple(adherence),
            note="One output per item, a failed one if there is any; aligned by rules, not by a person.",
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
        Table("First wrong step of the plan, among failures", ("arm", "kind", "items"), kinds),
        Table("Items by label", ("arm", "label", "problem ids"), tuple(ids)),
    ]


def _of(share: Mapping[str, Any]) -> str:
    return f"{share['successes']} of {share['n']}"
