"""The page of a study that was run again: accuracy, traces and differences beside what was published.

    python benchmarks/replication.py RUN --published IMPORTED --about ABOUT.md --lines LINES.jsonl --out PAGE.md
    python benchmarks/replication.py --about ABOUT.md --lines LINES.jsonl --out PAGE.md   # again, from the lines alone

RUN is a run folder of recipes/interpretable-babi-small, IMPORTED one into which the published outputs were imported
(`tracedistill import FILE --task babi --arm published-correct --where arm=correct ...`), so that the same judges have
read both. LINES keeps every verdict (replication_rows.py): each figure is counted from it, with nothing else at hand.
ABOUT is what a person says of the run (what was cut, how often it was interrupted); it stands on the page as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from replication_rows import Line, merged, read_lines, read_run, write_lines
from replication_tables import arms_table, categories_table, compared, joint_table, pairs_table, sentence

from tracedistill import stats

ORDER = {
    name: place
    for place, name in enumerate(
        ("standard", "few-shot", "oracle-plan", "answer-only", "correct", "incorrect", "wrong-class", "wrong-facts",
         "shuffled", "published-vanilla")
    )
}  # fmt: skip
"""Arms in the order of the recipe; others behind, by name."""
PUBLISHED = "published-"
"""What the names of published arms begin with."""
PAIRS = (
    ("correct", "answer-only", "does the correct trace help beyond the answer?"),
    ("incorrect", "answer-only", "does an incorrect trace cost accuracy?"),
    ("correct", "incorrect", "is a correct trace worth more than an incorrect one?"),
    ("correct", "wrong-class", "does the class matter?"),
    ("correct", "wrong-facts", "do the facts?"),
    ("correct", "shuffled", "does their order?"),
)
"""Family of the run: (first, second, what is asked)."""
PUBLISHED_PAIRS = (
    ("published-correct", "published-vanilla", "the same, as published: correct trace, answer alone"),
    ("published-incorrect", "published-vanilla", "incorrect trace, answer alone"),
    ("published-correct", "published-incorrect", "correct, incorrect trace"),
)
"""Family of the published outputs; each arm is one adapter."""


def page(lines: Sequence[Line], about: str, command: str) -> str:
    """Write out the whole page."""
    arms = sorted({arm for line in lines for arm in line.arms}, key=lambda arm: (ORDER.get(arm, len(ORDER)), arm))
    published = [arm for arm in arms if arm.startswith(PUBLISHED)]
    own = [arm for arm in arms if arm not in published]
    tuned = [arm for arm in own if any(arm in pair[:2] for pair in PAIRS)]
    ours, theirs = compared(lines, PAIRS), compared(lines, PUBLISHED_PAIRS)
    adjusted = stats.holm([each.p for each in ours])
    said = "\n".join(sentence(each, p) for each, p in zip(ours, adjusted, strict=True))
    return f"""{about.rstrip()}

Made by `{command}`; the text above is written by hand, the rest is counted from the lines. Do not edit this page.

## What the differences support

{said}

## Answers and traces

Intervals: 95%, over problems, for these adapters. `class`, `facts exact` and `full trace` are shares of all attempts:
an unparsed or absent trace is not right.

{arms_table(lines, [*own, *published])}

## Differences

Over problems and seeds, both resampled (one seed: exact McNemar, over problems). The published arms are one adapter
each, sampled without a seed, and differ in more than the trace (docs/rescoring.md).

{pairs_table(ours)}

{pairs_table(theirs) if theirs else ""}

## Trace against answer

All attempts of an arm's adapters together. Gold facts contain the answer in most problems, so citing the right fact
gives the answer: the two are tied by construction.

{joint_table(lines, [*tuned, *published])}

## By question type

Answers right, percent, all adapters of an arm together.

{categories_table(lines, [*own, *published])}
"""


def main() -> None:
    """Write the lines, if a run is given, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="run folder; none: the page is made from the lines")
    parser.add_argument("--published", type=Path, help="run folder of the imported published outputs")
    parser.add_argument("--about", type=Path, required=True, help="Markdown that the page begins with")
    parser.add_argument("--lines", type=Path, required=True, help="where the verdicts are kept")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    options = parser.parse_args()
    if options.run is not None:
        lines = read_run(options.run)
        if options.published is not None:
            lines = merged(lines, read_run(options.published))
        write_lines(options.lines, lines)
    command = f"python benchmarks/replication.py --about {options.about} --lines {options.lines} --out {options.out}"
    made = page(read_lines(options.lines), options.about.read_text(encoding="utf-8"), command)
    options.out.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
