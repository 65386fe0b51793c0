"""Leak verdict: whether a plan gives away the solution, or only seems to for an innocent reason.

    Divide both sides of the equation by 11 to solve for x: x = 8000     gold 8000: the answer, genuine
    Multiply the number of daily omelets by 7 to find ... in a week.     gold 7: the answer by string, but a constant
    There were initially 10 vehicles (2 x 5) at the port.                gold 4: an evaluated calculation
    The ratio (7+11) separates the total age into 18 parts.              gold 72: a new number

All matches are collected first (`found`), then those with an innocent cause are removed (`innocent`); the rest is
`standing`. The plan is read as written, including its preamble and closing lines. An operand of an instruction is not
the answer if a constant, the question's words or an earlier part of the gold path explains it. A number stated as a
result is the answer, unless it is an intermediate result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.constants import cued
from tracedistill.arithmetic.expressions import Value, magnitude, simple
from tracedistill.arithmetic.gold_path import gold_path
from tracedistill.arithmetic.grounding import grounds
from tracedistill.arithmetic.plan_words import read_step
from tracedistill.records import Problem, Trace
from tracedistill.stats import Share, share
from tracedistill.validation.plan_numbers import PlanNumber, plan_numbers, words_before

Tier = Literal["none", "new-number", "evaluated", "answer"]
"""answer: the plan contains the gold, the question does not; evaluated: a calculation with its result; new-number: a
number that the question does not give."""

TIERS: tuple[Tier, ...] = ("none", "new-number", "evaluated", "answer")

Cause = Literal[
    "list index", "step reference", "ordinal", "constant", "from the question", "count", "example",
    "intermediate result", "another quantity",
]  # fmt: skip
"""constant: general knowledge (7 days, 100 %) or 0, 1, 2; from the question: words or shares of it (half: 0.5), or a
number it gives; count: of the plan's own things (`the 2 totals`); example: `say, 500 sentences`, `at n = 1`;
intermediate result: the same number on the way to the answer; another quantity: a percentage if the question has none.
"""

MAX_CHARS = 20_000
"""Most characters of a plan that are read."""


@dataclass(frozen=True, slots=True)
class LeakVerdict:
    """Whether a plan gives away the solution."""

    tier: Tier
    """The highest tier at face value: `answer` is what string matching finds (list numbers excluded)."""
    genuine: bool
    """Whether the answer itself is given away: the tier is `answer` and no innocent cause explains it."""
    innocent: tuple[tuple[str, Cause], ...]
    """(number, cause), without duplicates: apparent leaks and their innocent causes."""
    evidence: str
    """The decisive line of the plan, quoted; empty for tier none."""
    reason: str
    """One-sentence reason."""
    found: tuple[Tier, ...] = ()
    """All tiers found at face value, highest first."""
    standing: tuple[Tier, ...] = ()
    """All tiers left after removing innocent causes, highest first: a plan may be no genuine leak and still contain an
    evaluated calculation."""
    eligible: bool = True
    """Whether the gold is not in the question, as digits or words; only then can string matching tell."""


@dataclass(frozen=True, slots=True)
class LeakCounts:
    """Counts of a teacher's leaking plans; shares with their intervals, out of the eligible plans."""

    n: int
    """Plans judged."""
    eligible: int
    """Plans whose gold is not in the question: the denominator of all shares."""
    matched: Share
    """Gold in the plan at face value: string matching."""
    genuine: Share
    """Gold given away."""
    evaluated: Share
    """An evaluated calculation, innocent or not."""
    evaluated_standing: Share
    """An evaluated calculation whose result the question does not give."""
    new_number: Share
    """A number that is not in the question, innocent or not."""
    new_number_standing: Share
    """A new number that no innocent cause explains."""


@dataclass(frozen=True, slots=True)
class _Finding:
    tier: Tier
    number: str
    line: int
    cause: Cause | None
    what: str


def judge_leak(problem: Problem, trace: Trace) -> LeakVerdict:
    """Judge whether a plan leaks its own problem's answer (joined by id), using the gold path."""
    question = "\n".join((*problem.context, problem.question, *(text for _, text in problem.choices)))
    return find_leak(question, trace.text, problem.answers, tuple(step.text for step in problem.gold_steps))


def find_leak(question: str, plan: str, answers: Sequence[str], gold_steps: Sequence[str] = ()) -> LeakVerdict:
    """Judge whether a plan leaks; at most MAX_CHARS of it are read.

    `answers`: the gold, any of which counts. `gold_steps`: texts of the gold trace, if any; they separate an
    intermediate result from the answer.
    """
    lines = plan[:MAX_CHARS].replace("\r", "\n").split("\n")
    values = [value for value in map(_gold_value, answers) if value is not None]
    words = [answer for answer in answers if _gold_value(answer) is None]
    reader = _Reader(lines, question, frozenset(values), gold_steps)
    eligible = (
        bool(answers)
        and not any(magnitude(v) in reader.numbers for v in values)
        and not any(_in(w, question) for w in words)
    )
    findings = [*reader.findings(), *_text_findings(words, question, lines)]
    return _verdict(findings, lines, eligible)


