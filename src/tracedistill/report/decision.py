"""What the figures say to somebody who has to decide: prompt the student, tune it, or not known yet.

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
    spoilt = _spoilt(view, arms)
    if spoilt:
        return [spoilt]
    fair = [arm for arm in arms if not arm.oracle and arm.forced is None]
    tuned = _side("tuned arms", [arm for arm in fair if arm.kind in ("tuned", "served")])
    if tuned is None:
        return []
    prompted = _side("prompts", [arm for arm in fair if arm.kind == "in context" and arm.student == tuned.arm.student])
    said = [] if prompted is None else _decided(view, tuned.arm, prompted.arm)
    caveats = _chosen(report, [side for side in (tuned, prompted) if side is not None]) if said else []
    return said + _trace(view, fair) + caveats


# ---- defects that rule out a decision


def _spoilt(view: RunView, arms: Sequence[ArmFigures]) -> str:
    n = max(arm.n for arm in arms)
    ungradable = max(arm.ungradable / max(1, arm.attempts) for arm in arms)
    if ungradable > MOST_UNGRADABLE:
        return (
            f"Nothing can be decided: {percent(ungradable)} of the golds cannot be graded. Look at the golds "
            "(tracedistill audit, or problems.report.json), or say which judge is meant (task.judge)."
        )
    if not any(arm.correct for arm in arms):
        return (
            f"Nothing can be decided: no arm answers any of the {n} test problems right. Read a few attempts: is the "
            "question asked, is the judge the right one, is the student able to do this at all?"
        )
    if _task_unnamed(view):
        return (
            "Nothing can be decided between prompting and tuning: the prompt never says what is to be done, so that "
            "the untuned student was not asked the question. Say it in task.instruction (and task.labels), and run it "
            "again."
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
class Side:
    """One side of the decision: the arm that stands for it."""

    what: str
    """What it was chosen among, in words."""
    among: int
    """How many there were."""
    arm: ArmFigures
    """The best of them, the first of equals."""
    on_validation: bool
    """Whether it is the best on validation problems; else on the test problems."""


def _side(what: str, arms: Sequence[ArmFigures]) -> Side | None:
    """Choose the best of these arms, on validation problems if all of them were asked some."""
    if not arms:
        return None
    held = len(arms) > 1 and all(arm.validation is not None for arm in arms)

    def right(arm: ArmFigures) -> float:
        share = arm.validation if held and arm.validation is not None else arm.accuracy.raw
        return share.value or 0.0

    return Side(what, len(arms), max(arms, key=right), held)


def _chosen(report: Report, sides: Sequence[Side]) -> list[str]:
    """Say of each side that had several arms on which problems its arm was chosen."""
    several = [side for side in sides if side.among > 1]
    held = [
        f"{side.arm.name}, the best of {side.among} {side.what} ({percent(share.value)} of {share.n} right there)"
        for side in several
        if side.on_validation and (share := side.arm.validation) is not None
    ]
    lines = [f"Chosen on validation problems, not on these test problems: {' and '.join(held)}."] if held else []
    flattered = [f"the best of {side.among} {side.what}" for side in several if not side.on_validation]
    if flattered:
        n = report.problems.validation
        remedy = (
            f"evaluation.choose_on chooses on the {n} validation problems"
            if n
            else ("the study has no validation problems to choose on (task.validation)")
        )
        lines.append(
            f"Chosen on these test problems, not on validation: {' and '.join(flattered)}. That flatters the side with "
            f"more arms to choose from; {remedy}."
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
    """Say how many problems or seeds would be needed to establish a difference of the observed size."""
    effect, discordance = abs(entry.difference), entry.discordance
    if entry.single_seed:
        seeds = " and three seeds per tuned arm (training.seeds), since one adapter may be a lucky one"
    else:
        seeds = ""
    if discordance is None:
        return f"To know, it takes more test problems{seeds}."
    if effect < 0.01:
        detectable = stats.minimum_detectable_effect(entry.n, discordance, power=POWER)
        if detectable.effect is None:
            return f"To know, it takes more test problems{seeds}."
        return (
            f"{entry.n} problems would have shown a difference of {points(detectable.effect)} points in four of five "
            f"studies: if there is one, it is likely smaller. More test problems{seeds} would tell."
        )
    wanted = _problems_for(effect, max(discordance, effect))
    shown = f"about {wanted:,}" if wanted is not None else f"more than {PROBLEMS_MOST:,}"
    return f"To know a difference of this size in four of five studies it takes {shown} test problems{seeds}."


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
    one, other = (cost_of(view, view.arm(arm.name)) for arm in (tuned, prompted))
    for place, format_cost in ((0, dollars), (1, number)):
        of_one = one.each[place], other.each[place]
        if of_one[0] is None or of_one[1] is None or not any(of_one):
            continue
        unit = "" if place == 0 else " tokens"
        sides = [f"{format_cost(QUERIES * value)}{unit}" for value in of_one if value is not None]
        head = f"{QUERIES:,} queries cost {sides[0]} tuned and {sides[1]} prompted"
        return f"{head}{_once(one, other, place, unit)}."
    return ""


def _once(one: Cost, other: Cost, place: int, unit: str) -> str:
    once = one.once[place]
    if not once:
        return ""
    shown = dollars(once) if place == 0 else f"{number(once)}{unit}"
    even = break_even(once, one.each[place], other.once[place], other.each[place])
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
