"""The page about plans in the prompt at small scale: what each is worth, what it costs, and a worse teacher's.

    python benchmarks/replication_plans.py RUN [--floor RUN] --about ABOUT.md --lines LINES.jsonl --out PAGE.md
    python benchmarks/replication_plans.py --about ABOUT.md --lines LINES.jsonl --out PAGE.md   # from the lines alone

RUN is a run folder of recipes/trace-of-thought-svamp, the one behind --floor of such arms on GSM8K. LINES keeps every
verdict and the tokens (replication_rows.py); each figure is counted from it.

*The teacher's quality.* A prompt holds its own problem's plan and no other's. So a student under a teacher whose plans
are wrong for a share of the problems answers as it does under right plans on the rest, and as under wrong plans on
these: the gradient is that mix, and needs no attempts but those of the two arms.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from replication_rows import Line, read_lines, read_run, write_lines
from replication_tables import (
    CALCULATIONS,
    Compared,
    arms_table,
    codes,
    compared,
    head,
    pairs_table,
    percent,
    points,
    row,
    sentence,
)

from tracedistill import stats

FLOOR = "gsm8k-"
"""Before the names of arms on GSM8K."""
PAIRS = (
    ("chain-of-thought", "standard", "does `Think step-by-step.` help?"),
    ("plan@gold", "standard", "does a plan from gold?"),
    ("plan@gold", "chain-of-thought", "more than thinking step by step?"),
    ("plan@self", "standard", "does the student's own plan?"),
    ("plan@gold", "wrong-number", "what does one wrong number in every plan cost?"),
    ("plan@gold", "foreign", "another problem's plan?"),
    ("plan@gold", "without-hint", "how the answer is to be written, left out"),
    ("plan@gold", "without-use", "`Use the following steps ...`, left out"),
    ("plan@gold", "without-problem", "the problem, left out"),
)
"""The family: (first, second, what is asked)."""
FLOOR_PAIRS = (
    (f"{FLOOR}chain-of-thought", f"{FLOOR}standard", "does `Think step-by-step.` help?"),
    (f"{FLOOR}plan@gpt-4", f"{FLOOR}standard", "does GPT-4's recorded plan?"),
    (f"{FLOOR}plan@gold", f"{FLOOR}standard", "does a plan from gold?"),
)
ABOUT = "this student, prompted so"
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Of plans that are wrong."""
ORDER = tuple(dict.fromkeys(arm for second, first, _ in (*PAIRS, *FLOOR_PAIRS) for arm in (first, second)))


def costs_table(lines: Sequence[Line], arms: Sequence[str]) -> str:
    """Tokens of an attempt, and of a right answer."""
    rows = [head("arm", "prompt tokens an attempt", "written", "written for each right answer")]
    for arm in arms:
        own = [line for line in lines if arm in line.tokens]
        read, written = (sum(line.tokens[arm][place] for line in own) for place in (0, 1))
        every = codes(own, arm)
        right = sum(code[0] == "c" for code in every)
        each = f"{written / right:.0f}" if right else "none is right"
        rows.append(row(arm, f"{read / len(every):.0f}", f"{written / len(every):.0f}", each))
    return "\n".join(rows)


def gradient_table(lines: Sequence[Line], right: str, wrong: str) -> str:
    """Accuracy by the share of wrong plans: the mix of two arms, and what it is below right plans alone."""
    found = compared(lines, [(wrong, right, "")])[0].found
    both = [line for line in lines if {right, wrong} <= line.arms.keys()]
    base = float(np.mean([line.arms[right][0][0] == "c" for line in both]))
    rows = [head("wrong plans", "answers right, %", "against right plans alone, points, 95% interval")]
    for share in SHARES:
        scaled = stats.Difference(share * found.estimate, share * found.low, share * found.high, found.n, found.seeds)
        rows.append(row(f"{100 * share:.0f}%", percent(base + scaled.estimate), points(scaled) if share else "-"))
    return "\n".join(rows)


def supports(found: Sequence[Compared]) -> str:
    """Say what the differences carry, a line each."""
    adjusted = stats.holm([each.p for each in found])
    return "\n".join(sentence(each, p, ABOUT) for each, p in zip(found, adjusted, strict=True))


def floor_section(lines: Sequence[Line], arms: Sequence[str]) -> str:
    """Show the same student where the task is too hard for it."""
    found = compared(lines, FLOOR_PAIRS)
    tables = [arms_table(lines, arms, CALCULATIONS), *([pairs_table(found)] if found else []), costs_table(lines, arms)]
    return "\n## The floor: GSM8K\n\n" + "\n\n".join(tables) + "\n"


def page(lines: Sequence[Line], about: str, command: str) -> str:
    """Write out the whole page."""
    place = {arm: number for number, arm in enumerate(ORDER)}
    arms = sorted({arm for line in lines for arm in line.arms}, key=lambda arm: (place.get(arm, len(place)), arm))
    floor = [arm for arm in arms if arm.startswith(FLOOR)]
    own = [arm for arm in arms if arm not in floor]
    ours = compared(lines, PAIRS)
    return f"""{about.rstrip()}

Made by `{command}`; the text above is written by hand, the rest is counted from the lines. Do not edit this page.

## What the differences support

Nothing is tuned, and greedy decoding has one result: these are sentences about problems, for this student.

{supports(ours)}

## Answers

Intervals: 95%, over problems. `calculations right`: those that the student writes are all true and grounded. A problem
without a plan is not attempted, and counts as not right.

{arms_table(lines, own, CALCULATIONS)}

## Differences

Paired by problem; exact McNemar.

{pairs_table(ours)}

## Costs

{costs_table(lines, own)}

## A worse teacher

One number of the plan is wrong in a share of the problems. A prompt holds its own problem's plan alone, so that this is
a mix of `plan@gold` and `wrong-number`.

{gradient_table(lines, "plan@gold", "wrong-number")}

Another problem's plan in that share, a mix of `plan@gold` and `foreign`:

{gradient_table(lines, "plan@gold", "foreign")}
{floor_section(lines, floor) if floor else ""}"""


def main() -> None:
    """Write the lines, if a run is given, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="run folder; none: the page is made from the lines")
    parser.add_argument("--floor", type=Path, help="run folder of the same student on GSM8K")
    parser.add_argument("--about", type=Path, required=True, help="Markdown that the page begins with")
    parser.add_argument("--lines", type=Path, required=True, help="where the verdicts are kept")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    options = parser.parse_args()
    if options.run is not None:
        lines = read_run(options.run, tokens=True)
        if options.floor is not None:
            lines += read_run(options.floor, prefix=FLOOR, tokens=True)
        write_lines(options.lines, lines)
    command = (
        f"python benchmarks/replication_plans.py --about {options.about} --lines {options.lines} --out {options.out}"
    )
    made = page(read_lines(options.lines), options.about.read_text(encoding="utf-8"), command)
    options.out.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
