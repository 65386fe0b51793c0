r"""How many false calculations the judge of traces finds, by the way they are written, and what it does to true ones.

One calculation of each of 2,000 GSM8K gold solutions is written anew in each of the forms below, once with its own
result and once with a false one; all other steps stay. `caught` counts planted ones that are not judged correct,
`incorrect` those that are said to be wrong; a true one should be `correct`, and must not be called `incorrect`.

    python benchmarks/planted_calculations.py                 # a table per form; needs gsm8k/train.jsonl.gz
    python benchmarks/planted_calculations.py --form remainder --show 5
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from tracedistill.arithmetic.calculations import find_calculations  # noqa: E402
from tracedistill.arithmetic.expressions import Value  # noqa: E402
from tracedistill.records import Problem, Verdict  # noqa: E402
from tracedistill.tasks import get_task  # noqa: E402
from tracedistill.tasks._base import Source  # noqa: E402


@dataclass(frozen=True, slots=True)
class Written:
    """One calculation of two operands, to be written in some form."""

    left: str
    """First operand, digits."""
    sign: str
    """+ - * or /."""
    right: str
    """Second operand, digits."""
    result: str
    """What is said to come out, digits."""


Form = Callable[[Written], str | None]
"""The step's text in one form; None where the form does not suit the calculation."""

_LATEX = {"+": "+", "-": "-", "*": r"\times", "/": r"\div"}
_TIMES = {"+": "+", "-": "-", "*": "×", "/": "÷"}
_ODD = {"+": "＋", "-": "−", "*": "•", "/": "："}
_SAID = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_CHINESE = {"+": "加", "-": "减", "*": "乘以", "/": "除以"}
_VERB = {
    "+": "Adding {0} and {1}", "-": "Subtracting {1} from {0}", "*": "Multiplying {0} by {1}",
    "/": "Dividing {0} by {1}",
}  # fmt: skip
_ORDER = {"+": "Add {1} to {0}", "-": "Subtract {1} from {0}", "*": "Multiply {0} by {1}", "/": "Divide {0} by {1}"}
_NOUN = {
    "+": "The sum of {0} and {1}", "-": "The difference between {0} and {1}", "*": "The product of {0} and {1}",
    "/": "The quotient of {0} and {1}",
}  # fmt: skip
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(digits: str) -> str | None:
    """Return a whole number up to 99,999 in words; None for others."""
    if not digits.isdigit() or int(digits) > 99_999:
        return None
    number = int(digits)
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" {in_words(str(number % size))}" if number % size else ""
    return f"{in_words(str(number // size))} {name}{rest}"


def _words(w: Written) -> str | None:
    parts = [in_words(w.left), in_words(w.right), in_words(w.result)]
    if None in parts:
        return None
    return f"{str(parts[0]).capitalize()} {_SAID[w.sign]} {parts[1]} is {parts[2]}."


def _remainder(w: Written) -> str | None:
    """Return a division with its remainder, which the planted result moves; other signs would leave the gold."""
    if w.sign != "/" or not (w.left.isdigit() and w.right.isdigit() and w.result.isdigit()) or int(w.right) < 3:
        return None
    left, right = int(w.left), int(w.right)
    quotient, rest = divmod(left, right)
    off = int(w.result) != quotient
    return f"{left} ÷ {right} = {quotient} remainder {(rest + 1) % right if off else rest}." if quotient else None


def _commas(w: Written) -> str | None:
    numbers = [f"{float(number):.2f}" if "." in number else f"{number},00" for number in (w.left, w.right, w.result)]
    left, right, result = (number.replace(".", ",") for number in numbers)
    return f"{left} {_TIMES[w.sign]} {right} = {result}"


