"""Calculations in words, rewritten with signs: `Multiplying nine by two gives 19` becomes `9 * 2 gives 19`.

Only phrases with an operation, its two operands and a result are rewritten; anything else stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from tracedistill.answers.words import WORD_NUMBER, word_value

_NUM = r"[$£€]?(?:\d(?:[\d,]{0,20}\d)?(?:\.\d{1,12})?|\.\d{1,12})(?:[ ]?%|/\d{1,9})?(?![\d,.]*\d|/)"
_NO_UNIT = (
    r"(?!(?:by|from|to|and|with|into|among|between|gives?|is|was|are|were|has|have|equals|leav\w+|mak\w+|yield\w*"
    r"|result\w*|total\w*|which|that|that's|so|then|if|because|since|he|she|it|they|we|you|ago|later)\b)"
)
_UNITS = rf"(?:[ -]{_NO_UNIT}[A-Za-z/'’]{{1,15}}){{0,4}}"
_LEAD = rf"(?:{_NO_UNIT}[A-Za-z'’]{{1,15}}[ ]){{0,4}}"
_NO_SIGN = r"(?! ?[-+*/×÷·(^])"
"""An operand is a number, not the beginning of another expression."""


def _difference(match: re.Match[str]) -> str:
    """Put the larger number first, since a difference in words has no order."""
    one, other = match["a"], match["b"]
    values = [Fraction(re.sub(r"[^\d./]", "", operand.split()[0].split("%")[0])) for operand in (one, other)]
    return f"{one} - {other}" if values[0] >= values[1] else f"{other} - {one}"


def _raised(match: re.Match[str]) -> str:
    return _changed(match, "+")


def _lowered(match: re.Match[str]) -> str:
    return _changed(match, "-")


def _changed(match: re.Match[str], sign: str) -> str:
    """Write an increase or decrease by an amount or a percentage; one by a factor, or again and again, stays."""
    amount = match["b"].split()
    if len(amount) == 1 and amount[0].endswith("%"):
        whole = re.search(_NUM, match["a"])
        return f"{match['a']} {sign} {amount[0]} of {whole.group()}" if whole else match.group()
    once = len(amount) < 3 and not _REPEATED.search(match["b"])
    return f"{match['a']} {sign} {match['b']}" if once else match.group()


_REPEATED = re.compile(r"[%/]|\b(?:per|each|every|times|fold|daily|weekly|monthly|yearly|percent)", re.IGNORECASE)


def _pattern(text: str) -> re.Pattern[str]:
    """Return a rule's regular expression; A and B stand for operands with the words around them."""
    text = re.sub(r"\b[AB]\b", lambda letter: f"{_LEAD}(?P<{letter[0].lower()}>{_NUM}{_UNITS})", text)
    return re.compile(rf"(?<![A-Za-z])(?:{text})(?![A-Za-z]){_NO_SIGN}", re.IGNORECASE)


