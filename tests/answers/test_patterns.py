"""No pattern of the answer judges can be made to backtrack: attack strings from each pattern, and what models loop."""

from __future__ import annotations

import re

import pytest

from tests.attacks import TookTooLongError, attacks, common, patterns, processor_seconds
from tracedistill.answers import AnswerPolicy, judge

LENGTH = 20_000
SECONDS = 2.0
OURS = {name: pattern for name, pattern in patterns().items() if name.startswith("answers.")}


def _worst(pattern: re.Pattern[str], length: int) -> str:
    """The text on which one search takes longer than allowed, cut; empty where none does."""
    for text in (*attacks(pattern, length), *common(length)):
        try:
            with processor_seconds(SECONDS):
                pattern.search(text)
        except TookTooLongError:
            return f"{text[:60]!r} ... {text[-10:]!r}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OURS))
def test_a_pattern_takes_no_attack_string_long(name: str) -> None:
    assert _worst(OURS[name], LENGTH) == ""


@pytest.mark.parametrize("kind", ["number", "math", "choice", "text"])
def test_what_models_loop_is_judged_in_time(kind: str) -> None:
    policy = AnswerPolicy(kind=kind, seconds=0.3)  # type: ignore[arg-type]
    closed = ("A. cat", "B. dog") if kind == "choice" else ()
    for text in common(60_000):
        with processor_seconds(SECONDS):
            assert judge("5", text, "How many meters is it?", policy, closed).answer.reason
