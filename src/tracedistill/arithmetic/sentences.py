"""Sentences read into arithmetic sides and the equality signs between them: `16 eggs - 3 = $13` is Side = Side.

A side is an expression with units, currency and remarks in parentheses between its parts. A side is in `doubt` where
words or letters in it may hide something (`2x + 4`, `24/Y`, `409 500`), and is left out where it is cut off on the
left (`price + 4`).
"""

from __future__ import annotations

import re
from fractions import Fraction

from tracedistill.arithmetic.expressions import UNITS, Item, Operand, Refused, Side, Value, number, unit_name
from tracedistill.arithmetic.notation import RATIO, WORD_MARK
from tracedistill.arithmetic.spoken import MAYBE

_MAX_UNIT_WORDS = 8
_MAX_WORDS_BEFORE_IS = 5
_FILLER = frozenset({
    "a", "about", "all", "almost", "an", "approximately", "around", "exactly", "just", "nearly", "of", "only",
    "roughly", "rs", "the", "to", "total", "usd",
})  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_FRACTIONS = {
    "half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4), "fourth": Fraction(1, 4),
    "fifth": Fraction(1, 5), "sixth": Fraction(1, 6), "seventh": Fraction(1, 7), "eighth": Fraction(1, 8),
    "ninth": Fraction(1, 9), "tenth": Fraction(1, 10),
}  # fmt: skip
_OPERATORS = {
    "+": "+", "-": "-", "−": "-", "–": "-", "*": "*", "×": "*", "·": "*", "⋅": "*", "∗": "*", "x": "*", "X": "*",
    "/": "/", "÷": "/", "^": "^", "**": "^", "//": "//", "times": "*", "multiplied by": "*", "plus": "+", "minus": "-",
    "divided by": "/", RATIO: "/", "mod": "mod", "modulo": "mod",
}  # fmt: skip
_DIVISIONS = frozenset({"|", "//", "mod"})
_LETTERS = frozenset("agmlh")
_RATES = frozenset({"/l", "/h", "/s", "/g", "/m"})
_SHORT = frozenset({
    "an", "at", "by", "deg", "for", "ft", "gb", "gm", "he", "in", "kb", "kw", "km", "lbs", "mb", "mi", "of",
    "on", "oz", "per", "sq", "to", "yd", "the", "day", "we", "is", "it",
})  # fmt: skip
"""Short words that are never unknowns."""
_PROPORTION = re.compile(r"\b(?:ratio|proportion|scale|odds)", re.IGNORECASE)
_FIRST_SYLLABLE = "\u2e80"
_CLAUSE = frozenset({
    "and", "or", "but", "because", "since", "so", "then", "thus", "therefore", "hence", "which", "that", "where",
    "if", "when", "while", "gives", "equals", "makes",
})  # fmt: skip
"""Words that end an expression: what follows is another clause."""
_GOES_ON = frozenset({"and", "or", "that", "which", "who", "where", "when"})
"""Those after which an expression may continue."""
_SYMBOLS = frozenset("\\\\{}|_@<>≤≥≠∪∩√π∞∠±!")
"""Unsupported notation: an adjacent expression is not complete."""

_TOKEN = re.compile(
    r"""
    (?P<brk>\n|<=|>=|!=)
  | (?P<clock>\d{1,4}:\d\d?(?!\d))
  | (?P<word>\d+(?:st|nd|rd|th)\b
      |(?<=\d)-[A-Za-z]{2,}(?:-[A-Za-z]+)*|\((?=[^\d)]{1,60}\)|[A-Za-z]{2}[^()=+*×÷^]{1,58}\))
      [^()]{1,60}\)
      |/\s?[A-Za-z]+(?:/[A-Za-z]+)?)
  | (?P<mix>\d{1,6}(?:[ ]|[ ]and[ ])\d{1,4}/\d{1,4}(?![\d/]))
  | (?P<num>(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+)
  | (?P<eq>==?>?|≈|≅|~=|→|⇒|->|:=)
  | (?P<frac>(?i:\b(?:(?:one|a)[ -])?(?:half|third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth)\ of)
      (?=\ (?:the\ )?[$£€]?\d))
  | (?P<of>\bof\b(?:\s+the)?(?=\s*[$£€]?[\d(]))
  | (?P<isw>(?:\b(?:is\ equal\ to|equals|is|gives|makes)\b|⇝)(?=\s*(?:about\s+)?[$£€]?[.\d]))
  | (?P<opw>\b(?:divided\ by|multiplied\ by|times|plus|minus|mod(?:ulo)?)\b(?=\s*[$£€]?[.\d(]))
  | (?P<op>\*\*|//|[-+*/×÷·−–⋅∗^∶]|(?<![A-Za-z])[xX](?=\s*[$£€]?[.\d(]))
  | (?P<pct>%|\bper\ ?cent\b)
  | (?P<scale>\b(?:hundred|thousand|million|billion|trillion)\b)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<cur>[$€£₹¥¢])
  | (?P<sup>[²³])
  | (?P<word2>(?:[^\W\d_]|['’°\u2060])+(?:[-/][A-Za-z'’]+)*
      (?:[ ](?!(?:x|of|is|equals|gives|makes|half|third|quarter|fourth|fifth|sixth|eighth|tenth|divided|multiplied|times
        |plus|minus|mod|modulo|per|percent|hundred|thousand|million|billion|trillion)(?![A-Za-z])|X[ ])
      (?:[^\W\d_]|['’\u2060])+(?:[-/][A-Za-z'’]+)*)*)
  | (?P<other>[^\s])
    """,
    re.VERBOSE,
)
BREAK = ""
"""Separates two unrelated things."""