_MULTIPLY, _DIVIDE = "multipl(?:y|ies|ied|ying)", "divid(?:e|es|ed|ing)"
_SUBTRACT, _ADD = "(?:subtract|deduct)(?:s|ed|ing)?", "add(?:s|ed|ing)?"
_Operation = str | Callable[[re.Match[str]], str]
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], _Operation], ...] = tuple(
    (tuple(hints.split(",")), _pattern(text), replacement)
    for hints, text, replacement in (
        # parts of words without which the pattern is not tried, the pattern, what is written
        ("multipl", rf"{_MULTIPLY} A (?:by|with|times|and) B", r"\g<a> * \g<b>"),
        ("product", r"(?:the )?product of A (?:and|with) B", r"\g<a> * \g<b>"),
        ("divid", rf"{_DIVIDE} A (?:by|into|among|between) B", r"\g<a> / \g<b>"),
        ("split", r"split(?:s|ting)? A (?:into|among|between|by) B", r"\g<a> / \g<b>"),
        ("quotient", r"(?:the )?quotient of A (?:and|by) B", r"\g<a> / \g<b>"),
        ("subtract,deduct", rf"{_SUBTRACT} A from B", r"\g<b> - \g<a>"),
        ("tak,took", r"(?:take|taking|takes|took) (?:away )?A (?:away )?from B", r"\g<b> - \g<a>"),
        ("difference", r"(?:the )?difference (?:between|of) A and B", _difference),
        ("add,combining,summing", rf"(?:{_ADD}|combining|summing) A (?:to|and|with|plus) B", r"\g<a> + \g<b>"),
        ("increas,rais", r"(?:increas(?:e|es|ed|ing)|rais(?:e|es|ed|ing)) A by B", _raised),
        ("creas,reduc,lower", r"(?:decreas(?:e|es|ed|ing)|reduc(?:e|es|ed|ing)|lower(?:s|ed|ing)?) A by B", _lowered),
        ("sum of,total of", r"(?:the )?(?:sum|total) of A and B", r"\g<a> + \g<b>"),
    )
)
_FEW = rf"(?: {_NO_UNIT}[A-Za-z'’]{{1,15}}){{0,2}}"
_THEN_RESULT = r"(?= (?:is|gives|equals)\b| ?=)"
_NEXT = rf"(?={_NUM}{_NO_SIGN})"
_COUNT = rf"(?P<a>{_NUM}{_FEW})"
_AFTER = tuple(
    (tuple(keywords.split(",")), re.compile(text, re.IGNORECASE), replacement)
    for keywords, text, replacement in (
        # words without which the pattern is not tried, the pattern, what is written
        ("ted from,ken from", rf"{_COUNT} (?:subtracted|taken) from (?P<b>{_NUM})", r"\g<b> - \g<a>"),
        ("s than,er than", rf"{_COUNT} (?:less|fewer) than (?P<b>{_NUM}{_FEW}){_THEN_RESULT}", r"\g<b> - \g<a>"),
        ("more than", rf"{_COUNT} more than (?={_NUM}{_FEW}{_THEN_RESULT})", r"\g<a> + "),
        ("make,total,add up", rf"{_COUNT} (?:added to|increased by|and) (?={_NUM}{_FEW} (?:make|total|add up to))",
         r"\g<a> + "),
        ("added to,increased,then adding", rf"{_COUNT} (?:added to|increased by|and then adding) {_NEXT}", r"\g<a> + "),
        ("ed by,away,less", rf"{_COUNT} (?:decreased by|reduced by|take away|less) {_NEXT}", r"\g<a> - "),
        ("multiplied,s of", rf"{_COUNT} (?:multiplied (?:by|with)|(?:groups|sets|lots) of) {_NEXT}", r"\g<a> * "),
        (" out of ", rf"{_COUNT} out of (?P<b>{_NUM}{_FEW}) (?:is|are|=|equals|makes) (?={_NUM} ?%)",
         r"\g<a> / \g<b> = "),
        ("divided,over", rf"{_COUNT} (?:divided (?:by|into|among|between)|over) {_NEXT}", r"\g<a> / "),
        ("twice,doubl", rf"\b(?:twice|doubl(?:e|ing)) {_NEXT}", "2 * "),
        ("thrice,tripl", rf"\b(?:thrice|tripl(?:e|ing)) {_NEXT}", "3 * "),
        ("halving", rf"\bhalving {_NEXT}", "1/2 * "),
        ("doubled", rf"{_COUNT} doubled\b", r"\g<a> * 2"),
        ("tripled", rf"{_COUNT} tripled\b", r"\g<a> * 3"),
        ("halved", rf"{_COUNT} halved\b", r"\g<a> / 2"),
        ("squared", rf"(?P<a>{_NUM}) squared\b", r"\g<a>^2"),
        ("square of,squaring", rf"(?:the )?square of (?P<a>{_NUM})|\bsquaring (?P<b>{_NUM})", r"\g<a>\g<b>^2"),
    )
)  # fmt: skip
_ONE_OF_LIST = rf"{_NUM}(?: [A-Za-z'’]{{1,15}}){{0,3}}"
_LIST = re.compile(
    rf"\b(?P<what>sum of|total of|product of|adding(?: up| together)?|add(?: up| together)?|combining|summing(?: up)?"
    rf"|multiplying|multiply) (?:the )?(?P<list>{_ONE_OF_LIST}(?:, {_ONE_OF_LIST}){{1,10}},? and {_ONE_OF_LIST})",
    re.IGNORECASE,
)
_COMMA = re.compile(rf",? and (?={_NUM})|, (?={_NUM})")
_LISTS = ("sum", "total of", "product of", "add", "combining", "multiply")
"""Parts of words required by `_LIST`."""

