"""Seeded random samples of the traces in a store, drawn once and stored."""

from __future__ import annotations

import hashlib
import heapq
from itertools import groupby
from typing import Any

from tracedistill.review.store import ReviewStore


def sample_of(store: ReviewStore, n: int, seed: int, *, task: str = "", teacher: str = "") -> list[int]:
    """Draw n random traces of each teacher (or of one) and return their indices.

    Equal seeds and traces give equal samples.
    """
    key = drawn_key(store, n, seed, task, teacher)
    return [item for (item,) in store.rows("SELECT item FROM samples WHERE key = ?", key)]


def drawn_key(store: ReviewStore, n: int, seed: int, task: str, teacher: str) -> str:
    """Draw the sample unless it exists; return its key in the table `samples`."""
    where, values = condition_of(task, teacher)
    size, last = store.row(f"SELECT count(*), coalesce(max(id), 0) FROM items WHERE {where}", *values)  # noqa: S608
    key = f"{seed} {n} {task} {teacher} {size} {last}"
    if store.row("SELECT 1 FROM samples WHERE key = ? LIMIT 1", key) is None:
        rows = store.rows(f"SELECT teacher, id, trace_id FROM items WHERE {where} ORDER BY teacher", *values)  # noqa: S608
        # the n smallest hashes: one more trace changes at most one element of the sample
        smallest = [
            row
            for _, of_teacher in groupby(rows, key=lambda row: row[0])
            for row in heapq.nsmallest(
                n,
                of_teacher,
                key=lambda row: hashlib.sha256(f"{seed} {row[2]}".encode("utf-8", "surrogatepass")).digest(),
            )
        ]
        with store.writing() as db:
            db.executemany("INSERT OR IGNORE INTO samples VALUES (?,?)", [(key, row[1]) for row in smallest])
    return key


def condition_of(task: str, teacher: str) -> tuple[str, list[Any]]:
    """Build (SQL condition, values) for the queued traces of a task and teacher; empty: any."""
    conditions, values = ["items.gone = 0"], list[Any]()
    for name, value in (("task", task), ("teacher", teacher)):
        if value:
            conditions.append(f"items.{name} = ?")
            values.append(value)
    return " AND ".join(conditions), values
