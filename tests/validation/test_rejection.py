"""What validation drops: counted numbers give the same medians and thirds as sorted lists."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tracedistill.records import Problem, Step, Trace, Verdict
from tracedistill.validation import RejectionTally, Validation
from tracedistill.validation.rejection import _median, _thirds

LENGTHS = st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=60)


def by_sorting(lengths: list[tuple[int, bool]]) -> dict[str, tuple[int, int]]:
    ordered = sorted(lengths)
    cuts = [0, len(ordered) // 3, 2 * len(ordered) // 3, len(ordered)]
    parts = [ordered[start:end] for start, end in itertools.pairwise(cuts)]
    cells = [(sum(ok for _, ok in part), len(part)) for part in parts]
    return dict(zip(("short", "middle", "long"), cells, strict=True)) if len(ordered) > 2 else {}


@given(LENGTHS)
def test_counted_lengths_say_what_sorted_ones_say(lengths: list[tuple[int, bool]]) -> None:
    accepted, rejected = (Counter(length for length, ok in lengths if ok is want) for want in (True, False))
    assert _thirds(accepted, rejected) == by_sorting(lengths)
    for counted, want in ((accepted, True), (rejected, False)):
        listed = [length for length, ok in lengths if ok is want]
        assert _median(counted) == (statistics.median(listed) if listed else None)


def test_counts_by_difficulty_and_reason() -> None:
    problems = {
        name: Problem(name, "gsm8k", "train", "Q", difficulty=level)
        for name, level in (("a", 2), ("b", 10), ("c", None))
    }

    def one(problem_id: str, text: str, *, ok: bool) -> tuple[Trace, Validation]:
        trace = Trace(text, problem_id, "t", (Step("text", text),), text)
        verdict = Verdict("correct" if ok else "incorrect")
        reason = "" if ok else f"trace incorrect: {text}"
        return trace, Validation(text, problem_id, ok, reason, verdict, Verdict("missing"), False)

    rows = [one("a", "x", ok=True), one("a", "xxxx", ok=False), one("b", "xx", ok=False), one("c", "xxx", ok=True)]
    tally = RejectionTally(problems)
    for trace, verdict in rows:
        tally.add(trace, verdict)
    report = tally.report()
    assert (report.traces, report.accepted, report.problems, report.problems_accepted) == (4, 2, 3, 2)
    assert report.by_difficulty == {"2": (1, 2), "10": (0, 1), "unknown": (1, 1)}
    assert list(report.by_difficulty) == ["2", "10", "unknown"], "in the order of the numbers"
    assert report.by_length == {"short": (1, 1), "middle": (0, 1), "long": (1, 2)}
    assert (report.median_length_accepted, report.median_length_rejected) == (2.0, 3.0)
    assert report.reasons == {"trace incorrect": 2}
    assert report.leaks is None
    assert report.judge is None
    assert RejectionTally(problems).report().median_length_accepted is None