_RESULT = re.compile(
    r"(?<=[\w)%])(?:,| ?[–—])? {1,3}(?:(?:and|so|that|this|it|which|for|then|thus|we|you|they|he|she|I)[,]? ){0,2}"
    r"(?:to (?:get|find|obtain|make|give|reach)|giv(?:es?|ing)|gave|mak(?:es?|ing)|made|yield(?:s|ing)?"
    r"|leav(?:es?|ing)|produc(?:es?|ing)|result(?:s|ing)? in|com(?:es?|ing) (?:out )?to|amount(?:s|ing)? to"
    r"|total(?:s|ing|ling|led|ed)|works? out (?:to|as|at)|equal(?:s|ling|ing)?(?: to)?|is equal to|equates? to"
    r"|add(?:s|ing)? up to|was|were|are|will be|would be|should be|gets?|has|have|obtain|got|find|is"
    r"|for a (?:grand )?(?:total|sum) of|means|becomes?)"
    r"(?: (?:us|you|him|her|them|me|up|back))?"
    r"(?:,? (?:a|an|the|exactly|about|approximately|roughly|only|just|simply|new|grand|final|whole|total|sum|result"
    r"|answer|product|quotient|difference|of|equal|to)){0,5}"
    rf":? (?=[$£€]?[\d.])(?!{_NUM} (?:less|more|fewer|times|older|younger)\b)(?={_NUM}{_NO_SIGN})",
    re.IGNORECASE,
)
_LOOSE = re.compile(
    r"\b(?:he|she|they|I|for(?! a (?:grand )?(?:total|sum))|was|were|are|made|gave|gets|has|(?<!you )(?<!we )have|find"
    r"|means|becomes?|will|would|should)\b",
    re.IGNORECASE,
)
MAYBE = "⇝"
"""An equality sign for words that may join two unequal things: `and she has 5`."""

