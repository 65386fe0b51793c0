"""Traces that a stage keeps: in memory or in a file, the same."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.pipeline.test_cores import ALL, TASK, StudyFile, files_of
from tracedistill import pipeline
from tracedistill.compute import lookup
from tracedistill.pipeline import study_run, trace_store
from tracedistill.pipeline.trace_selection import places
from tracedistill.pipeline.trace_store import LazyRows, TraceStore
from tracedistill.records import Step, Trace


def trace(problem_id: str, text: str) -> Trace:
    return Trace(f"t-{problem_id}-{text}", problem_id, "rules", (Step("retrieval", text),), text, meta={"n": 1})


@pytest.mark.parametrize("held", [trace_store.HELD, 2_500, 0], ids=["in memory", "spilt in the middle", "in a file"])
@pytest.mark.parametrize("folder", ["", "no such folder"])
def test_a_shelf(held: int, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_store, "HELD", held)
    order = places(f"p{number}" for number in range(6))
    given = [("p4", "x"), ("p1", "first"), ("other", "x"), ("p1", "second"), ("p5", "ß \ud800")]
    kept = TraceStore(order, (trace(*each) for each in given), tmp_path / folder)
    assert list(kept) == ["p1", "p4", "p5"], "in the problems' order"
    assert len(kept) == 3
    assert kept["p1"] == trace("p1", "first")
    assert kept["p5"] == trace("p5", "ß \ud800")
    assert list(kept.values()) == [kept["p1"], kept["p4"], kept["p5"]]
    assert ("p4" in kept, "p0" in kept, "other" in kept) == (True, False, False)
    assert kept.get("p0") is None
    with pytest.raises(KeyError):
        kept["p0"]
    assert not TraceStore(order)
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_rows_are_made_when_they_are_asked_for() -> None:
    made: list[str] = []

    def row_of(key: str) -> str:
        made.append(key)
        return key.upper()

    rows = LazyRows(["a", "b", "c", "d"], row_of)
    some = rows[1:3]
    assert (len(rows), len(some), made) == (4, 2, [])
    assert list(some) == ["B", "C"]
    assert (rows[3], made) == ("D", ["b", "c", "d"])
    assert pickle.loads(pickle.dumps(some)) == ["B", "C"]


@pytest.mark.slow
def test_what_does_not_fit_into_memory_is_assembled_the_same(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {
        **ALL,
        "correct": {"tune": "correct"},
        "foreign": {"tune": "foreign"},
        "mixed": {"tune": "correct", "mix": {"foreign": 0.5}},
    }
    found = []
    for name in ("held", "spilt"):
        recipe = study_file(arms=arms, task=TASK, run_dir=str(tmp_path / name), cores=1, comparisons=[])
        pipeline.run(pipeline.load(recipe), "assemble", quiet=True)
        found.append(files_of(tmp_path / name))
        monkeypatch.setattr(trace_store, "HELD", 0)
        monkeypatch.setattr(study_run, "lookup", lambda path, kind: lookup(path, kind, held=0))
    assert "sft/mixed.jsonl" in found[0]
    assert found[0] == found[1]
