"""The queue as a spreadsheet, there and back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.review.kit import HOSTILE, fill, filled, hostile_trace, trace
from tracedistill.errors import InputError
from tracedistill.review.outcomes import reviewed_of
from tracedistill.review.queue import Filter
from tracedistill.review.session import ReviewSession
from tracedistill.review.sheet import COLUMNS, export_sheet, guarded, import_sheet, unguarded
from tracedistill.review.trace_review import work_of

ALL = Filter(shown="all")


@pytest.fixture
def session(tmp_path: Path) -> ReviewSession:
    return ReviewSession(filled(tmp_path / "r.sqlite"), "ana")


def exported(session: ReviewSession, path: Path) -> list[dict[str, str]]:
    export_sheet(session, ALL, path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_there_and_back(session: ReviewSession, tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    assert [row["problem_id"] for row in rows] == [f"p{number}" for number in range(6)]
    rows[0]["status"] = "Approved"
    rows[1] |= {"trace": rows[1]["trace"].replace("34", "33"), "status": "approved", "comment": "=1+1"}
    rows[2] |= {"status": "rejected", "comment": 'no, no; "no"'}
    rows[3]["trace"] += "\nOne more"
    rows[4]["answer"] = "99"
    write(path, rows, delimiter)
    done = import_sheet(session, path)
    assert (done.changed, done.same, done.refused) == (5, 1, ())
    found = reviewed_of(session.store.path, "t")
    assert [one.status for one in found] == ["approved", "edited", "rejected", "open", "open", "open"]
    assert found[1].trace is not None
    assert found[1].trace.steps[0].text == "They pack 11*3 = 33 pens."
    works = [work_of(session.store, item, "ana") for item in range(1, 7)]
    assert [work.comment for work in works] == ["", "=1+1", 'no, no; "no"', "", "", ""]
    assert works[3].lines is not None
    assert works[3].lines[-1] == "One more"
    assert works[4].answer == "99"
    again = import_sheet(session, path)
    assert (again.changed, again.same, again.refused) == (0, 6, ())


def test_conflicts_and_broken_rows_are_named_by_line_and_the_rest_is_taken(
    session: ReviewSession, tmp_path: Path
) -> None:
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    text = session.text(1, 0, ["1+1 = 2"], "26", "")
    session.save(1, text, 0.0)  # somebody goes on meanwhile
    rows[0]["status"] = "approved"
    rows[1]["status"] = "fine"
    rows[2]["trace_id"] = "nothing"
    rows[3] |= {"trace": " \n ", "status": "approved"}
    rows[4]["version"] = "x"
    rows[5]["status"] = "rejected"
    write(path, [*rows, rows[5]])
    with path.open("a", encoding="utf-8") as stream:
        stream.write("only,three,cells\n")
    done = import_sheet(session, path)
    assert done.changed == 1
    # a question stands on one line, a trace on two: rows begin at lines 2, 4, 6, ...
    expected = {2: "conflict", 4: "status 'fine'", 6: "no trace 'nothing'", 8: "no step", 10: "version", 14: "line 12",
                16: "3 cells under 12"}  # fmt: skip
    assert len(done.refused) == len(expected)
    for (line, why), told in zip(expected.items(), done.refused, strict=True):
        assert told.startswith(f"line {line}: "), told
        assert why in told
    assert [one.status for one in reviewed_of(session.store.path, "t")] == [*["open"] * 5, "rejected"]
    assert work_of(session.store, 1, "ana").lines == ("1+1 = 2",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "line 1: no column 'trace_id'"),
        (b"", "line 1: no column"),
        (b"\xff\xfe", "not valid UTF-8"),
        ((",".join(COLUMNS) + '\n1,"x\n').encode(), "line 2: not CSV"),
    ],
)
def test_files_that_are_no_sheet(session: ReviewSession, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"sheet\.csv") as told:
        import_sheet(session, tmp_path / "sheet.csv")
    assert message in str(told.value)


def test_no_cell_is_a_formula(session: ReviewSession, tmp_path: Path) -> None:
    fill(session.store, [trace(7, "=HYPERLINK(1+1 = 2)", "-1+1 = 0", teacher="@u"), trace(8, "'=1+1", " +1")])
    fill(session.store, [hostile_trace()], hostile=True)
    path = tmp_path / "sheet.csv"
    for row in exported(session, path):
        for cell in row.values():
            assert not cell.lstrip().startswith(("=", "+", "-", "@")), cell
    assert import_sheet(session, path).same == 9
    assert HOSTILE in path.read_text(encoding="utf-8")


@given(st.text(st.sampled_from("'=+-@\t\r\n ab1")))
def test_the_guard_is_undone_by_reading(text: str) -> None:
    assert unguarded(guarded(text)) == text


def test_steps_of_several_lines(session: ReviewSession, tmp_path: Path) -> None:
    fill(session.store, [])
    text = session.text(1, 0, ["first\nsecond", "third 1+1 = 2"], "26", "")
    session.save(1, text, 0.0)
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    assert import_sheet(session, path).same == 6
    rows[0]["trace"] = rows[0]["trace"].replace("third", "3rd")
    write(path, rows)
    assert import_sheet(session, path).changed == 1
    assert work_of(session.store, 1, "ana").lines == ("first\nsecond", "3rd 1+1 = 2")


def test_a_cell_of_any_length_comes_back(session: ReviewSession, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    rows[1]["comment"] = "x" * 150_000
    write(path, rows)
    done = import_sheet(session, path)
    assert (done.changed, done.same, done.refused) == (1, 5, ())


def test_a_sheet_that_breaks_off_changes_nothing(session: ReviewSession, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    for row in rows:
        row["status"] = "approved"
    write(path, rows)
    path.write_text(path.read_text(encoding="utf-8-sig")[:-40] + 'a,"never closed', encoding="utf-8")
    with pytest.raises(InputError, match="nothing was imported"):
        import_sheet(session, path)
    assert {one.status for one in reviewed_of(session.store.path, "t")} == {"open"}


INVISIBLE = "11*3 = \u202e34\u202c pens.\x1b[2J\x00"


def test_what_cannot_be_seen_is_shown_and_kept(tmp_path: Path) -> None:
    store = filled(tmp_path / "r.sqlite", 1)
    one = trace(0, INVISIBLE, "After the loss 30-4 = 26 pens are left.", teacher="odd")
    fill(store, [one])
    session = ReviewSession(store, "ana")
    path = tmp_path / "sheet.csv"
    rows = exported(session, path)
    (row,) = (row for row in rows if row["teacher"] == "odd")
    assert "[U+202E]34[U+202C]" in row["trace"]
    assert "\u202e" not in path.read_text(encoding="utf-8")
    # unedited it is what its maker wrote; edited elsewhere the signs that were shown become characters again
    row["status"] = "approved"
    write(path, rows)
    import_sheet(session, path)
    (kept,) = reviewed_of(store.path, "odd")
    assert kept.status == "approved"
    row["trace"] = row["trace"].replace("pens.", "pencils.")
    again = exported(session, path)
    (fresh,) = (each for each in again if each["teacher"] == "odd")
    fresh["trace"] = fresh["trace"].replace("pens.", "pencils.", 1)
    write(path, again)
    assert import_sheet(session, path).changed == 1
    (kept,) = reviewed_of(store.path, "odd")
    assert kept.trace is not None
    assert "\u202e34\u202c pencils." in kept.trace.text
    assert "[U+202E]" not in kept.trace.text