_CARDINAL = re.compile(rf"(?<![\w-])(?:a[ -](?:hundred|thousand|million)(?!\w)|{WORD_NUMBER})", re.IGNORECASE)
_CARDINALS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "teen",
    "ty", "a hundred", "a thousand", "a million", "a-",
)  # fmt: skip
"""Parts of words required by `_CARDINAL`."""
_COUNTED = re.compile(
    r"[ -](?:half|halve|third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth)s?\b| times (?:as|more|the|that)\b"
    r"| \w+ (?:ago|later|from now)\b",
    re.IGNORECASE,
)
"""What follows a number in words that is no operand."""
_POINTED = re.compile(r"(?:\b(?:the|these|those|first|last|next|other|all|both|with|any|\d) ?|\d[ -])$", re.IGNORECASE)
_SHARE = re.compile(r" (?:of|the)\b| ?[*×x/+=-]", re.IGNORECASE)
_COUNTS = re.compile(
    r"[-+*/×÷·−=]|\bof (?:the )?[$£€]?\d"
    r"|\b(?:plus|minus|times|multipl|divid|subtract|add|product|sum|difference|quotient|twice|thrice|doubl|tripl"
    r"|halv|squar)",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"(?:\b(?:plus|minus|times|by|is|equals|gives|makes?|leaves?|add|adding|subtract|subtracting|multiply|multiplying|divide"
    r"|dividing|from|of|and|to|get|twice"
    r"|thrice|doubl(?:e|ing)|tripl(?:e|ing)|halving|squaring)|[-+*/×÷=]) ?$",
    re.IGNORECASE,
)
_RIGHT_BESIDE = re.compile(r"(?:\b(?:plus|minus|times|by|equals)|[-+*/×÷=]) ?$", re.IGNORECASE)
_RESULT_BEFORE = re.compile(r"\b(?:is|equals|gives|makes|leaves|get) $", re.IGNORECASE)
_BEFORE = re.compile(
    r"(?: (?!and\b|or\b)[a-z]{2,15}){0,2} ?"
    r"(?:(?:plus|minus|times|divided|multiplied|equals|subtracted|added)\b|[+*/×÷=]|[-−] )",
    re.IGNORECASE,
)
_NEXT_TO = re.compile(r" ?(?:(?:plus|minus|times|divided|multiplied|equals|from)\b|[+*/×÷=]|- )", re.IGNORECASE)
_OTHER_TONGUES = (
    (re.compile(r"\s{0,3}(?:乘以|乘)\s{0,3}"), " * "),
    (re.compile(r"\s{0,3}除以\s{0,3}"), " / "),
    (re.compile(r"(?<=\d)([^\W\d_a-zA-Z]{0,2})加上?\s{0,3}(?=\d)"), r"\1 + "),
    (re.compile(r"(?<=\d)([^\W\d_a-zA-Z]{0,2})[减減]去?\s{0,3}(?=\d)"), r"\1 - "),
    (re.compile(r"\s{0,3}(?:等于|等於|得到|得)\s{0,3}(?=\d)"), " = "),
    (
        re.compile(
            r"(?<=\d) (?:por|mal|fois|veces|vezes|volte|keer|multiplicado por|multiplié par"
            r"|умножить на|умноженное на) (?=\d)"
        ),
        " * ",
    ),
    (re.compile(r"(?<=\d) (?:más|mas|mais|più|плюс) (?=\d)"), " + "),
    (re.compile(r"(?<=\d) (?:menos|moins|meno|минус) (?=\d)"), " - "),
    (
        re.compile(
            r"(?<=\d) (?:entre|dividido (?:por|entre)|divisé par|geteilt durch|diviso|gedeeld door|разделить на) (?=\d)"
        ),
        " / ",
    ),
    (re.compile(r"(?<=\d) ?% (?:de|von|vom|di|van|af|av|от) (?=[$£€]?\d)"), "% of "),
    (
        re.compile(r"(?P<whole>\d[\d,.]{0,12})\s?[的の]\s?(?P<share>\d{1,3}(?:\.\d{1,2})?)\s?%(?=\D{0,4}\d)"),
        r"\g<share>% of \g<whole>",
    ),
    (
        re.compile(
            r"\b(?:la mitad de|die Hälfte von|la moitié de|(?:a )?metade de|la metà di|половина от) (?=[$£€]?\d)",
            re.IGNORECASE,
        ),
        "half of ",
    ),
    (re.compile(r"(?P<whole>\d[\d,.]{0,12})\s?的一半(?=\D{0,4}\d)"), r"half of \g<whole>"),
    (
        re.compile(
            r"\b(?:el doble de|das Doppelte von|le double de|o dobro de|il doppio di) (?=[$£€]?\d)", re.IGNORECASE
        ),
        "2 * ",
    ),
    (
        re.compile(
            r"\b(?:el triple de|das Dreifache von|le triple de|o triplo de|il triplo di) (?=[$£€]?\d)", re.IGNORECASE
        ),
        "3 * ",
    ),
    (
        re.compile(
            r"\b(?:un tercio de|ein Drittel von|un tiers de|um terço de|un terzo di) (?=[$£€]?\d)", re.IGNORECASE
        ),
        "1/3 of ",
    ),
    (
        re.compile(
            r"\b(?:un cuarto de|ein Viertel von|un quart de|um quarto de|un quarto di) (?=[$£€]?\d)", re.IGNORECASE
        ),
        "1/4 of ",
    ),
    (
        re.compile(
            r"(?<=[\d€$£%]) (?:es igual a|es|son|est|font|donne|égale|fait|ergibt|ist(?: gleich)?|sind|gleich|macht"
            r"|é igual a|é|è|são|dá|fa|fanno|равно|будет|это)"
            r" (?=[$£€]?\d[\d.,]{0,12}(?! ?[\w€$%]{0,12} ?(?:más|mas|menos|mehr|weniger|(?:de )?plus"
            r"|de moins|(?:a )?mais|più|больше|меньше)\b))"
        ),
        " = ",
    ),
    *(
        (
            re.compile(
                rf"\b(?:{words}) (?P<a>[$£€]?\d[\d.,]{{0,12}}) (?:et|und|y|e|en|и) (?P<b>[$£€]?\d[\d.,]{{0,12}}\b)",
                re.IGNORECASE,
            ),
            rf"\g<a> {sign} \g<b>",
        )
        for sign, words in {
            "+": "la somme de|die Summe (?:von|aus)|la suma de|la somma (?:di|tra)|a soma de|de som van|сумма",
            "-": "la différence entre|die Differenz (?:von|zwischen)|la diferencia entre|la differenza tra"
            "|a diferença entre|het verschil tussen",
            "*": "le produit de|das Produkt (?:von|aus)|el producto de|il prodotto (?:di|tra)|o produto de"
            "|het product van",
        }.items()
    ),
    (
        re.compile(
            r"(?P<left>(?:half of|1/[34] of|[23] \*|% of) [$£€]?\d[\d.,]{0,12}), (?:soit|also|das sind|das macht"
            r"|es decir|o sea|cioè|ou seja|то есть) (?=[$£€]?\d)"
        ),
        r"\g<left> = ",
    ),
    (re.compile(r"(?<=\d)\s?(?:就是|是|为|為|は)\s?(?=\d)"), " = "),
)
_LATIN = (
    " por ",
    " mal ",
    " fois ",
    " veces ",
    " vezes ",
    " volte ",
    " keer ",
    " mas ",
    " mais ",
    " menos ",
    " moins ",
    " meno ",
    " entre ",
    " durch ",
    " diviso ",
    " door ",
    " son ",
    " font ",
    " fait ",
    " ergibt ",
    " ist ",
    " gleich ",
    " macht ",
    " fa ",
    " de ",
    " von ",
    " vom ",
    " di ",
    " van ",
    " es ",
    " est ",
    " donne ",
    " sind ",
    " fanno ",
)
"""Words between digits that mean an operation or equality in Spanish, German, French, Portuguese, Italian or Dutch.

Russian and Chinese ones are supported too. Numbers themselves are parsed in digits and in English words only.
"""

