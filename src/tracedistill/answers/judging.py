"""The public readers and the judge: three readings of one text against one gold, never mixed."""

from __future__ import annotations

import re
import time
from functools import lru_cache

from tracedistill.answers.asked import asked
from tracedistill.answers.choices import label_of, named_anywhere, read_choice
from tracedistill.answers.equality import decide, read_quantity, same_number
from tracedistill.answers.expressions import Expression, read_expression
from tracedistill.answers.extract import LEFT_OVER, Found, NumberReader
from tracedistill.answers.policy import AnswerPolicy, Extracted
from tracedistill.answers.quantities import Quantity
from tracedistill.answers.statements import backwards, marked
from tracedistill.answers.units import convert
from tracedistill.records import AnswerVerdicts, Verdict

READ_CHARS = 60_000
"""Characters at the end of an output that are read. The longest ordinary outputs are shorter; a reading that comes
from a longer text says so in its reason."""

DEFAULT = AnswerPolicy()
_MISSING = Verdict("missing", reason="no closed set of answers")
_SHOWN = 200


def read_answer(
    text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> Extracted:
    """The value of the final statement of a text; `closed` holds the possible answers of a choice."""
    return _Reading(text, question, policy, closed).answer()


def read_derived(
    text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> Extracted:
    """The value that the text before the final statement reaches; the stated one where it reaches no other."""
    reading = _Reading(text, question, policy, closed)
    return reading.derived(reading.answer())


def judge(
    gold: str, text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> AnswerVerdicts:
    """Judge one output: its final statement, the value reached in its body, and the candidate of a closed set.

    `closed` holds all possible answers of a closed set (for choices in the order of their letters, as letters, as
    `B. text` or as text); without it the candidate is missing. Symbolic work for all readings together takes at most
    `policy.seconds`. Never raises for any text or gold.
    """
    deadline = time.monotonic() + policy.seconds
    reading = _Reading(text, question, policy, closed)
    stated = reading.answer()
    answer = _verdict(gold, stated, question, policy, closed, deadline, reading.stated_number)
    reached = reading.derived(stated)
    if reached is stated or (reached.text == stated.text and reached.value == stated.value):
        derived = answer
    else:
        derived = _verdict(gold, reached, question, policy, closed, deadline, reading.reached_number)
    return AnswerVerdicts(answer, derived, _candidate(gold, text, policy, closed) if closed else _MISSING)


class _Reading:
    """One text being read; keeps the number found so that it is not parsed a second time."""

    def __init__(self, text: str, question: str, policy: AnswerPolicy, closed: tuple[str, ...]) -> None:
        self.text, self.question, self.policy, self.closed = text, question, policy, closed
        self.start, self.end, self.note = _region(text)
        self.tagged = self.start > 0 and not self.note
        self.part = text[self.start : self.end]
        self.numbers: NumberReader | None = None
        self.expression: Expression | None = None
        self.stated: Found | None = None
        self.stated_number: Quantity | None = None
        self.reached_number: Quantity | None = None

    def answer(self) -> Extracted:
        if not self.part.strip():
            return Extracted(None, None, "the answer is empty" if self.text.strip() else "the text is empty")
        kind = self.policy.kind
        if kind == "number":
            return self._number()
        if kind == "choice":
            return self._moved(read_choice(self.part, self.closed))
        if kind == "text":
            return self._words()
        self.expression = read_expression(self.part)
        if self.expression is None:
            found = self._number()
            return found if found.text is not None else self._words()
        span = (self.expression.span[0] + self.start, self.expression.span[1] + self.start)
        number = read_quantity(self.expression.text, self.policy)
        value = None if number is None else number.value
        return Extracted(
            self.expression.text, value, self.expression.reason + self.note, span, bool(number and number.unsure)
        )

    def derived(self, stated: Extracted) -> Extracted:
        if stated.text is None:
            return stated
        if self.policy.kind in {"number", "math"} and self.tagged:
            return self._before_tag(stated)
        if self.stated is not None and self.numbers is not None:
            found = self.numbers.derived(self.stated)
            if found is self.stated:
                return stated
            self.reached_number = found.quantity
            return self._from(found)
        if self.policy.kind == "math" and self.expression is not None:
            return self._conclusion(self.part[: self.expression.statement], stated)
        return stated

    def _before_tag(self, stated: Extracted) -> Extracted:
        """What the thinking before a tagged answer reaches."""
        body = _TAGS.sub(lambda match: " " * len(match.group()), self.text[: self.start])
        if self.stated is None:
            return self._conclusion(body, stated)
        found = NumberReader(body, self.question).answer()
        if found is None or found.reason == LEFT_OVER:
            return stated
        self.reached_number, self.start = found.quantity, 0
        return self._from(found)

    def _conclusion(self, body: str, stated: Extracted) -> Extracted:
        """The formula that a body concludes with, or what is stated where it concludes nothing."""
        found = _Reading(body, self.question, self.policy, self.closed).answer()
        return found if found.text is not None and found.reason.startswith(_CONCLUSIVE) else stated

    def _number(self) -> Extracted:
        self.numbers = NumberReader(self.part, self.question)
        self.stated = self.numbers.answer()
        if self.stated is None:
            return Extracted(None, None, "no number in the final statements" + self.note)
        self.stated_number = self.stated.quantity
        return self._from(self.stated)

    def _from(self, found: Found) -> Extracted:
        quantity = found.quantity
        begin, end = quantity.start + self.start, quantity.end + self.start
        value = quantity.value
        if self.policy.units == "question":
            value = convert(value, quantity.unit, asked(self.question).unit)
        unsure = quantity.unsure and self.policy.decimal_comma == "ungraded"
        return Extracted(self.text[begin:end], value, found.reason + self.note, (begin, end), unsure)

    def _words(self) -> Extracted:
        """Words after the last answer mark, else the last line."""
        for statement in backwards(self.part, len(self.part)):
            begin = marked(self.part, statement.start, statement.end)
            begin = statement.start if begin is None else begin
            words = self.part[begin : statement.end].strip(" *\"'`\n.")
            if words:
                span = (begin + self.start, statement.end + self.start)
                reason = "stated as the answer" if begin > statement.start else "last statement"
                return Extracted(words[:1000], None, reason + self.note, span)
        return Extracted(None, None, "nothing is stated" + self.note)

    def _moved(self, found: Extracted) -> Extracted:
        if found.span is None or not self.start:
            return found
        return Extracted(
            found.text, found.value, found.reason, (found.span[0] + self.start, found.span[1] + self.start)
        )


_CONCLUSIVE = ("box", "stated as the answer", "last formula")
_TAGS = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)


def _region(text: str) -> tuple[int, int, str]:
    """Start and end of the part that holds the answer, and a note for the reason where the text was too long."""
    floor = max(0, len(text) - READ_CHARS)
    note = f" (in the last {READ_CHARS} characters)" if floor else ""
    if "<" in text:
        low = text[floor:].lower()
        tag = low.rfind("<answer>")
        if tag >= 0:
            end = low.find("</answer>", tag)
            return floor + tag + 8, len(text) if end < 0 else floor + end, ""
        think = low.rfind("</think>")
        if think >= 0 and low[think + 8 :].strip():
            return floor + think + 8, len(text), ""
    return floor, len(text), note


@lru_cache(maxsize=8192)
def _gold_number(gold: str, policy: AnswerPolicy) -> Quantity | None:
    return read_quantity(gold.rpartition("####")[2] if "####" in gold else gold, policy) if len(gold) < 400 else None


def _verdict(
    gold: str,
    found: Extracted,
    question: str,
    policy: AnswerPolicy,
    closed: tuple[str, ...],
    deadline: float,
    number: Quantity | None,
) -> Verdict:
    if not gold.strip():
        return Verdict("ungradable", extracted=found.text, reason="the gold is empty")
    if found.text is None:
        return Verdict("missing", reason=found.reason)
    shown = found.text[:_SHOWN]
    if policy.kind == "choice":
        label = label_of(gold, closed)
        if label is None:
            return Verdict("ungradable", extracted=shown, reason="the gold names none of the choices")
        same = found.value == label
        return Verdict("correct" if same else "incorrect", extracted=str(found.value), reason=found.reason)
    if number is not None:
        wanted = _gold_number(gold, policy)
        if wanted is not None:
            outcome, reason = same_number(wanted, number, policy, question)
            return Verdict(outcome, extracted=shown, reason=f"{found.reason}: {reason}")
    outcome, reason = decide(gold, found.text, policy, question, deadline)
    return Verdict(outcome, extracted=shown, reason=f"{found.reason}: {reason}")


def _candidate(gold: str, text: str, policy: AnswerPolicy, closed: tuple[str, ...]) -> Verdict:
    """Right where exactly one possible answer is named anywhere and it is the gold."""
    wanted = label_of(gold, closed)
    if wanted is None:
        return Verdict("ungradable", reason="the gold is none of the possible answers")
    named = named_anywhere(text[-READ_CHARS:], closed)
    if policy.kind == "choice" and not named:
        whole = label_of(text.strip(), closed) if len(text) < 400 else None
        named = frozenset() if whole is None else frozenset((whole,))
    if len(named) != 1:
        return Verdict("missing", reason=f"{len(named)} of the possible answers are named")
    letter = next(iter(named))
    return Verdict("correct" if letter == wanted else "incorrect", extracted=letter, reason="the only answer named")


__all__ = ["DEFAULT", "READ_CHARS", "judge", "read_answer", "read_derived"]
