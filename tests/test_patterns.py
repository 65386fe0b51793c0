"""No pattern of the package takes long, whatever a model writes: attacks are derived from the patterns themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest

from tests.attacks import ENDINGS, TookTooLongError, attacks, common, patterns, processor_seconds, ways

LENGTH = 2_000
"""Characters: what grows with their third power is too slow at this length, what grows with their second is not."""
LIMIT = 1.0
"""Seconds of processor time for one search."""
BOUNDED = {
    "tasks.cotempqa_metric._PATTERNS": "applied to facts of a data file, of 2,000 characters at most",
    "tasks.cotempqa_gold._FACT": "applied to facts of a data file, of 2,000 characters at most",
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


PACKAGES = ("answers", "attribution", "formats", "interventions", "tasks", "teachers", "validation")
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