FORMS: dict[str, Form] = {
    "plain": lambda w: f"So that is {w.left} {w.sign} {w.right} = {w.result}.",
    "units of three letters": lambda w: (
        f"{w.left} egg × ${w.right}/egg = ${w.result}" if w.sign == "*" else
        f"{w.left} men {_TIMES[w.sign]} {w.right} men = {w.result} men"
    ),
    "line break": lambda w: f"{w.left} {_TIMES[w.sign]} {w.right}\n= {w.result}",
    "ledger": lambda w: f"{w.left} in all\n{_TIMES[w.sign]} {w.right}\n= {w.result} left",
    "table cell": lambda w: f"| Total | {w.left} {_TIMES[w.sign]} {w.right} = {w.result} |",
    "table cells apart": lambda w: f"| Total | {w.left} {_TIMES[w.sign]} {w.right} | ${w.result} |",
    "LaTeX, aligned": lambda w: (
        rf"$$\begin{{aligned}} {w.left} {_LATEX[w.sign]} {w.right} &= {w.result} \end{{aligned}}$$"
    ),
    "LaTeX, aligned lines": lambda w: (
        f"\\begin{{align*}}\n\\text{{Total}} &= {w.left} {_LATEX[w.sign]} {w.right} \\\\[4pt]\n"
        f"&= {w.result}\n\\end{{align*}}"
    ),
    "LaTeX, units": lambda w: (
        rf"\[ {w.left} \text{{ egg}} {_LATEX[w.sign]} {w.right} \text{{ day}} = \boxed{{{w.result}}} \text{{ day}} \]"
    ),
    "Multiplying by": lambda w: f"{_VERB[w.sign].format(w.left, w.right)} gives {w.result}.",
    "Multiply to get": lambda w: f"{_ORDER[w.sign].format(w.left, w.right)} to get {w.result}.",
    "the product of": lambda w: f"{_NOUN[w.sign].format(w.left, w.right)} is {w.result}.",
    "times": lambda w: f"{w.left} {_SAID[w.sign]} {w.right} equals {w.result}.",
    "number words": _words,
    "which is": lambda w: f"The total is {w.left} {_TIMES[w.sign]} {w.right}, which is {w.result}.",
    "other signs": lambda w: f"{w.left} {_ODD[w.sign]} {w.right} ＝ {w.result}",
    "Markdown": lambda w: f"- **{w.left}** {w.sign.replace('*', chr(92) + '*')} **{w.right}** = **{w.result}**",
    "arrow": lambda w: f"{w.left} {w.sign} {w.right} → {w.result}",
    "result first": lambda w: f"Total = {w.result} = {w.left} {w.sign} {w.right}",
    "result (calculation)": lambda w: f"This makes {w.result} ({w.left} {_TIMES[w.sign]} {w.right}) of them.",
    "Chinese": lambda w: f"所以{w.left}{_CHINESE[w.sign]}{w.right}等于{w.result}。",
    "remainder": _remainder,
    "decimal comma": _commas,
}  # fmt: skip
"""Name -> the form; every form is written both true and false."""


SECTION = "## False calculations that were planted"
"""Heading of the section that `--write` makes; it is the last of its page."""
HEAD = "| form | n | caught | called incorrect | true: correct | true: called incorrect |\n|---|---|---|---|---|---|"


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 2 if the data folder is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TRACEDISTILL_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data-dir", type=Path, default=Path(default), help="folder with gsm8k/train.jsonl.gz")
    parser.add_argument("--rows", type=int, default=2000, help="gold solutions, a seeded draw")
    parser.add_argument("--form", action="append", choices=FORMS, help="only this form; may be repeated")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help=f"write the table as its section `{SECTION}`")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N misses of each kind and form")
    args = parser.parse_args(argv)
    if not (args.data_dir / "gsm8k").is_dir():
        print(f"no folder {args.data_dir}/gsm8k: give --data-dir or set TRACEDISTILL_DATA", file=sys.stderr)
        return 2
    problems = list(get_task("gsm8k").load("train", Source(data_dir=args.data_dir)))
    picked = random.Random(0).sample([p for p in problems if any(places(p))], args.rows)
    untouched = Counter(judged(problem, None, "").outcome for problem in picked)
    print(f"untouched gold solutions: {dict(untouched)}")
    print(HEAD)
    lines: list[str] = []
    total: Counter[str] = Counter()
    for name in args.form or FORMS:
        counts = measure(problems=picked, form=FORMS[name], show=args.show)
        total.update(counts)
        lines.append(row(name, counts))
        print(lines[-1], flush=True)
    lines.append(row("all", total))
    print(lines[-1])
    if args.write:
        write(args.write, args.rows, untouched, lines)
    print(json.dumps({"rows": args.rows, "untouched": untouched, **total}))
    return 0