class SentenceReader:
    """Parses tokens of one text into sides and the equality signs between them."""

    def __init__(self, text: str, symbolic: bool) -> None:
        self.text = text
        self.symbolic = symbolic  # LaTeX: short words are unknowns
        self.proportional = RATIO in text and _PROPORTION.search(text) is not None
        self.events: list[Side | str] = []
        self._clear()
        self.filler = True  # whether only filler words are between the last sign and here
        self.loose = False  # whether an operator without a left side precedes: `price + 4`
        self.unit = ""  # a currency sign waiting for its number

    def _clear(self) -> None:
        self.items: list[Item] = []
        self.places: list[tuple[int, int]] = []
        self.opened: list[int] = []
        self.ready = False  # whether the expression could end here
        self.words = 0
        self.doubt = False
        self.open_left = False
        self.lead = 0  # words after the last operator
        self.clause = False  # whether a clause may have ended: what follows is in doubt
        self.share = False  # `half of 24 + 2` may mean half of 26

    def read(self) -> list[Side | str]:
        """Return all sides and signs; a break (empty string) if neither side can reach over."""
        previous = ("", 0)
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup or ""
            self._take(kind, match.group(), match.start(), match.end(), previous)
            previous = (kind, match.end())
        self._finish()
        return self.events

    def _take(self, kind: str, piece: str, start: int, end: int, previous: tuple[str, int]) -> None:
        """Take one piece; the previous one's kind and end say what it attaches to."""
        attached = previous[1] == start
        if kind == "word2" or kind == "word":
            self._word(piece, attached and previous[0] in ("num", "close"))
        elif kind in ("num", "mix"):
            if self.ready and piece == "000" and not self.words and isinstance(self.items[-1], Operand):
                last = self.items[-1]  # `80 000`
                self.items[-1] = Operand(last.text + piece, last.value * 1000, 0, unit=last.unit)
                self.places[-1] = (self.places[-1][0], end)
                return
            if self.ready and not self.words and self.items[-1] == ")" and attached is False and not self.opened:
                self._add("*", start, start)  # `(1/2) 1956`
                self.doubt = True
            beside = self.ready and not self.words
            if self.ready:
                self.doubt = self.doubt or beside  # `409 500`: two numbers, or one
                self._finish()
                self.filler = False
            self.doubt = self.doubt or beside
            if previous[0] == "clock" and not attached:
                self.loose = False  # `at 8:00 5000 / 2`
            if not self.items and attached and (previous[0] == "clock" or self._after_letter(start, previous[0])):
                self.loose = True
            elif not self.items and attached and previous[0] == "word2":
                self.doubt = self.text[start - 1] < _FIRST_SYLLABLE  # `was30`
            self._operand(kind, piece, start, end)
        elif kind in ("op", "opw"):
            self.doubt = self.doubt or (piece == RATIO and self.proportional)
            self._operator(_OPERATORS[piece.lower() if kind == "opw" else piece], start, end, previous)
        elif kind == "eq":
            self._finish(sign=True)
            self._sign(piece)
        elif kind == "cur":
            self.unit = "$" if piece == "$" else ""
        elif kind == "pct":
            if self.ready and not self.words and isinstance(self.items[-1], Operand):
                last = self.items[-1]
                self.items[-1] = Operand(last.text + "%", last.value, last.decimals, True, last.unit)
                self.places[-1] = (self.places[-1][0], end)
        elif kind == "open":
            self._open(start, end, attached, previous[0])
        elif kind == "close":
            self._close(start, end)
        elif kind == "of":
            before = self.items[-1] if self.items else ""
            fraction = len(self.items) > 1 and self.items[-2] in ("/", "|")
            share = isinstance(before, Operand) and (before.percent or fraction)
            if self.ready and share and not self.words:
                self.share = True
                # `10% of the $400 + $1580` is the share of a sum;
                # `3/3 - 2/3 = 1/3 of $150`: the share is what is meant, not its value
                alone = len(self.items) == (3 if fraction else 1)
                self.doubt = self.doubt or "the" in piece or (alone and bool(self.events and self.events[-1]))
                self._add("*", start, end)
            else:
                self._word("of", False)
        elif kind == "isw":
            if self.ready and self.words <= _MAX_WORDS_BEFORE_IS:
                self._finish(sign=True)
                self._sign(MAYBE if piece == MAYBE else "is")
            else:
                self._stop()
        elif kind == "frac":
            if self.ready:
                self._finish()
                self.filler = False
            self._add(Operand(piece.removesuffix(" of"), _FRACTIONS[re.split("[ -]", piece.lower())[-2]]), start, end)
            self._add("*", end, end)
            self.share = True
        elif kind == "scale":
            if self.ready and not self.words and isinstance(self.items[-1], Operand):
                last = self.items[-1]
                self.items[-1] = Operand(f"{last.text} {piece}", last.value * _SCALES[piece], 0, unit=last.unit)
                self.places[-1] = (self.places[-1][0], end)
        elif kind == "sup":
            if self.ready and not self.words:
                self._add("^", start, start)
                self._add(Operand(piece, "²³".index(piece) + 2), start, end)
        elif piece not in "~`'\"":
            malformed = piece == "," and self.text[start - 1 : start].isdigit() and self.text[end : end + 1].isdigit()
            symbol = piece in _SYMBOLS or (piece == "." and self.text[end : end + 1] in ("\\", "{"))
            self.doubt = self.doubt or symbol
            self._stop(loose=kind == "clock" or malformed or symbol)

    def _after_letter(self, start: int, before: str) -> bool:
        """Return whether a name stands right before (`x2`): a letter or two, in a script with spaces."""
        glued = self.text[max(0, start - 3) : start]
        return before == "word2" and glued[-1] < _FIRST_SYLLABLE and not (len(glued) == 3 and glued.isalpha())

    def _sign(self, piece: str) -> None:
        self.events.append(piece)
        self.filler, self.loose = True, False

    def _stop(self, loose: bool = False) -> None:
        loose = loose or bool(self.items and not self.ready)  # `.8 + . 84`: the right side is cut off
        self._finish()
        self.events.append(BREAK)
        self.filler, self.loose = True, loose

    def _word(self, piece: str, attached: bool) -> None:
        if not self.items:
            self.loose = self.loose and piece.count(" ") < 2  # `boat + space takes up 3`
            if self.filler:
                self.filler = _FILLER.issuperset(piece.lower().split())
            return
        if " " in piece and piece[0] not in "(/":
            for part in piece.split(" "):
                self._word(part, attached)
                attached = False
            return
        certain = piece.endswith(WORD_MARK)
        piece = piece.replace(WORD_MARK, "")
        if not piece:
            return
        lower = piece.lower()
        if self.ready and lower in _GOES_ON and (not self.events or self.events[-1] == BREAK):
            self.clause = True  # `16 that got eaten = 24`, `19 green and pink hats + 24`
        elif not self.ready and self._leads(lower):
            self.doubt = True  # `8 + Riley's 5`
            self.lead += 1
            return
        elif not self.ready or lower in _CLAUSE:
            self.loose = not self.ready and self.items[-1] != "("  # `25 + his 1 teacher`
            self._finish()
            self.filler = False
            return
        rate = not self.symbolic and lower in _RATES  # `$1.50/L`
        unknown = not certain and not rate and self._is_unknown(lower.lstrip("/ "), attached)
        if (attached and piece[0] == "(") or unknown:
            self.doubt = True  # an unknown: `2x`, `24/Y`, `.1(number of minutes)`
        last = self.items[-1]
        if not self.words and isinstance(last, Operand) and not last.unit:
            self.items[-1] = Operand(last.text, last.value, last.decimals, last.percent, unit_name(piece))
        self.words += 1
        if self.words > _MAX_UNIT_WORDS:
            self._finish()
            self.filler = False

    def _leads(self, word: str) -> bool:
        """Return whether a word after an operator may lead to its operand: `- the 12 balloons`, not `+ x`."""
        plain_word = word[:1].isalpha() and len(word.strip("'’")) > 1 and word not in _CLAUSE
        return plain_word and self.lead < 3 and not self.symbolic

    def _is_unknown(self, word: str, attached: bool) -> bool:
        """Return whether a word may be unknowns side by side: `x`, `2ab`; in LaTeX up to three, `abc`."""
        if not word.isascii() and word[0] >= _FIRST_SYLLABLE:
            return False  # `9个` is a unit
        if word in ("am", "pm"):
            return True  # `5 pm - 4 pm`
        if len(word) == 1:
            return attached or self.symbolic or word not in _LETTERS
        longest = 3 if self.symbolic else 2
        if len(word) > longest or unit_name(word) in UNITS or word in _SHORT:
            return False
        return attached or self.symbolic

    def _operand(self, kind: str, piece: str, start: int, end: int) -> None:
        decimals = 0
        value: Value
        if kind == "mix":
            whole, _, part = piece.replace("and ", "").partition(" ")
            top, _, bottom = part.partition("/")
            if not int(bottom):
                self._stop()
                return
            value = int(whole) + Fraction(int(top), int(bottom))
        else:
            try:
                value, decimals = number(piece)
            except Refused:
                value, self.doubt = 0, True
        self._add(Operand(piece[:60], value, decimals, unit=self.unit), start, end)
        self.unit = ""

    def _add(self, item: Item, start: int, end: int) -> None:
        if not self.items:
            if not self.filler and self.events and self.events[-1] and isinstance(self.events[-1], str):
                self.events.append(BREAK)  # words between the equality sign and here
            self.open_left = self.loose
            self.loose = False
        self.items.append(item)
        self.places.append((start, end))
        self.ready = isinstance(item, Operand) or item == ")"
        self.words = self.lead = 0

    def _operator(self, symbol: str, start: int, end: int, previous: tuple[str, int]) -> None:
        spaced = end >= len(self.text) or self.text[end].isspace()
        self.doubt = self.doubt or self.clause
        if self.ready and (not self.words or (symbol != "^" and (self.words <= 2 or end - start < 3))):
            if self.words and symbol == "-" and not spaced and self.text[start - 1].isspace():
                self.doubt = True  # `a slope of -14/14 = -1`
            # `8 blocks / 2 blocks/1.5`: the second stroke belongs to a rate
            rate = symbol == "/" in self.items and self.words > 0 and self.text[start - 1].isalpha()
            self.doubt = self.doubt or rate or (self.share and symbol in "+-")
            tight = symbol == "/" and not spaced and not self.text[start - 1].isspace() and not self.words
            self._add("|" if tight else symbol, start, end)
        elif symbol == "-" and not spaced and (self.items or previous[0] in ("", "eq", "brk", "open", "other", "isw")):
            if not self.items or self.items[-1] != "neg":
                self._add("neg", start, end)
        elif symbol == "+" and not spaced and self.items and not self.ready:
            pass  # `3*+6`
        elif self.items:
            self._finish()
            self.loose = True
        elif symbol in "+-" and not spaced and previous[0] == "word2" and self.text[start - 1].isspace():
            self.doubt = True  # `a loss of -250 + 750`
            if symbol == "-":
                self._add("neg", start, end)
        else:
            # a bullet (`- 16 - 3 = 13`) is no operator; anything else lacks its left side
            self.loose = previous[0] not in ("", "brk")

    def _open(self, start: int, end: int, attached: bool, before: str) -> None:
        if before == "close" and attached and not self.ready:
            self.loose = True  # the second factor of something not read
        letter = self.symbolic and start > 2 and self.text[start - 3] in " ($"  # `f \left(` has become `f  (`
        if before in ("word2", "word") and (attached or letter):
            self._stop()  # f(2), sqrt(16)
            self.loose = True
            return
        if self.ready and not self.words:
            self._add("*", start, start)
        elif self.ready:
            self._finish()
            self.filler = False
            self.doubt = self.symbolic  # `15 \\text{ USD} (6 / 1)`
        self.opened.append(len(self.items))
        self._add("(", start, end)
        self.opened[-1] = len(self.items) - 1

    def _close(self, start: int, end: int) -> None:
        if not self.opened or not self.ready:
            self._finish()
            self.events.append(BREAK)
            self.filler = True
            return
        self.opened.pop()
        self._add(")", start, end)

    def _finish(self, sign: bool = False) -> None:
        """End the side; `sign`: an equality sign follows, so what counts is its end, else its beginning."""
        if sign and self.clause:
            self.doubt = True
        items, places = self.items, self.places
        doubt, open_left = self.doubt, self.open_left
        worded = self.words > 0
        if self.opened:
            if sign:
                doubt = doubt or self.opened[-1] > 0
                items, places, open_left = items[self.opened[-1] + 1 :], places[self.opened[-1] + 1 :], False
            else:
                items, places = items[: self.opened[0]], places[: self.opened[0]]
                doubt = True
        ready = self.ready
        self._clear()
        while items and not (isinstance(items[-1], Operand) or items[-1] == ")"):
            items, places = items[:-1], places[:-1]
            doubt = True
        if not items or (sign and not ready):
            if sign:
                self.events.append(BREAK)
            return
        if open_left:
            self.events.append(BREAK)
            return
        operands = tuple(item for item in items if isinstance(item, Operand))
        operators = tuple(
            "/" if i in _DIVISIONS else i for i in items if isinstance(i, str) and i not in ("(", ")", "neg")
        )
        self.events.append(Side(tuple(items), operands, operators, places[0][0], places[-1][1], doubt, worded))
