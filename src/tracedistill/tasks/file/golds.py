"""Golds with several items: all rows of a file determine whether any of the items is right, or all are needed.

answers: ["Rome", "Roma"]                 a list: alternatives, any of which is right
ranking: [3, 5, 11]                       different numbers, or objects: one list, needed whole (judge json)
tags: ["sport", "politics"]               the column's name means a set or an order: likewise
answer: Rome | Roma                       bars in most golds of a file: alternatives
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tracedistill.tasks.file.row import RawRow, cell_text

WHOLE = frozenset(
    {
        "labels", "tags", "ranking", "rank", "ranked", "order", "ordering", "sorted", "sequence", "entities",
        "keywords", "items", "topics", "genres", "categories", "path", "moves", "set", "list", "result", "results",
    }
)  # fmt: skip
"""Columns whose lists are one answer: an order, or a complete set."""
MOST = 0.5
"""Share of the golds with bars, or with lists of different numbers, from which all are treated so."""
BARRED = 5
"""Number of golds with bars from which bars are a convention of the file."""
PART = 80
"""Most characters of an alternative."""
ANY = "any of several golds of a row is right"
BARS = "golds are alternatives between bars, any of which is right"
LIST = "a list is one answer, needed whole"


class GoldHabits:
    """Conventions of a file's golds, recorded row by row."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._listed: list[tuple[str, ...]] = []
        self._whole: list[str] = []
        self._barred = self._objects = self._longer = self._differing = 0

    def note(self, row: RawRow) -> None:
        """Record a row's golds, except those of choices, which are handled elsewhere."""
        if row.choices:
            return
        if row.listed is None:
            self._texts += row.golds
            self._barred += sum(len(_parts(gold)) > 1 for gold in row.golds)
            return
        self._listed.append(row.golds)
        self._whole.append(_as_json(row.listed))
        self._objects += any(isinstance(item, dict | list) for item in row.listed)
        self._longer += len(row.listed) > 1
        self._differing += len(row.listed) > 1 and _differ(row.listed)

    def settle(self, column: str, judge: str) -> tuple[list[str], Callable[[RawRow], RawRow], str]:
        """Return the golds of the file, the conversion of a row, and its description; empty if each gold is one answer.

        `judge` is the recipe's. With json lists stay whole, with other named judges texts stay unchanged.
        """
        if self._listed:
            if judge == "json" or (judge == "auto" and self._are_whole(column)):
                return [*self._texts, *self._whole], _whole, LIST
            several = any(len(golds) > 1 for golds in self._listed)
            golds = [*self._texts, *(gold for golds in self._listed for gold in golds)]
            return golds, _unchanged, ANY if several else ""
        barred = self._barred >= BARRED and self._barred > MOST * len(self._texts)
        if barred and judge in ("auto", "number", "label"):
            return [part for gold in self._texts for part in _parts(gold)], _apart, BARS
        return self._texts, _unchanged, ""

    def _are_whole(self, column: str) -> bool:
        named = column.rpartition(".")[2].lower() in WHOLE
        return named or self._objects > 0 or (self._longer > 0 and self._differing > MOST * self._longer)


def _differ(items: Sequence[Any]) -> bool:
    """Return whether these are numbers, and not one number written several times."""
    return all(isinstance(item, int | float) for item in items) and len(set(items)) > 1


def _unchanged(row: RawRow) -> RawRow:
    return row


def _whole(row: RawRow) -> RawRow:
    return row if row.listed is None or row.choices else replace(row, golds=(_as_json(row.listed),))


def _apart(row: RawRow) -> RawRow:
    return replace(row, golds=_parts(row.golds[0])) if len(row.golds) == 1 and not row.choices else row


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _parts(gold: str) -> tuple[str, ...]:
    """Return the alternatives between the bars of a line; a table row, or code, is one."""
    if "|" not in gold or "||" in gold or "\n" in gold or gold.startswith("|") or gold.endswith("|"):
        return (gold,)
    parts = tuple(cell_text(part) for part in gold.split("|"))
    return parts if all(0 < len(part) <= PART for part in parts) else (gold,)
