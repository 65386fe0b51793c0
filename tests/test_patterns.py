"""No pattern of the package takes long, whatever a model writes: attacks are derived from the patterns themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest

from tests.attacks import ENDINGS, TookTooLongError, attacks, common, patterns, processor_seconds, ways
from tracedistill.chat.formats import bounded
from tracedistill.evaluation.scoring import score
from tracedistill.records import Attempt, Problem
from tracedistill.tasks import TASKS, get_task

LENGTH = 1_000
"""Characters: what grows with their third power is too slow at this length, what grows with their second is not."""
LIMIT = 0.45
"""Seconds of processor time for one search."""
BOUNDED = {
    "tasks.cotempqa.metric._PATTERNS": "applied to facts of a data file, of 2,000 characters at most",
    "tasks.cotempqa.gold._FACT": "applied to facts of a data file, of 2,000 characters at most",
}
"""Pattern (all of its parts) -> why it need not stand such texts."""


def test_patterns_are_found() -> None:
    found = patterns()
    assert len(found) > 250
    assert set(BOUNDED) <= {label.partition("[")[0] for label in found}


def test_attacks_find_what_they_are_for() -> None:
    """Patterns that are known to be slow are; their possessive forms are not."""
    for slow, quick in (
        (r"(?:a+ ?)+b", r"(?:a++ ?)++b"),
        (r"(?:\w+\s*)+[.]", r"(?:\w++\s*+)++[.]"),
        (r"(?:(?:,|and|-)\s*)+x|(?:\s*(?:,|-)\s*)+!", r"\s*+(?:[,-]\s*+)*+x"),
    ):
        for text, bad in ((slow, True), (quick, False)):
            pattern, late = re.compile(text), False
            for attack in attacks(pattern, LENGTH):
                try:
                    with processor_seconds(LIMIT):
                        pattern.match(attack)
                except TookTooLongError:
                    late = True
                    break
            assert late is bad, text


PACKAGES = ("answers", "arithmetic", "evaluation", "interventions", "tasks", "teachers", "validation")
"""Those that read what models write get a test each; the rest shares one."""


@pytest.mark.parametrize("package", [*PACKAGES, "others"])
def test_no_pattern_takes_long(package: str) -> None:
    assert_quick(package, ("!",), 6)


@pytest.mark.slow
@pytest.mark.parametrize("package", [*PACKAGES, "others"])
def test_no_pattern_takes_long_on_any_attack(package: str) -> None:
    assert_quick(package, ENDINGS, None)


def assert_quick(package: str, endings: Sequence[str], most: int | None) -> None:
    """Try the patterns of a package on attacks with these endings, and on so many of the common texts."""
    slow = []
    for label, pattern in patterns().items():
        top = label.partition(".")[0]
        mine = top == package or (package == "others" and top not in PACKAGES)
        if not mine or label.partition("[")[0] in BOUNDED:
            continue
        applied = ways(label)
        for text in (*attacks(pattern, LENGTH, endings), *itertools.islice(common(LENGTH), most)):
            try:
                for way in applied:
                    with processor_seconds(LIMIT):
                        getattr(pattern, way)(text)
            except TookTooLongError:
                slow.append(f"{label} on {text[:40]!r}... ({way}): {pattern.pattern[:120]}")
                break
    assert not slow, "\n".join(slow)


# ---- whole judges


RUNAWAY = (
    "to go to the left and then ", "- ", "step 1 - ", " ", "The answer is 5.\n", "1. Add 2 and 3.\n", "x = 1\n", "(",
    "1 ", "\\frac{1}{", "| 3 * 4 = 12 ", "So the answer is ", "['", "Supporting facts: a | ",
)  # fmt: skip
"""Texts that looping models wrote, or that stopped a judge once."""


def judged(name: str, length: int, seconds: float) -> None:
    """Score runaway outputs of this length as attempts at a problem of a task, each within so much processor time."""
    task = get_task(name)
    choices = (("A", "garden"), ("B", "kitchen")) if name in ("arc_challenge", "openbookqa", "commonsenseqa") else ()
    problem = Problem("p", name, "test", "Where is Mary?", ("garden",), ("Mary went to the garden.",), choices=choices)
    late = []
    for part in RUNAWAY:
        text = part * (length // len(part)) + "\nAnswer: garden"
        attempt = Attempt("a/p/0", "p", "a", "s", text, "length", 1, 1, 0.0)
        try:
            with processor_seconds(seconds):
                score(task, problem, attempt, trace_wanted=True)
                task.judge_plan(problem, task.parse_trace(bounded(text)).steps)
        except TookTooLongError:
            late.append(part)
    assert not late


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_judge_hangs_on_a_looping_output(name: str) -> None:
    judged(name, 4_000, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_judge_hangs_on_ten_megabytes(name: str) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judged(name, 1_000_000, 2.0)
    judged(name, 10_000_000, 4.0)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 1e9
