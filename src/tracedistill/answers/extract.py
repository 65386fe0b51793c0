"""Reads a number: the value of the final statement of a text, and apart from it the value that its body reaches."""

from __future__ import annotations

import re
from typing import NamedTuple

from tracedistill.answers.asides import COMPARISON, RATE, aside, of_other_case, under_aside
from tracedistill.answers.asked import AskedQuantity, asked_quantity, stems
from tracedistill.answers.cleaning import flat, plain
from tracedistill.answers.hedges import Hedge
from tracedistill.answers.latex import closing
from tracedistill.answers.marks import denied, last_mark, last_strong, may_bind
from tracedistill.answers.mentions import RATE_ASKED, Mention, mentions, stated
from tracedistill.answers.quantities import SCALES, Quantity, quantities
from tracedistill.answers.statements import TAIL, Statement, backwards, concluding, in_check
from tracedistill.answers.tongues import has_decimal_comma, in_points
from tracedistill.answers.words import holds_any

_LOOK_BACK = 12
"""Statements with a value that are examined before the last number left is taken."""
_NEAR = 3
"""Statements before a final one that may still say `the answer is`, or reach the value that the final one states."""
_MAX_STATEMENTS = 120
"""Most statements that are examined."""
_SILENT = frozenset(["a question", "an offer", "a supposition"])
"""Asides whose numbers state nothing, whatever else a text holds."""
_SIDE_BY_SIDE: frozenset[Hedge] = frozenset(["choice", "range"])
_OPEN: frozenset[Hedge] = _SIDE_BY_SIDE | {"bound", "part"}
_COMPARATIVE = re.compile(
    r"\b(?:more|less|fewer|than|difference|higher|lower|greater|longer|shorter|larger|smaller|older|younger)\b",
    re.IGNORECASE,
)
_RESTATED = re.compile(
    r"[,，、;(（—–]\s{0,3}(?:c['’]est-à-dire|autrement dit|soit\b|das heißt|d\. ?h\."
    r"|also\s(?=\d)|es decir|o sea|cioè|ossia"
    r"|ou seja|isto é|то есть|т\. ?е\.|也就是|即|相当于|つまり|すなわち|즉|i\.e\.)"
    r"|(?:[,;(:]|\s-)\s{0,3}(?:(?:that is|that's|or|which is|it's),?\s)?(?:(?:an? (?:little|bit|touch|tad|shade)"
    r"|just|slightly"
    r"|somewhat|well)\s(?:over|under|above|below|(?:more|less|better|worse) than|short of)"
    r"|(?:about|roughly|around|nearly|almost|close to|approximately)(?= \w{1,6} (?:in|out of) \w{1,6}\b))\s",
    re.IGNORECASE,
)
"""Phrases that restate an amount in another unit or other words."""
_EXPLAINS = re.compile(
    r"[(\[（]\s?(?:(?:quick|double|cross|sanity|to)?[ -]?(?:re-?)?check(?:ing|ed)?\b|verif|proof\b|since\b|because\b"
    r"|as\b|from\b|given\b|after\b|out of\b|Probe\b|Kontrolle\b|vérif|comprob|verifica|denn\b|weil\b|car\b"
    r"|porque\b|perché\b|проверка|验算|检验|因为|検算|검산)",
    re.IGNORECASE,
)
_RESTATED_PARTS = (
    "over", "under", "above", "below", " than", "short of", "about", "roughly", "around", "nearly", "almost",
    "close to", "approximately", "also", "i.e.", "autrement dit", "soit", "d.h", "d. h", "es decir", "o sea", "ossia",
    "ou seja",
)  # fmt: skip
"""Parts of every such phrase in plain letters."""
_UNFINISHED = re.compile(
    r"(?:\b(?:the|an?|of|is|are|was|and|or|to|for|in|on|by|with|that|which|each|gives|per|from|because|if|then|number"
    r"|amount|total)|[-+×/=,(]|\s\*)\s{0,3}\Z",
    re.IGNORECASE,
)
_OPEN_ENDS = frozenset("-+×/=,(*")
"""Signs that `_UNFINISHED` may end in; else it is a word."""
_SUM = r"(?:\d{0,6}[a-z]\s?[-+]\s?\d+|\d+\s?[-+]\s?\d{0,6}[a-z](?![A-Za-z])|[)]\s?[-+]\s?\d+)"
_FORMULA = re.compile(rf"(?<![A-Za-z\\]){_SUM}[^=<>\d]{{0,40}}\Z|(?<![A-Za-z\\])\d+[a-z](?![A-Za-z])[^=<>\d]{{0,40}}\Z")
_FORMULA_LAST = re.compile(
    rf"[,;]\s(?:and\s)?(?:so|therefore|thus|hence)\b[^=.;\n]{{0,80}}?(?<![A-Za-z\\]){_SUM}[^=<>\d]{{0,40}}\Z"
)
_NAMES_FORMULA = "names a formula, no single number"
_ALL_BOLD = re.compile(r"\s{0,12}(?:[A-Za-z][A-Za-z ]{0,30}:\s)?\*\*[^*\n]{1,300}\*\*[.!]?\s{0,12}")
_BULLETS = frozenset("*-+•")
_STATED, _FINAL, LEFT_OVER = "stated as the answer", "final statement", "last number left"
"""Reasons of a reading; LEFT_OVER means that no statement qualified."""


