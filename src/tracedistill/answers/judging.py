"""The public readers and the judge: three readings of one text against one gold, never mixed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from tracedistill.answers.asides import aside, of_other_case, refuses
from tracedistill.answers.asked import asked_quantity, stems
from tracedistill.answers.behind import same_amount
from tracedistill.answers.choice_labels import label_of
from tracedistill.answers.choices import named_anywhere, read_choice
from tracedistill.answers.endings import ending, unreferenced
from tracedistill.answers.equality import decide, read_quantity
from tracedistill.answers.expressions import Expression, last_box, read_expression
from tracedistill.answers.extract import LEFT_OVER, NumberReader, SeveralValues, StatedNumber
from tracedistill.answers.formulas import is_words
from tracedistill.answers.label_lines import labelled_value, listed_items
from tracedistill.answers.label_lists import label_list, stated_labels
from tracedistill.answers.latex import spelled
from tracedistill.answers.marks import denied, has_placeholder, last_mark
from tracedistill.answers.policy import AnswerPolicy, Extracted
from tracedistill.answers.quantities import Quantity
from tracedistill.answers.refuted import stated_only
from tracedistill.answers.region import READ_CHARS, is_open, region
from tracedistill.answers.statements import backwards
from tracedistill.answers.stating import polar_head, states
from tracedistill.answers.symbolic import SymbolicBudget
from tracedistill.answers.units import convert, other_symbols
from tracedistill.answers.wording import same_words
from tracedistill.records import AnswerVerdicts, Verdict

DEFAULT = AnswerPolicy()
_MISSING = Verdict("missing", reason="no closed set of answers")
_SHOWN = 200


def read_answer(
    text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> Extracted:
    """Return the value of the final statement of a text; `closed` holds the possible answers of a choice."""
    return _AnswerReader(text, question, policy, closed).answer()


def read_derived(
    text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> Extracted:
    """Return the value that the text before the final statement reaches; the stated one if there is no other."""
    reading = _AnswerReader(text, question, policy, closed)
    return reading.derived(reading.answer())


def judge(
    gold: str, text: str, question: str = "", policy: AnswerPolicy = DEFAULT, closed: tuple[str, ...] = ()
) -> AnswerVerdicts:
    """Judge one output: its final statement, the value reached in its body, and the candidate of a closed set.

    `closed` holds all possible answers of a closed set (for choices in the order of their letters, as letters, as
    `B. text` or as text); without it the candidate is missing. Symbolic work for all readings together takes at most
    `policy.seconds`. Never raises for any text or gold.
    """
    budget = SymbolicBudget(policy.seconds)
    listed = label_list(gold) if policy.kind == "math" else None
    if listed is not None:
        answer = _labels_verdict(listed, text)
        return AnswerVerdicts(answer, answer, _MISSING)
    if policy.kind == "math" and is_words(gold):
        policy = replace(policy, kind="text")
    reading = _AnswerReader(text, question, policy, closed)
    stated = reading.answer()
    opening = reading.opening() if policy.kind == "text" else ""
    bold = reading.in_bold() if policy.kind == "text" else ""
    answer = _verdict(
        gold, stated, question, policy, closed, budget, reading.stated_number, opening, bold, _behind(text, stated)
    )
    reached = reading.derived(stated)
    if reached is stated or (reached.text == stated.text and reached.value == stated.value):
        derived = answer
    else:
        derived = _verdict(
            gold, reached, question, policy, closed, budget, reading.reached_number, behind=_behind(text, reached)
        )
    return AnswerVerdicts(answer, derived, _candidate(gold, text, policy, closed) if closed else _MISSING)


def _labels_verdict(gold: frozenset[str], text: str) -> Verdict:
    """Judge an answer that lists statements by their labels."""
    start, end, _ = region(text)
    stated = stated_labels(stated_only(text[start:end]))
    if stated is None:
        return Verdict("missing", reason="no statement lists labels")
    same = stated[0] == gold
    return Verdict("correct" if same else "incorrect", extracted=stated[1][:_SHOWN], reason="lists of labels compared")


class _AnswerReader:
    """One text being read; keeps the number found so that it is not parsed a second time."""

    def __init__(self, text: str, question: str, policy: AnswerPolicy, closed: tuple[str, ...]) -> None:
        self.text, self.question, self.policy, self.closed = text, question, policy, closed
        self.start, self.end, self.note = region(text)
        self.tagged = self.start > 0 and not self.note
        self.end = self.start + ending(text[self.start : self.end])
        self.part = stated_only(unreferenced(text[self.start : self.end]))
        self.numbers: NumberReader | None = None
        self.expression: Expression | None = None
        self.stated: StatedNumber | None = None
        self.stated_number: Quantity | None = None
        self.reached_number: Quantity | None = None

    def answer(self) -> Extracted:
        if is_open(self.part) and last_mark(self.part, 0, len(self.part)) is None and "\\boxed" not in self.part:
            return Extracted(None, None, "the thinking is not finished, and states no answer")
        if not self.part.strip():
            return Extracted(None, None, "the answer is empty" if self.text.strip() else "the text is empty")
        kind = self.policy.kind
        if has_placeholder(self.part):
            return Extracted(None, None, "the answer is a placeholder")
        if kind in ("number", "choice") and refuses(self.part):
            return Extracted(None, None, "the text refuses to answer")
        if kind == "number":
            return self._number()
        if kind == "choice":
            return self._moved(read_choice(self.part, self.closed))
        if kind == "text":
            return self._words()
        self.expression = read_expression(self.part, self.question)
        if self.expression is None:
            stated = self._number()
            return stated if stated.text is not None else self._words()
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
            reached = self.numbers.derived(self.stated)
            if reached is self.stated:
                return stated
            self.reached_number = reached.quantity
            return self._from(reached)
        if self.policy.kind == "math" and self.expression is not None:
            return self._conclusion(self.part[: self.expression.statement], stated)
        return stated

    def _before_tag(self, stated: Extracted) -> Extracted:
        """Return what the thinking before a tagged answer reaches."""
        body = _TAGS.sub(lambda match: " " * len(match.group()), self.text[: self.start])
        if self.stated is None:
            return self._conclusion(body, stated)
        number = NumberReader(body, self.question).answer()
        if not isinstance(number, StatedNumber) or number.reason == LEFT_OVER:
            return stated
        self.reached_number, self.start = number.quantity, 0
        return self._from(number)

    def _conclusion(self, body: str, stated: Extracted) -> Extracted:
        """Return the formula that a body concludes with, or the stated one if it concludes nothing."""
        conclusion = _AnswerReader(body, self.question, self.policy, self.closed).answer()
        return conclusion if conclusion.text is not None and conclusion.reason.startswith(_CONCLUSIVE) else stated

    def _number(self) -> Extracted:
        self.numbers = NumberReader(self.part, self.question)
        number = self.numbers.answer()
        if isinstance(number, SeveralValues):
            begin, end = number.start + self.start, number.end + self.start
            shown = self.text[begin:end].strip(" *\n") or self.text[begin:end]
            return Extracted(shown, None, number.reason + self.note, (begin, end), hedged=True)
        self.stated = number
        if self.stated is None:
            return Extracted(None, None, "no number in the final statements" + self.note)
        self.stated_number = self.stated.quantity
        return self._from(self.stated)

    def _from(self, number: StatedNumber) -> Extracted:
        quantity = number.quantity
        begin, end = quantity.start + self.start, quantity.end + self.start
        value = quantity.value
        if self.policy.units == "question":
            value = convert(value, quantity.unit, asked_quantity(self.question).unit)
        unsure = quantity.unsure and self.policy.decimal_comma == "ungraded"
        return Extracted(self.text[begin:end], value, number.reason + self.note, (begin, end), unsure)

    def _words(self) -> Extracted:
        """Return words after the last answer mark, else the last statement that is not beside the answer."""
        loose: Extracted | None = None
        supposed: Extracted | None = None
        box = last_box(self.part)
        if box is not None:
            span = (box.span[0] + self.start, box.span[1] + self.start)
            return Extracted(spelled(box.text), None, f"{STATED_WORDS}, in a box{self.note}", span)
        line = labelled_value(self.part, self.question)
        if line is not None:
            value = self.part[line[0] : line[1]].strip(" *_\"',")
            return Extracted(
                value,
                None,
                f"{STATED_WORDS}, behind its label{self.note}",
                (line[0] + self.start, line[1] + self.start),
            )
        items = listed_items(self.part)
        if items:
            return Extracted(items, None, "a list" + self.note, (self.start, self.start + len(self.part)))
        for count, statement in enumerate(backwards(self.part, len(self.part))):
            if count > _WORD_STATEMENTS:
                break
            begin = last_mark(self.part, statement.start, statement.end)
            stated = self.part[statement.start if begin is None else begin : statement.end]
            bold = stated.count("**") == 2
            words = stated.strip(" \n") if bold else _bare_words(stated)
            if not words:
                continue
            if begin is None and loose is not None:
                continue
            span = ((statement.start if begin is None else begin) + self.start, statement.end + self.start)
            reason = "last statement" if begin is None else STATED_WORDS
            words_read = Extracted(words[:1000], None, reason + self.note, span)
            if begin is not None and of_other_case(self.part, statement.start, statement.end):
                supposed = supposed or words_read
                continue
            if begin is not None:
                refused = denied(self.part, statement.start, statement.end)
                return Extracted(None, None, "the answer is only denied") if refused and loose is None else words_read
            if not aside(self.part, statement.start, statement.end) or statement.start == 0:
                loose = words_read
        return loose or supposed or Extracted(None, None, "nothing is stated" + self.note)

    def in_bold(self) -> str:
        """Return the statement that holds the only words in bold of a text, if there are others too; else nothing."""
        if self.part.count("**") != 2:
            return ""
        at = self.part.find("**")
        for statement in backwards(self.part, len(self.part)):
            if statement.start <= at < statement.end:
                return self.part[statement.start : statement.end]
        return ""

    def opening(self) -> str:
        """Return the first line or sentence, which a reason may follow: `Paris` or `Yes.` before an explanation."""
        head = self.part.lstrip()[:300]
        line = head.partition("\n")[0]
        first = _FIRST.match(line)
        return first.group().strip() if first else line.strip()

    def _moved(self, part: Extracted) -> Extracted:
        if part.span is None or not self.start:
            return part
        return Extracted(part.text, part.value, part.reason, (part.span[0] + self.start, part.span[1] + self.start))


def _bare_words(stated: str) -> str:
    """Return a statement without quotes and marks around it; the star of `A*` and the dot of `.NET` stay."""
    words = stated.strip(" \"'`\n").rstrip(".!。！ ")
    return words if words.count("*") == 1 and not words.startswith("*") else words.strip("* ")


STATED_WORDS = "stated as the answer"
_WORD_STATEMENTS = 30
_FIRST = re.compile(r"(?:[^.!?\n]|(?<=\b(?:Dr|Mr|Ms|St|Jr|Sr))\.|(?<=\b(?:Mrs))\.|(?<=\bProf)\.){1,200}+[.!?](?=\s)")
_CONCLUSIVE = ("box", "stated as the answer", "last formula")
_TAGS = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)


@lru_cache(maxsize=8192)
def _gold_number(gold: str, policy: AnswerPolicy) -> Quantity | None:
    return read_quantity(gold.rpartition("####")[2] if "####" in gold else gold, policy) if len(gold) < 400 else None


def _verdict(
    gold: str,
    prediction: Extracted,
    question: str,
    policy: AnswerPolicy,
    closed: tuple[str, ...],
    budget: SymbolicBudget,
    number: Quantity | None,
    opening: str = "",
    bold: str = "",
    behind: str = "",
) -> Verdict:
    if not gold.strip():
        return Verdict("ungradable", extracted=prediction.text, reason="the gold is empty")
    if prediction.text is None:
        return Verdict("missing", reason=prediction.reason)
    shown = prediction.text[:_SHOWN]
    if policy.kind == "choice":
        label = label_of(gold, closed)
        if label is None:
            return Verdict("ungradable", extracted=shown, reason="the gold names none of the choices")
        same = prediction.value == label
        return Verdict("correct" if same else "incorrect", extracted=str(prediction.value), reason=prediction.reason)
    if policy.kind == "text":
        refused = refuses(opening or prediction.text) and not refuses(gold) and not same_words(gold, prediction.text)
        rule = "" if refused else _words_rule(gold, prediction, question, closed, opening)
        if not rule and not refused and bold and not prediction.reason.startswith(STATED_WORDS):
            rule = states(gold, bold, question)
        reason = f"{prediction.reason}: {rule or 'other words'}"
        return Verdict("correct" if rule else "incorrect", extracted=shown, reason=reason)
    if prediction.hedged and _gold_number(gold, policy) is not None:
        return Verdict("incorrect", extracted=shown, reason=prediction.reason)
    if number is not None:
        wanted = _gold_number(gold, policy)
        if wanted is not None:
            outcome, reason = same_amount(gold, wanted, number, behind, policy, question)
            if outcome == "correct" and other_symbols(gold, prediction.text + behind[:12]):
                outcome, reason = "incorrect", "same number in another unit"
            return Verdict(outcome, extracted=shown, reason=f"{prediction.reason}: {reason}")
    outcome, reason = decide(gold, prediction.text, policy, question, budget)
    if (
        outcome != "correct"
        and policy.kind == "math"
        and prediction.text.endswith("!")
        and not prediction.reason.startswith("box")
    ):
        # `The answer is 42!` may be joy as well as a factorial
        outcome, reason = decide(gold, prediction.text.rstrip("!"), policy, question, budget)
    return Verdict(outcome, extracted=shown, reason=f"{prediction.reason}: {reason}")


_LABEL_LINE = re.compile(r"[*_\s]{0,4}[A-Za-z][\w ]{1,30}[*_]{0,2}:[*_\s]{1,4}")
"""The head of `Sentiment: neutral`."""


def _words_rule(gold: str, prediction: Extracted, question: str, closed: tuple[str, ...], opening: str) -> str:
    """Return the rule by which the statement that was found, or the opening of the text, states a gold.

    Else nothing.
    """
    assert prediction.text is not None
    marked = prediction.reason.startswith(STATED_WORDS)
    gold = spelled(gold) if "\\" in gold else gold
    words = spelled(prediction.text) if "\\" in prediction.text else prediction.text
    first = polar_head(opening)
    polar = gold.casefold() in {"yes", "no", "true", "false"}
    if first and polar and not marked and not polar_head(words):
        return "stated first" if first == gold.casefold() else ""
    rule = states(gold, words, question, marked)
    first_label, last_label = _LABEL_LINE.match(opening), _LABEL_LINE.match(words)
    if rule and first_label and last_label and _other_label(last_label.group(), first_label.group(), question):
        rule = ""
    if rule or marked or not opening or opening == prediction.text:
        return rule
    if first and polar:
        return "stated first" if first == gold.casefold() else ""
    head = _LABEL_LINE.match(opening)
    if head and same_words(gold, opening[head.end() :]) and not _other_label(head.group(), words, question):
        return "a label's line"
    if same_words(gold, opening) and not (set(closed) and named_anywhere(prediction.text, closed)):
        return "the first line"
    return ""


def _other_label(label: str, last: str, question: str) -> bool:
    """Return whether the label of the last line names more of the question than that of the first."""
    other = _LABEL_LINE.match(last)
    asked = stems(question)
    return other is not None and len(asked & stems(other.group())) > len(asked & stems(label))


def _behind(text: str, read: Extracted) -> str:
    """Return what stands right behind a reading: the symbol of a unit."""
    return "" if read.span is None else text[read.span[1] : read.span[1] + 32]


def _candidate(gold: str, text: str, policy: AnswerPolicy, closed: tuple[str, ...]) -> Verdict:
    """Judge the candidate reading: right if exactly one possible answer is named anywhere and it is the gold."""
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
