"""Records of report.json, made up by what a test is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracedistill import stats
from tracedistill.report.records import ArmFigures, Baseline, Comparison, Report, Sizes, TraceFacts

NOTHING = stats.share(0, 0)
UNTRACED = stats.joint_table_of_counts((0, 0, 0, 0), (0, 0), 0.95)


def comparison(**changes: Any) -> Comparison:
    """A comparison that found something."""
    entry: dict[str, Any] = {
        "first": "correct-trace", "second": "answer-only", "n": 200, "difference": 0.235, "low": 0.16, "high": 0.31,
        "only_first": 60, "only_second": 13, "test": "exact McNemar", "p": 1e-8, "p_holm": 3e-8,
    }  # fmt: skip
    return Comparison(**{**entry, **changes})


def facts(traces: int = 0, **changes: Any) -> TraceFacts:
    """Traces that an arm was given."""
    return TraceFacts(**{"rows": traces, "traces": traces, **changes})


def arm(name: str = "a", joint: tuple[int, int, int, int] = (0, 0, 0, 0), **changes: Any) -> ArmFigures:
    """An untuned arm without attempts."""
    n = sum(joint)
    plain: dict[str, Any] = {
        "kind": "in context", "prompt": "standard", "n": n, "attempts": n, "correct": joint[0] + joint[2],
        "accuracy": stats.Accuracy(NOTHING, NOTHING, NOTHING, NOTHING, 0), "file": f"attempts/{name}.jsonl",
        "association": UNTRACED,
    }  # fmt: skip
    return ArmFigures(name=name, joint=joint, **{**plain, **changes})


def report(*arms: ArmFigures, comparisons: Sequence[Comparison] = (), task: str = "babi", **changes: Any) -> Report:
    """A report on these arms."""
    return Report("s", task, Sizes(), Baseline("", 0.0), arms, tuple(comparisons), **changes)