class LeakTally:
    """Running counts of the leak verdicts of one teacher."""

    def __init__(self) -> None:
        self.n = self.eligible = 0
        self._found, self._standing = Counter[Tier](), Counter[Tier]()

    def add(self, verdict: LeakVerdict) -> None:
        """Count one plan; one whose gold is in the question is only counted as judged."""
        self.n += 1
        if verdict.eligible:
            self.eligible += 1
            self._found.update(set(verdict.found))
            self._standing.update(set(verdict.standing))

    def sums(self) -> dict[str, Any]:
        """Return what was counted as JSON, for `add_sums`."""
        return {"n": self.n, "eligible": self.eligible, "found": self._found, "standing": self._standing}

    def add_sums(self, sums: Mapping[str, Any]) -> None:
        """Add the counts of another tally."""
        self.n += sums["n"]
        self.eligible += sums["eligible"]
        self._found.update(sums["found"])
        self._standing.update(sums["standing"])

    def counts(self) -> LeakCounts:
        """Return counts and shares so far."""

        def shares(tier: Tier) -> tuple[Share, Share]:
            return share(self._found[tier], self.eligible), share(self._standing[tier], self.eligible)

        return LeakCounts(self.n, self.eligible, *shares("answer"), *shares("evaluated"), *shares("new-number"))


def _verdict(findings: list[_Finding], lines: list[str], eligible: bool) -> LeakVerdict:
    counted = [finding for finding in findings if finding.cause not in _STRUCTURAL]
    tiers = tuple(tier for tier in reversed(TIERS) if any(finding.tier == tier for finding in counted))
    standing = tuple(tier for tier in tiers if any(finding.tier == tier and not finding.cause for finding in counted))
    innocent = tuple(dict.fromkeys((finding.number, finding.cause) for finding in findings if finding.cause))
    if not tiers:
        return LeakVerdict("none", False, innocent, "", "no number beyond the question's", (), (), eligible)
    top = standing[0] if standing else tiers[0]
    shown = next(finding for finding in counted if finding.tier == top and (not standing or not finding.cause))
    names = ", ".join(f"{number} ({cause})" for number, cause in innocent[:6])
    reason = f"{shown.what}: {shown.number}" if standing else f"innocent: {names}"
    if standing and tiers[0] != top:
        reason += f"; the gold also occurs innocently: {names}"
    return LeakVerdict(
        tiers[0], "answer" in standing, innocent, lines[shown.line].strip()[:300], reason, tiers, standing, eligible
    )


# ---- the origin of a number

