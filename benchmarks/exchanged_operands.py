r"""How often a number from nowhere passes for a constant of general knowledge, and how often a gold operand does not.

In each of 2,000 GSM8K gold solutions one operand of one calculation is exchanged for another number, its result made
true again. Numbers that the question gives, that an earlier step reached or that the gold path holds are not drawn:
what is left can only be grounded as a constant, which its words must call for. The same with another number of the
question, which is grounded: only the gold path tells that it is the wrong one. The other direction: the operands of
untouched gold solutions that are grounded, without the gold path's own licence.

    python benchmarks/exchanged_operands.py                # needs gsm8k/train.jsonl.gz and gsm8k/test.jsonl.gz
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from tracedistill.arithmetic.calculations import find_calculations  # noqa: E402
from tracedistill.arithmetic.checking import check  # noqa: E402
from tracedistill.arithmetic.expressions import Operand, Value, evaluate  # noqa: E402
from tracedistill.arithmetic.gold_path import gold_path  # noqa: E402
from tracedistill.arithmetic.grounding import grounds  # noqa: E402
from tracedistill.arithmetic.traces import judge  # noqa: E402
from tracedistill.records import Problem  # noqa: E402
from tracedistill.tasks import get_task  # noqa: E402
from tracedistill.tasks._base import Source  # noqa: E402
from tracedistill.tasks._steps import make_steps  # noqa: E402

DRAWN = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 25, 28, 30, 31, 35, 36, 40, 45, 48, 50, 52, 60,
         64, 70, 72, 75, 80, 90, 120, 150, 180, 200, 250, 300, 360, 365, 400, 500, 1000)  # fmt: skip
"""Numbers that are exchanged in: small and round ones, and most constants of the list."""


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 2 if the data folder is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TRACEDISTILL_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data-dir", type=Path, default=Path(default), help="folder with gsm8k/")
    parser.add_argument("--rows", type=int, default=2000, help="gold solutions, a seeded draw")
    parser.add_argument("--only-exchanged", action="store_true", help="leave out the grounds of all gold solutions")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N gold paths with an ungrounded operand"
    )
    args = parser.parse_args(argv)
    if not (args.data_dir / "gsm8k").is_dir():
        print(f"no folder {args.data_dir}/gsm8k: give --data-dir or set TRACEDISTILL_DATA", file=sys.stderr)
        return 2
    task = get_task("gsm8k")
    problems = [p for split in ("train", "test") for p in task.load(split, Source(data_dir=args.data_dir))]
    grounded = [] if args.only_exchanged else [not lost(problem, args.show) for problem in problems]
    fives = [5 not in grounds(problem.question).values for problem in problems]
    licensed = [5 in grounds(p.question).constants for p, absent in zip(problems, fives, strict=True) if absent]
    drawn = random.Random(0).sample(problems, args.rows)
    passed, by_number = exchange(drawn)
    given, _ = exchange(drawn, of_question=True)
    figures = {
        "gold_paths_grounded": round(sum(grounded) / len(grounded), 4) if grounded else None,
        "exchanged": len(passed),
        "exchanged_called_correct": round(sum(passed) / len(passed), 4),
        "exchanged_in_question": len(given),
        "exchanged_in_question_called_correct": round(sum(given) / len(given), 4),
        "five_licensed_where_not_given": round(sum(licensed) / len(licensed), 4),
    }
    print("passed most often:", ", ".join(f"{number} ({count})" for number, count in by_number.most_common(12)))
    print(json.dumps(figures))
    return 0


def lost(problem: Problem, show: int) -> list[str]:
    """Return the operands of a gold solution that come from nowhere."""
    checked = check(problem.question, [step.text for step in problem.gold_steps])
    found = [
        operand.text
        for ones in checked
        for one in ones
        for operand, source in zip(one.calculation.operands, one.grounds, strict=True)
        if not source
    ]
    if found and lost.__dict__.setdefault("shown", 0) < show:
        lost.__dict__["shown"] += 1
        print(problem.problem_id, found, problem.question[:300].replace("\n", " "), "|", problem.gold_steps[0].text)
    return found


def exchange(problems: list[Problem], of_question: bool = False) -> tuple[list[bool], Counter[int]]:
    """Return whether each exchanged solution is judged correct, and the numbers with which it was."""
    passed: list[bool] = []
    by_number: Counter[int] = Counter()
    for problem in problems:
        rng = random.Random(problem.problem_id)
        made = exchanged(problem, rng, of_question)
        if made is None:
            continue
        texts, number = made
        ok = judge(problem.question, make_steps(texts), problem.gold_steps).ok
        passed.append(ok)
        by_number[number] += ok
    return passed, by_number


def exchanged(problem: Problem, rng: random.Random, of_question: bool = False) -> tuple[list[str], int] | None:
    """Return the solution up to an exchanged operand, and the number exchanged in; None if none suits.

    `of_question`: a whole number of the question that is neither operand goes in, else one from nowhere.
    """
    texts = [step.text for step in problem.gold_steps]
    places = [
        (index, calculation)
        for index, text in enumerate(texts)
        if len(found := find_calculations(text)) == 1 and (calculation := found[0]).true
        and len(calculation.operators) == 1 and calculation.sides[0].operators
    ]  # fmt: skip
    if not places:
        return None
    index, calculation = rng.choice(places)
    left, right = calculation.operands
    known: set[Value] = {*grounds(problem.question).values, *gold_path(tuple(texts)).values}
    for text in texts[:index]:
        known.update(*(one.reached for one in find_calculations(text)))
    if of_question:
        numbers = [n for n in grounds(problem.question).numbers
                   if isinstance(n, int) and n > 1 and n not in (left.value, right.value)]  # fmt: skip
        if not numbers:
            return None
        number = rng.choice(numbers)
    else:
        number = rng.choice([number for number in DRAWN if number not in known and number / 100 not in known])
    kept = rng.choice((left, right))
    pair = (Operand(str(number), number), kept) if kept is right else (kept, Operand(str(number), number))
    sign = calculation.operators[0]
    value = evaluate((pair[0], sign, pair[1]))
    result = value if isinstance(value, int) else f"{float(value):.4f}"
    written = [f"{operand.text}" for operand in pair]
    return [*texts[:index], f"That is {written[0]} {sign} {written[1]} = {result}."], number


if __name__ == "__main__":
    sys.exit(main())
