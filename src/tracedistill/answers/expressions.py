r"""Reads a mathematical answer: a box, what is marked as the answer, or the last formula of the final statement."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracedistill.answers.asides import aside
from tracedistill.answers.cleaning import plain
from tracedistill.answers.hedges import hedge
from tracedistill.answers.latex import closing
from tracedistill.answers.marks import denied, last_mark
from tracedistill.answers.prose import prose_formula
from tracedistill.answers.statements import Statement, backwards
from tracedistill.answers.words import word_set

MAX_EXPRESSION = 4000
"""Characters of one formula that are read."""

_LOOK_BACK = 6
"""Statements that are passed over on the way to a mark or a last formula."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,12}")
_FORMULA = re.compile(
    r"\$\$(.{1,4000}?)\$\$|\\\[(.{1,4000}?)\\\]|\\\((.{1,4000}?)\\\)|(?<!\\)\$((?:[^$\n\\]|\\.){1,4000}?)(?<!\\)\$",
    re.DOTALL,
)
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}\s{1,12}[a-zA-Z]{2,}")
_CONNECTOR = re.compile(
    r"(?:[\s,;$]|\\q?quad|\\text\s{0,12}\{\s{0,12}(?:and|or)\s{0,12}\}|\\[()\[\]]|\b(?:and"
    r"|or)\b)*\Z"
)
_GROUP_GAP = re.compile(r"[^.!?\n]{0,60}\Z")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_FUNCTION = word_set("sin cos tan cot sec csc log exp sqrt frac dfrac infty and pi inf cup text left right boxed")
_EXPRESSION = re.compile(r"[=+*/^<>≤≥√∛π∞±≈²³⁴⁵⁶⁷⁸⁹½⅓⅔¼¾]|\d\s{0,12}[a-z]\b|\\[a-z]|^[\s\[({]{0,12}-?[\d.]")
_TRAILING = re.compile(r"[\s.*`?]++\Z")
_SUBJECT = re.compile(r"[\s*]{0,12}(?:is|are|equals|will be|would be|has|have|to)\b")
_TASK = re.compile(r"\b(?:need|find|calculate|solve|determine|substitute|compute|first)\b", re.IGNORECASE)
_WORDS = "words stated as the answer"
_TOKEN = re.compile(r"\$?-?\d[\d,.]*|\S")
_RANGED = re.compile(r"\s{0,4}(?:to|through|-|–|against|:)\s{0,4}")
_NEGATED = re.compile(r"\s{0,12}not\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula or words read from a text."""

    text: str
    """The answer as written, several boxes or formulas joined by commas."""
    reason: str
    """Which rule found it."""
    span: tuple[int, int]
    """Its span in characters."""
    statement: int
    """First character of the statement that holds it; the body ends there."""


def read_expression(text: str, question: str = "") -> Expression | None:
    """Return the formula that the final statement of a text gives, or None if it gives none (perhaps a bare number)."""
    clean = plain(text)
    boxes = _boxes(clean)
    passed = 0
    for statement in backwards(clean, len(clean)):
        if boxes and statement.end <= boxes[-1][1] + 1:
            break
        begin = last_mark(clean, statement.start, statement.end) if statement.mark == "answer" else None
        passed += any(char.isdigit() for char in clean[statement.start : statement.end])
        if passed > _LOOK_BACK:
            break
        if begin is None or (boxes and boxes[-1][0] >= begin):
            continue
        expression = _marked(clean, statement, begin)
        if expression is not None and not (boxes and expression.reason == _WORDS):
            return expression
    if boxes:
        return _boxed(clean, boxes)
    return _last_formula(clean, question) or _bare(clean)


def last_box(text: str) -> Expression | None:
    """Return what the last box of a text holds, and those tied to it; None if there is none."""
    if "boxed" not in text and "fbox" not in text:
        return None
    clean = plain(text)
    boxes = _boxes(clean)
    return _boxed(clean, boxes) if boxes else None


def _boxes(clean: str) -> list[tuple[int, int, int, int]]:
    """Start, end, inner start and inner end of the last boxes of a text; an unclosed one ends with its line."""
    boxes = []
    floor = max(0, len(clean) - 40_000)
    for match in list(_BOX.finditer(clean, floor))[-64:]:
        at = match.end()
        if clean.startswith("{", at):
            end = closing(clean, at, MAX_EXPRESSION)
            if end < 0:
                line = clean.find("\n", at)
                stop = min(len(clean) if line < 0 else line, at + 500)
                dollar = clean.find("$", at, stop)
                end = dollar if dollar > 0 and "\\$" not in clean[at:stop] else stop
            boxes.append((match.start(), end + 1, at + 1, end))
        elif at < len(clean):
            token = _TOKEN.match(clean, at)
            if token:
                boxes.append((match.start(), token.end(), at, token.end()))
    return boxes


def _boxed(clean: str, boxes: list[tuple[int, int, int, int]]) -> Expression:
    group = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if box[1] > group[0][0]:  # an outer box: the inner one holds the answer
            continue
        between = clean[box[1] : group[0][0]]
        if not _joined(between):
            break
        group.insert(0, box)
    parts: list[str] = []
    for _, _, start, end in group:
        part = _TRAILING.sub("", clean[start:end].strip())
        if part and part not in parts:
            parts.append(part)
    text = ", ".join(parts)
    return Expression(text, "box", (group[0][2], group[-1][3]), _line_start(clean, group[0][0]))


def _joined(between: str) -> bool:
    """Return whether two boxes are one answer, with only commas, `and` or one short unit or label between them."""
    if len(between) > 60 or "\n\n" in between:
        return False
    if _CONNECTOR.match(between):
        return True
    words = _WORD.findall(between)
    return "and" in words and len(words) <= 5 and _GROUP_GAP.match(between) is not None


def _marked(clean: str, statement: Statement, begin: int) -> Expression | None:
    """Return the formulas after `the answer is`, else an expression without delimiters, else None."""
    end = statement.end
    if _NEGATED.match(clean, begin, end):
        return None
    formulas = _formulas(clean, begin, min(len(clean), end + MAX_EXPRESSION), within=end)
    while formulas and _SUBJECT.match(clean, formulas[0][1], end):
        # `the value of $N$ is 12`: the formula is what is spoken of, the value follows
        begin = formulas.pop(0)[1]
        match = _SUBJECT.match(clean, begin, end)
        begin = match.end() if match else begin
    if formulas:
        if formulas[0][2].rstrip(" ?").endswith("="):
            return None  # `add to find the answer: $1 + 14 = ?$`
        if hedge(clean, begin, end, [(formulas[0][0], formulas[0][1])], 0):
            return Expression(clean[begin:end].strip(), "stated as the answer", (begin, end), statement.start)
        return _formula_group(clean, formulas, statement, "stated as the answer")
    text = _TRAILING.sub("", clean[begin:end].strip().strip("\"'"))
    box = _BOX.search(clean, begin, end)
    if box or not text:
        return None
    if _is_expression(text):
        return Expression(text, "stated as the answer", (begin, end), statement.start)
    run = prose_formula(clean, begin, end)
    if run is not None and not _TASK.search(clean, begin, run[0]):
        return Expression(clean[run[0] : run[1]], "stated as the answer", run, statement.start)
    if not any(char.isdigit() for char in text) and len(text) <= 80:
        return Expression(text, _WORDS, (begin, end), statement.start)
    return None


def _is_expression(text: str) -> bool:
    if len(text) > 300 or not _EXPRESSION.search(text):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    return all(word in _FUNCTION or word == "or" for word in words)


def _formulas(clean: str, begin: int, end: int, within: int) -> list[tuple[int, int, str]]:
    """Start, end and inner text of the formulas that begin before `within`."""
    formulas = []
    for match in _FORMULA.finditer(clean, begin, end):
        if match.start() >= within:
            break
        inner = next(group for group in match.groups() if group is not None)
        if inner.rstrip().endswith("=") and clean[match.end() : match.end() + 1].isdigit():
            continue  # `$21 + 5 = $26` are two amounts of money
        if not _PROSE.search(re.sub(r"\\text\w{0,24}\s{0,12}\{[^{}]{0,120}\}", "", inner)):
            formulas.append((match.start(), match.end(), inner.strip()))
    return formulas


def _formula_group(clean: str, formulas: list[tuple[int, int, str]], statement: Statement, reason: str) -> Expression:
    """Return the first formula and those that `and` or a comma ties to it."""
    group = [formulas[0]]
    for formula in formulas[1:]:
        if not _CONNECTOR.match(clean[group[-1][1] : formula[0]]):
            break
        group.append(formula)
    text = ", ".join(_TRAILING.sub("", part) for _, _, part in group)
    return Expression(text, reason, (group[0][0], group[-1][1]), statement.start)


def _last_formula(clean: str, question: str = "") -> Expression | None:
    """Return the last formulas of the last statement that has any, unless plain numbers follow it."""
    seen = 0
    for count, statement in enumerate(backwards(clean, len(clean))):
        if seen >= _LOOK_BACK or count > 4 * _LOOK_BACK:
            break
        if aside(clean, statement.start, statement.end) or denied(clean, statement.start, statement.end):
            continue
        if question and "emainder" not in question and _OF_REMAINDER.match(clean, statement.start):
            continue
        seen += 1
        # a formula may run on past the sentence that it begins in
        formulas = _formulas(clean, statement.start, min(len(clean), statement.end + 400), statement.end)
        begin = formulas[-1][1] if formulas else statement.start
        if not formulas or any(char.isdigit() for char in clean[begin : statement.end]):
            run = prose_formula(clean, begin, statement.end)
            if run is not None:
                return Expression(clean[run[0] : run[1]], "last formula", run, statement.start)
            if any(char.isdigit() for char in clean[begin : statement.end]):
                return None
        while len(formulas) > 2 and _RANGED.fullmatch(clean[formulas[-2][1] : formulas[-1][0]]):
            del formulas[-2:]  # `odds of $5$ to $1$`
        if len(formulas) > 1 and question:
            formulas = _asked_for(clean, statement.start, formulas, question)
        if formulas:
            group = [formulas[-1]]
            for formula in reversed(formulas[:-1]):
                if not _CONNECTOR.match(clean[formula[1] : group[0][0]]):
                    break
                group.insert(0, formula)
            if hedge(clean, statement.start, statement.end, [(group[0][0], group[-1][1])], 0):
                return None
            return _formula_group(clean, group, statement, "last formula")
    return None


def _asked_for(
    clean: str, start: int, formulas: list[tuple[int, int, str]], question: str
) -> list[tuple[int, int, str]]:
    """Return the formulas up to the one that the question's noun leads to: `The quotient is $x$ with remainder $0$`."""
    asked = _ASKED_NOUN.search(question)
    starts = [start, *(end for _, end, _ in formulas)]
    leads = [clean[left:right] for left, (right, _, _) in zip(starts, formulas, strict=False)]
    if asked is None or not _BESIDE.search(leads[-1]) or asked[1].lower() in leads[-1].lower():
        return formulas
    noun = asked[1].lower()
    for place in range(len(formulas) - 2, -1, -1):
        lead = leads[place].lower()
        if noun in lead and (_COPULA.search(lead) or lead.rstrip(" *:(").endswith(noun)):
            return formulas[: place + 1]
    if noun == "quotient" and "remainder" in leads[-1].lower():
        return formulas[:-1]
    return formulas


_ASKED_NOUN = re.compile(
    r"\b(?:what (?:is|are|was)|find|determine|compute|calculate|give)\s+the\s+(?:\w+ ){0,2}?"
    r"(quotient|remainder|\w{4,16})\b",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"\b(?:with|remainder|while|whereas|and (?:the|that|its|a))\b", re.IGNORECASE)
_COPULA = re.compile(r"(?:\b(?:is|are|be|equals)|[:=])[\s*$]{0,4}\Z", re.IGNORECASE)
_OF_REMAINDER = re.compile(r"[\s*_-]{0,8}(?:the )?remainder\b", re.IGNORECASE)


def _bare(clean: str) -> Expression | None:
    """Return the whole text if it is one expression without any sentence."""
    text = clean.strip()
    if len(text) <= 500 and "\n" not in text and _is_expression(text):
        return Expression(_TRAILING.sub("", text), "the whole text", (0, len(clean)), 0)
    return None


def _line_start(clean: str, at: int) -> int:
    return clean.rfind("\n", 0, at) + 1