_PRICED = re.compile(
    rf"^(?P<before>\D{{0,60}})(?P<a>\d[\d,]{{0,12}}(?:\.\d{{1,4}})?(?: [A-Za-z]{{2,15}}){{1,3}}?) (?:at|@|for) "
    rf"(?P<b>{_NUM} (?:each|apiece|a piece|per [a-z]{{2,15}})\b)"
)

_THING = rf"(?: (?!each\b|apiece\b){_NO_UNIT}[A-Za-z'’-]{{2,15}}){{0,3}}?"
_RATE = r"(?:each|apiece|a piece|(?:per|in (?:each|every)) [A-Za-z]{2,15})"
_COMES = r"(?:makes?|gives?|is|are|equals?|holds?|contains?|has|have|totals?|costs?|comes? to|adds? up to)"
_OF_EACH = re.compile(
    rf"(?<![A-Za-z\d/$£€*+=×-] )(?<![A-Za-z\d.,/$£€])(?P<lead>(?:[A-Za-z'’]{{1,12}},? ){{0,5}})(?P<a>{_NUM}{_THING}) "
    rf"(?:with|of|at|holding|containing|having|for|@) (?P<b>{_NUM}(?P<unit>{_THING})) (?:in )?{_RATE},? {_COMES} "
    rf"(?:exactly |a total of )?(?P<c>{_NUM}){_NO_SIGN}(?P<made>(?: [A-Za-z]{{2,15}})?)(?P<after>[^.;\n]{{0,60}})",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"\b(?:twice|double|triple|thrice|dozen|each|every|of|half)\b|\d", re.IGNORECASE)