class StatedNumber(NamedTuple):
    """A number read from a text."""

    quantity: Quantity
    """The number and its place."""
    reason: str
    """Which rule found it."""
    start: int
    """First character of the statement that holds it."""
    end: int
    """One past its last character."""
    concluded: bool
    """The statement says that it is the answer, or opens with therefore, so and the like."""
    given: bool
    """The question already names this number of these things."""
    computed: bool
    """An equals sign directly precedes the number."""


class SeveralValues(NamedTuple):
    """A final statement that names several values, or a range, and so states none."""

    start: int
    """First character of what it names."""
    end: int
    """One past its last character."""
    reason: str
    """What it names."""


def _unfinished(tail: str) -> bool:
    """Return whether a text breaks off in the middle of a sentence, by its last characters."""
    return (tail[-1:] in _OPEN_ENDS or tail[-1:].isalpha()) and _UNFINISHED.search(tail) is not None


def _restated(text: str, start: int, end: int) -> re.Match[str] | None:
    """Return the first phrase of a statement that restates an amount in other words."""
    said = text[start:end].lower()
    possible = not said.isascii() or holds_any(said, _RESTATED_PARTS)
    return _RESTATED.search(text, start, end) if possible else None


class NumberReader:
    """One text under one question; `answer` is the final statement's number, `derived` the body's."""

    def __init__(self, text: str, question: str) -> None:
        self.asked: AskedQuantity = asked_quantity(question)
        self.whole = plain(text)
        """The text with the braces that `flat` blanks: only there do those of a box match."""
        self.clean = flat(self.whole)
        self.binds = may_bind(self.clean[-TAIL:])
        self.unfinished = _unfinished(self.clean[-40:].rstrip())

    def answer(self) -> StatedNumber | SeveralValues | None:
        """Return the number of the final statement, Several if it names a choice or range, None without any."""
        return self._walk(len(self.clean))

    def derived(self, stated: StatedNumber) -> StatedNumber:
        """Return the number that the text before the final statement reaches; the stated one if there is no other."""
        plain_sentence = stated.reason != _STATED
        if plain_sentence and (stated.computed or self._reached(stated)):
            return stated
        body = self._walk(stated.start)
        if not isinstance(body, StatedNumber) or body.reason == LEFT_OVER or (body.given and not body.concluded):
            return stated
        if body.quantity.value == stated.quantity.value:
            return body
        if not body.concluded and self._reached(stated):
            return stated
        if (plain_sentence or not body.concluded) and self._continues(stated, body):
            return stated
        return body

    def _walk(self, end: int, bound: bool = True) -> StatedNumber | SeveralValues | None:
        """Walk through the statements from the end backwards. `bound`: what follows a strong mark is skipped."""
        held: tuple[Mention, str, Statement] | None = None
        patience = _LOOK_BACK
        strong = last_strong(self.clean, end) if bound and self.binds else -1
        for seen, statement in enumerate(backwards(self.clean, end)):
            if seen > _MAX_STATEMENTS:
                break
            if statement.mark == "answer" and denied(self.clean, statement.start, statement.end):
                continue
            chosen, several = self._chosen(statement, strong)
            if chosen is None:
                if several is not None and (held is None or held[1] == LEFT_OVER):
                    return several
                if statement.start <= strong < statement.end:
                    return self._walk(end, bound=False)
                continue
            if statement.mark != "answer" and statement.start <= strong < statement.end:
                return self._walk(end, bound=False)  # `your final answer should be rounded` binds nothing
            if statement.mark == "answer" and of_other_case(self.clean, statement.start, statement.end):
                held = held or (chosen, LEFT_OVER, statement)
                continue
            beside = self._beside(statement)
            if beside in _SILENT:
                continue
            if statement.mark == "answer" and (strong < statement.end or not beside):
                return self._found(chosen, _STATED, statement)
            if statement.start > strong >= 0:
                continue
            if held is not None and held[1] != LEFT_OVER and chosen.quantity.value == held[0].quantity.value:
                break  # given away by the question, but reached by the body as well
            if held is None or held[1] == LEFT_OVER:
                if not beside and self._accepts(statement, chosen):
                    if self.clean[statement.start : statement.end].lstrip()[:1] in _BULLETS:
                        chosen = self._sibling(statement, chosen)
                    if not chosen.given:
                        return self._bolder(statement, chosen) or self._found(chosen, _FINAL, statement)
                    # a number that the question gives away: an answer marked as such a little before goes first
                    held, patience = (chosen, _FINAL, statement), _NEAR
                elif held is None:
                    held = (chosen, LEFT_OVER, statement)
            patience -= not beside
            if patience <= 0:
                break
        if held is not None and held[1] == LEFT_OVER and self.unfinished:
            return None  # the text breaks off before it states anything
        return None if held is None else self._found(*held)

    def _bolder(self, last: Statement, chosen: Mention) -> StatedNumber | None:
        """Return a number in bold shortly before, in a sentence closer to the question.

        None if there is none.
        """
        if last.mark or "**" not in self.clean[max(0, last.start - 600) : last.start] or self._bold(chosen):
            return None
        wanted = self.asked.words | self.asked.nouns
        said = len(wanted & stems(self.clean[last.start : last.end]))
        listed = self.clean[last.start : last.end].lstrip()[:1] in _BULLETS
        for statement, _ in zip(backwards(self.clean, last.start), range(_NEAR), strict=False):
            other, _ = self._chosen(statement, -1)
            if other is None or other.given or other.foreign:
                continue
            # a line all in bold above a list: what the list explains
            whole = listed and other.weight >= 0 and _ALL_BOLD.fullmatch(self.clean, statement.start, statement.end)
            says_more = len(wanted & stems(self.clean[statement.start : statement.end])) > said
            if whole or (self._bold(other) and says_more):
                return self._found(other, _FINAL, statement)
        return None

    def _bold(self, mention: Mention) -> bool:
        return self.clean[max(0, mention.quantity.start - 3) : mention.quantity.start].rstrip(" $")[-2:] == "**"

    def _beside(self, statement: Statement) -> str:
        """Classify a statement beside the answer; a comparison is an answer if the question asks for one."""
        if statement.mark == "answer" and "?" not in self.clean[statement.end - 6 : statement.end]:
            return ""
        beside = aside(self.clean, statement.start, statement.end)
        if beside == RATE and RATE_ASKED.search(self.asked.question):
            return ""
        return "" if beside == COMPARISON and _COMPARATIVE.search(self.asked.question) else beside

    def _found(self, mention: Mention, reason: str, statement: Statement) -> StatedNumber:
        quantity, scale = mention.quantity, self.asked.scale
        if quantity.unsure or "." in self.clean[quantity.start : quantity.end]:
            quantity = in_points(self.clean, quantity, has_decimal_comma(self.clean))
        if scale and self.clean[quantity.start : quantity.end].lower().endswith(scale):
            quantity = quantity._replace(value=quantity.value / SCALES[scale])
        return StatedNumber(
            quantity,
            reason,
            statement.start,
            statement.end,
            bool(statement.mark),
            mention.given,
            mention.result,
        )

    def _chosen(self, statement: Statement, strong: int) -> tuple[Mention | None, SeveralValues | None]:
        """Return the number that a statement states, or the choice or range that it names instead."""
        named, begin, end = self._named(statement)
        if not named:
            return None, None
        marked = statement.mark == "answer"
        chosen = stated(self.clean, begin, end, named, self.asked, strict=marked)
        if isinstance(chosen, Mention):
            formula = None if marked else _FORMULA_LAST.search(self.clean, begin, end)
            return (None, SeveralValues(begin, end, _NAMES_FORMULA)) if formula else (chosen, None)
        if chosen == "part" and not marked and _FORMULA.search(self.clean, begin, end):
            return None, SeveralValues(begin, end, _NAMES_FORMULA)
        if chosen not in (_OPEN if marked else _SIDE_BY_SIDE) or statement.start > strong >= 0:
            return None, None
        whole = self.clean[statement.start : statement.end]
        if not marked and ("=" in whole or aside(self.clean, statement.start, statement.end)):
            return None, None  # a difference that is still to be calculated
        return None, SeveralValues(begin, end, f"names a {chosen}, no single number")

    def _named(self, statement: Statement) -> tuple[list[Mention], int, int]:
        """Return the numbers of a statement and their range; if it is marked as the answer, those after the mark."""
        begin, end = statement.start, statement.end
        if statement.mark == "answer":
            box = self.clean.rfind("\\boxed", begin, end)
            if box >= 0:
                brace = self.clean.find("{", box, box + 9)
                close = closing(self.whole, brace) if brace >= 0 else -1
                begin, end = box + 6, close if 0 <= close < end else end
            else:
                begin = last_mark(self.clean, begin, end) or begin
                comma = self.clean.find(",", begin, end)
                # `{"answer": 20, "confidence": 0.9}`
                if comma >= 0 and self.clean[comma + 1 : comma + 20].lstrip().startswith(('"', "'")):
                    end = comma
        restated = _restated(self.clean, begin, end)
        between = restated is not None and "between" in self.clean[begin : restated.start()].lower()
        if restated is not None and not between and any(map(str.isdigit, self.clean[begin : restated.start()])):
            end = restated.start()
        end = self._bracketed(begin, end)
        named = mentions(self.clean, begin, end, self.asked, rivals=statement.mark != "answer")
        if not named and begin > statement.start and end == statement.end:
            begin = statement.start
            named = mentions(self.clean, begin, end, self.asked)
        return named, begin, end

    def _bracketed(self, begin: int, end: int) -> int:
        """Return where a last bracket begins that only checks or explains the number before it; else the end."""
        stop = end
        while stop > begin and self.clean[stop - 1] in " .*!。\n":
            stop -= 1
        if self.clean[stop - 1 : stop] not in (")", "]", "）"):
            return end
        opening = max(self.clean.rfind(bracket, begin, stop) for bracket in "([（")
        if opening < 0 or not _EXPLAINS.match(self.clean, opening, stop):
            return end
        return opening if any(map(str.isdigit, self.clean[begin:opening])) else end

    def _accepts(self, statement: Statement, chosen: Mention) -> bool:
        if self.unfinished and not (statement.mark or chosen.result):
            return False
        if chosen.foreign or chosen.weight + (1.5 if statement.mark else 0) < 0:
            return False
        if concluding(self.clean, statement.start, statement.end):
            return True
        if under_aside(self.clean, statement.start):
            return False
        return statement.mark == "conclusion" or not in_check(self.clean, statement.start)

    def _sibling(self, last: Statement, chosen: Mention) -> Mention:
        """Return the item of the list ending with this statement that names most of the question."""
        wanted = self.asked.words | self.asked.nouns
        most = len(wanted & stems(self.clean[last.start : last.end]))
        end = last.start
        for _ in range(8):
            begin = self.clean.rfind("\n", 0, max(end - 1, 0)) + 1
            line = self.clean[begin:end].strip()
            if line[:1] not in _BULLETS or not line:
                break
            named = len(wanted & stems(line))
            other = self._item(begin, end) if named > most else None
            if other is not None and not other.foreign:
                chosen, most = other, named
            end = begin
        return chosen

    def _item(self, begin: int, end: int) -> Mention | None:
        """Return the number of one list item."""
        item = stated(self.clean, begin, end, mentions(self.clean, begin, end, self.asked), self.asked, strict=False)
        return item if isinstance(item, Mention) else None

    def _continues(self, stated: StatedNumber, body: StatedNumber) -> bool:
        """Return whether the final statement continues the calculation by naming the body's number or an equation."""
        for quantity in quantities(self.clean, stated.start, stated.end):
            if quantity.value == body.quantity.value:
                return True
            if (
                quantity.value == stated.quantity.value
                and self.clean[max(0, quantity.start - 12) : quantity.start].rstrip(" *{($")[-1:] == "="
            ):
                return True
        return False

    def _reached(self, stated: StatedNumber) -> bool:
        """Return whether an equation before the statement has its number as the result."""
        digits = self.clean[stated.quantity.start : stated.quantity.end].strip(" $")
        at = stated.start
        for _ in range(40):
            at = self.clean.rfind(digits, max(0, stated.start - 6000), at)
            if at < 0:
                return False
            before, after = (
                self.clean[max(0, at - 4) : at].rstrip(" $*{"),
                self.clean[at + len(digits) : at + len(digits) + 2],
            )
            if (
                before.endswith(("=", "≈"))
                and not after[:1].isdigit()
                and not (after[:1] in ".," and after[1:].isdigit())
            ):
                return True
        return False
