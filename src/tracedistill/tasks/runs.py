"""Sentences read into arithmetic runs and the equality signs between them: `16 eggs - 3 = $13` is Run = Run.

A run is an expression with units, currency and remarks in parentheses between its parts. A run is in `doubt` where
words or letters in it may hide something (`2x + 4`, `24/Y`, `409 500`), and is left out where it is cut off on the
left (`price + 4`).
"""

from __future__ import annotations

import re
from fractions import Fraction

from tracedistill.tasks.evaluation import UNITS, Item, Operand, Refused, Run, Value, number, unit_name

_MAX_UNIT_WORDS = 8
_FILLER = frozenset({
    "a", "about", "all", "almost", "an", "approximately", "around", "exactly", "just", "nearly", "of", "only",
    "roughly", "rs", "the", "to", "total", "usd",
})  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_FRACTIONS = {
    "half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4), "fourth": Fraction(1, 4),
    "fifth": Fraction(1, 5), "sixth": Fraction(1, 6), "eighth": Fraction(1, 8), "tenth": Fraction(1, 10),
}  # fmt: skip
_OPERATORS = {
    "+": "+", "-": "-", "−": "-", "–": "-", "*": "*", "×": "*", "·": "*", "⋅": "*", "∗": "*", "x": "*", "X": "*",
    "/": "/", "÷": "/", "^": "^", "**": "^", "//": "/", "times": "*", "multiplied by": "*", "plus": "+", "minus": "-",
    "divided by": "/",
}  # fmt: skip
_LETTERS = frozenset("agmlh")
_CLAUSE = frozenset({
    "and", "or", "but", "because", "since", "so", "then", "thus", "therefore", "hence", "which", "that", "where",
    "if", "when", "while",
})  # fmt: skip
"""Words that end an expression: what follows is another clause."""
_SYMBOLS = frozenset("\\\\{}|_#@<>≤≥≠∪∩√π∞∠±!")
"""Notation that is not read: what stands beside it is not the whole expression."""

_TOKEN = re.compile(
    r"""
    (?P<brk>\n|<=|>=|!=)
  | (?P<clock>\d{1,4}:\d\d?(?!\d))
  | (?P<word>\d+(?:st|nd|rd|th)\b|(?<=\d)-[A-Za-z]{2,}(?:-[A-Za-z]+)*|\((?=[^\d)]{1,60}\))[^()]{1,60}\)
      |/\s?[A-Za-z]+(?:/[A-Za-z]+)?)
  | (?P<mix>\d{1,6}(?:[ ]|[ ]and[ ])\d{1,4}/\d{1,4}(?![\d/]))
  | (?P<num>(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+)
  | (?P<eq>==?>?|≈|≅|~=|→|⇒|->)
  | (?P<frac>\b(?:(?:one|a)[ -])?(?:half|third|quarter|fourth|fifth|sixth|eighth|tenth)\ of(?=\ (?:the\ )?[$£€]?\d))
  | (?P<of>\bof\b(?:\s+the)?(?=\s*[$£€]?[\d(]))
  | (?P<isw>\b(?:is\ equal\ to|equals|is|gives|makes)\b(?=\s*(?:about\s+)?[$£€]?[.\d]))
  | (?P<opw>\b(?:divided\ by|multiplied\ by|times|plus|minus)\b(?=\s*[$£€]?[.\d(]))
  | (?P<op>\*\*|//|[-+*/×÷·−–⋅∗^]|(?<![A-Za-z])[xX](?=\s*[$£€]?[.\d(]))
  | (?P<pct>%|\bper\ ?cent\b)
  | (?P<scale>\b(?:hundred|thousand|million|billion|trillion)\b)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<cur>[$€£₹¥])
  | (?P<sup>[²³])
  | (?P<word2>[A-Za-z'’°]+(?:[-/][A-Za-z'’]+)*
      (?:[ ](?!(?:x|of|is|equals|gives|makes|half|third|quarter|fourth|fifth|sixth|eighth|tenth|divided|multiplied|times
        |plus|minus|per|percent|hundred|thousand|million|billion|trillion)(?![A-Za-z])|X[ ])
      [A-Za-z'’]+(?:[-/][A-Za-z'’]+)*)*)
  | (?P<other>[^\s])
    """,
    re.VERBOSE,
)
_BOLD = re.compile(r"(?<![\d)\s])\s*\*\*|(?<![\d)])\*\*|\*\*(?!\s*[\d(])")
_VULGAR = str.maketrans({"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8", "\u00a0": " "})
_FRAC = re.compile(r"\\[dtc]?frac\s*\{([^{}]{1,120})\}\s*\{([^{}]{1,120})\}|\\[dtc]?frac\s*(\d)\s*(\d)")
_MIXED = re.compile(r"(?<=\d)\s*\\[dt]?frac\s*(?:\{(\d{1,4})\}\s*\{(\d{1,4})\}|(\d)\s*(\d))")
_LATEX = (
    (re.compile(r"\\(?:text|mathrm|textbf|mathbf|boxed|mbox)\s*\{([^{}]{0,200})\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\approx(?![A-Za-z])"), "≈"),
    (re.compile(r"\\(?:Rightarrow|implies|to|rightarrow)(?![A-Za-z])"), ";"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,!;: ]|&"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[()\[\]]"), ";"),
    (re.compile(r"(?<!\\)\$"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\^\{(-?\d{1,4})\}"), r"^\1"),
)


BREAK = ""
"""Between two things that have nothing to do with each other."""


def plain(text: str) -> str:
    """Markup out of the way: bold, LaTeX commands for operators and fractions, Unicode fractions."""
    text = text.translate(_VULGAR)
    if "**" in text:
        text = _BOLD.sub(" ", text)
    if "\\" in text or "{" in text:
        text = _MIXED.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]} ", text)
        for _ in range(4):
            text, count = _FRAC.subn(lambda m: f"(({m[1] or m[3]})/({m[2] or m[4]}))", text)
            if not count:
                break
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