_MORE = re.compile(
    r"\d|\b(?:more|less|fewer|extra|left|than|short|plus|minus|with|includ|after|before|each|apiece|per|times|if)",
    re.IGNORECASE,
)


def _of_each(match: re.Match[str]) -> str:
    """Write `4 cans with 3 tomatoes each make 14 tomatoes` as a product.

    It is certain where the result is counted in what each of them has, and nothing is added beside it.
    """
    same = _singular(match["unit"]) == _singular(match["made"]) and (match["b"][:1] in "$£€") == (
        match["c"][:1] in "$£€"
    )
    sure = same and not _SUBJECT.search(match["lead"]) and not _MORE.search(match["after"])
    sign = "gives" if sure else MAYBE
    return f"{match['lead']}{match['a']} * {match['b']} {sign} {match['c']}{match['made']}{match['after']}"


def _singular(words: str) -> str:
    return (words.split() or [""])[-1].lower().removesuffix("s")


def with_signs(text: str) -> str:
    """Return the text with calculations in words written with signs, for `sentences` to parse."""
    if not text.isascii() or any(word in text for word in _LATIN):
        for pattern, replacement in _OTHER_TONGUES:
            text = pattern.sub(replacement, text)
    lower = text.lower()
    if any(word in lower for word in _CARDINALS) and _COUNTS.search(text):
        text = _CARDINAL.sub(_digits, text)
        lower = text.lower()
    if any(word in lower for word in _LISTS):
        text = _LIST.sub(_joined, text)
    for hints, pattern, operation in _RULES:
        if any(hint in lower for hint in hints):
            text = pattern.sub(operation, text)
    for keywords, pattern, written in _AFTER:
        if any(word in lower for word in keywords):
            text = pattern.sub(written, text)
    if "each" in lower or "apiece" in lower or " per " in lower or "every" in lower:
        text = _OF_EACH.sub(_of_each, text)
    text = _PRICED.sub(r"\g<before>\g<a> * \g<b>", text, count=1)
    return _RESULT.sub(_connected, text)


def _connected(match: re.Match[str]) -> str:
    return f" {MAYBE} " if _LOOSE.search(match.group()) else " gives "


def _joined(match: re.Match[str]) -> str:
    sign = " * " if match["what"].lower().startswith(("product", "multipl")) else " + "
    return _COMMA.sub(sign, match["list"])


def _digits(match: re.Match[str]) -> str:
    """Write a number in words as digits if it is an operand.

    `one` only right beside a sign, since it may be a pronoun.
    """
    words, text = match.group(), match.string
    value = word_value(words)
    before = text[max(0, match.start() - 16) : match.start()]
    if value is None or _COUNTED.match(text, match.end()):
        return words
    if value.denominator > 1:
        return f"{value}" if _SHARE.match(text, match.end()) and not _POINTED.search(before) else words
    pronoun = words.lower() == "one"
    beside = (_RIGHT_BESIDE if pronoun else _BESIDE).search(before)
    near = _NEXT_TO if pronoun else _BEFORE
    if pronoun and _RESULT_BEFORE.search(before) and text[match.end() :][:1] in ("", ".", ",", ";", "!", ")"):
        return "1"  # `eight divided by eight is one.`
    if not beside and (_POINTED.search(before) or not near.match(text, match.end())):
        return words
    return str(value)