_ANSWERS = re.compile(
    r"(?:\b(?:the|final|your|correct|our)|['’]s)\s+(?:\w+\s+)?answer\b[^.?!:]{0,60}(?:\bis|=|:|\bbe|\bof)[^.?!]{0,30}$",
    re.IGNORECASE,
)
_WORKED_OUT = re.compile(r"\b(?:gives?|giving|gets?|yields?|leaves?|leaving|obtains?|comes? to)\W*$", re.IGNORECASE)
_SOLVED = re.compile(r"(?<![\w,])[A-Za-z]\s*=$")
_CHECKS = re.compile(r"\b(?:check|verif|confirm|make sure)", re.IGNORECASE)
_OWN_THINGS = re.compile(
    r"[\s-]*(?:\w+\s)?(?P<noun>amounts?|numbers?|values?|results?|totals?|figures?|quantit(?:y|ies)|products?|sums?|answers?"
    r"|parts?|groups?|equations?|expressions?|terms?|sides?|steps?|prompts?|cases?|scenarios?|variables?|unknowns?"
    r"|types?|kinds?|categor(?:y|ies)|ways?|decimals?(?: places?)?|digits?|sentences?|points?|sections?|solutions?"
    r"|costs?|prices?)\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"(?:\be\.g\.|\bfor (?:example|instance)|\b(?:such as|say,|imagine|suppose|let's say))(?:[^.]|\.\d){0,90}$"
    r"|(?<!would )\blike \$?(?:\d+,? (?:or|and) )?\$?$"
    r"|\b(?:let|if|when|where|at|assume)\s+\W{0,2}[A-Za-z]\W{0,2}(?:=|is|be|equals?|is equal to)\W{0,3}$"
    r"|\b(?:greater than|less than|set [^.;]{0,40}equal to|equation equal to)\W{0,3}$",
    re.IGNORECASE,
)
_UNITS = (
    r"(?:seconds?|minutes?|hours?|days?|weeks?|fortnights?|months?|quarters?|years?|decades?|century|dozens?|foot|feet"
    r"|yards?|miles?|inch(?:es)?|pounds?|ounces?|tons?|gallons?|quarts?|pints?|cups?|dollars?|dimes?|nickels?"
    r"|kilo\w+|centi\w+|milli\w+|met(?:er|re)s?|lit(?:er|re)s?|square|circle|triangle|rectangle|percent)"
)
_DEFINES = re.compile(
    rf"\b(?:an?|one|1|each|every|per|(?:in|of) (?:the|a|an|each|every|one))\s+{_UNITS}\b", re.IGNORECASE
)
_ASIDE = re.compile(
    r"(?<![\d,.])(?P<number>\d[\d,]{0,15}(?:\.\d{1,15})?)(?:\s[a-z-]{1,20}){0,3}\s?\((?P<sum>[$\d][^()=?_]{2,80}?[\d.][^()=?_]{0,24})\)"
)
_STRUCTURAL = ("list index", "step reference", "ordinal")


class _Reader:
    """Finds leaks of a plan, number by number."""

    def __init__(self, lines: list[str], question: str, gold: frozenset[Value], gold_steps: Sequence[str]) -> None:
        self.lines, self.question, self.gold = lines, question, gold
        self.given = grounds(question)
        self.numbers = frozenset(map(magnitude, self.given.numbers))
        path = gold_path(tuple(gold_steps))
        self.has_path = bool(path.calculations)
        self.on_the_way = {magnitude(c.result) for c in path.calculations[:-1] if c.result is not None}
        self.on_the_way |= {magnitude(operand.value) for c in path.calculations for operand in c.operands}
        self.ending = {tuple(sorted(magnitude(o.value) for o in c.operands)) for c in path.calculations[-1:]}
        self.mentions = plan_numbers(lines)
        self.checking = frozenset(at for at, line in enumerate(lines) if _CHECKS.search(line))
        used = [m for m in self.mentions if m.role == "operand" and m.line not in self.checking]
        self.last_use = {m.signed: (m.line, m.start) for m in used}
        self.calculated = [_calculations(line) for line in lines]

    def findings(self) -> list[_Finding]:
        """Return one finding per number that the question does not give and per evaluated calculation."""
        results = []
        for at, calculations in enumerate(self.calculated):
            for text, result, _ in calculations:
                known = result in self.numbers or (result in self.given.values and result not in self.gold)
                cause: Cause | None = "from the question" if known else None
                results.append(_Finding("evaluated", text, at, cause, "an evaluated calculation"))
        for mention in self.mentions:
            if mention.signed in self.gold:
                if mention.value not in self.numbers or self._ends_so(mention):
                    cause = self._cause_of_gold(mention)
                    results.append(_Finding("answer", mention.text, mention.line, cause, "the answer is given away"))
            elif mention.value not in self.numbers and mention.role not in _STRUCTURAL:
                cause = self._cause(mention)
                results.append(_Finding("new-number", mention.text, mention.line, cause, "a number from nowhere"))
        return results

    def _cause(self, mention: PlanNumber) -> Cause | None:
        """Return the innocent cause of a number that is not the gold; None: it has none, or was worked out."""
        line, value = self.lines[mention.line], mention.value
        if value in self.given.constants or value in cued(line, self.given.topics):
            return "constant"
        turned = {value, Fraction(value) / 100, Fraction(value) * 100, 1 / Fraction(value or 1)}
        if turned & self.given.values or _rounded(mention, self.given.values):
            return "from the question"
        if self._counts(mention):
            return "count"
        return "example" if _EXAMPLE.search(line[max(0, mention.start - 120) : mention.start]) else None

    def _cause_of_gold(self, mention: PlanNumber) -> Cause | None:
        """Return the innocent cause of a number that equals the gold; None: it is the answer."""
        if mention.role == "list index" or mention.role == "step reference" or mention.role == "ordinal":
            return mention.role
        line, value = self.lines[mention.line], mention.value
        before = words_before(line, mention.start)
        supposed = bool(_EXAMPLE.search(line[max(0, mention.start - 120) : mention.start]))
        if _ANSWERS.search(before):
            return None
        if mention.role == "result" and not supposed and _SOLVED.search(before):
            return None
        worked_out = [operands for _, result, operands in self.calculated[mention.line] if result == value]
        if worked_out and mention.role != "operand":
            if any(operands in self.ending for operands in worked_out):
                return None
            return "intermediate result" if self._goes_on_with(mention, worked_out=True) else None
        if self._is_knowledge(mention):
            return "constant"
        if mention.role != "result" and value in self.given.values:
            return "from the question"
        if self._counts(mention):
            return "count"
        if supposed:
            return "example"
        if self._goes_on_with(mention):
            return "intermediate result"
        return "another quantity" if self._is_foreign(mention) else None

    def _is_knowledge(self, mention: PlanNumber) -> bool:
        """Return whether a constant is used as one: in an instruction, or in a sentence about what a unit contains."""
        line = self.lines[mention.line]
        if mention.value in (0, 1):
            return True  # too common in any text: only `x = 1` and `the answer is 1` count, which come before
        if mention.role == "operand":
            return mention.value in cued(line, self.given.topics) or mention.value in self.given.constants
        if _WORKED_OUT.search(words_before(line, mention.start)):
            return False
        return mention.value in cued(line) and bool(_DEFINES.search(line))

    def _counts(self, mention: PlanNumber) -> bool:
        """Return whether a small number counts things of the plan itself, which the question does not mention."""
        noun = _OWN_THINGS.match(self.lines[mention.line], mention.end)
        return noun is not None and mention.value <= 12 and noun["noun"][:4].lower() not in self.question.lower()

    def _goes_on_with(self, mention: PlanNumber, *, worked_out: bool = False) -> bool:
        """Return whether the number is intermediate: used later, or a value of the gold path before its end.

        The latter only if operations follow; without a gold path, that suffices for worked-out numbers.
        """
        if self.last_use.get(mention.signed, (-1, 0)) >= (mention.line, mention.start):
            return True
        expected = mention.value in self.on_the_way or (worked_out and not self.has_path)
        return expected and any(
            at > mention.line and at not in self.checking and read_step(line).strong
            for at, line in enumerate(self.lines)
        )

    def _ends_so(self, mention: PlanNumber) -> bool:
        """Return whether a number of the question is also stated as the answer, or computed like the gold's end."""
        if mention.role != "result":
            return False
        if _ANSWERS.search(words_before(self.lines[mention.line], mention.start)):
            return True
        calculated = self.calculated[mention.line]
        return any(result == mention.value and operands in self.ending for _, result, operands in calculated)

    def _is_foreign(self, mention: PlanNumber) -> bool:
        """Return whether it is a percentage while the question has none."""
        return (
            self.lines[mention.line][mention.end : mention.end + 2].strip().startswith("%") and not self.given.percent
        )


def _rounded(mention: PlanNumber, known: frozenset[Value]) -> bool:
    """Return whether a decimal is a known number, rounded or cut off: 0.33 for 1/3."""
    decimals = len(mention.text.partition(".")[2])
    return decimals > 1 and any(abs(Fraction(value) - mention.value) < Fraction(1, 10**decimals) for value in known)


def _calculations(line: str) -> list[tuple[str, Value, tuple[Value, ...]]]:
    """Return (text, result, sorted operands) of the evaluated calculations of a line, without conversions."""
    evaluated = []
    asides = [f"{match['sum']} = {match['number']}" for match in _ASIDE.finditer(line)] if "(" in line else []
    for text in (line, *asides):
        for calculation in find_calculations(text):
            result = calculation.result
            if not calculation.operators or result is None or all(side.operators for side in calculation.sides):
                continue
            if text is line or calculation.true:
                operands = tuple(sorted(magnitude(operand.value) for operand in calculation.operands))
                evaluated.append((calculation.text, magnitude(result), operands))
    return evaluated


# ---- non-numeric golds


def _gold_value(answer: str) -> Value | None:
    plain = answer.strip().strip("$£€% ").replace(",", "").replace(" ", "")
    if not re.fullmatch(r"-?(?:\d{1,60}(?:\.\d{1,30})?|\.\d{1,30}|\d{1,30}/[1-9]\d{0,29})", plain):
        return None
    return simple(Fraction(plain))


def _squeezed(text: str) -> str:
    return re.sub(r"\\(?:left|right|!|,|;|:|\s)|[\s${}]", "", text.replace("\\dfrac", "\\frac")).casefold()


def _in(answer: str, text: str) -> bool:
    """Return whether a text contains a non-numeric gold: words as words, formulas without their spaces."""
    if re.fullmatch(r"[\w' -]+", answer.strip()):
        return bool(re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", text, re.IGNORECASE))
    return _squeezed(answer) in _squeezed(text) if len(_squeezed(answer)) > 1 else False


def _text_findings(answers: list[str], question: str, lines: list[str]) -> list[_Finding]:
    """Return leaked golds in words or symbols: found only in the plan, or stated to be the answer."""
    findings = []
    for answer in filter(None, map(str.strip, answers)):
        said = re.compile(rf"\banswer\b[^.?!:]{{0,40}}(?:\bis|:)\W{{0,4}}{re.escape(answer)}(?!\w)", re.IGNORECASE)
        asked = len(answer) < 3 or _in(answer, question)
        for at, line in enumerate(lines):
            if said.search(line) or (not asked and _in(answer, line)):
                findings.append(_Finding("answer", answer, at, None, "the answer is given away"))
                break
    return findings
