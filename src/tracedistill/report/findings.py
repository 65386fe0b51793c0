"""What the figures support, in sentences, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence

from tracedistill.report.format import listed, p_relation, points
from tracedistill.report.records import ArmFigures, Report

ALPHA = 0.05

FEW_PLANS = 3
"""Most arms showing plans that get a sentence each."""

PAIRS_NAMED = 10
"""Most pairs of arms that a sentence names."""

ONE_ADAPTER = (
    "One adapter per arm and one seed: these findings are about these adapters on these problems, not about the kind "
    "of trace. No test problem was used for tuning; choose hyperparameters on the validation split."
)


def findings(report: Report) -> list[str]:
    """Write one sentence per comparison that the corrected test supports, or one that none is significant.

    Arms with failed calls are reported first.
    """
    sentences = _failed_calls(report)
    failed = len(sentences)
    oracle = {arm.name for arm in report.arms if arm.oracle}
    # an arm given a plan or forced trace made from gold against one without: no finding, whatever p
    fair = [entry for entry in report.comparisons if (entry.first in oracle) == (entry.second in oracle)]
    for entry in fair:
        if entry.p_holm < ALPHA:
            ahead, behind = entry.first, entry.second
            gain, low, high = entry.difference, entry.low, entry.high
            if gain < 0:
                ahead, behind, gain, low, high = behind, ahead, -gain, -high, -low
            sentences.append(
                f"{ahead} answered {points(gain)} points more of the {entry.n} test problems right than {behind} "
                f"(95% interval {points(low)} to {points(high)}, p {p_relation(entry.p_holm)} after Holm)."
            )
    if len(sentences) > failed or not report.comparisons:
        return sentences
    if not fair:
        return [
            *sentences,
            "No finding: every comparison is between an arm with a plan or trace from gold and one without.",
        ]
    return [*sentences, "No declared comparison is significant after the Holm correction."]


def _failed_calls(report: Report) -> list[str]:
    """Report endpoint arms with failed calls, which are counted as wrong answers."""
    return [
        f"{arm.name}: {arm.errors} of {arm.attempts} calls to its endpoint failed or were refused and count "
        "as no answer, so its accuracy is too low. Run the same command again to retry them."
        for arm in report.arms
        if arm.errors and arm.kind != "imported"
    ]


def limits(report: Report) -> list[str]:
    """Write the limitations to read beside the findings."""
    tuned = [arm for arm in report.arms if arm.kind in ("tuned", "served")]
    sentences = _one_seed(tuned)
    untuned = [arm for arm in report.arms if arm.kind == "in context" and arm.prompt != "few-shot"]
    few = [arm for arm in report.arms if arm.prompt == "few-shot"]
    if tuned and untuned:
        fair = f"the fair untuned baseline is {few[0].name}" if few else "no untuned arm of this study shows the format"
        sentences.append(
            "Tuning also teaches the format of an answer. An untuned student that was never shown the format can lose "
            f"by format alone (compare its candidate reading); {fair}."
        )
    assembly = report.assembly
    if assembly is not None and assembly.categories_lost:
        lost = ", ".join(assembly.categories_lost)
        sentences.append(
            f"Tuned arms share their rows: of {assembly.train_problems} training problems {assembly.rows} have a "
            f"trace in every arm, and none of them is of the type {lost}. The test split has such problems, so "
            "compare arms with each other, not with other studies."
        )
    sentences += _plans_with_answers(report)
    for arm in report.arms:
        data = arm.data
        if data and arm.mix:
            holding, traces, rows = data.holding_answer, data.traces, data.rows
            sentences.append(
                f"{arm.name}: of its {rows} rows, {traces} have a trace (from any arm); {holding} contain the answer."
            )
        elif data and data.traces and arm.tune == "correct":
            share = data.holding_answer / data.traces
            sentences.append(
                f"{arm.name}: its training traces contain the answer in {share:.0%} of the rows, which ties "
                "trace and answer by construction: a right trace makes a right answer easy to copy."
            )
    unjudged = [arm.name for arm in report.arms if arm.trace_not_judged]
    if unjudged:
        sentences.append(
            "Some traces are not judged because the task has no rule for them; they count neither as right nor as "
            f"wrong ({', '.join(unjudged)}). To judge them, add gold steps, or review them (tracedistill review)."
        )
    sentences += [
        f"{arm.name}: {arm.too_long} of {arm.attempts} prompts leave no room for max_tokens in the student's context "
        "window. They were not run and count as no answer; lower base.max_tokens, or show less in the prompt."
        for arm in report.arms
        if arm.too_long
    ]
    if report.not_compared:
        sentences.append(f"No common problems, so not compared: {named(report.not_compared)}.")
    imported = [arm.name for arm in report.arms if arm.kind == "imported"]
    if imported:
        sentences.append(
            f"Imported: {', '.join(imported)}. Their seeds and settings are unknown, so findings are about these "
            "outputs only."
        )
    if report.runs:
        left_out = sum(run.left_out for run in report.runs)
        sentences.append(
            f"All figures are over the {report.problems.test} problems that are identical in every run and "
            f"attempted by every arm; {left_out} are left out (summed over runs)."
        )
    if report.waiting:
        sentences.append(f"No attempts yet, so not in this report: {', '.join(report.waiting)}.")
    return sentences


def _one_seed(tuned: Sequence[ArmFigures]) -> list[str]:
    """State what a single seed cannot show, for all tuned arms or for those with one seed."""
    alone = [arm.name for arm in tuned if arm.seeds == 1]
    if not alone or len(alone) == len(tuned):
        return [ONE_ADAPTER] * bool(alone)
    return [f"One adapter and one seed: {', '.join(alone)}. Findings on them are about these adapters only."]


def _plans_with_answers(report: Report) -> list[str]:
    """State how often the shown steps contain the answer: a sentence per arm, or one for all if there are many."""
    shown = [(arm.name, arm.plan) for arm in report.arms if arm.plan is not None and arm.plan.traces]
    shares = {name: plan.holding_answer / plan.traces for name, plan in shown}
    oracles = [name for name, plan in shown if plan.oracle]
    original = " (in the original bAbI files 82% of the supporting facts do)" if report.task == "babi" else ""
    if len(shares) > FEW_PLANS:
        per_arm = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        oracle = f" Made with the gold in view: {', '.join(oracles)}." if oracles else ""
        return [
            (
                f"Share of problems whose shown steps contain the answer: {per_arm}{original}. In these, copying it is "
                f"enough.{oracle}"
            )
        ]
    easy = ", so copying it is enough" if original else ""
    return [
        f"{name} shows the student steps that contain the answer in {share:.0%} of the problems"
        f"{original}{easy}.{' They were made with the gold in view.' * (name in oracles)}"
        for name, share in shares.items()
    ]


def named(pairs: Sequence[Sequence[str]]) -> str:
    """List pairs of arms in a sentence: the first ones by name, the rest by count."""
    return listed([f"{first} - {second}" for first, second in pairs], PAIRS_NAMED)