class Reader:
    """Reads tokens of one text into runs and the equality signs between them."""

    def __init__(self, text: str, symbolic: bool) -> None:
        self.text = text
        self.symbolic = symbolic  # LaTeX: short words are unknowns
        self.events: list[Run | str] = []
        self._clear()
        self.filler = True  # whether nothing but filler words stands between the last sign and here
        self.loose = False  # whether an operator without a left side stands just before: `price + 4`
        self.unit = ""  # a currency sign waiting for its number

    def _clear(self) -> None:
        self.items: list[Item] = []
        self.places: list[tuple[int, int]] = []
        self.opened: list[int] = []
        self.ready = False  # whether the expression could end here
        self.words = 0
        self.doubt = False
        self.open_left = False
        self.share = False  # `half of 24 + 2` may mean half of 26

    def read(self) -> list[Run | str]:
        """All runs and signs; a break (empty string) where neither side can reach over."""
        previous = ("", 0)
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup or ""
            self._take(kind, match.group(), match.start(), match.end(), previous)
            previous = (kind, match.end())
        self._finish()
        return self.events

    def _take(self, kind: str, piece: str, start: int, end: int, previous: tuple[str, int]) -> None:
        """One piece; the previous one's kind and end tell what it is attached to."""
        attached = previous[1] == start
        if kind == "word2" or kind == "word":
            self._word(piece, attached and previous[0] in ("num", "close"))
        elif kind in ("num", "mix"):
            if self.ready and piece == "000" and not self.words and isinstance(self.items[-1], Operand):
                last = self.items[-1]  # `80 000`
                self.items[-1] = Operand(last.text + piece, last.value * 1000, 0, unit=last.unit)
                self.places[-1] = (self.places[-1][0], end)
                return
            beside = self.ready and not self.words
            if self.ready:
                self.doubt = self.doubt or beside  # `409 500`: two numbers, or one
                self._finish()
                self.filler = False
            self.doubt = self.doubt or beside
            if not self.items and attached and previous[0] in ("word2", "clock"):
                self.loose = True
            self._operand(kind, piece, start, end)
        elif kind in ("op", "opw"):
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
                self.doubt = self.doubt or "the" in piece or bool(self.events and self.events[-1])
                self._add("*", start, end)
            else:
                self._word("of", False)
        elif kind == "isw":
            if self.ready and self.words <= 3:
                self._finish(sign=True)
                self._sign("is")
            else:
                self._stop()
        elif kind == "frac":
            if self.ready:
                self._finish()
                self.filler = False
            self._add(Operand(piece.removesuffix(" of"), _FRACTIONS[re.split("[ -]", piece)[-2]]), start, end)
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
            if self.filler:
                self.filler = _FILLER.issuperset(piece.lower().split())
            return
        if " " in piece and piece[0] not in "(/":
            for part in piece.split(" "):
                self._word(part, attached)
                attached = False
            return
        lower = piece.lower()
        if not self.ready or lower in _CLAUSE:
            self.loose = not self.ready  # `25 + his 1 teacher`
            self._finish()
            self.filler = False
            return
        bare = lower.lstrip("/ ")
        short = len(bare) <= 3 and unit_name(bare) not in UNITS and (attached or self.symbolic)
        if (len(bare) == 1 and (attached or bare not in _LETTERS)) or short or (attached and piece[0] == "("):
            self.doubt = True  # an unknown: `2x`, `24/Y`, `.1(number of minutes)`
        last = self.items[-1]
        if not self.words and isinstance(last, Operand) and not last.unit:
            self.items[-1] = Operand(last.text, last.value, last.decimals, last.percent, unit_name(piece))
        self.words += 1
        if self.words > _MAX_UNIT_WORDS:
            self._finish()
            self.filler = False

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
        self.words = 0

    def _operator(self, symbol: str, start: int, end: int, previous: tuple[str, int]) -> None:
        spaced = end >= len(self.text) or self.text[end].isspace()
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
        else:
            # a bullet (`- 16 - 3 = 13`) is no operator; anything else lacks its left side
            self.loose = previous[0] not in ("", "brk")

    def _open(self, start: int, end: int, attached: bool, before: str) -> None:
        if before == "close" and attached and not self.ready:
            self.loose = True  # the second factor of something not read
        letter = self.symbolic and start > 2 and self.text[start - 3] in " ($"  # `f \left(` has become `f  (`
        if before == "word2" and (attached or letter):
            self._stop()  # f(2), sqrt(16)
            self.loose = True
            return
        if self.ready and not self.words:
            self._add("*", start, start)
        elif self.ready:
            self._finish()
            self.filler = False
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
        """End the run; `sign`: an equality sign follows, so what counts is its end, else its beginning."""
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
        operators = tuple("/" if i == "|" else i for i in items if isinstance(i, str) and i not in ("(", ")", "neg"))
        self.events.append(Run(tuple(items), operands, operators, places[0][0], places[-1][1], doubt, worded))
