from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.review.kit import filled, trace
from tracedistill.review.outcomes import outcome_of, remaining, reviewed_of, revision
from tracedistill.review.session import ReviewSession
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import TYPING_SECONDS, Conflict, TraceReview, change, undo, work_of, works_of

GOOD = "They pack 11*3 = 33 pens."
SECOND = "After the loss 33-4 = 29 pens are left."


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    return filled(tmp_path / "r.sqlite")


def typed(session: ReviewSession, item: int, first: str, version: int | None = None) -> TraceReview:
    """The first line typed over."""
    work = work_of(session.store, item, session.reviewer)
    lines = [first, *session.view(item).lines[1:]]
    answer = session.view(item).answer
    text = session.text(item, work.version if version is None else version, lines, answer, work.comment)
    return session.type(item, text, 1.0)


def decide(session: ReviewSession, item: int, how: str) -> TraceReview:
    sheet = session.view(item)
    text = session.text(item, sheet.work.version, sheet.lines, sheet.answer, sheet.work.comment)
    return getattr(session, how)(item, text, 2.0)  # type: ignore[no-any-return]


# ---- one reviewer


def test_two_tabs_the_later_is_told_and_nothing_is_lost(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    typed(session, 2, GOOD, version=0)
    with pytest.raises(Conflict) as told:
        typed(session, 2, "something else", version=0)
    assert told.value.stored.lines == (GOOD, SECOND)
    assert work_of(store, 2, "ana").lines == (GOOD, SECOND)
    for act in (session.approve, session.reject, session.show_gold, session.undo):
        stale = session.text(2, 0, ["x"], None, "")
        with pytest.raises(Conflict):
            act(2, stale, *([] if act == session.undo else [0.0]))  # type: ignore[operator]
    assert work_of(store, 2, "ana").lines == (GOOD, SECOND)


def test_typing_goes_on_in_one_action_until_a_pause(store: ReviewStore) -> None:
    now = [1000.0]

    def save(text: str, action: str) -> None:
        version = work_of(store, 1, "ana").version
        change(store, 1, "ana", version, action, lambda work: replace(work, comment=text), 0.0, lambda: now[0])

    save("a", "type 0")
    save("ab", "type 0")
    now[0] += TYPING_SECONDS
    save("abc", "type 0")
    save("abcd", "type 1")
    comments = []
    while undo(store, "ana", 1):
        comments.append(work_of(store, 1, "ana").comment)
    assert comments == ["abc", "ab", ""]


def test_undo_goes_back_action_by_action_and_over_items(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    typed(session, 2, GOOD)
    decide(session, 2, "approve")
    assert work_of(store, 2, "ana").status == "edited"
    decide(session, 3, "reject")
    sheet = session.view(4)
    assert session.undo(4, session.text(4, 0, sheet.lines, sheet.answer, "")) == 3
    assert work_of(store, 3, "ana").status == "open"
    assert undo(store, "ana", 2) is not None
    assert work_of(store, 2, "ana") == replace(work_of(store, 2, "ana"), status="open", lines=(GOOD, SECOND))
    assert undo(store, "ana", 2) is not None
    assert not work_of(store, 2, "ana").changed
    assert undo(store, "ana", 2) is None


def test_that_the_gold_was_seen_is_not_undone(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    typed(session, 2, GOOD)
    sheet = session.view(2)
    session.show_gold(2, session.text(2, sheet.work.version, sheet.lines, sheet.answer, ""), 0.0)
    assert undo(store, "ana", 2) is not None
    assert work_of(store, 2, "ana").saw_gold
    typed(session, 2, GOOD)
    decide(session, 2, "approve")
    found = reviewed_of(store.path, "t")[1]
    assert found.trace is not None
    assert found.trace.oracle
    assert found.trace.meta["saw_gold"] is True


def test_an_edit_opens_a_decided_trace_again(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    decide(session, 2, "approve")
    assert work_of(store, 2, "ana").status == "approved"
    typed(session, 2, GOOD)
    assert work_of(store, 2, "ana").status == "open"


def test_time_counts_until_the_decision(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    typed(session, 2, GOOD)
    typed(session, 2, GOOD)  # nothing new but the time
    decide(session, 2, "approve")
    before = revision(store.path)
    typed(session, 2, GOOD)
    assert work_of(store, 2, "ana").seconds == 4.0
    assert revision(store.path) == before
    with pytest.raises(Conflict):
        typed(session, 2, GOOD, version=1)


ACTIONS = st.lists(st.sampled_from(["type", "add", "delete", "up", "down", "approve", "reject", "undo"]), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS)
def test_undoing_everything_gives_the_beginning(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    store = filled(tmp_path_factory.mktemp("undo") / "r.sqlite", 2)
    session = ReviewSession(store, "ana")
    for number, action in enumerate(actions):
        sheet = session.view(2)
        text = session.text(2, sheet.work.version, sheet.lines, sheet.answer, "")
        if action == "type" and sheet.lines:
            typed(session, 2, f"line {number}")
        elif action in ("approve", "reject") and any(line.strip() for line in sheet.lines):
            decide(session, 2, action)
        elif action == "undo":
            undo(store, "ana", 2)
        elif action in ("add", "delete", "up", "down"):
            session.arrange(2, text, action, number % 3, 0.0)
    while undo(store, "ana", 2):
        pass
    work = work_of(store, 2, "ana")
    assert (work.status, work.lines, work.answer, work.comment) == ("open", None, None, "")
    assert session.view(2).lines == tuple(step.text for step in trace(1).steps)
    store.close()


# ---- several reviewers


def test_each_has_his_own_draft_and_the_later_is_told(store: ReviewStore) -> None:
    ana, ben = ReviewSession(store, "ana"), ReviewSession(store, "ben")
    typed(ana, 2, GOOD)
    typed(ben, 2, "They pack 33 pens, 11*3 = 33.")
    assert ben.view(2).opinions == {}
    decide(ana, 2, "approve")
    assert (ben.view(2).others, ben.view(2).opinions) == (1, {})  # blind until he has decided himself
    decide(ben, 2, "reject")
    assert [(name, work.status) for name, work in ben.view(2).opinions.items()] == [("ana", "edited")]
    assert ben.view(2).differs
    assert reviewed_of(store.path, "t")[1].status == "open"


def test_a_third_settles(store: ReviewStore) -> None:
    ana, ben, eva = (ReviewSession(store, name) for name in ("ana", "ben", "eva"))
    decide(ana, 2, "approve")
    typed(ben, 2, GOOD)
    decide(ben, 2, "approve")
    assert list(eva.view(2).opinions) == ["ana", "ben"]
    decide(eva, 2, "reject")
    assert work_of(store, 2, "eva").settles
    assert reviewed_of(store.path, "t")[1].status == "rejected"
    assert not eva.view(2).differs


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ({}, None),
        ({"a": TraceReview("approved", at=1), "b": TraceReview("approved", at=2)}, "a"),
        ({"a": TraceReview("approved"), "b": TraceReview("rejected")}, None),
        ({"a": TraceReview("approved"), "b": TraceReview("open", ("x",))}, "a"),
        ({"a": TraceReview("edited", ("x",)), "b": TraceReview("edited", ("y",))}, None),
        ({"a": TraceReview("edited", ("x",), at=2), "b": TraceReview("edited", ("x",), at=1)}, "b"),
        ({"a": TraceReview("rejected", ("x",), at=1), "b": TraceReview("rejected", at=2)}, "a"),
        ({"a": TraceReview("approved"), "b": TraceReview("rejected"), "c": TraceReview("rejected", settles=True)}, "c"),
        (
            {
                "a": TraceReview("approved"),
                "b": TraceReview("rejected"),
                "c": TraceReview("rejected", settles=True, at=1),
                "d": TraceReview("approved", settles=True, at=2),
            },
            "d",
        ),
    ],
)
def test_what_decisions_come_to(decisions: dict[str, TraceReview], expected: str | None) -> None:
    found = outcome_of(decisions)
    assert (found and found[0]) == expected


# ---- for the pipeline


def test_without_a_store(tmp_path: Path) -> None:
    nowhere = tmp_path / "review.sqlite"
    assert (reviewed_of(nowhere, "t"), revision(nowhere), remaining(nowhere, "t", 5, 0)) == ([], "", 5)
    assert not nowhere.exists()


def test_the_revision_follows_what_is_returned(store: ReviewStore) -> None:
    seen = {revision(store.path)}
    session = ReviewSession(store, "ana")
    for act in (
        lambda: decide(session, 1, "approve"),
        lambda: typed(session, 2, GOOD),
        lambda: decide(session, 2, "approve"),
        lambda: decide(session, 2, "reject"),
        lambda: decide(ReviewSession(store, "ben"), 1, "reject"),
    ):
        before = reviewed_of(store.path, "t")
        act()
        if reviewed_of(store.path, "t") == before:
            assert revision(store.path) in seen
        else:
            assert revision(store.path) not in seen
        seen.add(revision(store.path))
    assert len(seen) == 5


def test_an_edited_trace_is_a_new_one_under_its_teacher(store: ReviewStore) -> None:
    session = ReviewSession(store, "ana")
    typed(session, 2, GOOD)
    decide(session, 2, "approve")
    found = reviewed_of(store.path, "t")
    edited, untouched = found[1].trace, found[0]
    assert (untouched.status, untouched.trace) == ("open", None)
    assert edited is not None
    assert (edited.teacher, edited.parent_id, edited.intervention, edited.answer) == (
        "t", trace(1).trace_id, "correct", "29",
    )  # fmt: skip
    assert edited.trace_id != trace(1).trace_id
    assert [step.text for step in edited.steps] == [GOOD, SECOND]
    assert edited.meta == {"source": "human", "reviewer": "ana", "seconds": 3.0, "saw_gold": False}
    decide(session, 1, "approve")
    assert reviewed_of(store.path, "t")[0].trace == trace(0)


def test_what_remains_of_a_sample(store: ReviewStore) -> None:
    assert [remaining(store.path, "t", n, 7) for n in (0, 3, 50)] == [6, 3, 6]
    session = ReviewSession(store, "ana")
    for item in range(1, 7):
        decide(session, item, "approve")
    assert [remaining(store.path, "t", n, 7) for n in (0, 3)] == [0, 0]
    decide(ReviewSession(store, "ben"), 1, "reject")
    assert remaining(store.path, "t", 0, 7) == 1
    assert works_of(store, 1).keys() == {"ana", "ben"}