def write(path: Path, rows: int, untouched: Counter[str], lines: list[str]) -> None:
    """Put the table at the end of a page, in place of the one that stands there."""
    page = path.read_text(encoding="utf-8").partition(SECTION)[0].rstrip()
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in untouched.most_common())
    text = (
        f"{SECTION}\n\n"
        f"Made by `python benchmarks/planted_calculations.py --write {path.as_posix()}`: one calculation of each of\n"
        f"{rows:,} GSM8K gold solutions, written in every form with its own result and with a false one. Caught means\n"
        f"not called correct. The solutions as they are: {told}.\nThe forms were written together with the rules.\n\n"
    )
    path.write_text("\n".join((f"{page}\n\n{text}{HEAD}", *lines, "")), encoding="utf-8")


def row(name: str, counts: Counter[str]) -> str:
    """Return one line of the table."""
    n = counts["n"] or 1
    caught = 1 - counts["false: correct"] / n
    shares = (caught, counts["false: incorrect"] / n, counts["true: correct"] / n, counts["true: incorrect"] / n)
    return f"| {name} | {counts['n']} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"


def measure(problems: list[Problem], form: Form, show: int) -> Counter[str]:
    """Return the outcomes of the true and of the false writing, over the problems that the form suits."""
    counts: Counter[str] = Counter()
    for problem in problems:
        at, true = random.Random(problem.problem_id).choice(list(places(problem)))
        false = Written(true.left, true.sign, true.right, planted(true.result, random.Random(problem.problem_id)))
        texts = form(true), form(false)
        if None in texts or texts[0] == texts[1]:
            continue
        counts["n"] += 1
        for kind, text, wanted in zip(("true", "false"), texts, ("correct", "incorrect"), strict=True):
            verdict = judged(problem, at, str(text))
            counts[f"{kind}: {verdict.outcome}"] += 1
            if verdict.outcome != wanted and counts[f"{kind}: missed"] < show:
                counts[f"{kind}: missed"] += 1
                print(f"  {kind}, {verdict.outcome}: {text!r}: {verdict.reason}")
    return counts


def judged(problem: Problem, at: int | None, text: str) -> Verdict:
    """Return the verdict on the gold solution, with step `at` written as `text`."""
    texts = [text if index == at else step.text for index, step in enumerate(problem.gold_steps)]
    task = get_task("gsm8k")
    # half of them numbered, half as bare lines
    numbered = sum(map(ord, problem.problem_id)) % 2
    lines = [f"{number}. {one}" if numbered else one for number, one in enumerate(texts, start=1)]
    return task.judge_output_trace(problem, "\n".join(lines))


def places(problem: Problem) -> Iterator[tuple[int, Written]]:
    """Yield steps that hold one true calculation of two plain operands with an exact result, and that calculation."""
    for index, step in enumerate(problem.gold_steps):
        calculations = find_calculations(step.text)
        if len(calculations) != 1 or not calculations[0].true or len(calculations[0].operators) != 1:
            continue
        (calculation,) = calculations
        result, operands = calculation.result, calculation.operands
        numbers = [plain(o.value) for o in operands if not o.percent]
        if len(numbers) != 2 or result is None or None in (*numbers, plain(result)) or calculation.values[0] != result:
            continue
        sign = calculation.operators[0]
        if sign in _SAID and calculation.sides[0].operators:
            yield index, Written(str(numbers[0]), sign, str(numbers[1]), str(plain(result)))


def plain(value: Value) -> str | None:
    """Return a positive whole or short decimal number as digits; None for others."""
    if isinstance(value, int):
        return str(value) if value >= 0 else None
    text = f"{float(value):.2f}"
    return text if value >= 0 and float(text) == value else None


def planted(result: str, rng: random.Random) -> str:
    """Return another number of the same kind: one or ten off, or a digit changed."""
    unit = 1 if "." not in result else 0.25
    while True:
        kind = rng.choice(("near", "ten", "digit"))
        if kind == "digit":
            at = rng.choice([i for i, sign in enumerate(result) if sign.isdigit()])
            new = result[:at] + rng.choice("123456789") + result[at + 1 :]
        else:
            value = float(result) + rng.choice((-1, 1)) * unit * (1 if kind == "near" else 10)
            new = f"{value:.2f}" if "." in result else f"{value:.0f}"
        if new != result and not new.startswith("-") and abs(float(new) - float(result)) * 100 > float(result) * 0.1:
            return new


if __name__ == "__main__":
    sys.exit(main())
