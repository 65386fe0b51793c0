"""Decide from the figures: prompt the student, tune it, or not known yet.

Tune: answer-only answers 88.0% of 200 test problems right, the best prompt (few-shot) 61.5%: 26.5 points more (95%
interval 19.5 to 33.5). 1,000 queries cost $0.04 tuned and $0.11 prompted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracedistill import stats
from tracedistill.report.format import dollars, number, percent, points
from tracedistill.report.records import ArmFigures, Comparison, Report
from tracedistill.report.runs import RunView
from tracedistill.report.sections.comparisons import compare_pair
from tracedistill.report.sections.costs import Cost, break_even, cost_of
from tracedistill.tasks.file.instructions import says_what_to_do

MOST_UNGRADABLE = 0.5
"""Share of ungradable golds above which no statement is made about the arms."""
POWER = 0.8
PROBLEMS_MOST = 100_000
"""Upper limit of the search for the number of test problems."""
QUERIES = 1_000


def decision(view: RunView, report: Report) -> list[str]:
    """Write the sentences at the head of the page: defects of the study, else the decision and what the trace adds.

    Empty if nothing was tuned, or nothing prompted, and there are no defects.
    """
    arms = [arm for arm in report.arms if arm.n]
    if not arms:
        return []
    defect = _defect(view, arms)
    if defect:
        return [defect]
    fair = [arm for arm in arms if not arm.oracle and arm.forced is None]
    tuned = _best("tuned arms", [arm for arm in fair if arm.kind in ("tuned", "served")])
    if tuned is None:
        return []
    prompted = _best("prompts", [arm for arm in fair if arm.kind == "in context" and arm.student == tuned.arm.student])
    sentences = [] if prompted is None else _decided(view, tuned.arm, prompted.arm)
    caveats = _caveats(report, [best for best in (tuned, prompted) if best is not None]) if sentences else []
    return sentences + _trace(view, fair) + caveats


# ---- defects that rule out a decision


def _defect(view: RunView, arms: Sequence[ArmFigures]) -> str:
    n = max(arm.n for arm in arms)
    ungradable = max(arm.ungradable / max(1, arm.attempts) for arm in arms)
    if ungradable > MOST_UNGRADABLE:
        return (
            f"Nothing can be decided: {percent(ungradable)} of the golds cannot be graded. Look at the golds "
            "(tracedistill audit, or problems.report.json), or choose another judge (task.judge)."
        )
    if not any(arm.correct for arm in arms):
        return (
            f"Nothing can be decided: no arm answers any of the {n} test problems right. Read a few attempts. Does the "
            "prompt ask the question? Is it the right judge? Can the student do this task at all?"
        )
    if _task_unnamed(view):
        return (
            "Nothing can be decided between prompting and tuning: the prompt never says what to do, so the untuned "
            "student cannot know the question. Set task.instruction (and task.labels), and run the study again."
        )
    return ""


def _task_unnamed(view: RunView) -> bool:
    """Return whether prompts are not bare questions and nothing tells an untuned student what to do."""
    recipe = view.recipe or {}
    task = recipe.get("task") or {}
    if task.get("name") != "file" or task.get("instruction") or recipe.get("prompts"):
        return False
    if any((student or {}).get("system") for student in (recipe.get("students") or {}).values()):
        return False
    problems = list(view.problems().values())
    if any(problem.choices or problem.meta.get("labels") for problem in problems[:1]):
        return False
    return bool(problems) and not says_what_to_do([problem.question for problem in problems])


# ---- prompt or tune


@dataclass(frozen=True, slots=True)
class ChosenArm:
    """The best arm of one side of the decision."""

    side: str
    """The arms it was chosen from, in words."""
    count: int
    """Number of these arms."""
    arm: ArmFigures
    """The best arm, the first of equals."""
    on_validation: bool
    """Whether it is the best on validation problems; else on the test problems."""


def _best(side: str, arms: Sequence[ArmFigures]) -> ChosenArm | None:
    """Choose the best of these arms, on validation problems if all of them have attempts at some."""
    if not arms:
        return None
    held = len(arms) > 1 and all(arm.validation is not None for arm in arms)

    def right(arm: ArmFigures) -> float:
        share = arm.validation if held and arm.validation is not None else arm.accuracy.raw
        return share.value or 0.0

    return ChosenArm(side, len(arms), max(arms, key=right), held)


def _caveats(report: Report, chosen: Sequence[ChosenArm]) -> list[str]:
    """State on which problems an arm was chosen, for each side with several arms."""
    several = [best for best in chosen if best.count > 1]
    held = [
        f"{best.arm.name}, the best of {best.count} {best.side} ({percent(share.value)} of {share.n} right there)"
        for best in several
        if best.on_validation and (share := best.arm.validation) is not None
    ]
    lines = [f"Chosen on validation problems, not on these test problems: {' and '.join(held)}."] if held else []
    flattered = [f"the best of {best.count} {best.side}" for best in several if not best.on_validation]
    if flattered:
        n = report.problems.validation
        remedy = (
            f"Set evaluation.choose_on to choose on the {n} validation problems."
            if n
            else "The study has no validation problems to choose on (task.validation)."
        )
        lines.append(
            f"Chosen on these test problems, not on validation: {' and '.join(flattered)}. This favours the side with "
            f"more arms to choose from. {remedy}"
        )
    return lines


def _decided(view: RunView, tuned: ArmFigures, prompted: ArmFigures) -> list[str]:
    entry = compare_pair(view, tuned.name, prompted.name)
    if entry is None:
        return []
    gain, low, high = entry.difference, entry.low, entry.high
    both = (
        f"{tuned.name} (tuned) answers {_share(tuned)} of {entry.n} test problems right, {prompted.name} (the "
        f"best prompt) {_share(prompted)}"
    )
    interval = f"95% interval {points(low)} to {points(high)}"
    cost = _cost(view, tuned, prompted)
    if low > 0:
        return [f"Tune: {both}: {points(gain)} points more for tuning ({interval}). {cost}".strip()]
    if high < 0:
        turned = f"95% interval {points(-high)} to {points(-low)}"
        return [f"Prompt: {both}: {points(-gain)} points more for prompting ({turned}). {cost}".strip()]
    return [f"Cannot tell yet whether to prompt or tune: {both} ({points(gain)} points, {interval}). "
            f"{_to_know(entry)} {cost}".strip()]  # fmt: skip


def _share(arm: ArmFigures) -> str:
    return percent(arm.accuracy.raw.value)


def _to_know(entry: Comparison) -> str:
    """State how many problems or seeds would establish a difference of the observed size."""
    effect, discordance = abs(entry.difference), entry.discordance
    if entry.single_seed:
        seeds = " and three seeds per tuned arm (training.seeds), since one adapter may be better by chance"
    else:
        seeds = ""
    if discordance is None:
        return f"To decide, use more test problems{seeds}."
    if effect < 0.01:
        smallest = stats.minimum_detectable_effect(entry.n, discordance, power=POWER)
        if smallest is None:
            return f"To decide, use more test problems{seeds}."
        return (
            f"With {entry.n} problems, four of five studies detect a difference of {points(smallest)} points, so any "
            f"difference is probably smaller. To decide, use more test problems{seeds}."
        )
    wanted = _problems_for(effect, max(discordance, effect))
    shown = f"about {wanted:,}" if wanted is not None else f"more than {PROBLEMS_MOST:,}"
    return f"To detect a difference of this size in four of five studies, use {shown} test problems{seeds}."


def _problems_for(effect: float, discordance: float) -> int | None:
    """Return the number of problems at which the paired test reaches the required power; None above PROBLEMS_MOST."""
    low, high = 1, 10
    while stats.paired_power(high, effect, discordance) < POWER:
        low, high = high, high * 2
        if high > PROBLEMS_MOST:
            return None
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if stats.paired_power(middle, effect, discordance) >= POWER else (middle, high)
    return high


def _cost(view: RunView, tuned: ArmFigures, prompted: ArmFigures) -> str:
    """State the cost of 1,000 queries each way: in money if the recipe has prices, else in tokens."""
    tuning, prompting = (cost_of(view, view.arm(arm.name)) for arm in (tuned, prompted))
    for place, format_cost in ((0, dollars), (1, number)):
        per_query = tuning.each[place], prompting.each[place]
        if per_query[0] is None or per_query[1] is None or not any(per_query):
            continue
        unit = "" if place == 0 else " tokens"
        sides = [f"{format_cost(QUERIES * value)}{unit}" for value in per_query if value is not None]
        head = f"{QUERIES:,} queries cost {sides[0]} tuned and {sides[1]} prompted"
        return f"{head}{_once(tuning, prompting, place, unit)}."
    return ""


def _once(tuning: Cost, prompting: Cost, place: int, unit: str) -> str:
    once = tuning.once[place]
    if not once:
        return ""
    shown = dollars(once) if place == 0 else f"{number(once)}{unit}"
    even = break_even(once, tuning.each[place], prompting.once[place], prompting.each[place])
    pays = f" and pays {even} queries" if even.startswith("from") else ""
    return f"; tuning costs {shown} once{pays}"


# ---- does the trace add anything to the answer?


def _trace(view: RunView, arms: Sequence[ArmFigures]) -> list[str]:
    """Compare the arm tuned on right traces with the one tuned on answers alone, for one student."""
    for traced in (arm for arm in arms if arm.tune == "correct"):
        alone = next((arm for arm in arms if arm.tune == "none" and arm.student == traced.student), None)
        entry = None if alone is None else compare_pair(view, traced.name, alone.name)
        if alone is None or entry is None:
            continue
        gain, low, high = entry.difference, entry.low, entry.high
        interval = f"95% interval {points(low)} to {points(high)}"
        figures = f"{traced.name} minus {alone.name}: {points(gain)} points, {interval}"
        if low > 0:
            return [f"The trace teaches beyond the answer ({figures})."]
        if high < 0:
            return [f"The trace teaches less than the answer alone ({figures})."]
        return [f"It is not yet known whether the trace teaches beyond the answer ({figures})."]
    return []
