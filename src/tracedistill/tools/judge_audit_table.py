"""Print the audit of a model judge in the terminal."""

from __future__ import annotations

from rich.markup import escape

from tracedistill.output import narrow_table, wide_console
from tracedistill.report.format import percent
from tracedistill.stats import Share
from tracedistill.validation.judge_audit import JudgeAudit

WRONG_SHOWN = 10


def print_audit(judge: str, audit: JudgeAudit) -> None:
    """Print agreement, errors and biases with their intervals, and a conclusion."""
    console = wide_console()
    position, length = audit.position, audit.length
    shares = {
        "decided, of all rows": audit.decided,
        "agrees, of decided rows": audit.agreement,
        "agrees, of all rows": audit.agreement_of_all,
        "false positives: incorrect rows called correct": audit.false_positives,
        "false negatives: correct rows called incorrect": audit.false_negatives,
        "position: verdict changes with the order": position.flipped,
        "position: takes the plan shown first (unswayed: 50%)": position.first_chosen,
        "position: choice changes with the order": position.inconsistent,
        "pairs: takes the sound plan": position.right,
        "length: verdict changes with neutral sentences": length.flipped,
    }
    heads = ("measure", "share", "95% interval", "count")
    console.print(
        narrow_table(
            f"judge {judge}: {audit.n} labelled rows", heads, [(what, *_cells(s)) for what, s in shares.items()]
        )
    )
    console.print(
        f"majority label {percent(audit.majority)}, kappa {_number(audit.kappa)}, void {audit.void}; "
        f"verdict and length r {_number(length.verdict_r)} (labels and length r {_number(length.label_r)}); "
        f"with neutral sentences {length.to_correct} turn correct, {length.to_incorrect} incorrect"
    )
    for why, count in audit.void_reasons.items():
        console.print(escape(f"void {count}: {why}"), style="yellow")
    if audit.wrong_ids:
        more = f" and {len(audit.wrong_ids) - WRONG_SHOWN} more" if len(audit.wrong_ids) > WRONG_SHOWN else ""
        console.print(escape(f"judged against the label: {', '.join(audit.wrong_ids[:WRONG_SHOWN])}{more}"))
    beats = "does better than" if audit.beats_majority else "is not shown to do better than"
    console.print(f"On these rows {escape(judge)} {beats} always saying the commoner label.", style="bold")


def _cells(share: Share) -> tuple[str, str, str]:
    return percent(share.value), f"{percent(share.low)} - {percent(share.high)}", f"{share.successes}/{share.n}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
