"""The page's first sentence: prompt, tune, or not known yet; and what spoils a study comes before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sections_kit import FakeRun, problems_of, verdicts
from tracedistill import pipeline
from tracedistill.recipes import Arm, StudentConfig
from tracedistill.report.decision import decision
from tracedistill.report.figures import build
from tracedistill.stats import share

PRICED = StudentConfig(model="scripted:tests.scripts:solver", usd_per_million_in=1.0, usd_per_million_out=2.0)
ARMS = {
    "standard": Arm(),
    "few-shot": Arm(prompt="few-shot"),
    "answer-only": Arm(tune="none"),
    "correct-trace": Arm(tune="correct"),
}


def flags(n: int, right: int) -> list[bool]:
    """The first so many of n right."""
    return [place < right for place in range(n)]


def said(tmp_path: Path, n: int, right: Sequence[int | None], students: Any = None, **fields: Any) -> list[str]:
    arms = {name: arm for (name, arm), count in zip(ARMS.items(), right, strict=True) if count is not None}
    counts = [count for count in right if count is not None]
    attempts = {name: verdicts(flags(n, count), **fields) for name, count in zip(arms, counts, strict=True)}
    run = FakeRun(tmp_path, arms, attempts, problems=problems_of(n), students=students)
    view = run.view()
    return decision(view, build(view))


TUNED = (
    "answer-only (tuned) answers {} of 200 test problems right, few-shot (the best prompt) {}: 60.0 points more for "
)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((40, 60, 180, None), f"Tune: {TUNED.format('90.0%', '30.0%')}tuning (95% interval"),
        ((40, 180, 60, None), f"Prompt: {TUNED.format('30.0%', '90.0%')}prompting (95% interval"),
        ((40, 100, 102, None), "Cannot tell yet whether to prompt or tune: answer-only"),
        ((100, None, 102, None), "To detect a difference of this size in four of five studies, use about"),
        ((100, None, 102, None), "three seeds per tuned arm"),
        ((100, None, 100, None), "so any difference is probably smaller"),
    ],
)
def test_the_decision(tmp_path: Path, right: Sequence[int | None], words: str) -> None:
    assert words in said(tmp_path, 200, right)[0]


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((40, None, 60, 120), "The trace teaches beyond the answer (correct-trace minus answer-only: 30.0 points"),
        ((40, None, 120, 60), "The trace teaches less than the answer alone (correct-trace minus answer-only: -30.0"),
        ((40, None, 120, 121), "It is not yet known whether the trace teaches beyond the answer"),
    ],
)
def test_what_the_trace_teaches(tmp_path: Path, right: Sequence[int | None], words: str) -> None:
    assert words in said(tmp_path, 200, right)[1]


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((40, None, 180, None), ""),
        ((40, 60, 180, None), "not on validation: the best of 2 prompts. This"),
        ((40, None, 120, 121), "not on validation: the best of 2 tuned arms. This"),
        ((40, 60, 120, 121), "not on validation: the best of 2 tuned arms and the best of 2 prompts. This"),
    ],
)
def test_a_choice_on_the_test_problems_is_told(tmp_path: Path, right: Sequence[int | None], words: str) -> None:
    told = [line for line in said(tmp_path, 200, right) if line.startswith("Chosen on these test problems")]
    assert len(told) == bool(words)
    assert all(words in line for line in told)


@pytest.mark.parametrize(
    ("held", "first", "last"),
    [
        # the best on validation problems stands for its side, whatever it is on the test problems
        ((30, 10, 20, 40), "Tune: correct-trace (tuned) answers 45.0% of 200 test problems right, standard (the best",
         "standard, the best of 2 prompts (60.0% of 50 right there)"),
        ((10, 30, 40, 20), "Tune: answer-only (tuned) answers 90.0% of 200 test problems right, few-shot (the best",
         "answer-only, the best of 2 tuned arms (80.0% of 50 right there) and few-shot, the best of 2 prompts (60.0%"),
        # an arm that was not asked them: its side is chosen on the test problems
        ((None, 30, 20, 40), "few-shot (the best prompt)", "not on validation: the best of 2 prompts. This"),
    ],
)  # fmt: skip
def test_sides_are_chosen_on_validation_problems(
    tmp_path: Path, held: Sequence[int | None], first: str, last: str
) -> None:
    attempts = {name: verdicts(flags(200, right)) for name, right in zip(ARMS, (40, 60, 180, 90), strict=True)}
    view = FakeRun(tmp_path, ARMS, attempts, problems=problems_of(200)).view()
    report = build(view)
    shares = dict(zip(ARMS, (None if right is None else share(right, 50) for right in held), strict=True))
    arms = tuple(replace(arm, validation=shares[arm.name]) for arm in report.arms)
    lines = decision(view, replace(report, arms=arms))
    assert first in lines[0]
    assert last in lines[-1]


def test_costs_per_thousand_queries(tmp_path: Path) -> None:
    lines = said(tmp_path, 200, (40, None, 180, None), students={"s": PRICED}, tokens=(1000, 500))
    assert "1,000 queries cost $2.00 tuned and $2.00 prompted" in lines[0]


def test_nothing_tuned_or_nothing_prompted_is_no_decision(tmp_path: Path) -> None:
    assert said(tmp_path / "a", 50, (40, 20, None, None)) == []
    assert said(tmp_path / "b", 50, (None, None, 20, None)) == []


def test_what_spoils_a_study_comes_first(tmp_path: Path) -> None:
    (line,) = said(tmp_path / "a", 50, (0, 0, 0, 0))
    assert line.startswith("Nothing can be decided: no arm answers any of the 50 test problems right")
    lost = [{**row, "answer": {**row["answer"], "outcome": "ungradable"}} for row in verdicts(flags(50, 20))]
    arms = {"standard": Arm(), "answer-only": Arm(tune="none")}
    run = FakeRun(tmp_path / "b", arms, {"standard": verdicts(flags(50, 10)), "answer-only": lost})
    view = run.view()
    assert "100.0% of the golds cannot be graded" in decision(view, build(view))[0]


def labeller(request: object) -> str:
    """A scripted student that says the same of every text."""
    return "Answer: this is it"


@pytest.mark.parametrize(
    ("task", "spoilt"),
    [({}, True), ({"instruction": "Say it."}, False), ({"judge": "label", "labels": ["this is it", "other"]}, False)],
)
def test_a_prompt_that_never_names_the_task(
    tmp_path: Path, study_file: Callable[..., Path], task: dict[str, Any], spoilt: bool
) -> None:
    path = tmp_path / "own.csv"
    lines = [
        f"Film {n} was long,{'this is it' if n % 2 else 'other'},{'test' if n > 9 else 'train'}" for n in range(20)
    ]
    path.write_text("\n".join(["question,answer,split", *lines]))
    recipe = study_file(
        task={"name": "file", "path": str(path), "validation": 0, "judge": "exact", **task},
        students={"s": {"model": f"scripted:{__name__}:labeller"}},
        arms={"standard": {}},
        comparisons=[],
    )
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    found = pipeline.report_of(loaded).decision
    assert any("the prompt never says what to do" in line for line in found) == spoilt
    page = (loaded.study.folder / "report.html").read_text()
    assert ("the prompt never says what to do" in page) == spoilt
