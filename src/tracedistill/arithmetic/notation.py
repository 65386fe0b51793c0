r"""Convert notation to what calculations are parsed from: `$$9 \times 2 &= 19$$`, `| 9 × 2 | 19 |`, `9 • 2 ＝ 19`.

Signs of other scripts, Markdown, HTML, LaTeX and table cells become what `sentences` parses. What has no plain form
stays: it leaves a calculation unparsed rather than misread.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

WORD_MARK = "\N{WORD JOINER}"
r"""Follows a short word that is certainly a word, not unknowns side by side: `egg` in `9 \text{ egg}`."""
RATIO = "\N{RATIO}"
"""Replaces a colon between numbers: a division, a proportion, or neither."""


def _each(table: dict[str, str]) -> dict[str, str]:
    return {sign: plain_sign for signs, plain_sign in table.items() for sign in signs}


_SIGNS = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
    | _each({
        "✕✖⨯⨉╳х⊗✗": "×", "∙‧･・●∘": "•", "➗∕⁄": "/", "➕﹢": "+", "➖‒﹣": "−", "⟶⟹⇨➡➔➜": "→", "≃≒": "≈",
        "﹦": "=", "。": ". ", "，、": ", ", "：": " : ", "；": "; ", "\ufe0f\u200b\ufeff\u2060": "", "\u3000": " ",
        "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8",
    })
)  # fmt: skip
_THIN_GROUPS = re.compile(r"(?<=\d)[\u00a0\u202f\u2009'’](?=\d{3}(?!\d))")
_INDIAN = re.compile(r"(?<![\d,.])\d{1,2}(?:,\d{2}){1,5},\d{3}(?![\d,])")
_DOT = re.compile(r"(?<=[\w)\]]) ?• ?(?=[$£€]?[\d.(])")

_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[\da-fA-F]{1,5}|[A-Za-z]{2,8});")
_ALIGNED = re.compile(r"&\s?(?=[=≈])|(?<=[=≈])\s?&(?=\s?[$£€]?\d)")
"""Alignment points of a row; the last row of a formula may have no other LaTeX."""
_TAG = re.compile(r"(?<!<)</?(?:b|i|u|em|strong|mark|span|code|p|div|li|ul|ol|small|big|font)(?: [^<>]{0,80})?>(?!>)")
_BREAK_TAG = re.compile(r"(?<!<)</?(?:br|tr|table|tbody|thead)(?: [^<>]{0,80}|/| /)?>(?!>)")
_CELL_TAG = re.compile(r"(?<!<)</?t[dh](?: [^<>]{0,80})?>(?!>)")
_POWER_TAG = re.compile(r"<sup>(\d{1,3})</sup>")

_ESCAPED = re.compile(r"\\([*_+\-=#~])")
_BOLD = re.compile(r"(?<![\d)\s])\s*+\*\*|(?<![\d)])\*\*|\*\*(?!\s*+[\d(])")
_ITALIC = re.compile(r"(?:(?<=^)|(?<=[^\w)*] )|(?<=[^\w)* ]))\*(?=[^\s*])([^*\n]{1,200})(?<=[^\s*])\*(?![\w*(])")
_UNDERLINE = re.compile(r"(?<![A-Za-z0-9\\}])_++|_++(?![A-Za-z0-9{\\])")

_FRAC = re.compile(r"\\[dtc]?frac\s*+\{([^{}]{1,120})\}\s*+\{([^{}]{1,120})\}|\\[dtc]?frac\s*+(\d)\s*+(\d)")
_MIXED = re.compile(r"(?<=\d)\s*+\\[dt]?frac\s*+(?:\{(\d{1,4})\}\s*+\{(\d{1,4})\}|(\d)\s*+(\d))")
_LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|color\{\w{1,20}\})?|mathrm|mathbf|mathit|mathsf|mbox|emph|operatorname)"
    r"\s*+\{([^{}]{0,200})\}"
)
_LATEX_FRAME = re.compile(r"\\(?:boxed|fbox|underline|cancel|boldsymbol|mathbf)\s*+\{([^{}]{0,200})\}")
_FORMULA = re.compile(
    r"(\\begin\{(\w{1,20}\*?)\}.{1,4000}?\\end\{\2\}|\$\$?+(?:[^$\\]|\\.){1,2000}\$\$?+|\\\([^$]{1,2000}?\\\)|\\\[[^$]{1,2000}?\\\])",
    re.DOTALL,
)
_SHORT_WORD = re.compile(r"(?<![A-Za-z\\{\d])([A-Za-z]{2,3}|[aAI])(?![A-Za-z{(])")
_LATEX = (
    (re.compile(r"\\(?:begin|end)\s*+\{\w{1,20}\*?\}(?:\[[^\]]{0,9}\]|\{[clr|]{1,20}\})?"), ";"),
    (
        re.compile(
            r"\\\\(?:\[[^\]]{1,9}\])?\s*+&?\s*+(?:\\q?quad\s*+)*+(?==|[+-]|\\(?:approx|times|cdot|div)(?![A-Za-z]))"
        ),
        " ",
    ),  # the row continues: `9 \cdot 2 \\ &= 18`
    (re.compile(r"\\\\(?:\[[^\]]{1,9}\])?|\\(?:newline|hline|par)(?![A-Za-z])"), "\n"),
    (re.compile(r"\\(?:times|cdot|bullet)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\approx(?![A-Za-z])"), "≈"),
    (re.compile(r"\\(?:Rightarrow|implies|to|rightarrow|therefore|because)(?![A-Za-z])"), ";"),
    (re.compile(r"\\q?quad(?![A-Za-z])"), " ; "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|bf|rm|it|hfill)(?![A-Za-z])|&"), ""),
    (re.compile(r"\\!|(?<=\d)\\,(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\[,;: ]"), " "),
    (re.compile(r"\\(?:hspace|vspace|phantom|hphantom|label|tag)\s*+\{[^{}]{0,60}\}|~"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[()\[\]]"), ";"),
    (re.compile(r"(?<!\\)\$"), " "),
    (re.compile(r"\\([$%#&])"), r"\1"),
    (re.compile(r"\^\s*+\{?\\circ\}?|\\degree"), "°"),
    (re.compile(r"\^\{(-?\d{1,4})\}"), r"^\1"),
    (re.compile(r"(?<![\w}])\{([$£€]?[\d.,]{1,20})\}"), r"\1"),
)

_LINE_GOES_ON = re.compile(
    r"[ \t]{0,8}\n\s{0,20}(?=&?(?:==?|≈|\\approx)(?![A-Za-z]))|(?<=[=×÷*+/≈])[ \t]{0,8}\n\s{0,20}(?=[$£€]?\d)"
)
_TABLE = re.compile(r"(?:^|\s)\|(?=\s|$)|^\|[^|\n]{1,200}\|[^|\n]{1,200}\|\s*+$", re.MULTILINE)
_ABSOLUTE = re.compile(r"\|[^|\n]{1,60}\|\s*+=")
_CELL_RESULT = re.compile(
    r"(?<=\|)[ \t]*+([$£€(]*+\d[^|=\n]{0,60}?[^|=\s])[ \t]*+\|[ \t]*+"
    r"(?==?[ \t]*+\**+[$£€]?\d[\d,.]{0,20}[^|\d+*/=]{0,20}(?:\||$))"
)
_OPERATOR = re.compile(r"\d[^|]{0,30}?[-+*/×÷·−•][^|]{0,10}?\d")

_CLOCK = re.compile(
    r"(?<![\d:.,])(\d{1,12}(?:\.\d{1,4})?)(?: {1,2}: {1,2}|:)(\d{1,12}(?:\.\d{1,4})?)(?![\d:])"
    r"(?=(?: [A-Za-z]{1,12}){0,2} ?(?:=|≈|gives (?=\d)) ?[$£€]?(?P<result>\d[\d,]{0,12}(?:\.\d{1,4})?)?(?! ?[:∶]))"
)


_AMOUNT = r"[$£€]?\d[\d,]{0,12}(?:\.\d{1,4})?"
_ON_ARROW = re.compile(
    rf"(?<![\d.,])({_AMOUNT})(?: [A-Za-z]{{2,15}}){{0,2}} ?[—–─-]{{0,3}} ?[(\[]([-+−–*/×÷·]) ?({_AMOUNT})[)\]] ?"
    rf"(?:[—–─]{{0,3}}→|-{{0,3}}>) ?(?=(?:[A-Za-z'’]{{1,15}} ){{0,3}}({_AMOUNT})(?![\d.,]*\d)(?! ?[+*/×÷=%]))"
)
"""An operation written on the arrow from one number to the next: `60 —(+4)→ 64`."""


def plain(text: str) -> str:
    """Return the text without markup, with operators and equality signs as `sentences` parses them."""
    text = text.lstrip("> ")  # a quotation
    if not text.isascii():
        text = text.translate(_SIGNS)
        text = _DOT.sub(" * ", _THIN_GROUPS.sub(",", text)).replace("\u00a0", " ").replace("\u202f", " ")
    if "<" in text:
        text = _POWER_TAG.sub(r"^\1", _CELL_TAG.sub(" | ", _BREAK_TAG.sub("\n", _TAG.sub("", text))))
    if "&" in text:
        text = _ALIGNED.sub("", _ENTITY.sub(lambda m: html.unescape(m.group()), text))
    if "\n" in text:
        text = _LINE_GOES_ON.sub(" ", text)
    if "," in text:
        text = _INDIAN.sub(lambda m: m.group().replace(",", ""), text)
    if "|" in text:
        text = _cells(text)
    if "→" in text or "->" in text:
        text = _ON_ARROW.sub(r"\1 \2 \3 = \4 ; ", text)
    if ":" in text:
        text = _CLOCK.sub(_ratio, text)
    if " – " in text or " — " in text or "**" in text:
        text = _LABEL_DASH.sub(r"\g<label>: ", text)
    text = _unmarked(text)
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    if "$-" in text or "$ -" in text:
        text = _NEGATIVE_MONEY.sub("-$", text)
    if ". " in text or ".)" in text:
        text = _ABBREVIATED.sub(r"\g<unit>", text)
    if "..." in text or "…" in text:
        text = _GOES_ON.sub(r"\1", text)
    if "%" in text:
        text = _MODULO.sub(" mod ", text)
    return _ORDINAL_RESULT.sub(r"\1", _SHORT_REMAINDER.sub(" remainder ", text))


_LABEL_DASH = re.compile(
    r"^(?P<label>\s{0,4}(?:[-*•] |\(?\d{1,2}[.)] )?"
    r"(?:\*\*[A-Za-z][^*\d\n]{0,50}\*\*(?= ?[-–—])|[A-Z][A-Za-z'’ ]{1,40}?(?= [–—])))"
    r" ?[-–—] (?=[$£€(]?\d)",
    re.MULTILINE,
)
"""A dash behind a label, which is no minus: `1. **Daily need** – 20 × 3 = 60`."""
_ABBREVIATED = re.compile(
    r"(?<=\d)(?P<unit> ?(?:lbs?|oz|ft|in|yds?|mi|gals?|qts?|pts?|hrs?|mins?|secs?|pcs?|doz|wks?|yrs?|mos?|cm|km|kg|sq))"
    r"\.(?= ?[-+*/×÷=≈−–)]| ?x ?\d| (?:each|per|of|is|gives|makes|equals)\b)",
    re.IGNORECASE,
)
"""Units with a dot that ends no sentence: `40 × 2 lb. = 80 lb.`."""
_MODULO = re.compile(r"(?<=\d) % (?=\d)")
_NEGATIVE_MONEY = re.compile(r"\$ ?-(?=\d)")
_GOES_ON = re.compile(r"(?<=\.\d)(\d{0,20})(?:\.\.\.|…)")
_ORDINAL_RESULT = re.compile(r"(?<=[=≈] )(\d{1,9})(?:st|nd|rd|th)\b")
_SHORT_REMAINDER = re.compile(r"(?<=\d)(?: [rR]\.? ?|[rR])(?=\d{1,9}(?![\d.]*\w))")


def is_symbolic(text: str) -> bool:
    """Return whether the text has LaTeX, in which short words are unknowns."""
    return "\\" in text and _COMMAND.search(text) is not None


_COMMAND = re.compile(r"\\[A-Za-z(\[]")


def _unmarked(text: str) -> str:
    """Strip Markdown."""
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    if "`" in text:
        text = text.replace("`", " ")
    if "**" in text:
        text = _BOLD.sub(" ", text)
    if text.count("*") > 1:
        text = _ITALIC.sub(r"\1", text)
    return _UNDERLINE.sub(" ", text) if "_" in text else text


def _without_latex(text: str) -> str:
    if is_symbolic(text):
        text = _outside_formulas(text)
    text = _MIXED.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]} ", text)
    for _ in range(4):
        before = text
        text = _LATEX_TEXT.sub(lambda m: f" {_mark_words(m[1])} ", text)
        text = _LATEX_FRAME.sub(r" \1 ", text)
        text = _FRAC.sub(lambda m: f"(({m[1] or m[3]})/({m[2] or m[4]}))", text)
        if text == before:
            break
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def _outside_formulas(text: str) -> str:
    """Return the text with short words outside its formulas marked as words.

    Unchanged if it marks no formulas.
    """
    pieces, end = [], 0
    for match in _FORMULA.finditer(text):
        pieces += [_mark_words(text[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*pieces, _mark_words(text[end:])]) if pieces else text


def _mark_words(text: str) -> str:
    return _SHORT_WORD.sub(rf"\1{WORD_MARK}", text)


def _cells(text: str) -> str:
    """Separate table cells; a calculating cell is joined to a number in the next one: `| 9 × 2 | 18 |`."""
    if not _TABLE.search(text) or _ABSOLUTE.search(text):
        return text
    text = _CELL_RESULT.sub(lambda m: f" {m[1]} = " if _OPERATOR.search(m[1]) else m.group(), text)
    return text.replace("= =", "=").replace("|", "\n")


def _ratio(match: re.Match[str]) -> str:
    """Keep a time of day and the colon behind a name; replace a single colon between other numbers by RATIO.

    Behind a word that may name the first number (`Step 1 : 5 = 5`), a colon divides where that comes out right. What
    comes out wrong there may be no division: it is left unreadable, unless the word is one that names numbers.
    """
    compact = ": " not in match.group()
    if compact and len(match[2]) == 2 and float(match[1]) <= 24 and float(match[2]) < 60:
        return match.group()
    divided = f"{match[1]} {RATIO} {match[2]}"
    before = _WORD_BEFORE.search(match.string[max(0, match.start() - 16) : match.start()])
    if before is None or _LEADS.fullmatch(before[1]):
        return divided
    if before and match["result"] and float(match[2]):
        result = float(match["result"].replace(",", ""))
        if abs(float(match[1]) / float(match[2]) - result) < 0.01:
            return divided
    numbered = before[1] == "#" or _NUMBERED.fullmatch(before[1]) or (before[1][0].isupper() and float(match[1]) <= 20)
    return match.group() if numbered else f"{match[1]} {_UNSURE} {match[2]}"


_UNSURE = "⁝"
"""Replaces a colon that may divide: no sign that `sentences` knows."""
_WORD_BEFORE = re.compile(r"([A-Za-z]+|#)\.? ?$")
_LEADS = re.compile(
    r"gets?|got|is|are|was|were|has|have|had|receives?|received|makes?|made|gives?|pays?|paid|costs?|needs?|earns?|earned"
    r"|of|by|so|then|and|or|each|everyone|everybody|be|compute|calculate|divide|total|with|find|get|we|i|he|she|they",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"step|day|week|month|year|hour|case|part|option|question|problem|person|group|class|room|round|game|table|box|stage"
    r"|level|row|column|line|number|no|nr|item|example|team|player|friend|child|phase|method|way|chapter|section",
    re.IGNORECASE,
)


_DECIMAL_COMMA = re.compile(
    r"(?<![\d.,(])(?:(?:\d{1,9}|\d{1,3}(?:\.\d{3})+),(?:\d{1,2}|\d{4,9})|0,\d{3})(?![.,]?\d)(?!\))"
)
_DECIMAL_POINT = re.compile(
    r"(?<![\d.,])\d{1,9}\.(?:\d{1,2}|\d{4,9})(?![\d.])|(?:\d\d|[1-9]),\d{3}(?:,\d{3})*(?:\.\d|(?!\d))"
)
_COMMA_NUMBER = re.compile(
    r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?:,\d{1,9})?(?!\.?\d)|(?<![\d.,(])\d{1,9},\d{1,9}(?![.,]?\d)"
)


def has_decimal_commas(text: str) -> bool:
    """Return whether numbers are written as 6,67 and 1.500,25 throughout: some are, and none as 6.67 or 1,500."""
    text = text[:200_000]
    commas = any(after[:1].isdigit() for after in text.split(",")[1:])
    return commas and _DECIMAL_COMMA.search(text) is not None and _DECIMAL_POINT.search(text) is None


def with_points(text: str) -> str:
    """Replace decimal commas by points: 1.500,25 becomes 1500.25."""
    return _COMMA_NUMBER.sub(lambda m: m.group().replace(".", "").replace(",", "."), text)


def in_points(texts: Sequence[str]) -> list[str]:
    """Write the steps of one trace with decimal points, if they use decimal commas throughout."""
    return [with_points(text) for text in texts] if has_decimal_commas("\n".join(texts)) else list(texts)
